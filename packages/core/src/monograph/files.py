"""Files: a JSON header, raw little-endian arrays, one checksum over everything; no pickle.

Layout: 8 bytes magic, 32 bytes SHA-256 of all that follows, 8 bytes header length, the header, then
the arrays, each at a multiple of 64 bytes. Written to a temporary file and renamed, so a reader
never sees half of one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from . import tree
from .dtypes import DType, dtype as as_dtype
from .errors import FileFormatError, GraphError, MonographError
from .graph import Graph, Literal, Node, Value
from .op import get
from .spec import Spec
from .storage import opened, replacing
from .tracing import Trace

MAGIC = b"MONOGRF1"
_ALIGN = 64
_MOST = 1 << 28  # bytes of a header


def write_container(path: Any, header: dict[str, Any], arrays: list[np.ndarray]) -> None:
    """Write a header and arrays to ``path``, all or nothing."""
    path = Path(path)
    table, offset = [], 0
    for a in arrays:
        table.append({"spec": [list(a.shape), Spec.of(a).dtype.name], "at": offset})
        offset += -(-a.nbytes // _ALIGN) * _ALIGN
    text = json.dumps({**header, "arrays": table}, sort_keys=True).encode()
    text += b" " * (-(len(MAGIC) + 40 + len(text)) % _ALIGN)
    body = [len(text).to_bytes(8, "little"), text]
    for a in arrays:
        body += [_little(a), bytes(-a.nbytes % _ALIGN)]
    digest = hashlib.sha256()
    for part in body:
        digest.update(part)
    with replacing(path) as f:
        f.write(MAGIC + digest.digest())
        for part in body:
            f.write(part)


def _little(a: np.ndarray) -> bytes:
    return a.astype(a.dtype.newbyteorder("<"), copy=False).tobytes()


def read_container(path: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header and arrays of a file.

    Raises:
        FileFormatError: not such a file, truncated, altered, or inconsistent.
    """
    with opened(path) as f:
        data = f.read()
    if data[:8] != MAGIC:
        raise FileFormatError(
            f"{path}: not a Monograph file of this version (it starts with {data[:8]!r}, expected {MAGIC!r})"
        )
    if hashlib.sha256(data[40:]).digest() != data[8:40]:
        raise FileFormatError(
            f"{path}: the checksum does not match its {len(data):,} bytes: the file is truncated or "
            f"altered. Write it again from its source."
        )
    try:
        size = int.from_bytes(data[40:48], "little")
        header = json.loads(data[48 : 48 + size])
        arrays = []
        for row in header["arrays"]:
            spec = Spec(row["spec"][0], row["spec"][1])
            raw = np.frombuffer(
                data, spec.dtype.numpy.newbyteorder("<"), spec.size, 48 + size + row["at"]
            )
            arrays.append(raw.reshape(spec.shape).astype(spec.dtype.numpy, copy=False))
    except (KeyError, ValueError, TypeError, IndexError, MonographError) as e:
        raise FileFormatError(f"{path}: its header does not describe its contents: {e}") from None
    return header, arrays


def read_header(path: Any) -> dict[str, Any]:
    """The header alone, unchecked: for a list of files.

    Raises:
        FileFormatError: not such a file.
    """
    with opened(path) as f:
        start = f.read(48)
        text = f.read(min(int.from_bytes(start[40:], "little"), _MOST))
    try:
        header = json.loads(text) if start[:8] == MAGIC else None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise FileFormatError(f"{path}: not a Monograph file of this version")
    return header


# ---- graphs


def save_graph(graph: Graph, path: Any) -> None:
    """Write a graph; constants are stored once each as raw arrays."""
    arrays: list[np.ndarray] = []
    places: dict[Literal, int] = {}
    header = {"kind": "graph", "version": 1, "graph": encode_graph(graph, arrays, places)}
    write_container(path, header, arrays)


def load_graph(path: Any) -> Graph:
    """Read a graph, verified. Raises `FileFormatError`."""
    header, arrays = read_container(path)
    if header.get("kind") != "graph" or header.get("version") != 1:
        raise FileFormatError(
            f"{path}: holds {header.get('kind')!r} version {header.get('version')!r}, not graph version 1"
        )
    try:
        return decode_graph(header["graph"], arrays).verify()
    except (KeyError, IndexError, TypeError, ValueError) as e:
        raise FileFormatError(f"{path}: {e}") from None


def encode_graph(g: Graph, arrays: list[np.ndarray], places: dict[Literal, int]) -> dict[str, Any]:
    """A graph as JSON; its constants are appended to ``arrays``, once each."""
    index: dict[Value, int] = {v: i for i, v in enumerate(g.inputs)}
    nodes = []
    for node in g.nodes:
        attrs = {k: _encode_attr(k, a, node, arrays, places) for k, a in node.attrs.items()}
        nodes.append({"op": node.op.name, "in": [index[v] for v in node.inputs], "attrs": attrs})
        if node.source is not None:
            nodes[-1]["line"] = list(node.source[:5])
        for v in node.outputs:
            index[v] = len(index)
    return {
        "name": g.name,
        "inputs": [[v.node.attrs["name"], list(v.shape), v.dtype.name] for v in g.inputs],
        "nodes": nodes,
        "outputs": [index[v] for v in g.outputs],
        "in_tree": encode_tree(g.in_tree, "arguments"),
        "out_tree": encode_tree(g.out_tree, "result"),
    }


def _encode_attr(name: str, a: Any, node: Node, arrays: list, places: dict) -> Any:
    if a is None or isinstance(a, (bool, int, str)):
        return a
    if isinstance(a, float):
        return {"float": a.hex()}
    if isinstance(a, DType):
        return {"dtype": a.name}
    if isinstance(a, Graph):
        return {"graph": encode_graph(a, arrays, places)}
    if isinstance(a, tuple):
        return [_encode_attr(name, x, node, arrays, places) for x in a]
    if isinstance(a, Literal):
        if a not in places:
            places[a] = len(arrays)
            arrays.append(a.array)
        return {"array": places[a]}
    raise GraphError(
        f"{node.source}: {node.op.name} holds a Python object in {name}= and cannot be written; call "
        f"engine.prepare(graph) first, which replaces such nodes by their bodies"
    )


def decode_graph(d: dict[str, Any], arrays: list[np.ndarray]) -> Graph:
    """The graph of such JSON; raises whatever Python does for parts that do not fit."""
    from .graph import Source

    t = Trace(None, d["name"])
    values = [t.add_input(Spec(shape, dtype), name) for name, shape, dtype in d["inputs"]]
    for n in d["nodes"]:
        op = get(n["op"])
        inputs = tuple(values[i] for i in n["in"])
        attrs = op.bind(inputs, {k: _decode_attr(a, arrays) for k, a in n["attrs"].items()})
        specs = op.infer_specs([v.spec for v in inputs], attrs)
        source = Source(*n["line"]) if "line" in n else None
        values.extend(Node(op, inputs, attrs, specs, source, t).outputs)
    t.open = False
    trees = decode_tree(d["in_tree"]), decode_tree(d["out_tree"])
    return Graph(t.inputs, [values[i] for i in d["outputs"]], *trees, d["name"])


def _decode_attr(a: Any, arrays: list[np.ndarray]) -> Any:
    if isinstance(a, list):
        return tuple(_decode_attr(x, arrays) for x in a)
    if isinstance(a, dict):
        ((kind, x),) = a.items()
        return _FORMS[kind](x, arrays)
    return a


_FORMS = {
    "float": lambda x, arrays: float.fromhex(x),
    "dtype": lambda x, arrays: as_dtype(x),
    "graph": lambda x, arrays: decode_graph(x, arrays),
    "array": lambda x, arrays: Literal(arrays[x]),
}

_TREE_NODES = {"tuple": tuple, "list": list, "dict": dict, "none": type(None)}


def encode_tree(t: Any, what: str) -> Any:
    """A tree's structure as JSON; ``what`` names it in the error for one that a file cannot hold."""
    if t is tree.LEAF:
        return None
    cls, aux, children = t
    for name, known in _TREE_NODES.items():
        if cls is known:
            keys = list(aux) if cls is dict else None
            if keys is not None and not all(isinstance(k, (str, int)) for k in keys):
                break
            return [name, keys, [encode_tree(c, what) for c in children]]
    raise GraphError(
        f"the {what} of this graph nest in {cls.__name__}; a file holds tuples, lists and dicts with "
        f"string keys only"
    )


def decode_tree(t: Any) -> Any:
    """The structure of such JSON."""
    if t is None:
        return tree.LEAF
    name, keys, children = t
    return (
        _TREE_NODES[name],
        None if keys is None else tuple(keys),
        tuple(map(decode_tree, children)),
    )

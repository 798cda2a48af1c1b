"""Models as files of our own: the graph, its variables and its signature, in one file with a checksum.

The importer ``monograph`` reads them: ``mg.load("model.monograph")``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from . import tree
from .bound import record
from .dtypes import dtype as as_dtype
from .errors import FileFormatError, MonographError
from .files import (
    MAGIC,
    decode_graph,
    decode_tree,
    encode_graph,
    encode_tree,
    read_container,
    write_container,
)
from .graph import Graph, Literal
from .importing import Imported, Input, Signature
from .spec import Spec
from .storage import opened
from .tracing import inline

KIND, VERSION = "model", 1


def save(imported: Imported, path: Any, **sizes: int) -> None:
    """Write a model with its variables as they are now, for the given lengths of the named axes.

    The graph in the file has those lengths and no others. See `Imported.save`.
    """
    graph, frame, out_tree = record(imported.bound, *imported.arguments((), sizes))
    arrays: list[np.ndarray] = []
    places: dict[Literal, int] = {}
    encoded = encode_graph(graph, arrays, places)
    slots, signature = imported.store.slots, imported.signature
    given = [i for i, s in zip(signature.inputs, signature.specs(**sizes)) if s is not None]
    variables = {}
    for path_, value in imported.store.numpy().items():
        variables[path_] = {"array": len(arrays), "trainable": slots[path_].trainable}
        arrays.append(value)
    header = {
        "kind": KIND, "version": VERSION, "name": imported.name, "graph": encoded,
        "inputs": [i.name for i in given], "outputs": list(signature.outputs),
        "reads": list(frame.inputs), "writes": list(frame.written), "variables": variables,
        "results": encode_tree(out_tree, "result"),
    }  # fmt: skip
    write_container(path, header, arrays)


def recognises(source: Any) -> bool:
    """Whether ``source`` is the path of a file of ours."""
    if not isinstance(source, (str, Path)) or "\n" in str(source) or not Path(source).is_file():
        return False
    with opened(source) as f:
        return f.read(len(MAGIC)) == MAGIC


def load(source: Any) -> Imported:
    """Read what `save` wrote.

    Raises:
        FileFormatError: not such a file, truncated or altered.
    """
    header, arrays = read_container(source)
    if header.get("kind") != KIND or header.get("version") != VERSION:
        what = f"holds {header.get('kind')!r} version {header.get('version')!r}"
        raise FileFormatError(f"{source}: {what}, not {KIND} version {VERSION}")
    try:
        return _model(header, arrays, Path(source))
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as e:
        if isinstance(e, MonographError):
            raise
        raise FileFormatError(f"{source}: its parts do not fit together: {e}") from None


def _model(header: dict[str, Any], arrays: list[np.ndarray], path: Path) -> Imported:
    graph: Graph = decode_graph(header["graph"], arrays).verify()
    results, reads, writes = decode_tree(header["results"]), header["reads"], header["writes"]
    values = {p: arrays[v["array"]] for p, v in header["variables"].items()}
    trainable = {p: bool(v["trainable"]) for p, v in header["variables"].items()}
    count = len(graph.inputs) - len(reads)
    specs, names = graph.input_specs, [str(n) for n in header["inputs"]]
    if count != len(names) or tree.count(results) + len(writes) != len(graph.outputs):
        raise FileFormatError(f"{path}: its graph has other inputs or results than its signature")
    for p, spec in zip(reads, specs[count:]):
        if Spec.of(values[p]) is not spec:
            raise FileFormatError(f"{path}: {p} is {Spec.of(values[p])}, the graph wants {spec}")

    def run(scope: Any, *inputs: Any) -> Any:
        held = {
            p: scope.variable(p, a.shape, dtype=as_dtype(a.dtype), trainable=trainable[p])
            for p, a in values.items()
        }
        out = inline(graph, [*inputs, *[held[p].value for p in reads]])
        for p, new in zip(writes, out[len(out) - len(writes) :]):
            held[p].assign(new)
        return tree.unflatten(results, out[: len(out) - len(writes)])

    inputs = tuple(Input(n, s.shape, s.dtype) for n, s in zip(names, specs))
    return Imported(
        run, Signature(inputs, tuple(header["outputs"])), values, name=str(header["name"])
    )

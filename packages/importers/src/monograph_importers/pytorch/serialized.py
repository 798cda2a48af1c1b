"""A ``.pt2`` file as a `Program`: JSON and raw numbers, read here without torch.

`torch.export.load` unpickles constants and evaluates expressions of the file; nothing of that happens
here. The schema is PyTorch's `torch/_export/serde/schema.py`, major version 8.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import DTypeError, FileFormatError, MonographError
from monograph.importing import Input
from monograph.storage import damaged, opened

from .._steps import EFFORT
from ..weights.pytorch import WIDEST
from .archive import Archive
from .memory import writes
from .program import Graph, Node, Program, Ref, check, nested, path_of, source_of

# torch's ScalarType by number
_DTYPES = {
    1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16", 7: "float32",
    8: "float64", 10: "complex64", 11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16",
    29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz", 32: "float8_e5m2fnuz",
    34: "uint32", 35: "uint64",
}  # fmt: skip


def program(path: Any, model: str = "model") -> Program:
    """The program in a ``.pt2`` file; tensors are the file's own pages.

    Raises:
        StorageError: the file cannot be opened.
        FileFormatError: no such archive, damaged, of another version, or with pickled parts.
    """
    with opened(path) as f:
        try:
            found = _Reader(Archive(f, path)).program(model)
            check(found)
            return found
        except MonographError:
            raise
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as e:
            said = f"{type(e).__name__}: {e}"[:200]
            raise damaged(path, f"it is no archive of an exported program ({said})") from None


class _Reader:
    def __init__(self, archive: Archive):
        self.archive, self.path = archive, archive.path
        self.spare = WIDEST  # for tensors larger than what is there of them, by strides of 0

    def program(self, model: str) -> Program:
        if not any(n.startswith("models/") for n in self.archive.entries):
            raise FileFormatError(
                f"{self.path}: it holds no exported program of PyTorch 2.8 or later; save an older one "
                f"again with torch.export.save of a newer PyTorch, a state dict is for format='weights'"
            )
        if bytes(self.archive.part("byteorder")) != b"little":
            raise damaged(self.path, "its numbers are not little-endian")
        top = self.archive.json(f"models/{model}.json")
        major = top["schema_version"]["major"]
        if major != 8:
            raise FileFormatError(
                f"{self.path}: version {major} of the schema of exported programs is not known, 8 is; "
                f"load it with that PyTorch and give mg.load the ExportedProgram"
            )
        module = top["graph_module"]
        out, metas = Program(_graph(module["graph"]), []), module["graph"]["tensor_values"]
        out.verify, out.effort = self.archive.verify, EFFORT
        self.outputs(out, module["signature"]["output_specs"])
        self.inputs(out, module["signature"]["input_specs"], metas, self.rows(model))
        out.out_spec = nested(module["module_call_graph"][0]["signature"]["out_spec"])
        return out

    def rows(self, model: str) -> dict[str, tuple[str, dict[str, Any]]]:
        """The folder and the description of each tensor."""
        return {
            name: (folder, row)
            for folder in ("constants", "weights")
            for name, row in self.archive.json(f"data/{folder}/{model}_{folder}_config.json")[
                "config"
            ].items()
        }

    def inputs(self, out: Program, specs: Any, metas: Any, rows: Any) -> None:
        moving = {path for _, path in out.writes} | {name for name, _ in writes(out.graph)}
        places: dict[str, str] = {}
        for place, spec in zip(out.graph.inputs, specs, strict=True):
            kind, body = _only(spec)
            name = body.get(f"{kind}_name", "")
            tag, arg = _only(body["arg"]) if kind == "user_input" else ("", None)
            if kind in ("parameter", "buffer") and (
                body.get("persistent", True) or moving & {path_of(name), place}
            ):
                folder, row = rows[name]
                same = json.dumps([folder, row["path_name"], row["tensor_meta"]])
                path = out.variables[place] = places.setdefault(same, path_of(name))
                if path not in out.tensors:
                    out.tensors[path] = self.tensor(folder, name, row)
                if kind == "parameter" and row["tensor_meta"]["requires_grad"]:
                    out.trainable.add(path)
            elif kind in ("tensor_constant", "buffer"):
                out.fixed[place] = self.tensor(rows[name][0], name, rows[name][1])
            elif kind == "constant_input":
                out.fixed[place] = _only(body["value"])[1]
            elif tag == "as_tensor":
                meta = metas[place]
                out.inputs.append(Input(place, _shape(meta, out.hints), _dtype(meta["dtype"])))
            elif tag in _PLAIN:
                out.fixed[place] = arg
            else:
                why = "only tensors can be given to a graph; export it with the number fixed"
                out.problems.append((f"input {kind}", str(name or arg), why))

    def outputs(self, out: Program, specs: Any) -> None:
        for i, spec in enumerate(specs):
            kind, body = _only(spec)
            if kind == "user_output":
                out.results.append(i)
            elif kind == "buffer_mutation":
                out.writes.append((i, path_of(body["buffer_name"])))
            else:
                why = "let the model work on a copy of its input and return that"
                out.problems.append((f"output {kind}", "its signature", why))

    def tensor(self, folder: str, name: str, row: dict[str, Any]) -> np.ndarray:
        if row["use_pickle"] or re.search(r"[/\\]|\.\.", row["path_name"]):
            raise FileFormatError(
                f"{self.path}: {name} is a pickle or lies outside its folder; nothing of a file is "
                f"executed. Save the program again with plain tensors"
            )
        part, meta = self.archive.part(f"data/{folder}/{row['path_name']}"), row["tensor_meta"]
        dtype = _dtype(meta["dtype"])
        shape, strides = ([_only(n)[1] for n in meta[k]] for k in ("sizes", "strides"))
        offset = _only(meta["storage_offset"])[1]
        numbers = [*shape, *strides, offset]
        if len(shape) != len(strides) or not all(
            type(n) is int and 0 <= n < 2**48 for n in numbers
        ):
            raise damaged(self.path, f"the shape or strides of {name} are no sizes")
        count = part.size // dtype.itemsize
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides))
        if 0 not in shape and last >= count:
            raise damaged(self.path, f"{name} {shape} needs more than the {count:,} numbers it has")
        size = math.prod(shape)
        self.spare -= size if size > count else 0  # it is written out where it is used
        if self.spare < 0:
            raise damaged(
                self.path,
                f"{name} {shape} sees its {count:,} numbers so often that they come to {size:,}",
            )
        if 0 in shape:
            return np.zeros(shape, dtype.numpy)
        flat = part[: count * dtype.itemsize].view(dtype.numpy.newbyteorder("<"))[offset:]
        flat = flat.astype(dtype.numpy, copy=False)
        bytes_apart = [s * dtype.itemsize for s in strides]
        return np.lib.stride_tricks.as_strided(flat, shape, bytes_apart, writeable=False)


_PLAIN = {"as_none", "as_int", "as_float", "as_bool", "as_string"}


def _only(union: dict[str, Any]) -> tuple[str, Any]:
    (pair,) = union.items()
    return pair


def _dtype(code: Any) -> Any:
    if code not in _DTYPES:
        raise DTypeError(f"torch's dtype number {code!r} has no counterpart here")
    return mg.dtypes.dtype(_DTYPES[code])


def _example(meta: Any) -> mg.Spec | None:
    """The spec of a value in the example, as `Graph` has it."""
    try:
        hints: dict[str, int] = {}
        shape = [n if isinstance(n, int) else hints[n] for n in _shape(meta, hints)]
        return mg.Spec(shape, _dtype(meta["dtype"]))
    except (TypeError, ValueError, LookupError, AttributeError, OverflowError):
        return None  # no tensor, of sizes that depend on data, or damaged: it is a hint and no more


def _shape(meta: dict[str, Any], hints: dict[str, int]) -> tuple[int | str, ...]:
    out: list[int | str] = []
    for size in meta["sizes"]:
        kind, n = _only(size)
        if kind == "as_int":
            if not 0 <= n < 2**48:
                raise ValueError(f"an axis of length {n}")
            out.append(n)
            continue
        # an expression is a name here, never evaluated
        name = re.sub(r"Symbol\('(\w+)'[^)]*\)|Integer\((-?\d+)\)", r"\1\2", n["expr_str"])
        out.append(name)
        if n.get("hint"):
            hints[name] = int(n["hint"]["as_int"])
    return tuple(out)


def _names(args: list[dict[str, Any]]) -> list[str]:
    return [
        v["name"] if t == "as_tensor" else v if t == "as_none" else v["as_name"]
        for t, v in map(_only, args)
    ]


def _graph(g: dict[str, Any]) -> Graph:
    inputs = []
    for i, arg in enumerate(g["inputs"]):
        tag, body = _only(arg)
        inputs.append(
            body["name"]
            if tag in ("as_tensor", "as_custom_obj")
            else body["as_name"]
            if isinstance(body, dict) and "as_name" in body
            else f"%{i}"
        )
    outputs = [_argument(a) for a in g["outputs"]]
    nodes, single = [_call(n) for n in g["nodes"]], bool(g.get("is_single_tensor_return"))
    metas = g["tensor_values"]
    return Graph(inputs, nodes, outputs, single, lambda name: _example(metas.get(name)))


def _call(n: dict[str, Any]) -> Node:
    meta, args, kwargs = n["metadata"], [], {}
    for given in n["inputs"]:
        if given.get("kind") == 2:
            kwargs[given["name"]] = _argument(given["arg"])
        else:
            args.append(_argument(given["arg"]))
    stack = meta.get("nn_module_stack", "").rpartition(";")[2].split(",")
    source = source_of(meta.get("stack_trace"), stack[1] if len(stack) > 2 else "")
    target = n["target"].removeprefix("torch.ops.")
    outs = [_argument(a) for a in n["outputs"]]
    if len(outs) == 1 and isinstance(outs[0], list):
        names: Any = [o.name if isinstance(o, Ref) else "" for o in outs[0]]
    elif len(outs) == 1 and not (
        target.startswith("higher_order") and not n.get("is_hop_single_tensor_return")
    ):
        names = outs[0].name
    else:
        names = [o.name if isinstance(o, Ref) else "" for o in outs]
    return Node(target, args, kwargs, names, source)


def _argument(arg: dict[str, Any]) -> Any:
    tag, body = _only(arg)
    if tag in ("as_none", "as_memory_format", "as_layout", "as_device"):
        return None
    if tag == "as_tensor":
        return Ref(body["name"])
    if tag == "as_tensors":
        return [Ref(t["name"]) for t in body]
    if tag == "as_nested_tensors":
        return [[Ref(t["name"]) for t in row] for row in body]
    if tag in ("as_optional_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
        return Ref(body["as_name"]) if "as_name" in body else _argument(body)
    if tag in ("as_optional_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats"):
        return [Ref(i["as_name"]) if "as_name" in i else _argument(i) for i in body]
    if tag == "as_scalar_type":
        return _dtype(body).name
    if tag == "as_complex":
        return complex(body["real"], body["imag"])
    if tag == "as_graph":
        return _graph(body["graph"])
    if tag in _PLAIN or tag in (
        "as_ints",
        "as_floats",
        "as_bools",
        "as_strings",
        "as_int_lists",
        "as_float_lists",
    ):
        return body
    raise ValueError(f"an argument of kind {tag!r}")

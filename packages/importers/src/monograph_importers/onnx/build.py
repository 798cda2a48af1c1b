"""From a file to `Imported`: read, take apart, check, and say what it takes and gives."""

from __future__ import annotations

import functools
import mmap
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, FileFormatError, MonographError, PluginError
from monograph.importing import Imported, Input, Signature, Unsupported
from monograph.storage import damaged, opened
from monograph.tracing import user_source

from .. import _steps
from . import check, operators, wire  # noqa: F401  (operators fill the table of rules)
from .interpret import Run
from .lacks import lacks
from .parts import Body, Step, Taker
from .tensors import DTYPES, NARROW, STRING, Reader, element_type, storage

LIMIT = 2**31 - 1  # bytes that protobuf parses
KEPT = 128  # programs for different numbers of inputs that decide shapes


@dataclass
class Model:
    """A model read, taken apart and found sound.

    Attributes:
        needs: the first node that needs to know an input or initializer while tracing, by its name.
        parameters: first values of the variables by path.
        state: paths of those that no gradient step may change.
    """

    proto: Any
    name: str
    taker: Taker
    main: Body
    needs: Mapping[str, Step]
    parameters: Mapping[str, np.ndarray]
    state: set[str]

    @property
    def decides(self) -> set[str]:
        """Inputs that must be given as constants: their numbers decide shapes, or they are no arrays."""
        plain = {v.name for v in self.proto.graph.input if v.type.HasField("tensor_type")}
        return {n for n in self.main.inputs if n in self.needs or n not in plain}

    def imported(self, constants: Mapping[str, Any]) -> Imported:
        """As a function of the inputs that ``constants`` does not give."""
        if unknown := sorted(set(constants) - set(self.main.inputs)):
            raise ArgumentError(
                f"{user_source()}: {self.name} has no input {', '.join(unknown)} to give as a constant; "
                f"the inputs are {', '.join(self.main.inputs)}"
            )
        main, parameters, state = self.main, self.parameters, self.state
        infos = {v.name: v for v in self.proto.graph.input}
        fixed = {k: _constant(infos[k], v) for k, v in constants.items()}
        order = [n for n in main.inputs if n not in fixed]
        signature, listed = _signature([infos[n] for n in order], self.proto.graph.output)
        looked_at = {n for n in order if n in self.needs and _is_small(infos[n])}
        listed += [
            (s.runs_by, f"{s.source} {s.name!r}", "a shape depends on the data of the input "
             f"{n!r}; fix that with mg.load(..., constants={{{n!r}: ...}})")
            for n, s in self.needs.items() if n in order and n not in looked_at
        ]  # fmt: skip
        listed += [("a sparse initializer", self.taker.path, "")] * len(
            self.proto.graph.sparse_initializer
        )
        refused = self.decides | {where for _, where, _ in listed}
        specs = {n: s for n, s in zip(order, signature.specs()) if s and n not in refused}

        def unsupported() -> tuple[Unsupported, ...]:
            known = (*self.proto.graph.value_info, *self.proto.graph.output)
            types = {v.name: s for v in known if (s := _spec(v))}
            found = lacks(main, fixed, specs, types, self.taker, parameters, state)
            return _steps.missing([*listed, *found])

        def run(scope: Any, *inputs: Any) -> Any:
            given = {**fixed, **dict(zip(order, inputs))}
            given |= {n: given[n].numpy() for n in looked_at if isinstance(given[n], mg.Tensor)}
            outs = Run(self.taker, scope, parameters, state).body(
                main, [given[n] for n in main.inputs], {}
            )
            return outs[0] if len(outs) == 1 else tuple(outs)

        parts = run, signature, parameters, unsupported, self.name
        return ByValue(self, constants, looked_at, *parts) if looked_at else Imported(*parts)


class ByValue(Imported):
    """A model of which some inputs decide shapes: `call` looks at their numbers, and traces anew for others.

    In a trace of your own, `model` takes them as NumPy arrays.
    """

    def __init__(
        self, source: Model, constants: Mapping[str, Any], looked_at: set[str], *parts: Any
    ):
        super().__init__(*parts)
        self.source, self.constants, self.looked_at = source, constants, looked_at
        self.by_value: dict[Any, Any] = {}

    def call(self, *args: Any, **named: Any) -> Any:
        """See `Imported.call`."""
        given = dict(zip([i.name for i in self.signature.inputs], args)) | named
        if len(given) < len(args) + len(named) or not self.looked_at <= set(given):
            return super().call(*args, **named)  # which says what is wrong
        values = {n: np.asarray(given.pop(n)) for n in sorted(self.looked_at)}
        key = (self.engine, *[(v.dtype, v.shape, v.tobytes()) for v in values.values()], *given)
        if key not in self.by_value:
            if len(self.by_value) >= KEPT:
                self.by_value.clear()
            model = self.source.imported({**self.constants, **values}).model
            names = list(given)
            self.by_value[key] = self.store.bind(
                lambda scope, *xs: model(scope, **dict(zip(names, xs))), self.engine
            )
        return self.by_value[key](*given.values())


def read(source: Any) -> Model:
    """A path, bytes or `ModelProto`, taken apart; raises what `load` says."""
    proto, reader, name = _parsed(source)
    try:
        return _taken(proto, reader, name)
    except MonographError:
        raise
    except _UNSOUND as e:  # a name that is no text, a part that is not there
        raise damaged(reader.path, f"it is no ONNX model ({type(e).__name__}: {e})") from e


_UNSOUND = (
    TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip


def _taken(proto: Any, reader: Reader, name: str) -> Model:
    functions = {
        ("" if f.domain == "ai.onnx" else f.domain, f.name): f
        for f in getattr(proto, "functions", ())
    }
    taker = Taker(reader, reader.path, functions)
    opsets = {("" if o.domain == "ai.onnx" else o.domain): o.version for o in proto.opset_import}
    main = taker.graph(proto.graph, opsets or {"": 1})
    twice = _twice("initializer", proto.graph.initializer) + _twice("input", proto.graph.input)
    problems = [*twice, *check.problems(main)]
    if problems:
        raise FileFormatError(f"{reader.path} is no sound model:\n  " + "\n  ".join(problems))
    parameters: dict[str, np.ndarray] = {}
    state: set[str] = set()
    _find_weights(main, parameters, state)
    return Model(proto, name, taker, main, check.needs(main), parameters, state)


def _parsed(source: Any) -> tuple[Any, Reader, str]:
    """The model, what reads its tensors, and its name."""
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as e:
        raise PluginError("the importer 'onnx' needs the library: pip install onnx") from e
    if isinstance(source, onnx.ModelProto):
        return source, Reader("<ModelProto>"), source.graph.name or "model"
    if isinstance(source, (str, Path)):
        path, folder = str(source), Path(source).parent
        with opened(source) as f:
            size = f.seek(0, 2)
            data = memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
        name = Path(source).stem
    else:
        path, folder, name, data = "<bytes>", None, "model", memoryview(source)
    try:
        small, places = wire.cut(data)
        if len(small) > LIMIT:
            raise ValueError(
                f"{len(small):,} bytes besides the weights are more than protobuf takes"
            )
        proto = onnx.ModelProto.FromString(small)
    except (ValueError, DecodeError) as e:
        raise damaged(path, f"it is no ONNX model ({e})") from None
    if not proto.HasField("graph"):
        raise damaged(path, "it is no ONNX model (there is no graph in it)")
    if (parts := _parts(proto)) > wire.MOST:
        raise FileFormatError(
            f"{path}: {parts:,} nodes and initializers or more, at most {wire.MOST:,}"
        )
    return proto, Reader(path, folder, data, places), name


def _parts(proto: Any) -> int:
    """How many nodes and initializers there are, in all graphs; counting ends when it is too many."""
    graphs, n = [proto.graph, *proto.functions], 0
    while graphs and n <= wire.MOST:
        graph = graphs.pop()
        n += len(graph.node) + len(getattr(graph, "initializer", ()))
        if n <= wire.MOST:
            graphs += [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return n


def _twice(what: str, named: Any) -> list[str]:
    counts = Counter(x.name for x in named)
    return [f"the {what} {name!r} is there twice" for name, n in counts.items() if n > 1]


def _find_weights(body: Body, parameters: dict[str, np.ndarray], state: set[str]) -> None:
    """Make parameters of a graph's constants, and of those in graphs inside of it.

    Floats are weights, but a single number that is no initializer with an axis is a part of a formula; and
    what decides a shape must stay known.
    """
    needs = check.needs(body)
    used = {n for s in body.steps for n in (*s.inputs, *(r for b in s.bodies for r in b.reads()))}
    for name, a in list(body.constants.items()):
        kind = _dtype(a.dtype)
        if name not in used or name in needs or not a.ndim or name in body.literals:
            continue
        if kind is not None and kind.is_float:
            body.weights[name] = path = _path(name, parameters)
            parameters[path] = body.constants.pop(name)
    for step in body.steps:
        if step.rule is not None:
            names = [step.inputs[i] for i in step.rule.state if i < len(step.inputs)]
            state.update(body.weights[n] for n in names if n in body.weights)
        for inner in step.bodies:
            _find_weights(inner, parameters, state)


@functools.cache
def _dtype(kind: np.dtype) -> Any:
    try:
        return mg.dtypes.dtype(kind)
    except mg.errors.DTypeError:  # of four bits, or of a package that is not installed
        return None


def _path(name: str, taken: Mapping[str, Any]) -> str:
    """A name as a variable's path; a number keeps two that become equal apart."""
    parts = [re.sub(r"[^A-Za-z0-9_-]+", "_", p) for p in re.split(r"[./]", name)]
    path = first = "/".join(p for p in parts if p) or "weight"
    n = 1
    while path in taken:
        n += 1
        path = f"{first}_{n}"
    return path


def _signature(inputs: Any, outputs: Any) -> tuple[Signature, list[tuple[str, str, str]]]:
    """What the model takes and gives, and which inputs it cannot take."""
    made, lacks = [], []
    for v in inputs:
        t = v.type.tensor_type
        dtype = element_type(t.elem_type) if v.type.HasField("tensor_type") else None
        if dtype is None or not t.HasField("shape"):
            why = (
                "strings" if t.elem_type == STRING else "no shape" if dtype is not None
                else "a type that no engine has"
            )  # fmt: skip
            lacks.append((f"the input {v.name!r}", v.name, f"{why}; it can be given in constants="))
            dtype, shape = mg.float32, tuple[int | str, ...]()
        else:
            shape = tuple(_axis(v.name, i, d) for i, d in enumerate(t.shape.dim))
        made.append(Input(v.name, shape, dtype))
    return Signature(tuple(made), tuple(v.name for v in outputs)), lacks


def _spec(info: Any) -> mg.Spec | None:
    """What a model says of a value, with 2 for axes of any length; None where it does not."""
    t = info.type.tensor_type
    dtype = element_type(t.elem_type)
    if dtype is None or not t.HasField("shape"):
        return None
    axes = [_axis(info.name, i, d) for i, d in enumerate(t.shape.dim)]
    try:
        return mg.Spec([2 if isinstance(n, str) else n for n in axes], dtype)
    except ValueError:  # it is a hint and no more
        return None


def _is_small(info: Any) -> bool:
    """Whether an input looks like a shape, a number or a condition: integers, bools, or one axis at most."""
    t = info.type.tensor_type
    kind = element_type(t.elem_type)
    return kind is not None and (not kind.is_inexact or len(t.shape.dim) < 2)


def _constant(info: Any, value: Any) -> Any:
    """A value given for an input, in the input's type; sequences and optionals are as they are."""
    if not info.type.HasField("tensor_type"):
        return value
    array = np.asarray(value)
    t = info.type.tensor_type.elem_type
    return array.astype(storage(t), copy=False) if t in DTYPES or t in NARROW else array


def _axis(name: str, i: int, d: Any) -> int | str:
    if d.HasField("dim_value") and d.dim_value >= 0:
        return d.dim_value
    return d.dim_param or f"{name}_{i}"

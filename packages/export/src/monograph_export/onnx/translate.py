"""A graph as an ONNX model, operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from monograph import Graph, ops
from monograph.dtypes import float32
from monograph.graph import Node
from monograph.op import Op, constant
from monograph.tracing import source_of
from onnx import helper

from .bits import BITS
from .builder import CARRIERS, Builder, Ref, carrier, full, initializer, reads
from .control import control
from .elementwise import ELEMENTWISE, convert
from .indexing import INDEXING
from .products import PRODUCTS
from .shapes import SHAPES


class Translated(NamedTuple):
    """An ONNX model and the large constants that go with it.

    Attributes:
        model: whose large initializers say that their numbers are elsewhere.
        constants: these, by name.
        inputs, outputs: names, in the graph's order; an input that was given a value has none.
    """

    model: onnx.ModelProto
    constants: dict[str, np.ndarray]
    inputs: list[str | None]
    outputs: list[str]


def translate(graph: Graph, values: Mapping[int, np.ndarray] | None = None) -> Translated:
    """A graph of operations in `LOWER` as an ONNX model.

    Args:
        values: numbers of some inputs, by position, which become constants of the model.
    """
    values, b = values or {}, Builder()
    refs = [
        b.literal(values[i]) if i in values else full(b.name(), v.spec)
        for i, v in enumerate(graph.inputs)
    ]
    outputs = [b.whole(x) for x in replay(b, graph, refs)]
    inputs = [x for i, x in enumerate(refs) if i not in values]
    proto = b.graph(graph.name, inputs, outputs)
    read = {name for node in proto.node for name in reads(node)}
    constants = {name: x for name, x in b.shared.constants.items() if name in read}
    proto.initializer.extend(initializer(name, array) for name, array in constants.items())
    model = helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", b.shared.opset)], ir_version=10,
        producer_name="monograph",
    )  # fmt: skip
    outside = {t.name for t in proto.initializer if t.data_location == t.EXTERNAL}
    return Translated(
        model,
        {name: array for name, array in constants.items() if name in outside},
        [None if i in values else x.name for i, x in enumerate(refs)],
        [v.name for v in proto.output],
    )


def replay(b: Builder, graph: Graph, refs: Sequence[Ref]) -> list[Ref]:
    """Write a graph's operations to ``b``."""
    read = {*graph.outputs, *(v for node in graph.nodes for v in node.inputs)}

    def execute(node: Node, xs: list[Ref]) -> Sequence[Ref]:
        with source_of(node):
            specs = tuple(v.spec for v in node.outputs)
            if not any(s.size for s in specs):  # runtimes differ about arrays without numbers
                return [b.literal(np.zeros(s.shape, s.dtype.numpy)) for s in specs]
            if node.op in LOOSE:
                return [LOOSE[node.op](b, specs[0], *xs, **node.attrs)]
            names = LOWER[node.op](b, specs, *[b.whole(x) for x in xs], **node.attrs)
            made = [full(name, s) for name, s in zip(names, specs)]
            if read.isdisjoint(node.outputs[len(made) :]):
                return made
            # an entry may leave out results that are hardly ever read: these come of the body
            body = node.op.body_graph([v.spec for v in node.inputs], node.attrs)
            return [*made, *replay(b, body, xs)[len(made) :]]

    return graph.replay(refs, execute)


# ---- operations that leave repeated numbers unwritten


def _elementwise(entry: Callable[..., str]) -> Callable[..., Ref]:
    def lower(b: Builder, spec: Any, *xs: Ref, **attrs: Any) -> Ref:
        d = carrier(xs[-1].spec.dtype)  # of select, the first is the condition
        y = entry(b, d, *[b.wide(x.name, x.spec.dtype) for x in xs], **attrs)
        held = np.broadcast_shapes(*[x.held for x in xs])
        narrows = spec.dtype.name in CARRIERS and spec.dtype.kind != "bool"
        return Ref(b.narrow(y, spec.dtype) if narrows else y, spec, held)

    return lower


def _bounded(entry: Callable[..., Ref], place: int) -> Callable[..., Ref]:
    """A maximum or minimum with one number as Clip, which runtimes fuse with what is before it."""

    def lower(b: Builder, spec: Any, x: Ref, y: Ref) -> Ref:
        x, y = (y, x) if x.number is not None else (x, y)
        if y.number is None or y.number != y.number or spec.dtype is not float32:
            return entry(b, spec, x, y)
        bounds = [None, None]
        name, bounds = b.clipped.get(x.name, (x.name, bounds))
        if bounds[place] is not None or (place == 0 and bounds[1] is not None):
            name, bounds = x.name, [None, None]
        bounds = [y.number if i == place else n for i, n in enumerate(bounds)]
        ends = (n if n is not None else far for n, far in zip(bounds, (-np.inf, np.inf)))
        out = b("Clip", name, *[b.number(n, float32) for n in ends])
        b.clipped[out] = name, bounds
        return Ref(out, spec, x.held)

    return lower


def _quotient(entry: Callable[..., Ref]) -> Callable[..., Ref]:
    """Of a sum and the number of its terms: the mean that it was made of."""

    def lower(b: Builder, spec: Any, x: Ref, y: Ref) -> Ref:
        mean, n = b.sums.get(x.name, ("", None))
        return full(mean, spec) if mean and y.number == n else entry(b, spec, x, y)

    return lower


def _constant(b: Builder, spec: Any, *, value: Any) -> Ref:
    return b.literal(value.array)


def _same(b: Builder, spec: Any, x: Ref, *rest: Ref, **attrs: Any) -> Ref:
    return x._replace(spec=spec)


def _convert(b: Builder, spec: Any, x: Ref, *, dtype: Any) -> Ref:
    return Ref(convert(b, x.spec.dtype, x.name, dtype), spec, x.held)


def _broadcast(b: Builder, spec: Any, x: Ref, *, shape: Any, dims: Any) -> Ref:
    order = sorted(range(len(dims)), key=lambda i: dims[i])
    held = [1] * len(shape)
    for i, axis in enumerate(dims):
        held[axis] = x.held[i]
    name = b.transpose(x.name, order)
    if tuple(held) != tuple(x.held[i] for i in order):
        name = b.reshape(name, held)
    return Ref(name, spec, tuple(held), x.number)


def _reshape(b: Builder, spec: Any, x: Ref, *, shape: Any) -> Ref:
    if x.number is not None:
        held = (1,) * len(shape)
        return Ref(b.reshape(x.name, held), spec, held, x.number)
    return full(b.reshape(b.whole(x).name, shape), spec)


def _transpose(b: Builder, spec: Any, x: Ref, *, permutation: Any) -> Ref:
    held = tuple(x.held[i] for i in permutation)
    return Ref(b.transpose(x.name, permutation), spec, held, x.number)


_ELEMENTWISE = {op: _elementwise(entry) for op, entry in ELEMENTWISE.items()}
LOOSE: Mapping[Op, Callable[..., Ref]] = {
    constant: _constant, ops.alias: _same, ops.stop_gradient: _same, ops.allow_nonfinite: _same,
    ops.check_finite: _same, ops.copy_into: _same, ops.convert: _convert,
    ops.broadcast_in_dim: _broadcast, ops.reshape: _reshape, ops.transpose: _transpose,
    **_ELEMENTWISE,
    ops.maximum: _bounded(_ELEMENTWISE[ops.maximum], 0),
    ops.minimum: _bounded(_ELEMENTWISE[ops.minimum], 1),
    ops.divide: _quotient(_ELEMENTWISE[ops.divide]),
}  # fmt: skip
"""op -> ``(builder, spec, *refs, **attributes) -> ref``: one result."""

LOWER: Mapping[Op, Callable[..., Any]] = {
    **LOOSE, **SHAPES, **PRODUCTS, **INDEXING, **BITS, **control(replay),
    ops.optimization_barrier: lambda b, out, *xs: [x.name for x in xs],
}  # fmt: skip
"""Every operation there is a translation of."""

_ORDERED = frozenset(
    (
        ops.abs_, ops.argmax, ops.argmin, ops.clamp, ops.divide, ops.maximum, ops.minimum, ops.power,
        ops.reduce_max, ops.reduce_min, ops.reduce_window_max, ops.reduce_window_min, ops.relu,
        ops.remainder, ops.sign, ops.sort, ops.top_k,
    )
)  # fmt: skip


def refusal(node: Node) -> str:
    """Why an operation has no translation though it is in `LOWER`; empty where it has one."""
    orders = (
        node.op in _ORDERED
        or node.attrs.get("direction", "EQ") not in ("EQ", "NE")
        or (node.op is ops.scatter and node.attrs["kind"] in ("minimum", "maximum"))
    )
    if orders and any(v.dtype.name == "uint64" for v in node.inputs):
        return f"{node.op.name} of uint64: it would take 2**63 and more for negative"
    return ""

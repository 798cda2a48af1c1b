"""A graph run node by node on one engine, each operation compiled by itself as eager ones are.

So every intermediate value exists and keeps its own dtype, nothing is fused away, and what was
compiled for one walk serves the next. `together` is for what only the whole graph shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import eager, ops
from ..engine import Buffer, Device, Options
from ..graph import Graph, Node, Value, attr_graphs
from ..op import Op, constant
from .flags import can_be_nonfinite, has_points
from .statistics import NAN, POSITIVE, kinds

CONTROL = frozenset({ops.scan, ops.while_, ops.case, ops.checkpoint_call, ops.custom_vjp_call})
"""Operations that run graphs of the user's."""


def step(node: Node, xs: Sequence[Buffer], device: Device) -> Sequence[Buffer]:
    """One node's results on ``device``."""
    if node.op is constant:
        return (device.engine.put(node.attrs["value"].array, device),)
    specs = tuple([v.spec for v in node.inputs])
    return eager.compiled(node.op, specs, node.attrs, device)[0](*xs)


class Trail:
    """What a run met.

    Attributes:
        graph: what was run.
        outputs: its results.
        kinds: per value that can hold NaN or infinities which of them are in it.
        values: the operands and results of a node that may be to blame.
    """

    def __init__(self, graph: Graph, device: Device):
        self.graph, self.device = graph, device
        self.outputs: Sequence[Buffer] = ()
        self.kinds: dict[Value, int] = {}
        self.values: Callable[[Node], tuple[Sequence[Buffer], Sequence[Buffer]]]

    def look(self, v: Value, buffer: Buffer) -> int:
        """Remember what is in a value."""
        found = kinds(self.device.engine.get(buffer)) if can_be_nonfinite(v) else 0
        if found:
            self.kinds[v] = found
        return found

    def has(self, values: Sequence[Value], which: int = -1) -> bool:
        """Whether one of the values holds something of these kinds."""
        return any(self.kinds.get(v, 0) & which for v in values)

    def may_be_blamed(self, node: Node) -> bool:
        """Whether what is not finite may be of its own making: no NaN was handed in, or it runs graphs."""
        return node.op in CONTROL or node.op is ops.check_finite or not self.has(node.inputs, NAN)


def runs_points(node: Node) -> bool:
    """Whether a node's own graphs have a `check_finite`: they are entered even if nothing shows."""
    return node.op in CONTROL and any(has_points(g) for g in attr_graphs(node.attrs))


def walk(graph: Graph, buffers: Sequence[Buffer], device: Device) -> Trail:
    """Run ``graph`` node by node; operands and results are kept of nodes that may be blamed."""
    trail, kept = Trail(graph, device), {}
    for v, b in zip(graph.inputs, buffers):
        trail.look(v, b)

    def execute(node: Node, xs: list) -> Sequence[Buffer]:
        outs = step(node, xs, device)
        found = [trail.look(v, b) for v, b in zip(node.outputs, outs)]
        if (any(found) and trail.may_be_blamed(node)) or runs_points(node):
            kept[node] = (xs, outs)
        return outs

    trail.outputs = graph.replay(buffers, execute)
    trail.values = kept.__getitem__
    return trail


# ---- the whole graph at once, with a flag per node


_instrumented: dict[tuple[str, Device], Any] = {}
_LIMIT = 32


def together(graph: Graph, buffers: Sequence[Buffer], device: Device) -> Trail:
    """Run ``graph`` compiled as a whole with a flag per value as further outputs.

    For what a node alone does not show, because a compiler reckoned otherwise across several. Which
    infinities there are it does not tell: all count as positive.
    """
    seen = [v for n in graph.nodes for v in n.outputs if can_be_nonfinite(v)]
    key = (graph.fingerprint, device)
    found = _instrumented.get(key)
    if found is None:
        if len(_instrumented) >= _LIMIT:
            _instrumented.clear()
        flags = [f for v in seen for f in (outside(ops.all_finite, v), _has_nan(v))]
        found = _instrumented[key] = compiled(graph, flags, device)
    trail, get = Trail(graph, device), device.engine.get
    for v, b in zip(graph.inputs, buffers):
        trail.look(v, b)
    told = [bool(get(b)) for b in found(*buffers)]
    for v, finite, nan in zip(seen, told[::2], told[1::2]):
        if not finite:
            trail.kinds[v] = NAN if nan else POSITIVE

    def values(node: Node) -> tuple[Sequence[Buffer], Sequence[Buffer]]:
        outs = compiled(graph, [*node.inputs, *node.outputs], device)(*buffers)
        n = len(node.inputs)
        return outs[:n], outs[n:]

    trail.values = values
    return trail


def compiled(graph: Graph, wanted: Sequence[Value], device: Device) -> Any:
    """An executable of the graph's inputs that yields some of its values."""
    part = Graph(graph.inputs, wanted, name=graph.name)
    return device.engine.compile(device.engine.prepare(part, device), Options(device))


def outside(op: Op, *values: Value, **attrs: Any) -> Value:
    """An op applied to values of a finished graph, outside every recording."""
    attrs = op.bind(values, attrs)
    return Node(op, values, attrs, op.infer_specs([v.spec for v in values], attrs)).outputs[0]


def _has_nan(v: Value) -> Value:
    if v.dtype.kind == "float8":
        v = outside(ops.convert, v, dtype="float32")
    differs = outside(ops.compare, v, v, direction="NE")
    return outside(ops.reduce_or, differs, axes=tuple(range(v.ndim)))

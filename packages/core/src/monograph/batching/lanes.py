"""The machinery of `vmap`: a graph replayed with a batch axis in front of what is batched.

A rule says how one op runs on all lanes at once. It is looked for in this order: `Op.batch`, the
table `RULES`, the op's shape rule (elementwise ops take any shape), a composite's body, and else a
loop over the lanes, which is right for every op:

    def batch(op, xs, batched, lanes, /, **attrs):
        \"""The op's outputs (one, or a tuple if it is `multi`), each with the lanes as axis 0.\"""
        return op(*lanes.all(xs, batched), **attrs)

``xs`` are the operands and ``batched`` says of each whether it has the lanes as its axis 0; at least
one has. ``attrs`` are the node's attributes, for operands without that axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .. import ops
from ..control import scan
from ..graph import Graph, Node, Value
from ..op import Op
from ..tracing import source_of

Rule = Callable[..., Any]

RULES: dict[Op, Rule] = {}
"""op -> rule, filled from the tables of the modules ``rules_*``."""

FLOWS: dict[Op, Callable[..., list[bool]]] = {}
"""op -> ``(batched, **attrs)`` to which outputs are batched, where some may not be."""


class Lanes(NamedTuple):
    """The batch that a graph is run on.

    Attributes:
        size: how many lanes.
        active: bool ``[size]``, the lanes that are really here: a branch runs on all lanes, taken or
            not, and its loops must not wait for those that are not. None: all are.
    """

    size: int
    active: Value | None = None

    def of(self, x: Any, batched: bool = False) -> Any:
        """``x`` with the lanes in front: repeated unless it is batched."""
        if batched:
            return x
        source, dims = x, tuple(range(x.ndim))
        if x.node.op is ops.broadcast_in_dim:  # a number in every element stays one for engines
            source, dims = x.node.inputs[0], x.node.attrs["dims"]
        shape = (self.size, *x.shape)
        return ops.broadcast_in_dim(source, shape=shape, dims=tuple([d + 1 for d in dims]))

    def all(self, xs: Sequence[Any], batched: Sequence[bool]) -> list:
        """`of` each."""
        return [self.of(x, b) for x, b in zip(xs, batched)]

    def some(self, xs: Sequence[Any], batched: Sequence[bool], want: Sequence[bool]) -> list:
        """`of` those that are to be batched."""
        return [self.of(x, b) if w else x for x, b, w in zip(xs, batched, want)]

    def only(self, mask: Any) -> Lanes:
        """The lanes of ``mask`` among these."""
        return Lanes(self.size, mask if self.active is None else ops.and_(mask, self.active))

    @property
    def operands(self) -> list:
        """What a nested graph must be handed besides, so that `inside` finds it."""
        return [] if self.active is None else [self.active]

    def inside(self, operands: Sequence[Any]) -> Lanes:
        """These lanes in a nested graph, where ``operands`` are named so."""
        return Lanes(self.size, *operands)


def run(
    graph: Graph, args: Sequence[Any], batched: Sequence[bool], lanes: Lanes,
    want: Sequence[bool] | None = None,
) -> list:  # fmt: skip
    """Copy ``graph`` into the current trace for all lanes; its outputs, batched as `flow` says.

    Args:
        want: which outputs shall be batched, besides those that are.
    """
    ends = graph.replay(list(zip(args, batched)), lambda node, pairs: _execute(node, pairs, lanes))
    outs, flags = [x for x, _ in ends], [b for _, b in ends]
    return outs if want is None else lanes.some(outs, flags, want)


def _execute(node: Node, pairs: Sequence[tuple], lanes: Lanes) -> list[tuple]:
    op, xs, batched = node.op, [x for x, _ in pairs], [b for _, b in pairs]
    flags = outputs_batched(node, batched)
    with source_of(node):
        if not any(batched):
            outs = op(*xs, **node.attrs)
        elif lanes.size == 0:
            specs = [v.spec for v in node.outputs]
            shapes = [(0, *s.shape) if f else s.shape for s, f in zip(specs, flags)]
            outs = tuple([ops.full(0, s.with_(shape)) for s, shape in zip(specs, shapes)])
        else:
            outs = rule_of(op)(op, xs, batched, lanes, **node.attrs)
    return list(zip(outs if isinstance(outs, tuple) else (outs,), flags))


def flow(graph: Graph, batched: Sequence[bool]) -> list[bool]:
    """Which outputs depend on inputs that are batched."""
    return graph.replay(batched, outputs_batched)


def outputs_batched(node: Node, batched: Sequence[bool]) -> list[bool]:
    """Which outputs of a node are batched when these inputs are."""
    if any(batched) and node.op in FLOWS:
        return FLOWS[node.op](batched, **node.attrs)
    return [any(batched)] * len(node.outputs)


def rule_of(op: Op) -> Rule:
    """How an op is batched: its own rule, core's, or one that is derived."""
    found = op.batch or RULES.get(op)
    if found is None and getattr(op.infer, "elementwise", False):
        return leading
    return found or (loop if op.body is None else through_body)


# ---- rules that many ops share


def leading(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """The rule of an op that takes any axes in front of its own, in all operands alike."""
    return op(*lanes.all(xs, batched), **attrs)


def through_body(
    op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any
) -> Any:
    """The rule of a composite: that of each op in its body."""
    specs = [x.spec.with_(x.shape[1:]) if b else x.spec for x, b in zip(xs, batched)]
    body = op.body_graph(specs, attrs)
    outs = tuple(run(body, xs, batched, lanes, [True] * len(body.outputs)))
    return outs if op.multi else outs[0]


def loop(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """The rule of last resort: one lane after the other, in a loop in the graph."""

    def one(carry: tuple, slices: list) -> Any:
        given = iter(slices)
        return carry, op(*[next(given) if b else x for x, b in zip(xs, batched)], **attrs)

    return scan(one, (), [x for x, b in zip(xs, batched) if b])[1]


# ---- moving axes


def to_front(x: Any, axis: int) -> Any:
    """``x`` with that axis first."""
    return _moved(x, axis, 0)


def from_front(x: Any, axis: int) -> Any:
    """``x`` with its first axis at that place."""
    return _moved(x, 0, axis)


def _moved(x: Any, source: int, target: int) -> Any:
    if source == target:
        return x
    order = [i for i in range(x.ndim) if i != source]
    order.insert(target, source)
    return ops.transpose(x, permutation=order)


def fold(x: Any, axis: int, groups: int = 1) -> Any:
    """``x [lanes, ...]`` with its lanes made part of ``axis``, which is counted without them: before
    the axis's own index, or within each of so many groups of it."""
    n, *shape = x.shape
    axis %= len(shape)
    before, length, after = shape[:axis], shape[axis], shape[axis + 1 :]
    x = ops.reshape(x, shape=(n, *before, groups, length // groups, *after))
    x = from_front(x, axis + 1)
    return ops.reshape(x, shape=(*before, n * length, *after))


def unfold(x: Any, axis: int, lanes: Lanes, groups: int = 1) -> Any:
    """The inverse of `fold`."""
    axis %= x.ndim
    before, length, after = x.shape[:axis], x.shape[axis] // lanes.size, x.shape[axis + 1 :]
    x = ops.reshape(x, shape=(*before, groups, lanes.size, length // groups, *after))
    return ops.reshape(to_front(x, axis + 1), shape=(lanes.size, *before, length, *after))

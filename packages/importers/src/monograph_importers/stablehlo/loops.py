"""Loops that count: a ``while`` whose turns are known is a scan, which has a gradient.

JAX lowers ``scan`` and ``fori_loop`` to a counter that is compared with a bound, slices of what is
scanned at the counter, and updates of what is stacked at the counter. Read off the body's graph,
they become a scan's inputs and outputs again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.graph import Graph, Node, Value
from monograph.rewrite import simplify
from monograph.tracing import apply, as_value, trace_flat

from .._steps import known


class _Traced(NamedTuple):
    graph: Graph
    inputs: tuple[Value, ...]  # for the carry
    place: dict[Value, int]  # of each in it (values compare elementwise, so `in` is for dicts)
    captured: dict[Value, Value]  # what it reads from outside, by its input

    def outer(self, v: Value) -> Value:
        return self.captured.get(v, v)


def while_loop(cond: Callable, body: Callable, init: Sequence[Any]) -> list[Any]:
    """The last carry of a loop; ``init`` may hold known arrays."""
    values = [as_value(x) for x in init]
    test, step = (_trace(fn, values) for fn in (cond, body))
    count = _counter(test, step, init)
    if count is None:
        unflat = lambda fn: lambda carry: fn(*carry)  # noqa: E731
        return list(
            mg.while_loop(
                lambda carry: cond(*carry)[0], lambda c: tuple(unflat(body)(c)), tuple(values)
            )
        )
    return _scan(step, values, *count)


def _trace(fn: Callable, values: Sequence[Value]) -> _Traced:
    graph, _, captured = trace_flat(lambda *xs: tuple(fn(*xs)), [v.spec for v in values])
    graph = simplify(graph)
    n = len(values)
    inputs = tuple(graph.inputs[:n])
    place = {v: i for i, v in enumerate(inputs)}
    return _Traced(graph, inputs, place, dict(zip(graph.inputs[n:], captured)))


def _number(t: _Traced, v: Value) -> int | None:
    """The integer that a value is, where it is a constant; in here or outside."""
    node = t.outer(v).node
    if node.op.name != "constant" or node.outputs[0].shape or not node.outputs[0].dtype.is_integer:
        return None
    return int(node.attrs["value"].array)


def _counter(test: _Traced, step: _Traced, init: Sequence[Any]) -> tuple[int, range] | None:
    """Which of the carry counts, and what it runs over."""
    node = test.graph.outputs[0].node
    if node.op.name != "compare" or node.attrs["direction"] not in ("LT", "LE"):
        return None
    i, bound = node.inputs
    if i not in test.place:
        return None
    at = test.place[i]
    last = _number(test, bound)
    if last is None and bound in test.place:  # a bound that is carried along unchanged
        j = test.place[bound]
        if step.graph.outputs[j] is step.inputs[j] and known(init[j]):
            last = int(init[j])
    more = step.graph.outputs[at].node
    if last is None or more.op.name != "add" or not known(init[at]):
        return None
    terms = [v for v in more.inputs if v is not step.inputs[at]]
    by = _number(step, terms[0]) if len(terms) == 1 else None
    if by is None or by < 1:
        return None
    return at, range(int(init[at]), last + (node.attrs["direction"] == "LE"), by)


def _scan(step: _Traced, values: list[Value], at: int, count: range) -> list[Any]:
    graph, inputs = step.graph, step.inputs
    out: list[Any] = list(values)
    out[at] = np.asarray(
        count[-1] + count.step if count else int(count.start), inputs[at].dtype.numpy
    )
    if not count:
        return out
    place = _Places(step, inputs[at], count)
    fixed = {j for j, v in enumerate(inputs) if graph.outputs[j] is v}
    stacked = {j: n for j in range(len(inputs)) if (n := place.stacked(j)) is not None}
    slices = {
        n.outputs[0]: (step.place[n.inputs[0]], n)
        for n in graph.nodes
        if n.op.name == "dynamic_slice" and step.place.get(n.inputs[0]) in fixed
        and place.whole(n.inputs[0], n.inputs[1:], n.attrs["sizes"])
    }  # fmt: skip
    carried = [j for j in range(len(inputs)) if j not in fixed | {at} | stacked.keys()]
    numbers = np.asarray(count, inputs[at].dtype.numpy)
    scanned = {v: place.turned(values[j], n.inputs[1]) for v, (j, n) in slices.items()}

    def body(carry: Any, xs: Any) -> Any:
        number, *rows = xs
        now: dict[Value, Any] = {**step.captured, **{inputs[j]: values[j] for j in fixed}}
        now |= dict(zip([inputs[j] for j in carried], carry))
        now[inputs[at]] = number
        now |= {v: mg.expand_dims(x, axis=0) for v, x in zip(scanned, rows)}
        skipped = set(stacked.values())
        for node in graph.nodes:
            if node in skipped or all(v in now for v in node.outputs):
                continue
            now.update(zip(node.outputs, apply(node, [now[v] for v in node.inputs])))
        rows = tuple(mg.squeeze(now[n.inputs[1]], axis=0) for n in stacked.values())
        return [now[graph.outputs[j]] for j in carried], rows

    last, rows = mg.scan(body, [values[j] for j in carried], (numbers, *scanned.values()))
    for j, v in zip(carried, last):
        out[j] = v
    for (j, node), v in zip(stacked.items(), rows):
        out[j] = place.turned(v, node.inputs[2])
    return out


class _Places:
    """Where a turn reads and writes: at the counter, or at its mirror image."""

    def __init__(self, step: _Traced, counter: Value, count: range):
        self.step, self.counter, self.count = step, counter, count
        self.uses: dict[Value, list[Node]] = {}
        for node in step.graph.nodes:
            for v in node.inputs:
                self.uses.setdefault(v, []).append(node)

    def way(self, v: Value) -> int:
        """1 where ``v`` counts up from 0 by ones, -1 where it counts down to 0, else 0."""
        node = v.node
        if v is self.counter:
            return 1 if self.count.start == 0 and self.count.step == 1 else 0
        if node.op.name == "select" and self._wraps(node):  # an index below 0, which it never is
            return self.way(node.inputs[2])
        if node.op.name == "subtract" and self.way(node.inputs[1]) == 1:
            return -1 if _number(self.step, node.inputs[0]) == len(self.count) - 1 else 0
        if node.op.name == "convert" and node.outputs[0].dtype.is_integer:
            return self.way(node.inputs[0])
        return 0

    def _wraps(self, node: Node) -> bool:
        test = node.inputs[0].node
        return (
            test.op.name == "compare" and test.attrs["direction"] == "LT"
            and test.inputs[0] is node.inputs[2] and _number(self.step, test.inputs[1]) == 0
        )  # fmt: skip

    def whole(self, x: Value, starts: Sequence[Value], sizes: Sequence[int]) -> bool:
        """Whether a block is one row of ``x``, whose rows are as many as the turns."""
        return (
            bool(x.shape)
            and x.shape[0] == len(self.count)
            and tuple(sizes) == (1, *x.shape[1:])
            and self.way(starts[0]) != 0
        )  # other starts are clamped to 0 as the block is as long as the axis

    def stacked(self, j: int) -> Node | None:
        """The update that writes a row of carry ``j`` each turn, if nothing else touches it."""
        x, node = self.step.inputs[j], self.step.graph.outputs[j].node
        if node.op.name != "dynamic_update_slice" or node.inputs[0] is not x:
            return None
        if len(self.uses[x]) != 1 or self.uses.get(node.outputs[0]):
            return None
        if sum(v is node.outputs[0] or v is x for v in self.step.graph.outputs) != 1:
            return None
        return node if self.whole(x, node.inputs[2:], node.inputs[1].shape) else None

    def turned(self, x: Any, start: Value) -> Any:
        return mg.flip(x, axis=0) if self.way(start) < 0 else x

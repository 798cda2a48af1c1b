"""Rules of branches, loops and calls: their nested graphs are batched.

A branch index of each lane's own runs every branch on all lanes and chooses; a loop that lanes leave at
different times runs until the last has left. Both hand on which lanes count (`Lanes.active`), so that a
loop inside does not wait for a lane that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..control import while_loop
from ..graph import Graph, Value
from ..op import Op
from ..ops.control import trace_closed
from ..spec import Spec
from ..tracing import trace_flat
from .lanes import FLOWS, Lanes, flow, from_front, run, to_front


def _nested(
    graph: Graph, specs: Sequence[Spec], batched: Sequence[bool], lanes: Lanes, want: Sequence[bool]
) -> Graph:
    """A graph for all lanes, which takes `Lanes.operands` after its own inputs."""

    def flat(*values: Value) -> Any:
        given, mask = values[: len(specs)], values[len(specs) :]
        return tuple(run(graph, given, batched, lanes.inside(mask), want))

    return trace_closed(flat, [*specs, *[v.spec for v in lanes.operands]], graph.name)


def _specs(xs: Sequence[Any]) -> list[Spec]:
    return [x.spec for x in xs]


def _over(mask: Any, x: Any) -> Any:
    """``mask [lanes]`` in the shape of ``x [lanes, ...]``."""
    return ops.broadcast_in_dim(mask, shape=x.shape, dims=(0,))


# ---- case


def _case_flow(batched: Sequence[bool], *, branches: Sequence[Graph]) -> list[bool]:
    if batched[0]:
        return [True] * len(branches[0].outputs)
    return [any(fs) for fs in zip(*[flow(b, batched[1:]) for b in branches])]


def _case(
    op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, *, branches: Sequence[Graph]
) -> Any:
    index, *operands = xs
    if not batched[0]:
        want = _case_flow(batched, branches=branches)
        specs = _specs(operands)
        nested = tuple([_nested(b, specs, batched[1:], lanes, want) for b in branches])
        return op(index, *operands, *lanes.operands, branches=nested)
    operands = lanes.all(operands, batched[1:])
    every = [True] * len(operands)
    outs: list[Any] = []
    for taken, branch in zip(_taken(index, len(branches)), branches):
        given = [_guarded(x, taken) for x in operands]
        got = run(branch, given, every, lanes.only(taken), [True] * len(branch.outputs))
        outs = [ops.select(_over(taken, g), g, o) for g, o in zip(got, outs)] if outs else got
    return tuple(outs)


def _taken(index: Any, count: int) -> list:
    """Per branch which lanes take it; the last is for what is out of range."""
    if index.dtype.kind == "bool":
        index = ops.convert(index, dtype="int32")

    def at(i: int, direction: str = "EQ") -> Any:
        return ops.compare(index, ops.full(i, index.spec), direction=direction)

    last = ops.or_(at(0, "LT"), at(count - 1, "GE"))
    return [*[at(i) for i in range(count - 1)], last]


def _guarded(x: Any, taken: Any) -> Any:
    """``x``, through which no gradient comes back from lanes that do not take the branch: there its
    derivative may be infinite, and 0 times that is NaN."""
    if not x.dtype.is_inexact:
        return x
    return ops.select(_over(taken, x), x, ops.stop_gradient(x))


# ---- while


def _carried(graph: Graph, batched: Sequence[bool], at: int, count: int) -> list[bool]:
    """Inputs of a loop's body: which are batched once the carry is, what it depends on included."""
    flags = list(batched)
    while True:
        new = [a or b for a, b in zip(flags[at : at + count], flow(graph, flags))]
        if new == flags[at : at + count]:
            return flags
        flags[at : at + count] = new


def _while_inputs(
    batched: Sequence[bool], cond: Graph, body: Graph, num_carry: int
) -> tuple[list[bool], bool]:
    """Which inputs are batched, and whether lanes leave the loop at different times."""
    flags = _carried(body, batched, 0, num_carry)
    apart = flow(cond, flags)[0]
    return ([True] * num_carry + flags[num_carry:] if apart else flags), apart


def _while_flow(
    batched: Sequence[bool], *, cond: Graph, body: Graph, num_carry: int
) -> list[bool]:  # fmt: skip
    return _while_inputs(batched, cond, body, num_carry)[0][:num_carry]


def _while(
    op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, *, cond: Graph, body: Graph,
    num_carry: int,
) -> Any:  # fmt: skip
    flags, apart = _while_inputs(batched, cond, body, num_carry)
    want, rest = flags[:num_carry], xs[num_carry:]
    first = lanes.some(xs[:num_carry], batched, want)

    def running(carry: Sequence) -> Any:  # bool [lanes], or one for all
        on = run(cond, [*carry, *rest], flags, lanes, [apart])[0]
        if lanes.active is None:
            return on
        return ops.and_(on, lanes.active if apart else ops.reduce_or(lanes.active, axes=(0,)))

    if not apart:
        return tuple(
            while_loop(running, lambda c: run(body, [*c, *rest], flags, lanes, want), first)
        )

    def step(state: tuple) -> Any:
        on, old = state
        new = run(body, [*old, *rest], flags, lanes.only(on), want)
        new = [ops.select(_over(on, n), n, o) for n, o in zip(new, old)]
        return ops.and_(on, running(new)), new

    init = (running(first), first)
    return tuple(while_loop(lambda state: ops.reduce_or(state[0], axes=(0,)), step, init)[1])


# ---- scan


def _scan_flow(
    batched: Sequence[bool], *, body: Graph, num_consts: int, num_carry: int, history: bool,
    **attrs: Any,
) -> list[bool]:  # fmt: skip
    flags = _carried(body, batched, num_consts, num_carry)
    carry = flags[num_consts : num_consts + num_carry]
    return [*carry, *flow(body, flags)[num_carry:], *(carry if history else [])]


def _scan(
    op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, *, body: Graph, num_consts: int,
    num_carry: int, history: bool, **attrs: Any,
) -> Any:  # fmt: skip
    k = num_consts + num_carry
    flags = _carried(body, batched, num_consts, num_carry)
    outs = _scan_flow(
        batched, body=body, num_consts=num_consts, num_carry=num_carry, history=history
    )
    ready = lanes.some(xs[:k], batched, [*batched[:num_consts], *flags[num_consts:k]])
    # the scanned axis goes first, the lanes after it
    scanned = [from_front(x, 1) if b else x for x, b in zip(xs[k:], batched[k:])]
    specs = [*_specs(ready), *[x.spec.with_(x.shape[1:]) for x in scanned]]
    mask, want = lanes.operands, outs[: len(body.outputs)]
    graph = _nested(body, specs, flags, lanes, want)
    m = len(specs)  # the mask is one more constant
    graph = Graph([*graph.inputs[m:], *graph.inputs[:m]], graph.outputs, name=graph.name)
    got = op(
        *mask, *ready, *scanned, body=graph, num_consts=num_consts + len(mask), num_carry=num_carry,
        history=history, **attrs,
    )  # fmt: skip
    stacked = zip(got[num_carry:], outs[num_carry:])
    return (*got[:num_carry], *[to_front(y, 1) if b else y for y, b in stacked])


# ---- calls


def _checkpoint(
    op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, *, body: Graph, kept: int
) -> Any:
    graph = _nested(body, _specs(xs), batched, lanes, flow(body, batched))
    return op(*xs, *lanes.operands, body=graph, kept=kept)


def _custom_vjp(
    op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, *, body: Graph, bwd: Callable,
    num_residuals: int,
) -> Any:  # fmt: skip
    """The rule is traced for one lane when it is asked for, and batched as the function is."""
    specs, n = body.output_specs, len(xs)
    every = [True] * len(specs)
    places: list[int] = []  # of the operands that get a cotangent

    def rule(*values: Value) -> Any:
        res, gs = values[:num_residuals], values[num_residuals : len(specs)]
        cotangents = bwd(res, gs, values[len(specs) :])
        places[:] = [i for i, c in enumerate(cotangents) if c is not None]
        return tuple([cotangents[i] for i in places])

    def pull(res: Sequence, gs: Sequence, operands: Sequence) -> list:
        own, mask = operands[:n], operands[n:]
        kept = len(specs) - num_residuals
        one_lane = [*specs[kept:], *specs[:kept], *body.input_specs]
        graph, _, captured = trace_flat(rule, one_lane, name=f"{body.name}_bwd")
        got = run(
            graph, [*res, *gs, *own, *captured], [*every, *batched, *[False] * len(captured)],
            lanes.inside(mask), [True] * len(places),
        )  # fmt: skip
        out: list[Any] = [None] * len(operands)
        for i, c in zip(places, got):  # what all lanes share gets the sum of theirs
            out[i] = c if batched[i] else ops.reduce_sum(c, axes=(0,))
        return out

    graph = _nested(body, _specs(xs), batched, lanes, every)
    return op(*xs, *lanes.operands, body=graph, bwd=pull, num_residuals=num_residuals)


def _barrier(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /) -> Any:
    return op(*xs)


FLOWS.update({
    ops.case: _case_flow,
    ops.checkpoint_call: lambda batched, *, body, kept: flow(body, batched),
    ops.optimization_barrier: list,
    ops.scan: _scan_flow,
    ops.while_: _while_flow,
})  # fmt: skip

RULES: dict[Op, Callable] = {
    ops.case: _case,
    ops.checkpoint_call: _checkpoint,
    ops.custom_vjp_call: _custom_vjp,
    ops.optimization_barrier: _barrier,
    ops.scan: _scan,
    ops.while_: _while,
}

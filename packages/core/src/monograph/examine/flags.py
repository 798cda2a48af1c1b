"""The flag that a guarded graph carries: whether its results and all `check_finite` are finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .. import ops
from ..graph import Graph, Node, Value, attr_graphs
from ..op import Op, constant, parameter
from ..spec import Spec
from ..tracing import Trace, apply, source_of, tracing

_FLAG = Spec((), "bool")
GIVEN = {parameter, constant, ops.allow_nonfinite}
"""What is handed in: never blamed, and not looked at as a result."""


def can_be_nonfinite(v: Value) -> bool:
    """Whether a value's dtype has NaN or infinities."""
    return v.dtype.is_inexact or v.dtype.kind == "float8"


def watched(graph: Graph) -> list[int]:
    """Positions of the outputs that must be finite: those computed, and not allowed otherwise."""
    return [
        i for i, v in enumerate(graph.outputs) if can_be_nonfinite(v) and v.node.op not in GIVEN
    ]


_IN_PLACE = frozenset({ops.adam_update, ops.sgd_update})
"""What engines do in the memory of its operands, if they may. Their results are the parameters, then
the first moments or velocities: while a parameter is finite, the one that moved it is."""


def flagged(graph: Graph, spared: Sequence[int] = ()) -> Graph:
    """The graph with one more output, a 0-d bool: all that is watched is finite.

    Args:
        spared: inputs that must stay but would be overwritten if they need not. For each of them
            there is one more input, of its spec, that is free to be overwritten instead.
    """
    carried = carry_points(graph)
    base = graph if carried is None else carried
    t = Trace(None, graph.name)

    def execute(node: Node, xs: list) -> Sequence[Value]:
        if node.op in _IN_PLACE:
            with source_of(node):
                xs = [ops.copy_into(x, spare[x]) if x in spare else x for x in xs]
        return apply(node, xs)

    with tracing(t):
        inputs = [t.add_input(v.spec, v.node.attrs["name"]) for v in base.inputs]
        spare = {inputs[i]: t.add_input(inputs[i].spec, "spare") for i in spared}
        outs = base.replay(inputs, execute)
        inputs += spare.values()
        ok = [] if carried is None else [outs.pop()]
        # the same value twice is looked at once
        found = [v for v in dict.fromkeys(outs[i] for i in watched(graph)) if not _implied(v, outs)]
        if found or not ok:
            ok.append(ops.all_finite(*found))
        flag = ok[0] if len(ok) == 1 else ops.and_(*ok)
    t.open = False
    return Graph(inputs, [*outs, flag], graph.in_tree, None, graph.name)


def _implied(v: Value, outs: Sequence[Value]) -> bool:
    """Whether a moment is finite because the parameter is, which is looked at."""
    node = v.node
    if node.op not in _IN_PLACE or not 0 <= v.index - node.attrs["count"] < node.attrs["count"]:
        return False
    moved = node.outputs[v.index - node.attrs["count"]]
    return any(moved is other for other in outs)


# ---- check_finite inside loops and branches: its flag is carried out


def has_points(graph: Graph) -> bool:
    """Whether there is a `check_finite` in it, or in a graph that it holds."""
    return any(n.op is ops.check_finite for n in graph.walk())


def carry_points(graph: Graph) -> Graph | None:
    """The graph with one more output: whether all its `check_finite` held; None if it has none."""
    if not has_points(graph):
        return None
    t, flags = Trace(None, graph.name), []

    def execute(node: Node, xs: list) -> Sequence[Value]:
        with source_of(node):
            if node.op is ops.check_finite:
                flags.append(ops.all_finite(xs[0]))
            elif any(has_points(g) for g in attr_graphs(node.attrs)):
                return _CARRY.get(node.op, _called)(node, xs, flags, execute)
            return apply(node, xs)

    with tracing(t):
        inputs = [t.add_input(v.spec, v.node.attrs["name"]) for v in graph.inputs]
        outs = graph.replay(inputs, execute)
        ok = flags[0]
        for flag in flags[1:]:
            ok = ops.and_(ok, flag)
    t.open = False
    return Graph(inputs, [*outs, ok], name=graph.name)


def _with_flag(graph: Graph, place: int, flag: Value | None = None) -> Graph:
    """The graph with a flag handed in at ``place`` among the inputs and handed on as last output."""
    t = Trace(None, graph.name)
    flagged_body = carry_points(graph)
    with tracing(t):
        specs = list(graph.input_specs)
        specs.insert(place, _FLAG)
        inputs = [t.add_input(s, f"x{i}") for i, s in enumerate(specs)]
        rest = [*inputs[:place], *inputs[place + 1 :]]
        if flagged_body is None:
            outs = [*graph.replay(rest, apply), inputs[place]]
        else:
            *outs, ok = flagged_body.replay(rest, apply)
            outs = [*outs, ops.and_(inputs[place], ok)]
    t.open = False
    return Graph(inputs, outs, name=graph.name)


def _case(node: Node, xs: list, flags: list, execute: Callable) -> Sequence[Value]:
    n = len(xs) - 1
    branches = tuple(_with_flag(b, n) for b in node.attrs["branches"])
    *outs, ok = ops.case(*xs, ops.literal(True), branches=branches)
    flags.append(ok)
    return outs


def _while(node: Node, xs: list, flags: list, execute: Callable) -> Sequence[Value]:
    a, n = node.attrs, node.attrs["num_carry"]
    cond = _with_flag(a["cond"], n)
    cond = Graph(cond.inputs, cond.outputs[:1], name=cond.name)
    body = _with_flag(a["body"], n)
    *outs, ok = ops.while_(
        *xs[:n], ops.literal(True), *xs[n:], cond=cond, body=body, num_carry=n + 1
    )
    flags.append(ok)
    return outs


def _scan(node: Node, xs: list, flags: list, execute: Callable) -> Sequence[Value]:
    a, n = node.attrs, node.attrs["num_carry"]
    k = a["num_consts"] + n
    body = _with_flag(a["body"], k)
    outs = body.outputs
    body = Graph(body.inputs, [*outs[:n], outs[-1], *outs[n:-1]], name=body.name)
    got = ops.scan(*xs[:k], ops.literal(True), *xs[k:], **{**a, "body": body, "num_carry": n + 1})
    flags.append(got[n])
    ys = len(a["body"].outputs) - n
    return [*got[:n], *got[n + 1 : n + 1 + ys], *got[n + 1 + ys : len(node.outputs) + 1]]


def _called(node: Node, xs: list, flags: list, execute: Callable) -> Sequence[Value]:
    """Calls of graphs (`checkpoint_call`, `custom_vjp_call`): their nodes in their place."""
    return node.attrs["body"].replay(xs, execute)


_CARRY: dict[Op, Callable] = {ops.case: _case, ops.while_: _while, ops.scan: _scan}

"""Passes every graph goes through: Graph -> Graph, the same numbers out.

`simplify` cleans a fresh recording; `decompose` replaces composites an engine lacks by their bodies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from .array import Array
from .errors import GraphError, MonographError
from .graph import Graph, Node, Value
from .op import Op
from .tracing import Trace, as_value, current, source_of, tracing, user_source

Rewriter = Callable[[Node, list], "Sequence[Value] | None"]


def rebuild(graph: Graph, rewrite: Rewriter) -> Graph:
    """Copy a graph node by node; where ``rewrite(node, new_inputs)`` gives values, they stand in.

    The way of passes: return None to keep the node, or the values that replace its outputs
    (recorded with ordinary ops). Inputs and structure stay.

    Raises:
        GraphError: a replacement of another shape or dtype; the graph given is unchanged.
    """
    t = Trace(None, graph.name)

    def execute(node: Node, xs: list) -> Sequence[Value]:
        with source_of(node):
            outs = rewrite(node, xs)
            if outs is None:
                return copy_node(node, xs)
            check_specs(node, outs, _name(rewrite))
            return outs

    with tracing(t):
        inputs = [t.add_input(v.spec, v.node.attrs["name"]) for v in graph.inputs]
        outputs = graph.replay(inputs, execute)
    t.open = False
    return Graph(inputs, outputs, graph.in_tree, graph.out_tree, graph.name)


def stand_ins(node: Node, out: Any, who: str) -> list[Value]:
    """What a user's function answers for a node, as values that take its outputs' places.

    Raises:
        GraphError: it is no value, or has another shape or dtype.
    """
    outs = list(out) if isinstance(out, (tuple, list)) else [out]
    for i, x in enumerate(outs):
        if not isinstance(x, (Array, bool, int, float, complex)) and not hasattr(x, "dtype"):
            raise GraphError(
                f"{user_source()}: {who} answers {type(x).__name__} for {node.op.name}; return values "
                f"recorded with operations, or None to leave it"
            )
        try:
            outs[i] = as_value(x)
        except MonographError as e:
            raise GraphError(f"{user_source()}: {who}, for {node.op.name}: {e}") from None
    check_specs(node, outs, who)
    return outs


def check_specs(node: Node, outs: Sequence[Value], who: str) -> None:
    """Raise a `GraphError` unless ``outs`` may stand in for the node's outputs."""
    want, got = ([v.spec for v in vs] for vs in (node.outputs, outs))
    if got != want:
        raise GraphError(
            f"{node.source}: {who} replaces {node.op.name}, which yields {want}, by {got}; shapes and "
            f"dtypes must stay (convert or reshape the replacement)"
        )


def _name(fn: Callable) -> str:
    return getattr(fn, "__qualname__", type(fn).__name__).replace(".<locals>", "")


def copy_node(
    node: Node, xs: Sequence[Value], attrs: dict[str, Any] | None = None
) -> Sequence[Value]:
    """The same op on other inputs, in the current trace."""
    specs = [v.spec for v in node.outputs]
    attrs = node.attrs if attrs is None else attrs
    return Node(node.op, tuple(xs), attrs, specs, user_source(), current()).outputs


def simplify(graph: Graph) -> Graph:
    """Drop what changes nothing, share equal nodes, and drop loop outputs nobody reads."""
    out = common_subexpressions(prune(graph))
    return out.verify() if os.environ.get("MONOGRAPH_VERIFY") else out


# op -> whether a node of it whose result has its operand's spec changes nothing
_IDENTITY: dict[str, Callable[[dict], bool]] = {
    "alias": lambda attrs: True,
    "reshape": lambda attrs: True,
    "convert": lambda attrs: True,
    "slice": lambda attrs: True,
    "broadcast_in_dim": lambda attrs: True,
    "transpose": lambda attrs: attrs["permutation"] == tuple(sorted(attrs["permutation"])),
}


def _changes_nothing(node: Node) -> bool:
    rule = _IDENTITY.get(node.op.name)
    return rule is not None and node.outputs[0].spec is node.inputs[0].spec and rule(node.attrs)


def common_subexpressions(graph: Graph) -> Graph:
    """One node where several compute the same; a node that changes nothing vanishes."""
    seen: dict[tuple, Sequence[Value]] = {}

    def rewrite(node: Node, xs: list) -> Sequence[Value] | None:
        if _changes_nothing(node):
            return xs
        if not node.op.shareable:
            return None
        key = (node.op, tuple(xs), tuple(node.attrs.items()))
        found = seen.get(key)
        if found is None:
            found = seen[key] = copy_node(node, xs)
        return found

    return rebuild(graph, rewrite)


def prune(graph: Graph) -> Graph:
    """Narrow nodes that know how (`Op.prune`) to the outputs somebody reads."""
    used = {v for n in graph.nodes for v in n.inputs} | set(graph.outputs)
    if all(n.op.prune is None or all(v in used for v in n.outputs) for n in graph.nodes):
        return graph

    def rewrite(node: Node, xs: list) -> Sequence[Value] | None:
        if node.op.prune is None:
            return None
        live = [v in used for v in node.outputs]
        return None if all(live) else node.op.prune(node, xs, live)

    return rebuild(graph, rewrite)


def decompose(
    graph: Graph, supports: Callable[[Op], bool], native: bool = False
) -> tuple[Graph, dict[str, str]]:
    """Replace every composite that ``supports`` denies by its body, in nested graphs too.

    With ``native`` by its C function rather, where it has one that works here (`native.twin`).

    Returns the graph and what remains unsupported: op name -> the first user line that needs it.
    """
    missing: dict[str, str] = {}

    def rewrite(node: Node, xs: list) -> Sequence[Value]:
        op, attrs = node.op, node.attrs
        if supports(op):
            nested = {k: map_graphs(a, inner) for k, a in attrs.items()}
            return copy_node(node, xs, nested)
        if op.body is None:
            missing.setdefault(op.name, str(user_source()))
            return copy_node(node, xs)
        specs = [v.spec for v in node.inputs]
        if native and op.native is not None:
            from .native import twin

            fast = twin(op, specs, attrs)
            if fast is not None and supports(fast):
                out = fast(*xs, **attrs)
                return out if fast.multi else (out,)
        return op.body_graph(specs, attrs).replay(xs, rewrite)

    def inner(g: Graph) -> Graph:
        out, more = decompose(g, supports, native)
        for name, where in more.items():
            missing.setdefault(name, where)
        return out

    return rebuild(graph, rewrite), missing


def map_graphs(a: Any, fn: Callable[[Graph], Graph]) -> Any:
    """An attribute with ``fn`` applied to the graphs it holds, singly or in a tuple."""
    if isinstance(a, Graph):
        return fn(a)
    if isinstance(a, tuple) and any(isinstance(g, Graph) for g in a):
        return tuple(fn(g) if isinstance(g, Graph) else g for g in a)
    return a

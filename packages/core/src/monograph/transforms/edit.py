"""Changing a graph by hand: replace values, inline composites, extract a part, substitute ops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from .. import tree
from ..errors import GraphError, MonographError
from ..graph import Graph, Node, Value, ancestors, attr_graphs
from ..op import Op
from ..rewrite import copy_node, decompose, map_graphs, rebuild, simplify, stand_ins
from ..tracing import Trace, as_value, at_user_line, source_of, tracing


def described(v: Value) -> str:
    """A value in an error: what made it, its spec, its line."""
    name = f" {v.node.attrs['name']!r}" if v.node.op.name == "parameter" else ""
    return f"{v.node.op.name}{name} {v.spec} (at {v.node.source or 'no known line'})"


def members(graph: Graph) -> set[Value]:
    """Every value of a graph: its inputs, and what its nodes yield."""
    return {*graph.inputs, *(v for n in graph.nodes for v in n.outputs)}


def values_of(what: Any) -> list[Value]:
    """The values meant by a `Value`, a `Node` (all it yields), or a sequence of such.

    Raises:
        GraphError: something else.
    """
    if isinstance(what, Value):
        return [what]
    if isinstance(what, Node):
        return list(what.outputs)
    if isinstance(what, Iterable) and not isinstance(what, (str, bytes)):
        return [v for x in what for v in values_of(x)]
    raise at_user_line(
        GraphError(f"values of a graph are Values, Nodes and sequences of them, not {what!r}")
    )


def _foreign(graph: Graph, values: Iterable[Value], what: str) -> None:
    known = members(graph)
    lost = [described(v) if isinstance(v, Value) else repr(v) for v in values if v not in known]
    if lost:
        listed = "\n".join(f"  {v}" for v in lost)
        raise at_user_line(
            GraphError(f"{what}: not values of graph {graph.name!r} itself:\n{listed}")
        )


def _recorded(v: Value, new: Any, trace: Trace) -> Value:
    """What replaces ``v``, as a value of the graph in the making."""
    try:
        return as_value(new, trace)
    except MonographError:
        raise at_user_line(
            GraphError(
                f"replace: {described(v)} would become {type(new).__name__}; a replacement is a Value "
                f"of the graph, an array, a number, or a function that returns one"
            )
        ) from None


# ---- replace


def replace(graph: Graph, changes: Mapping[Value, Any]) -> Graph:
    """The graph with values replaced: whoever read the old one reads the new one.

    Args:
        graph: what to change; it stays as it is.
        changes: per value of the graph another value of it, an array or number, or a function
            ``old -> new`` that records operations (and may read the old value). What a replacement
            is itself computed from goes on reading the old value.

    Raises:
        GraphError: a replacement of another shape or dtype, with the place that made the old value;
            a value of another graph; replacements that need each other. All in one message.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x: mg.tanh(x) * 2.0, mg.Spec((2,)))
    >>> g.replace({g.nodes[0].outputs[0]: lambda y: mg.relu(y)}).compile("numpy")(
    ...     mg.tensor([-1.0, 0.0])).tolist()
    [0.0, 0.0]
    """
    _foreign(graph, changes, "replace")
    _foreign(graph, (v for v in changes.values() if isinstance(v, Value)), "replace")
    return _Replacing(graph, changes).run()


class _Replacing:
    """One call of `replace`: a walk on demand, because a new value may come later than the old."""

    def __init__(self, graph: Graph, changes: Mapping[Value, Any]):
        self.graph, self.changes = graph, dict(changes)
        self.trace = Trace(None, graph.name)
        self.exact: dict[Value, Value] = {}  # old value -> its copy
        self.read: dict[Value, Value] = {}  # old value -> what its readers get instead
        self.problems: list[str] = []
        self.by: dict[Value, list[Value]] = {}  # what replaces -> what it replaces
        for old, new in self.changes.items():
            if isinstance(new, Value):
                self.by.setdefault(new, []).append(old)
        # nodes that a replacement is computed from: they read what stood there before
        self.before = {
            old: frozenset(ancestors([new]))
            for old, new in self.changes.items()
            if isinstance(new, Value)
        }

    def run(self) -> Graph:
        graph = self.graph
        with tracing(self.trace):
            for v in graph.inputs:
                self.exact[v] = self.trace.add_input(v.spec, v.node.attrs["name"])
            for v in graph.inputs:
                self._settle(v)
            for node in graph.nodes:
                self._copy(node)
            outputs = [self.read.get(v, self.exact[v]) for v in graph.outputs]
        self.trace.open = False
        if self.problems:
            listed = "\n".join(f"  {p}" for p in self.problems)
            raise at_user_line(
                GraphError(f"replace: {len(self.problems)} replacement(s) do not fit:\n{listed}")
            )
        inputs = [self.exact[v] for v in graph.inputs]
        return simplify(Graph(inputs, outputs, graph.in_tree, graph.out_tree, graph.name))

    def _needs(self, node: Node) -> Iterator[Node]:
        """Nodes that must be copied before this one."""
        for v in node.inputs:
            yield v.node
            new = self.changes.get(v)
            if isinstance(new, Value) and node not in self.before[v]:
                yield new.node

    def _copy(self, node: Node) -> None:
        """Copy a node, after what it reads; without recursion, for graphs are deep."""
        stack, waiting = [node], {node}
        while stack:
            top = stack[-1]
            missing = [n for n in self._needs(top) if n.outputs[0] not in self.exact]
            if not missing:
                self._record(stack.pop())
                waiting.discard(top)
            elif missing[0] in waiting:
                raise at_user_line(
                    GraphError(
                        f"replace: the replacements need each other in a circle, through "
                        f"{described(missing[0].outputs[0])}"
                    )
                )
            else:
                stack.append(missing[0])
                waiting.add(missing[0])

    def _record(self, node: Node) -> None:
        if node.outputs[0] in self.exact:
            return
        with source_of(node):
            got = copy_node(node, [self._seen(v, node) for v in node.inputs])
        self.exact.update(zip(node.outputs, got))
        for v in node.outputs:
            self._settle(v)

    def _seen(self, v: Value, reader: Node) -> Value:
        new = self.changes.get(v)
        if isinstance(new, Value):
            return self.exact[v] if reader in self.before[v] else self._fit(v, self.exact[new])
        return self.read.get(v, self.exact[v])

    def _settle(self, v: Value) -> None:
        """What readers of ``v`` get, when that is known as soon as ``v`` is."""
        new = self.changes.get(v)
        if v in self.changes and not isinstance(new, Value):
            made = new(self.exact[v]) if callable(new) else new
            self.read[v] = self._fit(v, _recorded(v, made, self.trace))
        for old in self.by.get(v, ()):  # outputs that are replaced by this value
            self.read[old] = self._fit(old, self.exact[v])

    def _fit(self, old: Value, new: Value) -> Value:
        if new.spec is old.spec:
            return new
        problem = (
            f"{described(old)} would become {new.spec}; shapes and dtypes must stay (convert or "
            f"reshape the replacement)"
        )
        if problem not in self.problems:
            self.problems.append(problem)
        return self.exact.get(old, old)


# ---- inline, extract, map_ops


def inline(graph: Graph, ops: Iterable[Op | str] | Op | str | None = None) -> Graph:
    """Composites and called bodies replaced by the operations they are made of, in loops too.

    What an op brought of its own is gone with it: a fused lowering, its gradient rule (also that of
    `mg.custom_vjp`), and `mg.checkpoint`'s promise to compute again.

    Args:
        ops: which composites, as an op, a name or several; None means all.

    Raises:
        GraphError: a name that is no composite.

    >>> import monograph as mg
    >>> g = mg.trace(mg.silu, mg.Spec((2,)))
    >>> [n.op.name for n in g.nodes], [n.op.name for n in g.inline().nodes]
    (['silu'], ['logistic', 'multiply'])
    """
    from ..op import get

    if isinstance(ops, (str, Op)):
        ops = (ops,)
    try:
        chosen = None if ops is None else {get(o) if isinstance(o, str) else o for o in ops}
    except GraphError as e:
        raise at_user_line(e) from None
    whole = [o.name for o in chosen or () if o.body is None]
    if whole:
        raise at_user_line(
            GraphError(f"inline: {', '.join(whole)} have no body; they are primitives")
        )
    keep = lambda o: o.body is None or (chosen is not None and o not in chosen)  # noqa: E731
    return simplify(decompose(graph, keep)[0])


def extract(graph: Graph, what: Any) -> Graph:
    """The graph that computes these values alone, from the inputs they need.

    Args:
        what: a `Value`, a `Node` (all it yields), or a sequence of such.

    Returns:
        A graph with the needed inputs as positional arguments, in their old order; one result for
        a `Value`, else a tuple of them.

    Raises:
        GraphError: a value of another graph.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x, w: mg.relu(x @ w) + x, mg.Spec((2, 2)), mg.Spec((2, 2)))
    >>> g.extract(g.nodes[0])
    Graph(main: (float32[2,2], float32[2,2]) -> (float32[2,2]), 1 nodes)
    """
    values = values_of(what)
    _foreign(graph, values, "extract")
    needed = {v.node for v in values} | set(ancestors(values))
    inputs = [v for v in graph.inputs if v.node in needed]
    in_tree = tree.flatten_call((0,) * len(inputs), {})[1]
    out_tree = tree.LEAF if isinstance(what, Value) else tree.flatten((0,) * len(values))[1]
    return Graph(inputs, values, in_tree, out_tree, graph.name)


def map_ops(graph: Graph, fn: Callable[[Node, list[Value]], Any]) -> Graph:
    """Substitute operations one by one, in nested graphs too.

    Args:
        fn: ``(node, inputs) -> values``: records what stands in for the node, reading ``inputs``
            (the node's operands in the new graph). None keeps the node.

    Raises:
        GraphError: a replacement of another shape or dtype, with the node's line.

    >>> import monograph as mg
    >>> def rounded(node, inputs):
    ...     if node.op.name == "dot_general":
    ...         x, w = inputs
    ...         return node.op(x, mg.round(w * 16.0) / 16.0, **node.attrs)
    >>> g = mg.trace(lambda x, w: x @ w, mg.Spec((1, 2)), mg.Spec((2, 1)))
    >>> g.map_ops(rounded).compile("numpy")(
    ...     mg.tensor([[1.0, 1.0]]), mg.tensor([[0.3], [0.6]])).item()
    0.9375
    """

    def substitute(node: Node, xs: list) -> Sequence[Value] | None:
        out = fn(node, xs)
        if out is not None:
            return stand_ins(node, out, "map_ops")
        if any(True for _ in attr_graphs(node.attrs)):
            return copy_node(node, xs, {k: map_graphs(a, inner) for k, a in node.attrs.items()})
        return None

    def inner(g: Graph) -> Graph:
        return rebuild(g, substitute)

    return simplify(rebuild(graph, substitute))

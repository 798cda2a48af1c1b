"""Rules and passes: a pass is any ``Graph -> Graph``, a rule a pass made of a pattern and a rewrite."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..errors import GraphError
from ..graph import Graph, Node, Value, attr_graphs
from ..rewrite import copy_node, map_graphs, rebuild, stand_ins
from ..tracing import at_user_line, user_source
from .pattern import AnyOf, Apply, Bound, Pattern, build

Pass = Callable[[Graph], Graph]


class Rule:
    """A rewrite of one node at a time, and the pass that applies it until nothing changes.

    Made by `rule` and `node_rule`. Call it on a graph, hand it to `apply` or `Graph.transform`; rules
    that stand next to each other there work together, the earlier first.

    Attributes:
        name: of the function decorated.
        pattern: what it looks for; None for a `node_rule`.
        roots: names of the operations it is tried on; None for all.
    """

    def __init__(self, fn: Callable, pattern: Pattern | None, roots: Iterable[str] | None):
        self.name, self.fn, self.pattern = fn.__name__, fn, pattern
        self.roots = None if roots is None else frozenset(roots)
        self.__doc__, self.__module__ = fn.__doc__, fn.__module__
        self._takes: tuple[str, ...] | None = ()
        if pattern is not None:
            self._takes = _parameters(fn, pattern)

    def __call__(self, graph: Graph) -> Graph:
        """The graph with every match rewritten; the same object where nothing matched."""
        return run_rules(graph, [self])

    def rewrite(
        self, node: Node, xs: Sequence[Value], place: Callable[[], Node]
    ) -> Sequence[Value] | None:
        """What replaces ``node`` on the operands ``xs`` of the current trace, or None.

        ``place()`` is the node as it stands in the graph being made.

        Raises:
            GraphError: the rewrite returned no values, or such of other shapes or dtypes.
        """
        if self.pattern is None:
            out = self._call(node, (place(), *xs), {})
            return None if out is None else self._checked(node, out)
        for bound in _matches(self.pattern, node, xs):
            out = self._call(node, (), self._arguments(bound, place))
            if out is not None:
                return self._checked(node, out)
        return None

    def _arguments(self, bound: Bound, place: Callable[[], Node]) -> Bound:
        if self._takes is None:
            return bound
        given = {n: bound.get(n) for n in self._takes}
        if "node" in given:
            given["node"] = place()
        return given

    def _call(self, node: Node, args: tuple, kwargs: Bound) -> Any:
        try:
            return self.fn(*args, **kwargs)
        except Exception as e:
            e.add_note(f"in rule {self.name}, which rewrites {node.op.name} ({node.source})")
            raise

    def _checked(self, node: Node, out: Any) -> Sequence[Value]:
        return stand_ins(node, out, f"rule {self.name}")

    def __repr__(self) -> str:
        what = self.pattern or ", ".join(sorted(self.roots or ["every operation"]))
        return f"<rule {self.name}: {what}>"


def _matches(pattern: Pattern, node: Node, xs: Sequence[Value]) -> Iterable[Bound]:
    if isinstance(pattern, AnyOf):
        return itertools.chain.from_iterable(_matches(p, node, xs) for p in pattern.options)
    assert isinstance(pattern, Apply)
    return pattern.match_node(node.attrs, xs, {}) if node.op is pattern.op else ()


def _parameters(fn: Callable, pattern: Pattern) -> tuple[str, ...] | None:
    """What of the captured names the rewrite takes; None for all."""
    names, out = pattern.names(), []
    for p in inspect.signature(fn).parameters.values():
        if p.kind is p.VAR_KEYWORD:
            return None
        if p.name not in names and p.name != "node":
            if p.default is not p.empty:
                continue
            code = getattr(fn, "__code__", None)
            where = f"{code.co_filename}:{code.co_firstlineno}" if code else user_source()
            raise GraphError(
                f"{where}: rule {fn.__name__} takes {p.name}, which its pattern {pattern!r} does "
                f"not capture; it captures {', '.join(sorted(names)) or 'nothing'}, and node is the "
                f"node matched"
            )
        out.append(p.name)
    return tuple(out)


def rule(pattern: Callable[..., Any]) -> Callable[[Callable], Rule]:
    """Declare a rule: what to look for, over a function that says what to put there.

    Args:
        pattern: ``(op, *wildcards) -> pattern``. ``op.NAME(*operands, **attrs)`` is a node; a
            keyword is an attribute that must be equal, or is captured with ``op.attr("name")``;
            attributes not mentioned may be anything. The same wildcard twice is the same value.
            ``op.constant(0.0)`` (or just ``0.0``) is a constant of that number throughout,
            ``op.constant("c")`` any constant, captured as its array; both see through
            `broadcast_in_dim`, `convert` and `reshape`. ``op.any_of(p, q)`` is either. Operands of
            operations that commute match in both orders.

    The function decorated gets what the pattern captured, by name, as far as it takes it (`node` is
    the node matched). It records ordinary operations and returns the value that takes the node's
    place (a tuple where it yields several), or None to decline. A value must have the shape and
    dtype of what it replaces.

    Raises:
        GraphError: the pattern names an unknown operation or attribute, or is no node; the function
            takes what the pattern does not capture.

    >>> import monograph as mg
    >>> from monograph import transforms
    >>> @transforms.rule(lambda op, x: op.log(op.exp(x)))
    ... def log_of_exp(x):
    ...     return x
    >>> graph = mg.trace(lambda x: mg.log(mg.exp(x)) * 2.0, mg.Spec((3,)))
    >>> [node.op.name for node in log_of_exp(graph).nodes]
    ['constant', 'broadcast_in_dim', 'multiply']
    """
    built = build(pattern)
    return lambda fn: Rule(fn, built, built.roots)


def node_rule(*roots: str) -> Callable[[Callable], Rule]:
    """Declare a rule for what a pattern cannot say: it is offered every node of these operations.

    The function gets the node, as it stands in the graph being made, and its operands, and answers
    as for `rule`. With no name it is offered every node.

    >>> from monograph import ops, transforms
    >>> @transforms.node_rule("transpose")
    ... def idle_transpose(node, x):
    ...     if node.attrs["permutation"] == tuple(range(x.ndim)):
    ...         return x
    """
    return lambda fn: Rule(fn, None, roots or None)


def apply(graph: Graph, passes: Iterable[Any]) -> Graph:
    """Run passes in order: rules, functions ``Graph -> Graph``, and lists of such.

    Rules next to each other run together, until none has anything left to do.

    Raises:
        GraphError: what a pass did wrong; a pass that returns no graph, or one that takes or yields
            other specs. The graph given is unchanged.

    >>> import monograph as mg
    >>> from monograph import transforms
    >>> graph = mg.trace(lambda x: -(-x), mg.Spec((3,)))
    >>> len(transforms.apply(graph, transforms.DEFAULT).nodes)
    0
    """
    for together, group in itertools.groupby(_flat(passes), lambda p: isinstance(p, Rule)):
        if together:
            graph = run_rules(graph, list(group))
            continue
        for each in group:
            out = each(graph)
            name = getattr(each, "__name__", type(each).__name__)
            if not isinstance(out, Graph):
                raise at_user_line(
                    GraphError(f"pass {name} returned {type(out).__name__}, not a graph")
                )
            for what in ("input_specs", "output_specs"):
                had, got = getattr(graph, what), getattr(out, what)
                if had != got:
                    raise at_user_line(
                        GraphError(
                            f"pass {name} changed the graph's {what} from {list(had)} to {list(got)}"
                        )
                    )
            graph = out
    return graph


def _flat(passes: Any) -> Iterable[Any]:
    if callable(passes):
        yield passes
        return
    if not isinstance(passes, Iterable) or isinstance(passes, str):
        raise at_user_line(
            GraphError(
                f"a pass is a rule, a function Graph -> Graph or a list of those, not {passes!r}"
            )
        )
    for p in passes:
        yield from _flat(p)


# a graph settles in 2 or 3 rounds; a node that is pushed through a chain of n takes n
_CYCLES_FROM, _ROUNDS = 8, 200


def run_rules(graph: Graph, rules: Sequence[Rule]) -> Graph:
    """Apply rules together, bottom-up and in nested graphs too, until none fires.

    Raises:
        GraphError: rules that keep undoing each other, by name, or that let the graph grow for ever.
    """
    by_op: dict[str, list[Rule]] = {}

    def rules_for(name: str) -> list[Rule]:
        found = by_op.get(name)
        if found is None:
            found = by_op[name] = [r for r in rules if r.roots is None or name in r.roots]
        return found

    size = sum(1 for _ in graph.walk())
    history: dict[str, int] = {}
    fired: list[list[tuple[Rule, Node]]] = []
    while True:
        now: list[tuple[Rule, Node]] = []
        new = _sweep(graph, rules_for, now, {})
        if not now:
            return graph
        graph = new
        fired.append(now)
        if len(fired) < _CYCLES_FROM:
            continue
        seen = history.setdefault(graph.fingerprint, len(fired))
        if seen < len(fired):
            raise _endless(fired[seen:], "make again what was there some rounds before")
        now_size, rounds = sum(1 for _ in graph.walk()), len(fired)
        if now_size > 10_000 + 4 * size or rounds > _ROUNDS + (now_size <= size) * size:
            raise _endless(fired[-2:], f"fire after {rounds} rounds still, on {now_size} nodes")


def _endless(rounds: list[list[tuple[Rule, Node]]], what: str) -> GraphError:
    names = list(dict.fromkeys(r.name for now in rounds for r, _ in now))
    node = rounds[-1][-1][1]
    who = f"rules {' and '.join(names)} keep undoing each other" if len(names) > 1 else (
        f"rule {names[0]} matches what it makes"
    )  # fmt: skip
    return GraphError(
        f"{node.source}: {who}: they {what}, last at {node.op.name}. Let a rule decline (return "
        f"None) what a rule has made"
    )


def _sweep(
    graph: Graph, rules_for: Callable[[str], list[Rule]], fired: list, done: dict[int, Graph]
) -> Graph:
    """One bottom-up walk, on the graph as rewritten so far; the same object where nothing fired."""

    def inner(g: Graph) -> Graph:
        if id(g) not in done:
            done[id(g)] = _sweep(g, rules_for, fired, done)
        return done[id(g)]

    def rewrite(node: Node, xs: list) -> Sequence[Value] | None:
        placed: Sequence[Value] | None = None

        def place() -> Node:  # once for all rules; where none fires it stays
            nonlocal placed
            if placed is None:
                placed = copy_node(node, xs)
            return placed[0].node if placed else node

        for r in rules_for(node.op.name):
            outs = r.rewrite(node, xs, place)
            if outs is not None:
                fired.append((r, node))
                return outs
        if any(True for _ in attr_graphs(node.attrs)):
            return copy_node(node, xs, {k: map_graphs(a, inner) for k, a in node.attrs.items()})
        return placed

    before = len(fired)
    out = rebuild(graph, rewrite)
    return out if len(fired) > before else graph

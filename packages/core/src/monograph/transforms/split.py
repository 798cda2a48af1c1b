"""A graph in parts: what each computes, where its inputs come from, and how to join them again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .. import tree
from ..cost import flops, number
from ..errors import GraphError
from ..graph import Graph, Node, Value
from ..rewrite import copy_node, simplify
from ..spec import Spec
from ..tracing import Trace, at_user_line, source_of, tracing
from .cutting import Cutting

Place = tuple[Any, int]
"""Where a value comes from: ``("input", i)`` of the whole, or ``(part, output)``."""


class Interface(NamedTuple):
    """What a caller sees of a graph; attributes as `Graph` has them."""

    name: str
    input_names: tuple[str, ...]
    input_specs: tuple[Spec, ...]
    in_tree: Any
    out_tree: Any


class Part(NamedTuple):
    """One piece of a split graph.

    Attributes:
        graph: what it computes; takes its inputs one by one and returns a tuple.
        sources: where each of its inputs comes from: ``("input", i)`` or ``(part, output)``.
    """

    graph: Graph
    sources: tuple[Place, ...]


class Split:
    """A graph in parts, each to run where one likes; made by `Graph.split`.

    Attributes:
        whole: what the parts are together: its name, inputs, and argument structure.
        parts: in an order in which they can run.
        outputs: where each output of the whole comes from.
        origins: per part the number of the piece it belongs to; its gradient has the same.
    """

    def __init__(
        self,
        whole: Interface,
        parts: Sequence[Part],
        outputs: Sequence[Place],
        origins: Sequence[int] | None = None,
        order: dict[Node, int] | None = None,
    ):
        self.whole, self.parts, self.outputs = whole, tuple(parts), tuple(outputs)
        self.origins = tuple(range(len(parts)) if origins is None else origins)
        self._order = order or {}  # a part's node -> its place in the whole

    def run(
        self, inputs: Sequence[Any], execute: Callable[[int, Part, list], Sequence[Any]]
    ) -> list:
        """Outputs for ``inputs``, with ``execute(index, part, its inputs) -> its outputs``.

        What a part hands over is dropped after its last reader.

        >>> import monograph as mg
        >>> split = mg.trace(lambda x: mg.exp(mg.sin(x)), mg.Spec(())).split([1])
        >>> run = lambda k, part, xs: part.graph.compile("numpy")(*xs)
        >>> split.run([mg.tensor(0.0)], run)[0].item()
        1.0
        """
        made: dict[Place, Any] = {("input", i): x for i, x in enumerate(inputs)}
        last = {p: k for k, part in enumerate(self.parts) for p in part.sources}
        for k, part in enumerate(self.parts):
            outs = execute(k, part, [made[p] for p in part.sources])
            made.update(((k, j), x) for j, x in enumerate(outs))
            for p in {p for p in part.sources if last[p] == k}.difference(self.outputs):
                del made[p]
        return [made[p] for p in self.outputs]

    def join(self) -> Graph:
        """The parts as one graph again: the simplified whole, unless parts were exchanged."""
        t, whole = Trace(None, self.whole.name), self.whole
        known: list[dict[Value, Value]] = [{} for _ in self.parts]
        made: dict[int | None, Sequence[Value]] = {}

        def value(k: int, v: Value) -> Value:
            """A value of part ``k`` in the joined graph."""
            if v not in known[k]:  # an input of the part: what it stands for
                where, i = origin[k][v]
                known[k][v] = (
                    inputs[i]
                    if where == "input"
                    else value(where, self.parts[where].graph.outputs[i])
                )
            return known[k][v]

        origin = [dict(zip(part.graph.inputs, part.sources)) for part in self.parts]
        with tracing(t):
            inputs = [t.add_input(*i) for i in zip(whole.input_specs, whole.input_names)]
            for k, node in self._nodes():
                place = self._order.get(node)
                if place is None or place not in made:  # else a part's copy of a constant
                    with source_of(node):
                        made[place] = copy_node(node, [value(k, v) for v in node.inputs])
                known[k].update(zip(node.outputs, made[place]))
            outputs = [
                inputs[i] if k == "input" else value(k, self.parts[k].graph.outputs[i])
                for k, i in self.outputs
            ]
        t.open = False
        return simplify(Graph(inputs, outputs, whole.in_tree, whole.out_tree, whole.name))

    def _nodes(self) -> Iterable[tuple[int, Node]]:
        """Every part's nodes in the order of the whole; part after part where that is not known."""
        nodes = [(k, n) for k, part in enumerate(self.parts) for n in part.graph.nodes]
        if all(n in self._order for _, n in nodes):
            nodes.sort(key=lambda pair: self._order[pair[1]])
        return nodes

    def with_part(self, index: int, graph: Graph) -> Split:
        """The same split with another graph for one part, such as a rewritten one.

        Raises:
            GraphError: it takes or returns other shapes or dtypes.
        """
        old = self.parts[index]
        for what in ("input_specs", "output_specs"):
            got, want = getattr(graph, what), getattr(old.graph, what)
            if got != want:
                raise at_user_line(
                    GraphError(f"part {index} must have {what} {list(want)}, not {list(got)}")
                )
        parts = list(self.parts)
        parts[index] = Part(graph, old.sources)
        return Split(self.whole, parts, self.outputs, self.origins, self._order)

    def value_and_grad(self, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Split:
        """The parts and their gradients; see `monograph.transforms.gradients.value_and_grad`."""
        from .gradients import value_and_grad

        return value_and_grad(self, argnums, has_aux)

    def handed_over(self, index: int) -> list[Value]:
        """The values of a part that later parts read."""
        read = {p for part in self.parts for p in part.sources if p[0] == index}
        outputs = self.parts[index].graph.outputs
        return [outputs[i] for _, i in sorted(read)]

    def __str__(self) -> str:
        costs = [flops(part.graph) for part in self.parts]
        lines = [f"{self.whole.name} in {len(self.parts)} parts"]
        for k, (part, cost) in enumerate(zip(self.parts, costs)):
            own = sum(1 for where, _ in part.sources if where == "input")
            reads = [f"{own} inputs"] if own else []
            reads += [f"part {where} [{i}]" for where, i in part.sources if where != "input"]
            given = self.handed_over(k)
            size = number(sum(v.spec.nbytes for v in given))
            over = f"; hands over {', '.join(map(repr, (v.spec for v in given)))}: {size}B"
            lines.append(
                f"  part {k}: {len(part.graph.nodes)} nodes, {number(cost)}FLOP "
                f"({cost / max(sum(costs), 1):.0%}); reads {', '.join(reads) or 'nothing'}"
                f"{over if given else ''}"
            )
        return "\n".join(lines)

    def __repr__(self) -> str:
        sizes = ", ".join(str(len(part.graph.nodes)) for part in self.parts)
        return f"Split({self.whole.name}: parts of {sizes} nodes)"


def split(graph: Graph, cuts: Sequence[Any]) -> Split:
    """Take a graph apart at ``cuts``, in the order of computation.

    Args:
        graph: what to split; it stays as it is.
        cuts: each a `Value` handed over there, a sequence of Values and Nodes, or a position in
            ``graph.nodes`` (then whatever crosses it is handed over). Every part may read the
            graph's inputs, and what is computed from constants alone, of which it gets a copy.

    Returns:
        One part more than there are cuts.

    Raises:
        GraphError: what is no cut: a part reads a value made in an earlier one that no cut between
            them hands over; cuts out of order; a value of another graph; a position out of range;
            a part without operations. All problems at once, with the values' lines.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x: mg.exp(mg.sin(x)) + 1.0, mg.Spec((2,)))
    >>> parts = g.split([g.nodes[0]])
    >>> print(parts)
    main in 2 parts
      part 0: 1 nodes, 2 FLOP (33%); reads 1 inputs; hands over float32[2]: 8 B
      part 1: 4 nodes, 4 FLOP (67%); reads part 0 [0]
    >>> parts.join() == g
    True
    """
    cutting = Cutting(graph, cuts)
    problems = cutting.problems()
    if problems:
        listed = "\n".join(f"  {p}" for p in problems)
        raise at_user_line(
            GraphError(
                f"graph {graph.name!r} cannot be split so; {len(problems)} problem(s):\n{listed}"
            )
        )
    return _parts(graph, cutting)


def _parts(graph: Graph, cutting: Cutting) -> Split:
    outs = cutting.results()
    places: dict[Value, Place] = {v: ("input", i) for i, v in enumerate(graph.inputs)}
    places.update((v, (k, i)) for k, vs in enumerate(outs) for i, v in enumerate(vs))
    order: dict[Node, int] = {}
    position = {n: i for i, n in enumerate(graph.nodes)}
    parts = []
    for k, results in enumerate(outs):
        nodes = cutting.nodes(k)
        made = {v for n in nodes for v in n.outputs}
        read = [v for n in nodes for v in n.inputs if v not in made]
        outside = list(dict.fromkeys([*read, *(v for v in results if v not in made)]))
        t = Trace(None, f"{graph.name}_part{k}")
        with tracing(t):
            env = {v: t.add_input(v.spec, _name(v, places[v])) for v in outside}
            for n in nodes:
                with source_of(n):
                    copies = copy_node(n, [env[v] for v in n.inputs])
                env.update(zip(n.outputs, copies))
                order[copies[0].node] = position[n]
        t.open = False
        inputs = [env[v] for v in outside]
        in_tree = tree.flatten_call((0,) * len(inputs), {})[1]
        out_tree = tree.flatten((0,) * len(results))[1]
        made_graph = Graph(inputs, [env[v] for v in results], in_tree, out_tree, t.name)
        parts.append(Part(made_graph, tuple(places[v] for v in outside)))
    whole = Interface(
        graph.name, graph.input_names, graph.input_specs, graph.in_tree, graph.out_tree
    )
    return Split(whole, parts, [places[v] for v in graph.outputs], order=order)


def _name(v: Value, place: Place) -> str:
    return v.node.attrs["name"] if place[0] == "input" else f"part{place[0]}[{place[1]}]"

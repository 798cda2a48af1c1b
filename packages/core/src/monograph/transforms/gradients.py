"""The gradient of a split graph, in parts: each part's pullback, in reverse.

A pullback computes its part again from what was handed to it (rematerialisation per part, as in
GPipe: Huang et al. 2019), so nothing but the hand-overs is kept between forward and backward. The
last part's forward and pullback are one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import tree
from ..autodiff import dependents, pullback
from ..errors import ArgumentError, DTypeError
from ..graph import Graph, Value
from ..ops._build import added, full
from ..rewrite import simplify
from ..tracing import Trace, apply, at_user_line, tracing
from .split import Interface, Part, Place, Split


def value_and_grad(split: Split, argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Split:
    """A split that computes ``(value, gradient)``, as `mg.value_and_grad` does of a function.

    Args:
        split: returns a real scalar; with ``has_aux`` a tuple that begins with one.
        argnums: positional argument(s) to differentiate, or flat inputs where the graph's arguments
            have no structure. An int gives the gradient in the argument's structure, several a
            tuple of those.

    Returns:
        All parts but the last, then one per part in reverse; ``origins`` says whose.

    Raises:
        ArgumentError, DTypeError: no real scalar, no such argument, an argument that is no float.
        NotDifferentiable: the path goes through an op without a gradient.
    """
    value = _value_tree(split, has_aux)
    wanted, grads = _chosen(split.whole, argnums)
    gradient = _Gradient(split, wanted)
    whole = split.whole
    interface = whole._replace(out_tree=(tuple, None, (value, grads)))
    outputs = [*split.outputs, *gradient.results()]
    return Split(interface, gradient.parts, outputs, gradient.origins)


class _Gradient:
    """The walk over the parts in reverse."""

    def __init__(self, split: Split, wanted: Sequence[int]):
        self.split, self.wanted = split, wanted
        n = len(split.parts)
        self.parts, self.origins = list(split.parts[:-1]), list(range(n - 1))
        self.cotangents: dict[Place, Place] = {}  # of a place, what holds its cotangent so far
        self.depends = self._depends()
        for k in reversed(range(n)):
            self._pull(k, last=k == n - 1)

    def _depends(self) -> set[Place]:
        """Places through which the gradient flows."""
        out: set[Place] = {("input", i) for i in self.wanted}
        for k, part in enumerate(self.split.parts):
            starts = [v for v, p in zip(part.graph.inputs, part.sources) if p in out]
            reached = dependents(part.graph.nodes, starts)
            out.update((k, j) for j, v in enumerate(part.graph.outputs) if v in reached)
        return out

    def _pull(self, k: int, last: bool) -> None:
        """The pullback of part ``k`` as a part, behind those there are."""
        part = self.split.parts[k]
        places = [(k, j) for j in range(len(part.graph.outputs))]
        value = self.split.outputs[0]
        if not last and value not in places and self.cotangents.keys().isdisjoint(places):
            return
        t = Trace(None, f"{part.graph.name}_vjp")
        sources: list[Place] = []

        def take(place: Place, like: Value, name: str) -> Value:
            sources.append(place)
            return t.add_input(like.spec, name)

        def flow(place: Place, v: Value) -> Value | None:
            """What flows into an output: from later parts, and into the value itself."""
            found = self.cotangents.get(place)
            return added(
                None if found is None else take(found, v, "cotangent"),
                full(1, v.spec) if place == value else None,
            )

        with tracing(t):
            known = {
                v: take(p, v, v.node.attrs["name"]) for v, p in zip(part.graph.inputs, part.sources)
            }
            for node in part.graph.nodes:
                known.update(zip(node.outputs, apply(node, [known[v] for v in node.inputs])))
            gs = [flow(p, v) for p, v in zip(places, part.graph.outputs)]
            results = [known[v] for v in part.graph.outputs] if last else []
            pulled = {v: p for v, p in zip(part.graph.inputs, part.sources) if p in self.depends}
            for (v, p), g in zip(pulled.items(), pullback(part.graph, known, gs, [*pulled])):
                if g is None:
                    continue
                if p in self.cotangents:  # of a later part that reads the same
                    g = added(take(self.cotangents[p], v, "cotangent"), g)
                self.cotangents[p] = (len(self.parts), len(results))
                results.append(g)
        t.open = False
        if results:
            self._add(k, simplify(Graph(t.inputs, results, name=t.name)), sources)

    def _add(self, k: int, graph: Graph, sources: Sequence[Place]) -> None:
        read = {v for n in graph.nodes for v in n.inputs} | set(graph.outputs)
        kept = [(v, p) for v, p in zip(graph.inputs, sources) if v in read]
        inputs = [v for v, _ in kept]
        in_tree = tree.flatten_call((0,) * len(inputs), {})[1]
        out_tree = tree.flatten((0,) * len(graph.outputs))[1]
        made = Graph(inputs, graph.outputs, in_tree, out_tree, graph.name)
        self.parts.append(Part(made, tuple(p for _, p in kept)))
        self.origins.append(k)

    def results(self) -> list[Place]:
        """Where the gradients are; those through which nothing flows are made in one more part."""
        specs = self.split.whole.input_specs
        zero = [i for i in self.wanted if ("input", i) not in self.cotangents]
        if zero:
            t = Trace(None, "zeros")
            with tracing(t):
                value = self.split.outputs[0]
                made = [full(int(value == ("input", i)), specs[i]) for i in zero]
            t.open = False
            self.cotangents.update((("input", i), (len(self.parts), j)) for j, i in enumerate(zero))
            self._add(0, Graph((), made, name="zeros"), ())
        return [self.cotangents["input", i] for i in self.wanted]


def _value_tree(split: Split, has_aux: bool) -> Any:
    """The structure of the value, once it is sure that it is a real scalar."""
    where, i = split.outputs[0]
    specs = split.whole.input_specs if where == "input" else split.parts[where].graph.output_specs
    found, out_tree = specs[i], split.whole.out_tree
    if out_tree is tree.LEAF and len(split.outputs) > 1:  # a graph without structure
        out_tree = (tuple, None, (tree.LEAF,) * len(split.outputs))
    scalar_first = (
        out_tree is not tree.LEAF and out_tree[0] is tuple and out_tree[2][:1] == (tree.LEAF,)
        if has_aux
        else out_tree is tree.LEAF
    )  # fmt: skip
    if not scalar_first or found.shape or not found.dtype.is_float:
        raise at_user_line(
            ArgumentError(
                f"the gradient of {split.whole.name} needs a real scalar"
                f"{' and more in a tuple' if has_aux else ''}, but it returns "
                f"{tree.describe(out_tree)} beginning with {found}"
                f"{'' if has_aux else '; has_aux=True takes (scalar, more)'}"
            )
        )
    return out_tree


def _chosen(whole: Interface, argnums: int | Sequence[int]) -> tuple[list[int], Any]:
    """The flat inputs meant by ``argnums``, and the structure of their gradients."""
    nums = [argnums] if isinstance(argnums, int) else list(argnums)
    if whole.in_tree is None:
        trees = (tree.LEAF,) * len(whole.input_specs)
    else:
        trees = whole.in_tree[2][0][2]
    starts, total = [], 0
    for t in trees:
        starts.append(total)
        total += tree.count(t)
    bad = [i for i in nums if not -len(trees) <= i < len(trees)]
    if bad:
        raise at_user_line(
            ArgumentError(f"argnums={bad[0]}, but {whole.name} has {len(trees)} argument(s)")
        )
    nums = [i % len(trees) for i in nums]
    wanted = [starts[i] + j for i in nums for j in range(tree.count(trees[i]))]
    for i in wanted:
        if not whole.input_specs[i].dtype.is_inexact:
            raise at_user_line(
                DTypeError(
                    f"grad of {whole.name}: input {whole.input_names[i]!r} is {whole.input_specs[i]}; "
                    f"gradients exist for floating-point and complex arrays only"
                )
            )
    picked = tuple(trees[i] for i in nums)
    return wanted, picked[0] if isinstance(argnums, int) else (tuple, None, picked)

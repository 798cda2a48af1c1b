"""Which operation made the first NaN or infinity: judged by what a walk met, into loops and bodies.

To blame is the first node, on the way back from a bad result through values that are not finite
either, whose own operands are finite. Where masks and constants are all there is, it is the first
that made a NaN without being given one. What was handed in already bad is named as such.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .. import ops
from ..cost import FREE
from ..engine import Buffer
from ..graph import Graph, Node, Value
from ..op import parameter
from .flags import GIVEN, watched
from .inside import Place, each_turn
from .statistics import NAN, POSITIVE
from .walk import CONTROL, Trail, runs_points, walk


@dataclass(frozen=True)
class Finding:
    """What is to blame.

    Attributes:
        node: the operation; None where something handed in is.
        given: the input that was bad already.
        trail: of the graph the node is in.
        operands, results: the node's, on the engine.
        places: the graphs around it, outermost first.
        inner: names of operations inside a composite, down to the primitive.
        point: a `check_finite` that found it, where no result did.
    """

    trail: Trail
    node: Node | None = None
    given: Value | None = None
    operands: Sequence[Buffer] = ()
    results: Sequence[Buffer] = ()
    places: tuple[Place, ...] = ()
    inner: tuple[str, ...] = ()
    point: str = ""

    def within(self, place: Place) -> Finding:
        """The same, seen from the graph around."""
        return replace(self, places=(place, *self.places))


def judge(trail: Trail, strict: bool = False) -> Finding | None:
    """What is to blame for bad results; None where only masks and constants are.

    Args:
        strict: only what made something of finite numbers.
    """
    graph = trail.graph
    bad = [graph.outputs[i] for i in watched(graph) if trail.kinds.get(graph.outputs[i])]
    points = [n for n in graph.nodes if n.op is ops.check_finite and trail.has(n.inputs)]
    path = _back([*bad, *(n.inputs[0] for n in points)], trail)
    found = _first_on(path, trail, strict) or _inside_points(trail, strict)
    if found is None and points and not strict:
        found = _found(points[0], trail)
    if found is not None and points and not bad and not found.point:
        found = replace(found, point=points[0].attrs["name"])
    return found


def first_arithmetic(bad: Sequence[Value], trail: Trail) -> Finding | None:
    """The first on the way to bad values that reckons, where none made them of finite numbers.

    Selecting, moving and comparing hands infinities on that were meant; a product with an infinite
    learning rate does not.
    """
    for node in _back(bad, trail):
        if node.op is not parameter and node.op.name not in _HANDS_ON:
            xs, outs = trail.values(node)
            return Finding(trail, node, operands=xs, results=outs)
    return None


_HANDS_ON = FREE | {
    "clamp", "cummax", "cummin", "maximum", "minimum", "negate", "reduce_max", "reduce_min",
}  # fmt: skip


def _back(bad: Sequence[Value], trail: Trail) -> list[Node]:
    """Nodes on the way back from bad values through bad values, oldest first; inputs among them."""
    seen: set[Node] = set()
    todo = list(bad)
    while todo:
        node = todo.pop().node
        if node not in seen and (node.op not in GIVEN or node.op is parameter):
            seen.add(node)
            todo.extend(v for v in node.inputs if trail.kinds.get(v))
    return sorted(seen, key=lambda n: n.id)


def _first_on(path: list[Node], trail: Trail, strict: bool) -> Finding | None:
    given = [n.outputs[0] for n in path if n.op is parameter]
    path = [n for n in path if n.op is not parameter]
    if not strict:
        for v in given:
            if trail.kinds.get(v, 0) & NAN:
                return Finding(trail, given=v)
    made = [n for n in path if not trail.has(n.inputs)]
    nan = any(trail.has(n.outputs, NAN) for n in made)
    for node in path:
        if node in made:
            # -inf alone may be a mask that somebody computed: a NaN made of finite numbers is none
            if trail.has(node.outputs, NAN | POSITIVE) or not nan:
                return _found(node, trail)
        elif node.op in CONTROL and not trail.has(node.inputs, NAN):
            inner = _descend(node, trail, strict=True)
            if inner is not None:
                return inner
    if strict:
        return None
    for node in path:
        if trail.has(node.outputs, NAN) and not trail.has(node.inputs, NAN):
            operands = [v for v in node.inputs if trail.kinds.get(v)]
            for n in _back(operands, trail):  # an infinite input is the cause, not its reader
                if n.op is parameter and trail.kinds[n.outputs[0]] & POSITIVE:
                    return Finding(trail, given=n.outputs[0])
            return _found(node, trail)
    for v in given:
        if trail.kinds.get(v, 0) & POSITIVE:
            return Finding(trail, given=v)
    return None


def _inside_points(trail: Trail, strict: bool) -> Finding | None:
    """What a `check_finite` in a loop or branch found that no result shows."""
    for node in trail.graph.nodes:
        if runs_points(node):
            found = _descend(node, trail, strict)
            if found is not None:
                return found
    return None


def _found(node: Node, trail: Trail) -> Finding:
    inner = _descend(node, trail, strict=False)
    if inner is not None and node.op in CONTROL:
        return inner
    xs, outs = trail.values(node)
    names = () if inner is None or inner.node is None else (inner.node.op.name, *inner.inner)
    return Finding(trail, node, operands=xs, results=outs, inner=names)


# ---- into graphs


def _descend(node: Node, trail: Trail, strict: bool) -> Finding | None:
    """What is to blame inside a node, if it has an inside."""
    device = trail.device

    def look(
        place: Place | None, graph: Graph, xs: Sequence[Buffer]
    ) -> tuple[Finding | None, Sequence[Buffer]]:
        inner = walk(graph, xs, device)
        found = judge(inner, strict)
        if found is None or found.node is None:
            return None, inner.outputs
        return found.within(place) if place else found, inner.outputs

    if node.op in CONTROL:
        return each_turn(node, trail.values(node)[0], device, look)
    if not node.op.is_composite:
        return None
    body = node.op.body_graph([v.spec for v in node.inputs], node.attrs)
    return look(None, body, trail.values(node)[0])[0]

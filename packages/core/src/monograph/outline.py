"""A graph's nodes as a tree: by the layers' scope paths, with nested graphs below their nodes.

What the pictures of a graph (`monograph.html`, `monograph.dot`) have in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .cost import flops, moved_bytes, number
from .graph import Graph, Node


class Group:
    """Nodes recorded in one scope, and the groups below it.

    Attributes:
        name: the last part of the scope's path; empty at the root.
        items: nodes and groups, in the order of the graph.
    """

    def __init__(self, name: str = ""):
        self.name = name
        self.items: list[Node | Group] = []

    def nodes(self) -> Iterator[Node]:
        """Every node in the group and the groups below."""
        for item in self.items:
            if isinstance(item, Group):
                yield from item.nodes()
            else:
                yield item


def scope_of(node: Node) -> tuple[str, ...]:
    """The scope path in parts; what gradient rules recorded is below ``backward``."""
    source = node.source
    if source is None:
        return ()
    parts = tuple(p for p in source.scope.split("/") if p)
    return ("backward", *parts) if source.backward else parts


def _paths(graph: Graph) -> list[tuple[str, ...]]:
    """A path per node; one between two layers of a block, such as a relu, counts to the block."""
    plain = [scope_of(n) for n in graph.nodes]
    after: list[tuple[str, ...]] = []
    following: tuple[str, ...] = ()
    for path in reversed(plain):
        after.append(following)
        following = path or following
    out: list[tuple[str, ...]] = []
    before: tuple[str, ...] = ()
    for path, behind in zip(plain, reversed(after)):
        between = _common(before, behind)
        out.append(between if between[: len(path)] == path else path)
        before = path or before
    return out


def _common(a: tuple[str, ...], b: tuple[str, ...]) -> tuple[str, ...]:
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return a[:n]


def outline(graph: Graph) -> Group:
    """The nodes of a graph in groups by scope: runs of neighbours, so that the order stays.

    >>> import monograph as mg
    >>> [type(i).__name__ for i in outline(mg.trace(lambda x: x + x, mg.Spec(()))).items]
    ['Node']
    """
    root = Group()
    opened = [root]
    for node, path in zip(graph.nodes, _paths(graph)):
        depth = len(_common(tuple(g.name for g in opened[1:]), path))
        del opened[depth + 1 :]
        for i in range(depth, len(path)):
            group = Group(path[i])
            opened[-1].items.append(group)
            opened.append(group)
        opened[-1].items.append(node)
    return root


class Shares:
    """The part of a graph's cost that its nodes have: by FLOPs, or by bytes where there are none."""

    def __init__(self, graph: Graph):
        self.measure = flops if flops(graph) else moved_bytes
        self.total = max(sum(map(self.measure, graph.nodes)), 1)

    def of(self, *nodes: Node) -> float:
        """Between 0 and 1."""
        return sum(map(self.measure, nodes)) / self.total

    def text(self, *nodes: Node) -> str:
        """Such as ``1.2 M (34%)``; empty for what costs nothing."""
        cost = sum(map(self.measure, nodes))
        unit = "FLOP" if self.measure is flops else "B"
        return f"{number(cost)}{unit} ({cost / self.total:.0%})" if cost else ""


def heat(share: float) -> str:
    """A background colour: white for nothing, through yellow to red for all of the cost."""
    x = min(max(share, 0.0), 1.0) ** 0.5
    green, blue = int(250 - 130 * x), int(245 - 175 * x)
    return f"#ff{green:02x}{blue:02x}" if share > 0 else "#ffffff"


def attributes(node: Node, limit: int = 60) -> str:
    """Attributes in short, without nested graphs and defaults: ``axes=(0,), keepdims=True``."""
    shown: list[str] = []
    for key, a in node.attrs.items():
        nested = isinstance(a, Graph) or (isinstance(a, tuple) and a and isinstance(a[0], Graph))
        if not nested and a != node.op.defaults[key]:
            shown.append(f"{key}={_short(a)}")
    text = ", ".join(shown)
    return text if len(text) <= limit else text[: limit - 1] + "\u2026"


def _short(a: Any) -> str:
    return getattr(a, "__qualname__", None) or str(a)

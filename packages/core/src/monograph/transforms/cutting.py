"""Which node goes into which part of a split graph, and what makes cuts no cuts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..errors import GraphError
from ..graph import Graph, Node, Value, ancestors
from ..tracing import at_user_line
from .edit import described, members, values_of


class Cutting:
    """Cuts as applied to a graph.

    A part holds what its cut's values need and no earlier part has. What no cut's values need goes
    into the last part, unless it reads what is handed to nobody and only leads to outputs of the
    graph: then it is computed where that is made (the running statistics of a batch norm, say).

    Attributes:
        still: nodes computed from constants alone; every part that reads one has a copy (not of
            barriers, which must not be doubled).
        part_of: the part of every other node.
    """

    def __init__(self, graph: Graph, cuts: Sequence[Any]):
        if isinstance(cuts, (Value, Node)) or not isinstance(cuts, Iterable):
            raise at_user_line(
                GraphError(
                    f"cuts are a sequence with one entry per cut (a Value, a sequence of those, or a "
                    f"position in graph.nodes), not {cuts!r}; put it in a list"
                )
            )
        # NumPy's integers are positions too
        cuts = [int(cut) if isinstance(cut, np.integer) else cut for cut in cuts]
        self.graph, self.known = graph, members(graph)
        self.given = set(graph.inputs)
        self.still: set[Node] = set()
        for node in graph.nodes:
            if node.op.shareable and all(v.node in self.still for v in node.inputs):
                self.still.add(node)
        self.part_of: dict[Node, int] = {}
        self.handed: dict[Value, list[int]] = {}  # value -> the cuts that hand it over, in order
        self.bad = [p for k, cut in enumerate(cuts) for p in self._misfits(k, cut)]
        self.parts = len(cuts) + 1
        if not self.bad:
            for k, cut in enumerate(cuts):
                self._cut(k, cut)
            for node in graph.nodes:
                if node not in self.still:
                    self.part_of.setdefault(node, len(cuts))

    def _computed(self, v: Value) -> bool:
        return v not in self.given and v.node not in self.still

    def _misfits(self, k: int, cut: Any) -> list[str]:
        """What is wrong with a cut by itself."""
        n = len(self.graph.nodes)
        if isinstance(cut, int):
            if isinstance(cut, bool) or not 0 < cut < n:
                return [f"cut {k}: position {cut!r} is not in 1 .. {n - 1} of {n} nodes"]
            return []
        values = values_of(cut)
        lost = [v for v in values if v not in self.known]
        if lost:
            return [f"cut {k}: {described(v)} is no value of this graph" for v in lost]
        if not any(self._computed(v) for v in values):
            return [
                f"cut {k} hands over nothing that is computed; inputs and constants are read by "
                f"every part anyway"
            ]
        return []

    def _cut(self, k: int, cut: Any) -> None:
        nodes = self.graph.nodes
        if isinstance(cut, int):
            self._take(k, nodes[:cut])
            crossing = [v for n in nodes[cut:] for v in n.inputs if v.node in self.part_of]
            self._hand(k, crossing)
            return
        values = [v for v in values_of(cut) if self._computed(v)]
        self._take(k, ancestors(values))
        self._hand(k, values)
        self._bring(k, set(values))

    def _take(self, k: int, nodes: Sequence[Node]) -> None:
        for node in nodes:
            if node.op.name != "parameter" and node not in self.still:
                self.part_of.setdefault(node, k)

    def _hand(self, k: int, values: Sequence[Value]) -> None:
        for v in dict.fromkeys(values):
            self.handed.setdefault(v, []).append(k)

    def _bring(self, k: int, handed: set[Value]) -> None:
        """Take what reads a value that is handed to nobody, when nothing handed over meets it."""
        free = [n for n in self.graph.nodes if n not in self.part_of and n not in self.still]
        later: set[Node] = set()
        for node in free:
            if any(v in handed or v.node in later for v in node.inputs):
                later.add(node)
        feeding = set(ancestors([v for n in later for v in n.outputs]))
        for node in free:
            if node not in feeding and any(
                v.node in self.part_of and v not in self.handed for v in node.inputs
            ):
                self._take(k, ancestors(node.outputs))

    # ---- what is asked of it

    def problems(self) -> list[str]:
        """Every reason why these are no cuts; empty when they are."""
        if self.bad:
            return self.bad
        filled = set(self.part_of.values())
        out = [
            f"part {k} would have no operations: cut {min(k, self.parts - 2)} comes too early or too "
            f"late; cuts go in the order of computation"
            for k in range(self.parts)
            if k not in filled
        ]
        seen: set[Value] = set()
        for node in self.graph.nodes:
            for v in node.inputs:
                if node in self.part_of and v not in seen and self._unhanded(v, node):
                    seen.add(v)
                    out.append(
                        f"part {self.part_of[node]} reads {described(v)}, made in part "
                        f"{self.part_of[v.node]}, and no cut between them hands it over (read by "
                        f"{node.op.name} at {node.source})"
                    )
        return out

    def _unhanded(self, v: Value, reader: Node) -> bool:
        if not self._computed(v):
            return False
        made, read = self.part_of[v.node], self.part_of[reader]
        return made != read and not any(made <= k < read for k in self.handed.get(v, ()))

    def nodes(self, k: int) -> list[Node]:
        """A part's nodes in the graph's order, copies of constants included."""
        own = [n for n in self.graph.nodes if self.part_of.get(n) == k]
        read = [v for n in own for v in n.inputs] + self.results()[k]
        needed = self.still.intersection(ancestors([v for v in read if v.node in self.still]))
        return [n for n in self.graph.nodes if n in needed or self.part_of.get(n) == k]

    def results(self) -> list[list[Value]]:
        """Per part what it yields: what cuts hand over, then outputs of the graph."""
        out: list[dict[Value, None]] = [{} for _ in range(self.parts)]
        for v in self.handed:
            out[self.part_of[v.node]].setdefault(v)
        for v in self.graph.outputs:
            if v not in self.given:  # what is constant is computed last
                out[self.part_of.get(v.node, self.parts - 1)].setdefault(v)
        return [list(vs) for vs in out]

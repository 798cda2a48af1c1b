"""Batches for training on many graphs: a few sizes to pad to, and the function that makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .batches import GraphBatch, batch, filled, take_graphs, unpadded

_EPOCHS, _SEEN = 8, 256
"""How many epochs, and at most batches, are drawn to see how large batches get."""


class Size(NamedTuple):
    """What a padded batch has room for."""

    nodes: int
    edges: int
    graphs: int


@dataclass(frozen=True)
class Waste:
    """How much of batches is padding, for some epochs drawn at random.

    Attributes:
        batches: by size, how many batches got it: as many compilations as there are sizes used.
        nodes, edges, graphs: the part of all that is padding, from 0 to 1.
    """

    batches: dict[Size, int]
    nodes: float
    edges: float
    graphs: float

    def __str__(self) -> str:
        used = "\n".join(
            f"  {n} batches of {s.nodes} nodes, {s.edges} edges, {s.graphs} graphs"
            for s, n in self.batches.items()
        )
        return f"padding: {self.nodes:.1%} of nodes, {self.edges:.1%} of edges, {self.graphs:.1%} of graphs\n{used}"


class Buckets:
    """The few sizes that batches are padded to, so that a step is compiled a few times only.

    Raises:
        ArgumentError: no sizes, or negative ones.

    >>> buckets = Buckets([Size(64, 128, 8), Size(128, 256, 8)])
    >>> buckets.fit(nodes=60, edges=130, graphs=8)
    Size(nodes=128, edges=256, graphs=8)
    """

    def __init__(self, sizes: Sequence[Size]):
        self.sizes = sorted({Size(*map(int, s)) for s in sizes}, key=lambda s: (s.graphs, *s))
        if not self.sizes or any(n < 0 for s in self.sizes for n in s):
            raise at_user_line(
                ArgumentError(f"buckets are sizes (nodes, edges, graphs), got {self.sizes}")
            )

    @classmethod
    def of(
        cls, graphs: GraphBatch | Sequence[GraphBatch], batch_size: int, *, most: int = 4, multiple: int = 8
    ) -> Buckets:  # fmt: skip
        """Sizes for random batches of these graphs: the ones that leave the least padding.

        Some epochs are drawn to see how large batches get. One size is for the smaller batch at an
        epoch's end, with as many graphs as that has, so that no graph is padding. The last one has room
        for the largest graphs all in one batch, and will hardly ever be used, or compiled.

        Args:
            graphs: all that are trained on.
            batch_size: how many are in one batch.
            most: how many sizes there are at most.
            multiple: what numbers of nodes and edges are rounded up to.

        Raises:
            ArgumentError: no graphs, or numbers below 1.

        >>> from monograph_gnn import graph
        >>> graphs = [graph(None, [0] * n, [0] * n, num_nodes=n) for n in range(1, 21)]
        >>> Buckets.of(graphs, 5, most=2).sizes
        [Size(nodes=72, edges=72, graphs=5), Size(nodes=96, edges=96, graphs=5)]
        """
        counts = _counts(graphs)
        asked = {
            "graphs": len(counts),
            "batch_size": batch_size,
            "most": most,
            "multiple": multiple,
        }
        if low := [f"{k}={n}" for k, n in asked.items() if n < 1]:
            raise at_user_line(ArgumentError(f"{', '.join(low)}: at least 1 is needed"))
        rounded = lambda x: -(-np.maximum(x, 1) // multiple) * multiple  # noqa: E731
        size = min(batch_size, len(counts))
        most_of = lambda n: [*rounded(np.sort(counts, axis=0)[-n:].sum(axis=0)), n]  # noqa: E731
        found = [most_of(size)]
        if (rest := len(counts) % size) and most > len(found):
            found.append(most_of(rest))
        if most > len(found):
            seen = [_drawn(counts, size, epoch)[: len(counts) // size] for epoch in range(_EPOCHS)]
            cuts = _least_padding(rounded(np.concatenate(seen))[:_SEEN], most - len(found))
            found += [[*cut, size] for cut in cuts]
        return cls([Size(*s) for s in found])

    def fit(self, nodes: int, edges: int, graphs: int) -> Size:
        """The size with room for so much that leaves the fewest graphs empty, then the least padding.

        Raises:
            ArgumentError: none has it.
        """
        need = (nodes, edges, graphs)
        fits = [size for size in self.sizes if all(a <= b for a, b in zip(need, size))]
        if fits:
            return min(fits, key=lambda size: (size.graphs, size.nodes + size.edges))
        raise at_user_line(
            ArgumentError(
                f"{nodes} nodes, {edges} edges and {graphs} graphs are more than the largest bucket has "
                f"room for, {self.sizes[-1]}. Take fewer graphs to a batch, or buckets made for them: "
                f"Buckets.of(graphs, batch_size)"
            )
        )

    def waste(
        self, graphs: GraphBatch | Sequence[GraphBatch], batch_size: int, *, epochs: int = 1, seed: int = 0
    ) -> Waste:  # fmt: skip
        """How much of random batches of these graphs is padding.

        >>> from monograph_gnn import graph
        >>> graphs = [graph(None, [0], [0], num_nodes=n) for n in range(1, 21)]
        >>> print(Buckets.of(graphs, 5).waste(graphs, 5))
        padding: 9.5% of nodes, 37.5% of edges, 0.0% of graphs
          1 batches of 48 nodes, 8 edges, 5 graphs
          2 batches of 56 nodes, 8 edges, 5 graphs
          1 batches of 72 nodes, 8 edges, 5 graphs
        """
        counts = _counts(graphs)
        used: dict[Size, int] = {}
        for epoch in range(epochs):
            drawn = _drawn(counts, batch_size, (seed, epoch))
            heads = np.minimum(batch_size, len(counts) - np.arange(len(drawn)) * batch_size)
            for (nodes, edges), n in zip(drawn.tolist(), heads.tolist()):
                size = self.fit(nodes, edges, n)
                used[size] = used.get(size, 0) + 1
        room = np.sum([np.multiply(s, n) for s, n in used.items()], axis=0)
        real = np.asarray([*counts.sum(axis=0), len(counts)]) * epochs
        return Waste({s: used[s] for s in self.sizes if s in used}, *(1 - real / room).tolist())

    def __repr__(self) -> str:
        return f"Buckets({self.sizes})"


def _counts(graphs: GraphBatch | Sequence[GraphBatch]) -> np.ndarray:
    """``[graphs, 2]``: nodes and edges of each."""
    parts = [unpadded(g) for g in ([graphs] if isinstance(graphs, GraphBatch) else graphs)]
    made = [
        np.stack([np.diff(g.graph_offsets), np.diff(g.index.offsets[g.graph_offsets])], axis=1)
        for g in parts
    ]
    return np.concatenate([*made, np.zeros((0, 2), "int64")]).astype("int64")


def _drawn(counts: np.ndarray, batch_size: int, seed: Any) -> np.ndarray:
    """``[batches, 2]``: nodes and edges of an epoch's batches, the smaller last one too."""
    order = np.random.default_rng(seed).permutation(len(counts))
    return np.add.reduceat(counts[order], np.arange(0, len(counts), batch_size), axis=0)


def _least_padding(seen: np.ndarray, most: int) -> list[np.ndarray]:
    """At most ``most`` sizes with room for all that was seen, and the least padding for it.

    What was seen is ordered by size and cut into ranges, each of which gets a size: the best cuts, found
    from the front to the back.
    """
    seen = seen[np.argsort(seen.sum(axis=1), kind="stable")]
    tops = np.maximum.accumulate(seen, axis=0)  # a size is never below the one before it
    n, room = len(seen), tops.sum(axis=1)
    cost, cuts = np.full(n + 1, np.inf), []
    cost[0] = 0
    for _ in range(most):
        # the last range reaches from i up to j; ways[i, j - 1] is what all ranges up to j take
        ways = cost[:-1, None] + (np.arange(1, n + 1) - np.arange(n)[:, None]) * room
        ways[np.tril_indices(n, -1)] = np.inf
        cuts.append(ways.argmin(axis=0))
        cost = np.concatenate([[0.0], ways.min(axis=0)])
    out, end = [], n
    for cut in reversed(cuts):
        if end:
            out.append(tops[end - 1])
            end = int(cut[end - 1])
    return out[::-1]


class GraphLoader:
    """Makes padded batches of graphs by their numbers: what the samples of a dataset are mapped by.

    ``Dataset.from_arrays(np.arange(len(loader))).shuffle(seed=0).batch(32).map(loader).prefetch()`` of
    monograph-train is shuffled anew in each epoch, and goes on in the middle of one without giving a
    graph twice or leaving one out: the order is one of numbers.

    Args:
        graphs: one by one, or in batches.
        labels: ``[graphs, ...]``; None: batches are graphs alone.
        buckets: the sizes to pad to; None: no padding, and a compilation for almost every batch.

    Raises:
        ArgumentError: graphs bigger than the largest bucket, named by their numbers; labels of another
            number of graphs.
        ShapeError: graphs whose features are of different structures or shapes.

    >>> from monograph_gnn import graph
    >>> graphs = [graph(np.full((n, 2), n, "float32"), [0], [0]) for n in (3, 1, 4)]
    >>> loader = GraphLoader(graphs, np.int32([0, 1, 0]), buckets=Buckets([Size(8, 4, 3)]))
    >>> g, labels, weights = loader([2, 1])
    >>> g, labels.tolist(), weights.tolist()
    (GraphBatch(3 graphs, 8 nodes, 4 edges), [0, 1, 0], [1.0, 1.0, 0.0])
    """

    def __init__(
        self, graphs: GraphBatch | Sequence[GraphBatch], labels: Any = None, *, buckets: Buckets | None = None
    ):  # fmt: skip
        self.graphs = unpadded(graphs) if isinstance(graphs, GraphBatch) else batch(graphs)
        self.buckets = buckets
        self.labels = mg.tree.map(np.asarray, labels)
        self._counts = _counts(self.graphs)
        problems = [
            f"labels: {len(self)} rows are needed, an array has shape {x.shape}"
            for x in mg.tree.leaves(self.labels)
            if x.shape[:1] != (len(self),)
        ]
        if buckets is not None:
            problems += self._too_big(buckets.sizes)
        if problems:
            raise at_user_line(ArgumentError("; ".join(problems)))

    def _too_big(self, sizes: Sequence[Size]) -> list[str]:
        bad = np.flatnonzero(np.all([(self._counts > s[:2]).any(axis=1) for s in sizes], axis=0))
        named = ", ".join(
            f"graph {k} has {n} nodes and {e} edges"
            for k, (n, e) in zip(bad[:5].tolist(), self._counts[bad[:5]].tolist())
        )
        more = f", and so for {len(bad) - 5} more" if len(bad) > 5 else ""
        return [f"{named}{more}: the largest bucket is {sizes[-1]}"] if len(bad) else []

    def __len__(self) -> int:
        """How many graphs there are."""
        return self.graphs.num_graphs

    def __call__(self, numbers: Any) -> Any:
        """A batch of the graphs of these numbers ``[taken]``, in this order.

        Returns:
            The graphs; with labels ``(graphs, labels, weights)``: labels of padding are zeros, and
            weights ``[graphs]`` float32 1 for a graph, 0 for padding. A trainer's mean loss is over all
            of a batch's rows: only where no graph is padding it is that of the graphs.

        Raises:
            ArgumentError: numbers of no graph, or more graphs than the largest bucket has room for.
        """
        numbers = np.asarray(numbers, "int64").reshape(-1)
        sizes: dict[str, int] = {}
        if self.buckets is not None and ((numbers >= 0) & (numbers < len(self))).all():
            nodes, edges = self._counts[numbers].sum(axis=0).tolist()
            size = self.buckets.fit(nodes, edges, len(numbers))
            sizes = {f"num_{k}": n for k, n in size._asdict().items()}
        made = take_graphs(self.graphs, numbers, **sizes)
        if self.labels is None:
            return made

        padded = lambda x: filled(x[numbers], made.num_graphs, 0)  # noqa: E731
        return made, mg.tree.map(padded, self.labels), padded(np.ones(len(self), "float32"))

    def __repr__(self) -> str:
        return f"GraphLoader({len(self)} graphs, {self.buckets})"

"""`ClusterSampler`: parts of a graph, merged anew in each batch (Chiang et al. 2019, "Cluster-GCN")."""

from __future__ import annotations

from typing import Any

import numpy as np
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line

from ..index import EdgeIndex
from .draws import Random
from .kernels import kernels
from .neighbors import NeighborSampler
from .relations import NODE, ONLY
from .sampled import SampledGraph, gathered, one_graph, padded
from .store import GraphStore, check_ids


class ClusterSampler:
    """Samples that are some parts of a graph with all edges within and between them.

    Args:
        store: the edges.
        parts: ``[nodes]``, the part of each node, as from `partition`.
        batch_size: how many parts a sample has at most.
        nodes, edges: features, as for `NeighborSampler`.
        num_nodes: how many nodes the arrays of a sample have room for; None: the largest parts.
        num_edges: the same of edges; None: all edges into the parts that have most.

    Raises:
        ArgumentError, ShapeError: what does not fit.

    >>> store = GraphStore.from_edges([1, 2, 3, 0], [0, 1, 2, 3], num_nodes=4)
    >>> sampled = ClusterSampler(store, [0, 0, 1, 1], batch_size=1).sample([1])
    >>> sampled.node_ids.tolist(), sampled.graph.index.senders.tolist()
    ([2, 3], [1, 2])
    """

    def __init__(
        self, store: GraphStore, parts: Any, batch_size: int, *, nodes: Any = None,
        edges: Any = None, num_nodes: int | None = None, num_edges: int | None = None,
    ):  # fmt: skip
        of = np.asarray(parts)
        if store.num_senders != store.num_nodes or of.shape != (store.num_nodes,):
            raise at_user_line(
                ShapeError(f"parts must be [nodes] of one kind, got {of.shape} for {store}")
            )
        check_ids("parts", of, max(store.num_nodes, 1))
        self.members = np.argsort(of, kind="stable").astype("int32")
        self.starts = np.searchsorted(of[self.members], np.arange(of.max(initial=-1) + 2))
        if type(batch_size) is not int or not 1 <= batch_size <= max(self.num_parts, 1):
            raise at_user_line(
                ArgumentError(f"batch_size={batch_size!r} parts, of {self.num_parts}")
            )
        self.batch_size = batch_size
        into = np.bincount(of, np.diff(store.offsets), self.num_parts).astype("int64")
        most = lambda x: max(int(np.sort(x)[-batch_size:].sum()), 1)  # noqa: E731
        self.num_nodes = most(np.diff(self.starts)) if num_nodes is None else num_nodes
        self.num_edges = most(into) if num_edges is None else num_edges
        self.nodes, self.edges = nodes, edges
        self._around = NeighborSampler(
            store, (-1,), most(np.diff(self.starts)), nodes=nodes, edges=edges
        )

    @property
    def num_parts(self) -> int:
        """How many parts there are."""
        return len(self.starts) - 1

    def __call__(self, batch: Any, rng: Random = 0) -> SampledGraph:
        """The sample of some parts; nothing is drawn."""
        return self.sample(batch)

    def sample(self, parts: Any) -> SampledGraph:
        """The nodes of some parts, and all edges between them. All nodes are seeds.

        Args:
            parts: integers ``[<= batch_size]``, each once.

        Raises:
            ArgumentError: parts that there are not, or twice; more than there is room for.
        """
        chosen = np.asarray(parts)
        if chosen.ndim != 1 or len(chosen) > self.batch_size:
            raise at_user_line(
                ShapeError(f"parts must be [at most {self.batch_size}], got {chosen.shape}")
            )
        chosen = check_ids("parts", chosen, self.num_parts)
        if len(np.unique(chosen)) < len(chosen):
            raise at_user_line(ArgumentError(f"a part is there twice: {chosen.tolist()}"))
        ids = np.concatenate(
            [self.members[:0], *(self.members[self.starts[p] : self.starts[p + 1]] for p in chosen)]
        )
        with self._around.drawn({NODE: ids}, 0) as (scratch, found):
            total = found.edges[ONLY][-1]
            senders, rows = scratch.senders[ONLY][:total], scratch.rows[ONLY][: len(ids)]
            within = senders < len(ids)  # numbers from there on are of nodes outside
            receivers = np.repeat(np.arange(len(ids)), rows)[within]
            senders, places = senders[within], scratch.places[ONLY][:total][within]
        over = [
            f"{n:,} {what} do not fit num_{what}={room:,}"
            for what, n, room in (
                ("nodes", len(ids), self.num_nodes), ("edges", len(senders), self.num_edges),
            )
            if n > room
        ]  # fmt: skip
        if over:
            raise at_user_line(ArgumentError("; ".join(over)))
        size, store = self.num_nodes, self._around.stores[ONLY]
        rows = np.bincount(receivers, minlength=len(ids)).astype("int32")
        index = EdgeIndex(*kernels().index_arrays(senders, rows, self.num_edges, size, size))
        node_ids = padded(ids, size, store.num_nodes)
        held = node_ids if self.nodes is None else gathered(self.nodes, ids, size)
        known = None if self.edges is None else gathered(self.edges, places, self.num_edges)
        real = np.asarray([len(ids)], "int32")
        return SampledGraph(
            one_graph(held, index, known, len(ids), size), node_ids,
            padded(places, self.num_edges, store.num_edges, self._around.edge_dtype(ONLY)),
            padded(np.arange(len(ids)), size, size), real, (), (size, size),
        )  # fmt: skip

"""`SampledGraph`: what samplers give, a tree of arrays of fixed sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import monograph as mg
import numpy as np

from ..batches import GraphBatch, node_graphs
from ..index import EdgeIndex


@dataclass(frozen=True, eq=False)
class SampledGraph:
    """A part of a larger graph: the seeds first, then what can be reached from them, nearest first.

    Of a graph with types of nodes and relations, all that is said to be ``[nodes]`` is a dict by type, all
    that is ``[edges]`` one by relation.

    Attributes:
        graph: the part, as a `GraphBatch` or `HeteroBatch`: padded to fixed sizes, with the features of
            its nodes and edges where the sampler has them (else ``nodes`` are `node_ids`).
        node_ids: ``[nodes]`` int32, the nodes of the larger graph; for padding how many those are.
        edge_ids: ``[edges]``, places in the store, in the order of the index; for padding how many edges
            the store has.
        seeds: ``[batch]`` int32, where each seed stands among the nodes; out of range for padding.
        hop_nodes: ``[hops + 1]`` int32: how many nodes are within so many hops of the seeds.
        inner: the indices of `layers` but the first.
        sizes: the most nodes there can be within 0, 1, ... hops of the seeds.
    """

    graph: Any
    node_ids: Any
    edge_ids: Any
    seeds: Any
    hop_nodes: Any
    inner: tuple[Any, ...]
    sizes: Any

    @property
    def layers(self) -> tuple[Any, ...]:
        """An index per hop, outermost first, for a model that leaves out what its seeds do not need.

        Layer ``i`` takes features of the first ``index.num_senders`` nodes and gives those of the first
        ``index.num_receivers``; after the last these are the seeds. Of a graph with relations, a dict
        of indices.

        >>> from monograph_gnn import GraphStore, NeighborSampler
        >>> store = GraphStore.from_edges([1, 2, 3], [0, 1, 2], num_nodes=4)
        >>> sampled = NeighborSampler(store, (2, 2), batch_size=1).sample([0])
        >>> sampled.layers
        (EdgeIndex(3 edges, 4 -> 3 nodes), EdgeIndex(2 edges, 3 -> 1 nodes))
        """
        if isinstance(self.graph, GraphBatch):
            return (cut_to(self.graph.index, self.sizes[-2]), *self.inner)
        sizes = dict(self.sizes)
        outer = {r: cut_to(i, sizes[r[2]][-2]) for r, i in self.graph.index.items()}
        return (outer, *self.inner)

    @property
    def seed_mask(self) -> Any:
        """``[batch]``, which seeds are no padding."""
        if isinstance(self.seeds, Mapping):
            return {k: mg.asarray(s) < self.node_ids[k].shape[0] for k, s in self.seeds.items()}
        return mg.asarray(self.seeds) < self.node_ids.shape[0]

    def replace(self, **changes: Any) -> SampledGraph:
        """The same with another ``graph``, or other fields."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        return f"SampledGraph({self.graph!r})"


def cut_to(index: EdgeIndex, receivers: int) -> EdgeIndex:
    """The index with the first of its receivers only; later ones have no edges."""
    return replace(index, offsets=index.offsets[: receivers + 1])


_PARTS = [f.name for f in fields(SampledGraph) if f.name != "sizes"]
mg.tree.register(
    SampledGraph,
    lambda s: (s.sizes, [getattr(s, n) for n in _PARTS]),
    lambda sizes, parts: SampledGraph(**dict(zip(_PARTS, parts)), sizes=sizes),
)


def one_graph(nodes: Any, index: EdgeIndex, edges: Any, real: int, size: int) -> GraphBatch:
    """A `GraphBatch` of one graph of ``real`` nodes in arrays of ``size``."""
    return GraphBatch(nodes, index, edges, None, *node_graphs([real], size, 1), np.int32(1))


def gathered(features: Any, ids: np.ndarray, size: int) -> Any:
    """Rows of each array of a tree, and zeros to fill ``size`` rows."""

    def rows(array: Any) -> np.ndarray:
        out = np.empty((size, *array.shape[1:]), array.dtype)
        # which does without a copy in between; ids are known to be in range
        np.take(array, ids, axis=0, out=out[: len(ids)], mode="clip")
        out[len(ids) :] = 0
        return out

    return mg.tree.map(rows, features)


def padded(x: np.ndarray, size: int, value: int, dtype: Any = "int32") -> np.ndarray:
    """``x`` and as many ``value`` as fill ``size``."""
    out = np.empty(size, dtype)
    out[: len(x)], out[len(x) :] = x, value
    return out

"""`layerwise`: every node of a large graph, layer after layer, nothing sampled."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from ..hetero_batches import Relation
from .neighbors import NeighborSampler
from .relations import NODE, ONLY, node_counts, unfit_types
from .store import GraphStore


def layerwise(
    layers: Sequence[Callable[..., Any]], stores: GraphStore | Mapping[Relation, GraphStore],
    features: Any, *, edges: Any = None, batch_size: int = 4096, max_edges: int = 1 << 18,
    folder: str | os.PathLike | None = None,
) -> Any:  # fmt: skip
    """What a model of several layers gives for every node, each layer for all nodes before the next.

    So nothing is computed twice, as it is when the neighbourhoods of all nodes are sampled one by one, and
    a node sees all its neighbours. It is what the model gives on the whole graph, and on samples of
    fan-out -1.

    Args:
        layers: ``(index, x) -> [at least index.num_receivers, ...]`` each, as a model calls them along
            `SampledGraph.layers`: the first ``index.num_receivers`` rows of ``x`` are the receivers. With
            ``edges`` they get ``(index, x, edges)``. Of a graph with types, dicts by relation and by type.
        stores: the edges, as for `NeighborSampler`.
        features: ``[nodes, ...]`` or a tree of such arrays, what the first layer gets; by type.
        edges: features of edges in the order of the store; by relation.
        batch_size: receivers at a time.
        max_edges: edges at a time, unless a single node has more. A layer is always given the same
            shapes, so that it is compiled once.
        folder: where to keep what nodes hold after each layer, in files that are mapped; None: in memory.

    Returns:
        ``[nodes, ...]``, a NumPy array or a tree of such; by type.

    Raises:
        ArgumentError: features that do not fit the graph.

    >>> from monograph_gnn import neighbor_sum
    >>> path = GraphStore.from_edges([1, 2, 3], [0, 1, 2], num_nodes=4)
    >>> x = np.float32([[1], [2], [3], [4]])
    >>> layerwise([neighbor_sum, neighbor_sum], path, x).tolist()
    [[3.0], [4.0], [0.0], [0.0]]
    """
    if not layers:
        raise at_user_line(ArgumentError("there are no layers"))
    if batch_size < 1:
        raise at_user_line(ArgumentError(f"batch_size={batch_size} must be 1 or more"))
    whole = isinstance(stores, GraphStore)
    relations: Any = {ONLY: stores} if whole else stores
    if problems := unfit_types(relations):
        raise at_user_line(ArgumentError("; ".join(problems)))
    kinds = node_counts(relations)
    cuts = {k: _bounds(relations, k, n, batch_size, max_edges) for k, n in kinds.items()}
    x = {NODE: features} if whole else features
    for number, layer in enumerate(layers):
        made: dict[str, Any] = {}
        for kind, count in kinds.items():
            bounds, most = cuts[kind]
            room = _room(most, kinds, kind, batch_size)
            sampler = NeighborSampler(
                stores, (-1,), batch_size if whole else {kind: batch_size}, nodes=x[NODE] if whole else x,
                edges=edges, num_edges=most[ONLY] if whole else most,
                num_nodes=room[NODE] if whole else room,
            )  # fmt: skip
            rows = _Rows(count, folder and Path(folder, f"{kind}-{number}"))
            for start, end in itertools.pairwise(bounds):
                ids = np.arange(start, end, dtype="int32")
                sampled = sampler.sample(ids if whole else {kind: ids})
                graph = sampled.graph
                known = () if edges is None else (graph.edges,)
                y = layer(sampled.layers[0], graph.nodes, *known)
                if not whole and kind not in y:
                    break  # nothing is computed of these nodes
                rows.put(start, end, y if whole else y[kind])
            if rows.tree is not None:
                made[kind] = rows.tree
        x = made
    return x[NODE] if whole else x


def _bounds(
    relations: Mapping[Relation, GraphStore], kind: str, count: int, batch_size: int, max_edges: int
) -> tuple[list[int], dict[Relation, int]]:
    """Where to cut the nodes of a type; the most edges of each relation between two cuts."""
    into = {r: s.offsets for r, s in relations.items() if r[2] == kind}
    ends = sum(into.values(), np.zeros(count + 1, "int64"))
    bounds = [0]
    while bounds[-1] < count or len(bounds) == 1:  # without nodes, once: for the shapes
        start = bounds[-1]
        end = int(np.searchsorted(ends, ends[start] + max_edges, "right")) - 1
        bounds.append(min(max(end, start + 1), start + batch_size, count))
    most = {r: int(np.diff(into[r][bounds]).max(initial=1)) if r in into else 1 for r in relations}
    return bounds, most


def _room(
    most: Mapping[Relation, int], kinds: Mapping[str, int], kind: str, batch_size: int
) -> dict[str, int]:
    """Enough nodes of each type."""
    reached = {t: sum(n for r, n in most.items() if r[0] == t) for t in kinds}
    reached[kind] += batch_size
    return {t: max(1, min(n, max(kinds[t], batch_size))) for t, n in reached.items()}


class _Rows:
    """Arrays of all nodes, made when the first of their rows come."""

    def __init__(self, count: int, path: Any):
        self.count, self.path, self.tree = count, path, None

    def put(self, start: int, end: int, rows: Any) -> None:
        """Rows ``start`` up to ``end``; what comes after them in ``rows`` is dropped."""
        host = mg.tree.map(lambda y: y.numpy() if isinstance(y, mg.Tensor) else np.asarray(y), rows)
        if self.tree is None:
            names = iter(mg.tree.paths(host))
            self.tree = mg.tree.map(lambda y: self._empty(next(names), y), host)
        for whole, part in zip(mg.tree.leaves(self.tree), mg.tree.leaves(host)):
            whole[start:end] = part[: end - start]

    def _empty(self, name: str, like: np.ndarray) -> np.ndarray:
        shape = (self.count, *like.shape[1:])
        if self.path is None:
            return np.empty(shape, like.dtype)
        name = "".join(c if c.isalnum() else "-" for c in f"{self.path.name}{name}")
        return np.lib.format.open_memmap(
            self.path.with_name(f"{name}.npy"), "w+", like.dtype, shape
        )

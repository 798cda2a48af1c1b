"""What is done to graphs before training: edges both ways, no duplicates, the largest component, features."""

from __future__ import annotations

from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .batches import GraphBatch, graph, taken, unpadded

_REDUCTIONS = {"sum": np.add, "mean": np.add, "max": np.maximum, "min": np.minimum}


def normalize_features(x: Any) -> np.ndarray:
    """Every row of ``x [nodes, features]`` divided by its sum, as GCN's authors do; zeros stay zeros.

    Raises:
        ArgumentError: negative values, of which a row's sum says nothing.

    >>> normalize_features([[1.0, 3.0], [0.0, 0.0]]).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    x = np.asarray(x)
    x = x if x.dtype.kind == "f" else x.astype("float32")
    if x.size and x.min() < 0:
        row, column = np.argwhere(x < 0)[0]
        raise at_user_line(
            ArgumentError(
                f"x[{row}, {column}] is {x[row, column]}: rows of negative numbers have no sum to be "
                f"parts of; subtract the least one first"
            )
        )
    total = x.sum(axis=-1, keepdims=True)
    return x / np.where(total == 0, 1, total)


def both_ways(senders: Any, receivers: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges followed by their reverses, a loop's left out.

    Returns:
        Senders, receivers, and ``[edges]`` the edge that each of them was.

    >>> [x.tolist() for x in both_ways([0, 1], [2, 1])]
    [[0, 1, 2], [2, 1, 0], [0, 1, 0]]
    """
    senders, receivers = np.asarray(senders), np.asarray(receivers)
    other = np.flatnonzero(senders != receivers)
    return (
        np.concatenate([senders, receivers[other]]), np.concatenate([receivers, senders[other]]),
        np.concatenate([np.arange(len(senders)), other]),
    )  # fmt: skip


def to_undirected(g: GraphBatch, reduce: str = "sum") -> GraphBatch:
    """Edges both ways, each once, as PyG's ToUndirected: the features of all edges between two nodes
    become one by ``reduce``; with sum it is the matrix ``A + A^T``, a loop's weight doubled, too.

    Args:
        reduce: sum, mean, max or min.

    Raises:
        ArgumentError: an unknown ``reduce``.

    >>> g = to_undirected(graph(None, [0, 1], [1, 2], num_nodes=3))
    >>> g.index.senders.tolist(), g.index.receivers.tolist()
    ([1, 0, 2, 1], [0, 1, 1, 2])
    """
    g = unpadded(g)
    a, b = g.index.senders, g.index.receivers
    was = np.tile(np.arange(len(a)), 2)
    both = np.concatenate([a, b]), np.concatenate([b, a])
    return _coalesced(g, *both, taken(g.edges, was), reduce)


def remove_duplicates(g: GraphBatch, reduce: str = "sum") -> GraphBatch:
    """Every edge once; the features of equal ones become one by ``reduce``: sum, mean, max or min.

    Raises:
        ArgumentError: an unknown ``reduce``.

    >>> remove_duplicates(graph(None, [0, 0], [1, 1], edges=np.float32([2, 3]), num_nodes=2)).edges.tolist()
    [5.0]
    """
    g = unpadded(g)
    return _coalesced(g, g.index.senders, g.index.receivers, g.edges, reduce)


def _coalesced(g: GraphBatch, senders: Any, receivers: Any, edges: Any, reduce: str) -> GraphBatch:
    if reduce not in _REDUCTIONS:
        raise at_user_line(ArgumentError(f"reduce={reduce!r} is none of {', '.join(_REDUCTIONS)}"))
    pairs = receivers.astype("int64") * max(g.num_nodes, 1) + senders
    order = np.argsort(pairs, kind="stable")
    found, first, counts = np.unique(pairs[order], return_index=True, return_counts=True)

    def reduced(x: Any) -> Any:
        x = np.asarray(x)
        if not len(found):
            return x[:0]
        out = _REDUCTIONS[reduce].reduceat(x[order], first, axis=0)
        if reduce == "mean":
            out = out / counts.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype)
        return out.astype(x.dtype)

    receivers, senders = np.divmod(found, max(g.num_nodes, 1))
    return with_edges(g, senders, receivers, mg.tree.map(reduced, edges))


def remove_self_loops(g: GraphBatch) -> GraphBatch:
    """The graphs without edges from a node to itself.

    >>> remove_self_loops(graph(None, [0, 1], [1, 1], num_nodes=2))
    GraphBatch(1 graphs, 2 nodes, 1 edges)
    """
    g = unpadded(g)
    kept = np.flatnonzero(g.index.senders != g.index.receivers)
    return with_edges(g, g.index.senders[kept], g.index.receivers[kept], taken(g.edges, kept))


def with_edges(g: GraphBatch, senders: Any, receivers: Any, edges: Any) -> GraphBatch:
    """The same nodes and graphs with other edges, which have their features' order."""
    made = graph(g.nodes, senders, receivers, edges=edges, num_nodes=g.num_nodes)
    return g.replace(index=made.index, edges=made.edges)


def subgraph(g: GraphBatch, nodes: Any) -> GraphBatch:
    """The nodes chosen, in the order that they have, and the edges among them.

    Args:
        nodes: ``[nodes]`` bool, or the numbers of those to keep.

    Raises:
        ArgumentError: numbers of no nodes.

    >>> subgraph(graph(np.float32([[1], [2], [3]]), [0, 1], [1, 2]), [1, 2]).nodes.tolist()
    [[2.0], [3.0]]
    """
    g, nodes = unpadded(g), np.asarray(nodes)
    kept = np.zeros(g.num_nodes, bool)
    try:
        if nodes.size and nodes.dtype != bool and nodes.min() < 0:
            raise IndexError(f"node {nodes.min()}")
        kept[nodes if nodes.size else []] = True
    except IndexError as e:
        raise at_user_line(ArgumentError(f"{g} has no such nodes: {e}")) from None
    number = np.cumsum(kept) - 1
    stays = np.flatnonzero(kept[g.index.senders] & kept[g.index.receivers])
    at = np.flatnonzero(kept)
    made = graph(
        taken(g.nodes, at), number[g.index.senders[stays]], number[g.index.receivers[stays]],
        edges=taken(g.edges, stays), num_nodes=len(at),
    )  # fmt: skip
    of = g.node_graph[at]
    offsets = np.searchsorted(of, np.arange(g.num_graphs + 1)).astype("int32")
    return g.replace(
        nodes=made.nodes, index=made.index, edges=made.edges, node_graph=of, graph_offsets=offsets
    )


def components(g: GraphBatch) -> np.ndarray:
    """``[nodes]`` int32: the number of each node's component, whatever the edges' directions.

    >>> components(graph(None, [0, 3], [2, 1], num_nodes=5)).tolist()
    [0, 1, 0, 1, 2]
    """
    g = unpadded(g)
    senders, receivers = g.index.senders, g.index.receivers
    root = np.arange(g.num_nodes)
    while (
        True
    ):  # hang every root on the least one next to it, then let all hang on roots themselves
        a, b = root[senders], root[receivers]
        if (a == b).all():
            return np.unique(root, return_inverse=True)[1].astype("int32")
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while (root[root] != root).any():
            root = root[root]


def largest_component(g: GraphBatch) -> GraphBatch:
    """The component with the most nodes, of several the first; edges connect in both directions.

    >>> largest_component(graph(None, [0, 3, 1], [2, 1, 4], num_nodes=5))
    GraphBatch(1 graphs, 3 nodes, 2 edges)
    """
    found = components(g)
    most = np.bincount(found).argmax() if len(found) else 0
    return subgraph(g, found == most)

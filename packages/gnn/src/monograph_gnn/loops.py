"""Self-loops: an edge from every node to itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ShapeError
from monograph.tracing import at_user_line

from .index import EdgeIndex, at_once


def add_self_loops(index: EdgeIndex, *, keep: bool = True) -> tuple[EdgeIndex, Any]:
    """Give every node one edge to itself.

    Do it once, before training: inside a step it is done again in every one. An index that has its loops
    comes back as it is.

    Args:
        keep: whether a node that has such an edge keeps it, with what is known of it (of several the
            last); otherwise a new one takes its place.

    Returns:
        The index; and ``[edges]``, for each of its edges the edge that it was, -1 for a new one
        (`fill_edges` makes features of it).

    Raises:
        ShapeError: senders and receivers are different sets of nodes.

    >>> from monograph_gnn import edge_index
    >>> index, _ = edge_index([0, 1, 1], [1, 1, 2], num_nodes=3)
    >>> looped, places = add_self_loops(index)
    >>> [*zip(looped.senders.tolist(), looped.receivers.tolist())], places.tolist()
    ([(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)], [-1, 0, 1, 2, -1])
    """
    if index.num_senders != index.num_receivers:
        raise at_user_line(
            ShapeError(
                f"{index} has no loops: its {index.num_senders} senders and {index.num_receivers} "
                f"receivers are different nodes"
            )
        )
    if index.loops:
        return index, np.arange(index.num_edges, dtype="int32")
    if index.gates is not None:  # what is there anyway has no gate
        looped, places = add_self_loops(index.ungated, keep=keep)
        between = mg.asarray(looped.senders) != mg.asarray(looped.receivers)
        return gated_as(looped, index, mg.where(between, places, -1)), places
    made, places = at_once(_insert, index, keep)
    if isinstance(made.offsets, mg.graph.Value):
        return made, places
    n = int(made.offsets[-1])  # loops that were replaced left padding
    return made.first(n), places[:n]


def gated_as(made: EdgeIndex, index: EdgeIndex, places: Any) -> EdgeIndex:
    """``made`` with the gates of ``index``, from which its edges were: ``places [edges]``, -1 for new ones."""
    if index.gates is None:
        return made
    return replace(made, gates=fill_edges(index.gates, places, 1))


def _insert(index: EdgeIndex, keep: bool) -> tuple[EdgeIndex, Any]:
    """Loops put after each node's other edges, in both orders, without sorting anew."""
    senders, receivers, offsets, _, order, sender_offsets = map(mg.asarray, index.arrays)
    edges, n = index.num_edges, index.num_receivers
    total = edges + n
    nodes = mg.arange(n, dtype="int32")
    others = (senders != receivers) & (receivers < n)

    def places(mask: Any, ids: Any, ends: Any) -> tuple[Any, Any, Any]:
        """Where edges go of which ``mask`` stay, for ids in order; where loops go; the offsets."""
        before = mg.cumulative_sum(mask, dtype="int32", include_initial=True)
        left = mg.take(before, ends)
        stay = mg.where(mask, before[:-1] + ids, total)
        return stay, left[1:] + nodes, left + mg.arange(n + 1, dtype="int32")

    def merged(first: Any, at: Any, x: Any, at_loops: Any, loops: Any) -> Any:
        return mg.full(total, first, dtype="int32").at[at].set(x).at[at_loops].set(loops)

    at, loop_at, new_offsets = places(others, receivers, offsets)
    edge_numbers = mg.arange(edges, dtype="int32")
    was = mg.full(n, -1, dtype="int32")
    if keep:
        was = was.at[mg.where(others, n, receivers)].set(edge_numbers)
    new_senders = merged(n, at, senders, loop_at, nodes)
    new_receivers = merged(n, at, receivers, loop_at, nodes)
    by_sender = mg.take(others, order)
    rank, loop_rank, new_sender_offsets = places(by_sender, mg.take(senders, order), sender_offsets)
    new_order = merged(total - 1, rank, mg.take(at, order), loop_rank, loop_at)
    made = EdgeIndex(
        new_senders, new_receivers, new_offsets, mg.take(new_receivers, new_order), new_order,
        new_sender_offsets, loops=True,
    )  # fmt: skip
    return made, merged(-1, at, edge_numbers, loop_at, was)


def fill_edges(features: Any, places: Any, fill: Any = 0) -> Any:
    """``features [edges, ...]`` in the order of ``places [new edges]``; ``fill`` where that is -1.

    Args:
        fill: a number, or anything that broadcasts with ``[new edges, ...]``.

    >>> import numpy as np
    >>> fill_edges(np.float32([5, 7]), np.int32([1, -1, 0]), fill=1).tolist()
    [7.0, 1.0, 5.0]
    """
    features, places = mg.asarray(features), mg.asarray(places)
    if not features.shape[0]:
        return mg.broadcast_to(
            mg.astype(mg.asarray(fill), features.dtype), (places.shape[0], *features.shape[1:])
        )
    new = mg.reshape(places < 0, (-1,) + (1,) * (features.ndim - 1))
    return mg.where(new, fill, mg.take(features, mg.maximum(places, 0), axis=0))

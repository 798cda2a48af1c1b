"""DropEdge: training on a graph of which some edges are left out."""

from __future__ import annotations

from typing import Any

import monograph as mg
from monograph.errors import ArgumentError

from .authoring import layer, refuse
from .index import EdgeIndex
from .loops import gated_as


@layer
def edge_dropout(
    scope: mg.Scope, index: EdgeIndex, rate: float, *, reverse: Any = None, training: bool = False
) -> tuple[EdgeIndex, Any]:
    """Leave out each edge with probability ``rate`` (Rong et al. 2020, "DropEdge").

    The edges that are left out become padding, so shapes stay, and any layer takes what comes back for
    its index: sums, means, largest values, degrees and attention are those of the smaller graph. What
    is known of edges goes the same way: ``fill_edges(edges, places, 0)``. Nothing is scaled. Where every
    node is known to have a loop (`add_self_loops`), loops stay.

    Args:
        rate: in ``[0, 1)``.
        reverse: `reverse_edges` of ``index``, where both directions of an edge are to go together.
        training: otherwise nothing is left out.

    Returns:
        The index; and int32 ``[edges]``, for each of its edges the edge that it was, -1 for padding.

    Raises:
        ArgumentError: ``rate`` is not in ``[0, 1)``.

    >>> import numpy as np
    >>> from monograph_gnn import fill_edges, gcn_conv, graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2], edges=np.ones(2, "float32"))
    >>> def model(scope, g, training=True):
    ...     index, places = edge_dropout(scope, g.index, 0.5, training=training)
    ...     weights = fill_edges(g.edges, places, 0)
    ...     return gcn_conv(scope / "gcn", index, g.nodes, 2, edge_weight=weights)
    >>> mg.Store(seed=0).bind(model)(g).shape
    (3, 2)
    """
    if not 0 <= rate < 1:
        refuse(scope, "edge_dropout", f"rate={rate} must be in [0, 1)", ArgumentError)
    edges = mg.arange(index.num_edges, dtype="int32")
    if not training or rate == 0 or not index.num_edges:
        return index, edges
    drawn = mg.random.uniform(scope.key(), (index.num_edges,))
    if reverse is not None:  # of two directions the first decides
        reverse = mg.asarray(reverse)
        drawn = mg.take(drawn, mg.where(reverse < 0, edges, mg.minimum(edges, reverse)))
    kept = drawn >= rate
    if index.loops:
        kept = kept | (mg.asarray(index.senders) == mg.asarray(index.receivers))
    return _only(index, kept & index.edge_mask)


def _only(index: EdgeIndex, kept: Any) -> tuple[EdgeIndex, Any]:
    """The edges that are kept, in both orders, without sorting anew; the others are padding."""
    senders, receivers, offsets, _, order, sender_offsets = map(mg.asarray, index.arrays)
    n = index.num_edges

    def before(mask: Any) -> Any:
        return mg.cumulative_sum(mask, dtype="int32", include_initial=True)

    def moved(first: int, to: Any, x: Any) -> Any:
        return mg.full(n, first, dtype="int32").at[to].set(x)

    count = before(kept)
    to = mg.where(kept, count[:-1], n)  # out of range: nowhere
    by_sender = mg.take(kept, order)
    sender_count = before(by_sender)
    rank = mg.where(by_sender, sender_count[:-1], n)
    new_receivers = moved(index.num_receivers, to, receivers)
    new_order = moved(n - 1, rank, mg.take(to, order))
    made = EdgeIndex(
        moved(index.num_senders, to, senders), new_receivers, mg.take(count, offsets),
        mg.take(new_receivers, new_order), new_order, mg.take(sender_count, sender_offsets),
        loops=index.loops,
    )  # fmt: skip
    places = moved(-1, to, mg.arange(n, dtype="int32"))
    return gated_as(made, index, places), places

"""Pooling to fewer nodes: those that score highest stay, with the edges between them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg
from monograph.errors import ArgumentError
from monograph_layers.activations import Activation, activate
from monograph_layers.initializers import Init, variance_scaling

from .authoring import layer, refuse
from .batches import GraphBatch, taken
from .index import edge_index
from .loops import gated_as
from .ops import read_rows
from .pooling import by_score
from .propagation import edge_softmax
from .sage import graph_conv

FAN_IN = variance_scaling(1 / 3, "fan_in", "uniform")  # within 1 / sqrt(features), as PyG begins


@layer
def top_k_pooling(
    scope: mg.Scope, graph: GraphBatch, x: Any, ratio: float | int = 0.5, *,
    min_score: float | None = None, multiplier: float = 1.0, activation: Activation = "tanh",
    attention: Any = None, projection_initializer: Init = FAN_IN,
) -> tuple[GraphBatch, Any, Any]:  # fmt: skip
    """Keep each graph's nodes of the highest score (Gao and Ji 2019; Cangea et al. 2018), as PyG's TopKPooling.

    Scores are ``tanh(x @ p / |p|)``, ``p`` being learned; the nodes that stay are multiplied by theirs. Shapes
    depend on ``ratio`` and on what the batch could hold, not on what it holds: the rest is padding.

    Args:
        scope: holds ``projection [features]``.
        x: ``[nodes, features]``.
        ratio: a float is the share of a graph's nodes, rounded up; an integer how many.
        min_score: keep nodes of a higher score instead, which is then their part of ``softmax(x @ p)`` over
            the graph; the best one always stays.
        multiplier: of the result.
        attention: ``[nodes, ...]``, from which to score, in the place of ``x``.

    Returns:
        The graphs that are left, ``x`` of them being their nodes, ordered by score; ``[nodes left]``, which
        node each was (one that there is not for padding); ``[nodes left]``, their scores.

    Raises:
        ArgumentError: ``ratio`` is not positive, or a share above 1.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.float32([[1], [3], [2], [0]]), [0, 1, 2], [1, 2, 3])
    >>> store = mg.Store()
    >>> store["projection"] = [1.0]
    >>> left, kept, scores = store.bind(lambda scope, g: top_k_pooling(scope, g, g.nodes, 2))(g)
    >>> left, kept.tolist(), left.index.senders.tolist(), left.index.receivers.tolist()
    (GraphBatch(1 graphs, 2 nodes, 3 edges), [1, 2], [0, 2, 2], [1, 2, 2])
    """
    if ratio <= 0 or (isinstance(ratio, float) and ratio > 1):
        refuse(
            scope, "top_k_pooling", f"ratio={ratio} must be a share of the nodes, above 0 and up to "
            f"1.0, or an integer, how many to keep of each graph", ArgumentError,
        )  # fmt: skip
    attention = x if attention is None else attention
    width = math.prod(attention.shape[1:])
    attention = mg.reshape(attention, (x.shape[0], width))
    init = lambda key, shape, dtype: projection_initializer(key, (width, 1), dtype)[:, 0]  # noqa: E731
    projection = scope.parameter("projection", (width,), init, x.dtype)
    scores = mg.sum(attention * projection, axis=-1)
    if min_score is None:
        scores = activate(scores / mg.linalg.vector_norm(projection), activation)
    else:
        scores = edge_softmax(graph.membership, scores)
    left, kept = _kept(graph, scores, ratio, min_score)
    scores = read_rows(scores, kept)
    return left.replace(nodes=read_rows(x, kept) * scores[:, None] * multiplier), kept, scores


def _kept(
    graph: GraphBatch, scores: Any, ratio: float | int, min_score: float | None
) -> tuple[GraphBatch, Any]:
    """The batch of nodes that stay, without their features; and ``[nodes left]``, which they were."""
    members, n, graphs = graph.membership, graph.num_nodes, graph.num_graphs
    of = members.receivers
    if min_score is None:
        order = mg.astype(by_score(members, scores), "int32")
        if isinstance(ratio, int):
            room, most = min(n, ratio * graphs), mg.full(graphs, ratio, dtype="int32")
        else:
            room = min(n, int(ratio * n) + graphs)
            most = mg.astype(mg.ceil(mg.astype(members.in_degrees, scores.dtype) * ratio), "int32")
        rank = mg.arange(n, dtype="int32") - read_rows(members.offsets[:-1], of)
        stays = rank < read_rows(most, of)
    else:
        order, room = mg.arange(n, dtype="int32"), n
        best = read_rows(mg.segment_max(scores, of, graphs), of) - 1e-7  # stays, however low
        stays = scores > mg.minimum(best, min_score)
    before = mg.cumulative_sum(stays & graph.node_mask, dtype="int32", include_initial=True)
    places = mg.where(stays & graph.node_mask, before[:-1], room)
    kept = mg.full(room, n, dtype="int32").at[places].set(order)
    became = mg.full(n, room, dtype="int32").at[order].set(places)
    return _between(graph, kept, became, mg.take(before, members.offsets)), kept


def _between(graph: GraphBatch, kept: Any, became: Any, offsets: Any) -> GraphBatch:
    """The graph of the nodes ``kept``, with the edges between them.

    Args:
        became: ``[nodes]``, which each node is from now on; out of range for those that go.
    """
    index, room = graph.index, kept.shape[0]
    senders, receivers = (
        mg.where(ids < graph.num_nodes, read_rows(became, ids), room)
        for ids in map(mg.asarray, (index.senders, index.receivers))
    )
    made, places = edge_index(senders, receivers, room)
    made = gated_as(made, index, places)
    of = mg.where(
        kept < graph.num_nodes, read_rows(mg.asarray(graph.node_graph), kept), graph.num_graphs
    )
    return graph.replace(
        index=made, edges=taken(graph.edges, places), node_graph=of, graph_offsets=offsets
    )


@layer
def sag_pooling(
    scope: mg.Scope, graph: GraphBatch, x: Any, ratio: float | int = 0.5, *,
    convolution: Callable = graph_conv, **options: Any,
) -> tuple[GraphBatch, Any, Any]:  # fmt: skip
    """`top_k_pooling` by scores that know of neighbours (Lee et al. 2019), as PyG's SAGPooling.

    Args:
        scope: holds what the convolution makes below ``gnn``, and ``projection [1]``, whose sign counts.
        x: ``[nodes, features]``.
        convolution: ``(scope, index, x, 1) -> [nodes, 1]``, the scores; a dense layer for the sum of a
            node's neighbours and one for itself, unless another is given.
        options: as of `top_k_pooling`.

    Returns:
        As `top_k_pooling`.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.eye(4, dtype="float32"), [0, 1, 2], [1, 2, 3])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: sag_pooling(scope / "pool", g, g.nodes)[0])(g)
    GraphBatch(1 graphs, 3 nodes, 3 edges)
    """
    scores = convolution(scope / "gnn", graph.index, x, 1)
    return top_k_pooling(scope, graph, x, ratio, attention=scores, **options)

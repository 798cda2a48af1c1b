"""Message passing: `propagate`, and the steps it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import monograph as mg
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line

from . import ops
from .index import EdgeIndex

Aggregation = str | Callable[[EdgeIndex, Any], Any] | Sequence[Any]
"""How what arrives at a node becomes one: a name of `AGGREGATIONS`, a function, or several of them."""


def neighbor_sum(index: EdgeIndex, x: Any, weights: Any = None) -> Any:
    """What each node's senders hold, summed, in one pass and without an array of messages.

    Args:
        x: ``[senders, ...]``.
        weights: a factor per edge ``[edges]``, or per edge and head ``[edges, heads]`` for
            ``x [senders, heads, ...]``; None: 1.

    Returns:
        ``[receivers, ...]``; 0 for a node that nobody sends to.

    >>> import numpy as np
    >>> from monograph_gnn import edge_index
    >>> index, _ = edge_index([0, 1], [2, 2], num_nodes=3)
    >>> neighbor_sum(index, np.float32([[1], [2], [3]])).tolist()
    [[0.0], [0.0], [3.0]]
    """
    x = mg.asarray(x)
    heads = 1
    if weights is None and index.gates is not None:
        weights = mg.ones(index.num_edges, dtype=x.dtype)
    if weights is None:
        weights = mg.ones((1, 1), dtype=x.dtype)
    else:
        weights = index.gated(mg.asarray(weights))
        if weights.ndim == 2:
            heads = weights.shape[1]
        if weights.ndim not in (1, 2) or (
            weights.ndim == 2 and (x.ndim < 2 or x.shape[1] != heads)
        ):
            raise at_user_line(
                ShapeError(
                    f"weights {weights.spec} must be [edges], or [edges, heads] for features "
                    f"[nodes, heads, ...]; the features are {x.spec}"
                )
            )
        weights = mg.reshape(weights, (weights.shape[0], heads))
    n = x.shape[0]
    flat = mg.reshape(x, (n, heads, math.prod(x.shape[1:]) // heads))
    out = ops.neighbor_sum(flat, weights, *index.arrays)
    return mg.reshape(out, (out.shape[0], *x.shape[1:]))


def sent(index: EdgeIndex, x: Any) -> Any:
    """Per edge what its sender holds: ``[senders, ...] -> [edges, ...]``, zeros for padding."""
    return ops.edge_take(mg.asarray(x), *index.arrays, transpose=True)


def received(index: EdgeIndex, x: Any) -> Any:
    """Per edge what its receiver holds: ``[receivers, ...] -> [edges, ...]``, zeros for padding."""
    return ops.edge_take(mg.asarray(x), *index.arrays)


def edge_dot(index: EdgeIndex, receivers: Any, senders: Any) -> Any:
    """Per edge the inner product of its ends over the last axis.

    Args:
        receivers: ``[receivers, width]`` or ``[receivers, heads, width]``.
        senders: the same of the senders.

    Returns:
        ``[edges]`` or ``[edges, heads]``.
    """
    a, b = mg.asarray(receivers), mg.asarray(senders)
    if a.ndim == 2:
        return mg.squeeze(edge_dot(index, a[:, None], b[:, None]), axis=1)
    return ops.edge_dot(a, b, *index.arrays)


def edge_softmax(index: EdgeIndex, logits: Any) -> Any:
    """Softmax of ``logits [edges, ...]`` over the edges into each node; 0 for padding."""
    return ops.edge_softmax(mg.asarray(logits), *index.arrays)


def per_edge(index: EdgeIndex, edges: Any) -> Any:
    """``edges``, an array or a tree of such, once it is seen to have a row for each edge of ``index``.

    Raises:
        ShapeError: it has more or fewer.
    """
    for x in mg.tree.leaves(edges):
        if not x.ndim or x.shape[0] != index.num_edges:
            raise at_user_line(
                ShapeError(
                    f"edges of shape {tuple(x.shape)} must have {index.num_edges} rows, one for each of "
                    f"{index}, in its order"
                )
            )
    return edges


# ---- what arrives at a node


def _sum(index: EdgeIndex, values: Any) -> Any:
    return ops.edge_sum(values, *index.arrays)


def per_receiver(index: EdgeIndex, like: Any) -> Any:
    """How many edges each node receives from, at least 1, as floats that broadcast with ``like``."""
    n = mg.astype(mg.maximum(index.in_degrees, 1), like.dtype)
    return mg.reshape(n, (-1,) + (1,) * (like.ndim - 1))


def _mean(index: EdgeIndex, values: Any) -> Any:
    return _sum(index, values) / per_receiver(index, values)


def _max(index: EdgeIndex, values: Any) -> Any:
    return ops.edge_max(values, *index.arrays)


def _min(index: EdgeIndex, values: Any) -> Any:
    return -_max(index, -values)


def _var(index: EdgeIndex, values: Any) -> Any:
    # as the mean of squares less the mean's square, slopes of std lose three of float32's seven digits
    return _mean(index, mg.square(values - received(index, _mean(index, values))))


def _std(index: EdgeIndex, values: Any) -> Any:
    var = _var(index, values)
    clipped = mg.where(var > 1e-5, var, 1)
    return mg.where(var > 1e-5, mg.sqrt(clipped), 0)


def _softmax(index: EdgeIndex, values: Any) -> Any:
    return _sum(index, edge_softmax(index, values) * values)


AGGREGATIONS: dict[str, Callable[[EdgeIndex, Any], Any]] = {
    "sum": _sum, "mean": _mean, "max": _max, "min": _min, "var": _var, "std": _std,
    "softmax": _softmax,
}  # fmt: skip
"""Aggregations by name. A node at which nothing arrives has 0. ``softmax`` weighs values by their own
softmax (Li et al. 2020, "DeeperGCN"); ``var`` is the mean square of what differs from the mean."""


def aggregate(index: EdgeIndex, values: Any, how: Aggregation = "sum") -> Any:
    """Values per edge to one per receiver.

    Args:
        values: ``[edges, ...]``, in the order of ``index``.
        how: a name of `AGGREGATIONS`, a function ``(index, values) -> [receivers, ...]``, or several,
            whose results are put side by side along the last axis.

    Raises:
        ArgumentError: an unknown name.

    >>> import numpy as np
    >>> from monograph_gnn import edge_index
    >>> index, _ = edge_index([0, 1], [2, 2], num_nodes=3)
    >>> aggregate(index, np.float32([[1], [2]]), ["sum", "max"]).tolist()
    [[0.0, 0.0], [0.0, 0.0], [3.0, 2.0]]
    """
    if isinstance(how, str):
        if how not in AGGREGATIONS:
            raise at_user_line(
                ArgumentError(f"aggregate={how!r}; known are {', '.join(AGGREGATIONS)}")
            )
        how = AGGREGATIONS[how]
    if callable(how):
        return how(index.ungated, index.gated(mg.asarray(values)))
    return mg.concat([aggregate(index, values, h) for h in how], axis=-1)


def propagate(
    index: EdgeIndex, x: Any, message: Callable | None = None, *, edges: Any = None,
    weights: Any = None, how: Aggregation = "sum",
) -> Any:  # fmt: skip
    """Send messages along every edge and aggregate what arrives at each node (Gilmer et al. 2017).

    Args:
        x: what nodes hold, an array ``[nodes, ...]`` or a tree of them; a pair ``(of senders, of
            receivers)`` where those are different nodes.
        message: ``(sender, receiver, edge) -> [edges, ...]``, given what the two ends of each edge hold
            and ``edges``; None: what the sender holds.
        edges: what is known of edges, ``[edges, ...]`` or a tree of such.
        weights: a factor of each message, ``[edges]`` or ``[edges, heads]``.
        how: see `aggregate`.

    Returns:
        ``[receivers, ...]``.

    >>> import numpy as np
    >>> from monograph_gnn import edge_index
    >>> index, _ = edge_index([0, 1], [2, 2], num_nodes=3)
    >>> x = np.float32([[1], [2], [5]])
    >>> propagate(index, x, lambda sender, receiver, edge: receiver - sender, how="max").tolist()
    [[0.0], [0.0], [4.0]]
    """
    source, target = x if isinstance(x, tuple) else (x, x)
    if message is None:
        if how in ("sum", "mean"):
            total = neighbor_sum(index, source, weights)
            return total / per_receiver(index, total) if how == "mean" else total
        values = sent(index, source)
    else:
        ends = (
            mg.tree.map(lambda a: sent(index, a), source),
            mg.tree.map(lambda a: received(index, a), target),
        )
        values = message(*ends, per_edge(index, edges))
    if weights is not None:
        weights = mg.asarray(weights)
        values = values * mg.reshape(weights, weights.shape + (1,) * (values.ndim - weights.ndim))
    return aggregate(index, values, how)

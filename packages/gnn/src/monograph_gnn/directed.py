"""Messages between directed edges: the D-MPNN of molecules."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.errors import ShapeError
from monograph.tracing import at_user_line
from monograph_layers.activations import Activation, activate

from .authoring import layer
from .dense import edge_dense
from .index import EdgeIndex, at_once
from .propagation import aggregate, sent


def reverse_edges(index: EdgeIndex) -> Any:
    """Per edge the place of the one that leads back, int32 ``[edges]``; -1 where there is none.

    Of several edges from one node to another the first has the first that leads back, and so on: the
    reverse of an edge's reverse is itself. Do it once, before training.

    Raises:
        ShapeError: senders and receivers are different sets of nodes.

    >>> from monograph_gnn import edge_index
    >>> index, _ = edge_index([0, 1, 1], [1, 0, 2], num_nodes=3)
    >>> index.senders.tolist(), index.receivers.tolist(), reverse_edges(index).tolist()
    ([1, 0, 1], [0, 1, 2], [1, 0, -1])
    """
    if index.num_senders != index.num_receivers:
        raise at_user_line(
            ShapeError(
                f"no edge of {index} leads back: its senders and receivers are different nodes"
            )
        )
    return at_once(_reverse, index)


def _reverse(index: EdgeIndex) -> Any:
    n, edges = index.num_receivers, index.num_edges
    if not edges:
        return mg.zeros((0,), dtype="int32")
    senders, receivers = (
        mg.astype(mg.asarray(x), "int64") for x in (index.senders, index.receivers)
    )
    order = mg.asarray(index.order)
    other = mg.take(order, mg.argsort(mg.take(receivers, order), stable=True))
    # an edge as one number, and as that of the edge that leads back: both ascending
    there = mg.take(senders * (n + 1) + receivers, order)
    back = mg.take(receivers * (n + 1) + senders, other)
    rank = mg.arange(edges) - mg.searchsorted(back, back)  # among edges between the same two
    at = mg.searchsorted(there, back) + rank
    at, inside = mg.minimum(at, edges - 1), at < edges
    found = inside & (mg.take(there, at) == back) & (back < n * (n + 1))  # the rest is padding
    places = mg.where(found, mg.take(order, at), -1)
    return mg.full(edges, -1, dtype="int32").at[other].set(mg.astype(places, "int32"))


@layer
def d_mpnn(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, edges: Any = None,
    reverse: Any = None, depth: int = 3, activation: Activation = "relu", dropout: float = 0.0,
    training: bool = False, use_bias: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Directed message passing (Yang et al. 2019), as in Chemprop: states live on edges.

    ``h_vw = act(i_vw)`` with ``i_vw = W1 [x_v, e_vw]``; then ``depth - 1`` times ``h_vw <- act(i_vw + W2
    sum h_kv)`` over the edges into ``v`` but the one from ``w``, so that nothing runs to and fro; a node is
    ``act(W3 [x_v, sum h_kv] + b)``.

    Args:
        scope: holds ``input/kernel [in + edge features, channels]``, ``message/kernel [channels,
            channels]``, ``output/kernel [in + channels, channels]`` and ``output/bias``.
        x: ``[nodes, in]``.
        edges: ``[edges, edge features]``, in the order of ``index``.
        reverse: `reverse_edges` of ``index``; None: found here, in every step anew where the index is an
            argument.
        dropout: of states and results, when ``training``.
        use_bias: of ``input`` and ``message``.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1, 1, 2], [1, 0, 2, 1])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: d_mpnn(scope / "mpnn", g.index, g.nodes, 8))(g).shape
    (3, 8)
    """
    reverse = mg.asarray(reverse_edges(index) if reverse is None else reverse)
    both_ways, back = (reverse >= 0)[:, None], mg.maximum(reverse, 0)

    def dense(scope: mg.Scope, y: Any, use_bias: bool) -> Any:
        return nn.dense(scope, y, channels, use_bias=use_bias, **options)

    first = edge_dense(
        scope / "input", index, channels, sender=x, edges=edges, use_bias=use_bias, **options
    )
    h = activate(first, activation)
    for _ in range(depth - 1):
        returning = index.gated(h)
        if h.shape[0]:
            returning = mg.where(both_ways, mg.take(returning, back, axis=0), 0)
        arriving = sent(index, aggregate(index, h)) - returning
        h = activate(first + dense(scope.shared("message"), arriving, use_bias), activation)
        h = nn.dropout(scope, h, dropout, training=training)
    y = dense(scope / "output", mg.concat([x, aggregate(index, h)], axis=-1), True)
    return nn.dropout(scope, activate(y, activation), dropout, training=training)

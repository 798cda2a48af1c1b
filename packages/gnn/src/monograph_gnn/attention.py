"""Convolutions that weigh neighbours by attention: GAT, GATv2, SuperGAT, graph transformer."""

from __future__ import annotations

import math
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.errors import ArgumentError
from monograph_layers.initializers import Init, glorot_uniform, zeros

from .authoring import layer, refuse
from .dense import add_bias, both
from .index import EdgeIndex
from .loops import add_self_loops as with_self_loops, fill_edges
from .propagation import aggregate, edge_dot, edge_softmax, neighbor_sum, per_edge, received, sent


@layer
def gat_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, heads: int = 1,
    concat: bool = True, negative_slope: float = 0.2, dropout: float = 0.0,
    feature_dropout: float = 0.0, training: bool = False, add_self_loops: bool = True,
    edges: Any = None, use_bias: bool = True,
    kernel_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
    return_attention: bool = False,
) -> Any:  # fmt: skip
    """Graph attention (Veličković et al. 2018), as PyG's GATConv.

    Args:
        scope: holds ``kernel [in, heads * channels]``, ``attention_sender``, ``attention_receiver
            [heads, channels]``, ``bias``; for a pair ``receiver_kernel``; with ``edges``
            ``edge_kernel`` and ``attention_edge``.
        x: ``[nodes, in]``, also a `SparseMatrix`; or a pair of those of senders and receivers, which have
            a kernel each, and no self-loops.
        channels: per head.
        concat: heads side by side, else their mean.
        dropout: of attention weights, when ``training``.
        feature_dropout: of what is sent, after the weights were made of it: not in the paper nor in PyG,
            but in the authors' program, and some of its accuracy.
        edges: ``[edges, edge features]``, in the order of ``index``; self-loops get the mean of what
            comes in.
        return_attention: give the pair ``(result, (index, weights [edges, heads]))``.

    Returns:
        ``[nodes, heads * channels]``, or ``[nodes, channels]`` without ``concat``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, g: gat_conv(scope / "gat", g.index, g.nodes, 8, heads=4))
    >>> call(g).shape
    (3, 32)
    """

    def projected(name: str, v: Any) -> Any:
        kernel = scope.parameter(name, (v.shape[-1], heads * channels), kernel_initializer, v.dtype)
        return mg.reshape(v @ kernel, (-1, heads, channels))

    if isinstance(x, tuple):
        source, target = projected("kernel", x[0]), projected("receiver_kernel", x[1])
    else:
        source = target = projected("kernel", x)

    def scores(name: str, values: Any) -> Any:
        a = scope.parameter(name, (heads, channels), glorot_uniform, values.dtype)
        return mg.sum(values * a, axis=-1)

    if add_self_loops and not isinstance(x, tuple):
        index, edges = _looped(index, edges)
    logits = sent(index, scores("attention_sender", source))
    logits = logits + received(index, scores("attention_receiver", target))
    if edges is not None:
        logits = logits + scores("attention_edge", projected("edge_kernel", per_edge(index, edges)))
    weights = edge_softmax(index, nn.activations.leaky_relu(logits, negative_slope))
    weights = nn.dropout(scope, weights, dropout, training=training) if dropout else weights
    if feature_dropout:
        source = nn.dropout(scope, source, feature_dropout, training=training)
    y = neighbor_sum(index, source, weights)
    y = _joined(y, concat)
    if use_bias:
        y = y + scope.parameter("bias", (y.shape[-1],), bias_initializer, y.dtype)
    return (y, (index, weights)) if return_attention else y


def _joined(y: Any, concat: bool) -> Any:
    """``[nodes, heads, channels]``: heads side by side, or their mean."""
    return mg.reshape(y, (y.shape[0], math.prod(y.shape[1:]))) if concat else mg.mean(y, axis=1)


def _looped(index: EdgeIndex, edges: Any) -> tuple[EdgeIndex, Any]:
    """The index with a new loop at every node, whose features are the mean of what comes in."""
    looped, places = with_self_loops(index, keep=False)
    if per_edge(index, edges) is None or looped is index:
        return looped, edges
    others = mg.astype(mg.asarray(index.senders) != mg.asarray(index.receivers), edges.dtype)
    total = aggregate(index.ungated, edges * others[:, None])
    mean = total / mg.maximum(aggregate(index.ungated, others), 1)[:, None]
    return looped, fill_edges(edges, places, received(looped, mean))


@layer
def gatv2_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, heads: int = 1,
    concat: bool = True, negative_slope: float = 0.2, dropout: float = 0.0,
    training: bool = False, add_self_loops: bool = True, edges: Any = None, use_bias: bool = True,
    share_weights: bool = False, residual: bool = False, return_attention: bool = False,
    **options: Any,
) -> Any:  # fmt: skip
    """Graph attention that ranks neighbours anew for each node (Brody et al. 2022), as PyG's GATv2Conv.

    The weight of an edge is the softmax of ``a . leaky_relu(W1 x_j + W2 x_i + W3 e_ij)``.

    Args:
        scope: holds ``sender`` and ``receiver`` (not with ``share_weights``), each ``kernel [in, heads *
            channels]`` and ``bias``; ``attention [heads, channels]``, ``bias``; with ``edges``
            ``edge/kernel``; with ``residual`` ``residual/kernel``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers, which have no self-loops.
        channels: per head.
        concat: heads side by side, else their mean.
        dropout: of attention weights, when ``training``.
        edges: ``[edges, edge features]``, in the order of ``index``; self-loops get the mean of what
            comes in.
        residual: whether a node's own features are added, by a kernel of their own.
        return_attention: give the pair ``(result, (index, weights [edges, heads]))``.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, heads * channels]``, or ``[nodes, channels]`` without ``concat``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, g: gatv2_conv(scope / "gat", g.index, g.nodes, 8, heads=4))
    >>> call(g).shape
    (3, 32)
    """

    def projected(name: str, v: Any, use_bias: bool = use_bias) -> Any:
        y = nn.dense(scope.shared(name), v, heads * channels, use_bias=use_bias, **options)
        return mg.reshape(y, (v.shape[0], heads, channels))

    ends = both(x)
    source = projected("sender", ends[0])
    if share_weights:
        target = projected("sender", ends[1]) if isinstance(x, tuple) else source
    else:
        target = projected("receiver", ends[1])
    if add_self_loops and not isinstance(x, tuple):
        index, edges = _looped(index, edges)
    terms = sent(index, source) + received(index, target)
    if edges is not None:
        terms = terms + projected("edge", per_edge(index, edges), False)
    attention = scope.parameter("attention", (heads, channels), glorot_uniform, terms.dtype)
    logits = mg.sum(nn.activations.leaky_relu(terms, negative_slope) * attention, axis=-1)
    weights = edge_softmax(index, logits)
    weights = nn.dropout(scope, weights, dropout, training=training)
    y = _joined(neighbor_sum(index, source, weights), concat)
    if residual:
        y = y + nn.dense(scope / "residual", ends[1], y.shape[-1], use_bias=False, **options)
    y = add_bias(scope, y, use_bias, **options)
    return (y, (index, weights)) if return_attention else y


@layer
def transformer_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, heads: int = 1,
    concat: bool = True, beta: bool = False, dropout: float = 0.0, training: bool = False,
    edges: Any = None, use_bias: bool = True, root_weight: bool = True,
    return_attention: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Graph transformer (Shi et al. 2021), as PyG's TransformerConv: scaled dot products along edges.

    Args:
        scope: holds ``query``, ``key``, ``value``, each ``kernel [in, heads * channels]`` and ``bias``;
            with ``root_weight`` ``root/kernel``, ``root/bias``; with ``edges`` ``edge/kernel``; with
            ``beta`` ``beta/kernel [3 * result's width, 1]``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        channels: per head.
        concat: heads side by side, else their mean.
        beta: a gate decides how much of a node's own features is taken.
        dropout: of attention weights, when ``training``.
        edges: ``[edges, edge features]``, in the order of ``index``; added to keys and values.
        root_weight: whether the node's own features are added, by a kernel of their own.
        return_attention: give the pair ``(result, (index, weights [edges, heads]))``.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, heads * channels]``, or ``[nodes, channels]`` without ``concat``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> model = lambda scope, g: transformer_conv(scope / "conv", g.index, g.nodes, 8, heads=4)
    >>> mg.Store(seed=0).bind(model)(g).shape
    (3, 32)
    """

    def projected(name: str, v: Any, use_bias: bool = use_bias) -> Any:
        y = nn.dense(scope / name, v, heads * channels, use_bias=use_bias, **options)
        return mg.reshape(y, (v.shape[0], heads, channels))

    source, target = both(x)
    query = projected("query", target) / math.sqrt(channels)
    key, value = projected("key", source), projected("value", source)
    logits = edge_dot(index, query, key)
    if edges is not None:
        of_edges = projected("edge", per_edge(index, edges), False)
        logits = logits + mg.sum(received(index, query) * of_edges, axis=-1)
    weights = edge_softmax(index, logits)
    weights = nn.dropout(scope, weights, dropout, training=training)
    y = neighbor_sum(index, value, weights)
    if edges is not None:
        y = y + aggregate(index, weights[..., None] * of_edges)
    y = _joined(y, concat)
    if root_weight:
        root = nn.dense(scope / "root", target, y.shape[-1], use_bias=use_bias, **options)
        if beta:
            sides = mg.concat([y, root, y - root], axis=-1)
            gate = mg.sigmoid(nn.dense(scope / "beta", sides, 1, use_bias=False, **options))
            y = gate * root + (1 - gate) * y
        else:
            y = y + root
    return (y, (index, weights)) if return_attention else y


@layer
def supergat_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, heads: int = 1,
    concat: bool = True, negative_slope: float = 0.2, dropout: float = 0.0,
    training: bool = False, add_self_loops: bool = True, attention_type: str = "MX",
    negatives: EdgeIndex | None = None, loss_weight: float = 1.0, use_bias: bool = True,
    **options: Any,
) -> Any:  # fmt: skip
    """Graph attention that also learns which edges there are (Kim and Oh 2021), as PyG's SuperGATConv.

    Args:
        scope: holds ``kernel [in, heads * channels]``, ``bias``; with ``"MX"`` ``attention_sender``,
            ``attention_receiver [heads, channels]``.
        x: ``[nodes, in]``.
        channels: per head.
        concat: heads side by side, else their mean.
        dropout: of attention weights, when ``training``.
        attention_type: ``"MX"``: GAT's logits times the sigmoid of both ends' inner product; ``"SD"``:
            the inner product over the root of ``channels``.
        negatives: edges that are not there. With them, when ``training``, ``loss_weight`` times the mean
            cross-entropy of telling edges from them, by the heads' mean inner product, goes to
            ``scope.losses``.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, heads * channels]``, or ``[nodes, channels]`` without ``concat``.

    Raises:
        ArgumentError: an unknown ``attention_type``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: supergat_conv(scope / "gat", g.index, g.nodes, 8))(g).shape
    (3, 8)
    """
    if attention_type not in ("MX", "SD"):
        message = f"attention_type={attention_type!r} is neither 'MX' nor 'SD'"
        refuse(scope, "supergat_conv", message, ArgumentError)
    if add_self_loops:
        index, _ = with_self_loops(index, keep=False)
    x = nn.dense(scope, x, heads * channels, use_bias=False, **options)
    x = mg.reshape(x, (x.shape[0], heads, channels))
    scale = 1.0 if attention_type == "MX" else 1 / math.sqrt(channels)
    product = scale * edge_dot(index, x, x)
    logits = product
    if attention_type == "MX":
        ends = (sent, "attention_sender"), (received, "attention_receiver")
        scores = [
            along(
                index, mg.sum(x * scope.parameter(n, x.shape[1:], glorot_uniform, x.dtype), axis=-1)
            )
            for along, n in ends
        ]
        logits = (scores[0] + scores[1]) * mg.sigmoid(product)
    weights = edge_softmax(index, nn.activations.leaky_relu(logits, negative_slope))
    weights = nn.dropout(scope, weights, dropout, training=training)
    if training and negatives is not None:
        others = scale * edge_dot(negatives, x, x)
        scope.add_loss(loss_weight * _told_apart(index, product, negatives, others))
    y = _joined(neighbor_sum(index, x, weights), concat)
    return add_bias(scope, y, use_bias, **options)


def _told_apart(index: EdgeIndex, product: Any, negatives: EdgeIndex, others: Any) -> Any:
    """The mean cross-entropy of edges and of those that are not there, padding left out."""
    total = count = mg.zeros((), dtype=product.dtype.compute)
    for edges, logits in ((index, -mg.mean(product, axis=1)), (negatives, mg.mean(others, axis=1))):
        losses = nn.activations.softplus(mg.astype(logits, total.dtype))
        total = total + mg.sum(mg.where(edges.edge_mask, losses, 0))
        count = count + mg.sum(mg.astype(edges.edge_mask, total.dtype))
    return total / mg.maximum(count, 1)

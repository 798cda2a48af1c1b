"""Convolutions that weigh neighbours by attention: GAT."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.authoring import layer
from monograph_layers.initializers import Init, glorot_uniform, zeros

from .index import EdgeIndex
from .loops import add_self_loops as with_self_loops, fill_edges
from .propagation import aggregate, edge_softmax, neighbor_sum, received, sent


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
        logits = logits + scores("attention_edge", projected("edge_kernel", edges))
    weights = edge_softmax(index, nn.activations.leaky_relu(logits, negative_slope))
    weights = nn.dropout(scope, weights, dropout, training=training) if dropout else weights
    if feature_dropout:
        source = nn.dropout(scope, source, feature_dropout, training=training)
    y = neighbor_sum(index, source, weights)
    y = mg.reshape(y, (y.shape[0], heads * channels)) if concat else mg.mean(y, axis=1)
    if use_bias:
        y = y + scope.parameter("bias", (y.shape[-1],), bias_initializer, y.dtype)
    return (y, (index, weights)) if return_attention else y


def _looped(index: EdgeIndex, edges: Any) -> tuple[EdgeIndex, Any]:
    """The index with a new loop at every node, whose features are the mean of what comes in."""
    looped, places = with_self_loops(index, keep=False)
    if edges is None or looped is index:
        return looped, edges
    others = mg.astype(mg.asarray(index.senders) != mg.asarray(index.receivers), edges.dtype)
    total = aggregate(index, edges * others[:, None])
    mean = total / mg.maximum(aggregate(index, others), 1)[:, None]
    return looped, fill_edges(edges, places, received(looped, mean))

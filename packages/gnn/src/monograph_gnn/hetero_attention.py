"""Attention over graphs of several types: HGT and HAN."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import Init, glorot_uniform, ones, zeros

from . import ops
from .authoring import layer, refuse
from .dense import per_matrix
from .hetero_batches import HeteroBatch, relation_name
from .index import EdgeIndex
from .propagation import aggregate, edge_dot, edge_softmax, neighbor_sum, received, sent


@layer
def hgt_conv(
    scope: mg.Scope, graph: HeteroBatch, x: Mapping[str, Any], channels: int, *, heads: int = 1,
    kernel_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
) -> dict[str, Any]:  # fmt: skip
    """Heterogeneous graph transformer (Hu et al. 2020), as PyG's HGTConv.

    Each node attends to all who send to it, over all relations at once.

    Args:
        scope: holds per type ``type/kqv/kernel [in, 3 * channels]`` with its bias (keys, queries and
            values); per relation ``sender-name-receiver/key_kernel`` and ``value_kernel [heads, channels
            / heads, channels / heads]`` and ``prior [heads]``; per type that receives ``type/out`` and,
            where it has ``channels`` features already, ``type/skip [1]``.
        graph: says who sends to whom.
        x: by type ``[nodes, in]``.
        channels: of all heads together.

    Returns:
        By type ``[nodes, channels]``; a type that no relation arrives at is left out.

    Raises:
        ShapeError: ``channels`` is no multiple of ``heads``.

    >>> import numpy as np
    >>> from monograph_gnn import hetero_graph
    >>> g = hetero_graph({"user": np.ones((2, 3), "float32"), "item": np.ones((4, 5), "float32")},
    ...                  {("user", "buys", "item"): ([0, 1, 1], [3, 0, 2])})
    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, g: hgt_conv(scope / "hgt", g, g.nodes, 8, heads=2))
    >>> {k: y.shape for k, y in call(g).items()}
    {'item': (4, 8)}
    """
    width = _per_head(scope, "hgt_conv", channels, heads)
    keys, queries, values = {}, {}, {}
    for k, v in x.items():
        kqv = nn.dense(
            scope / k / "kqv", v, 3 * channels, kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
        )  # fmt: skip
        kqv = mg.reshape(kqv, (-1, 3, heads, width))
        keys[k], queries[k], values[k] = (kqv[:, i] for i in range(3))
    arriving: dict[str, list[tuple[EdgeIndex, Any, Any]]] = {}
    for relation, index in graph.index.items():
        sender, _, receiver = relation
        own = scope / relation_name(relation)
        key, value = (
            _by_head(own, name, v[sender], kernel_initializer)
            for name, v in (("key_kernel", keys), ("value_kernel", values))
        )
        prior = own.parameter("prior", (heads,), ones, key.dtype) / math.sqrt(width)
        logits = edge_dot(index, queries[receiver], key) * prior
        arriving.setdefault(receiver, []).append((index, logits, value))
    out = {}
    for k in x:
        if k not in arriving:
            continue
        y = mg.gelu(mg.reshape(attend_over(arriving[k]), (-1, channels)))
        y = nn.dense(
            scope / k / "out", y, channels, kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
        )  # fmt: skip
        if x[k].shape[-1] == channels:
            share = mg.sigmoid((scope / k).parameter("skip", (1,), ones, y.dtype))
            y = share * y + (1 - share) * x[k]
        out[k] = y
    return out


def _per_head(scope: mg.Scope, name: str, channels: int, heads: int) -> int:
    if channels % heads:
        refuse(scope, name, f"channels={channels} must be a multiple of heads={heads}")
    return channels // heads


def _by_head(scope: mg.Scope, name: str, x: Any, init: Init) -> Any:
    """``x [nodes, heads, width]``, each head through a kernel of its own."""
    _, heads, width = x.shape
    kernel = scope.parameter(name, (heads, width, width), per_matrix(init), x.dtype)
    return mg.swapaxes(mg.swapaxes(x, 0, 1) @ kernel, 0, 1)


def attend_over(arriving: list[tuple[EdgeIndex, Any, Any]]) -> Any:
    """Values weighed by a softmax over all edges into each node, those of several indices together.

    Args:
        arriving: per index, all of the same receivers: it, ``logits [edges, heads]`` and what its
            senders hold, ``[senders, heads, width]``.

    Returns:
        ``[receivers, heads, width]``; 0 for a node that nobody sends to.
    """
    # one sum over the edges of all, without an index that joins them and would have to be sorted
    tops = []
    for index, logits, _ in arriving:
        some = (index.in_degrees > 0)[:, None]
        tops.append(mg.where(some, ops.edge_max(logits, *index.arrays), -mg.inf))
    top = tops[0]
    for other in tops[1:]:
        top = mg.maximum(top, other)
    top = mg.stop_gradient(mg.where(top == -mg.inf, 0, top))
    total: Any = 0
    y: Any = 0
    for index, logits, values in arriving:
        # padding, which nothing sums, may hold anything, so also what does not overflow
        shifted = mg.where(index.edge_mask[:, None], logits - received(index, top), 0)
        weights = mg.exp(shifted)
        total = total + aggregate(index.ungated, weights)  # gates come after weighing
        y = y + neighbor_sum(index, values, weights)
    return y / mg.where(total == 0, 1, total)[:, :, None]


@layer
def han_conv(
    scope: mg.Scope, graph: HeteroBatch, x: Mapping[str, Any], channels: int, *, heads: int = 1,
    negative_slope: float = 0.2, dropout: float = 0.0, training: bool = False,
    kernel_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
) -> dict[str, Any]:  # fmt: skip
    """Heterogeneous graph attention (Wang et al. 2019), as PyG's HANConv.

    Attention among each relation's neighbours, then among relations, whose share is the same for all
    nodes of a type. The paper's relations are metapaths: paths through other types.

    Args:
        scope: holds per type ``type/kernel [in, channels]`` and ``bias``; per relation
            ``sender-name-receiver/attention_sender`` and ``attention_receiver [heads, channels /
            heads]``; ``semantic/kernel [channels, channels]``, ``semantic/bias`` and
            ``semantic/query [channels]``.
        graph: says who sends to whom, and which nodes are padding.
        x: by type ``[nodes, in]``.
        channels: of all heads together.
        dropout: of attention weights, when ``training``.

    Returns:
        By type ``[nodes, channels]``; a type that no relation arrives at is left out.

    Raises:
        ShapeError: ``channels`` is no multiple of ``heads``.

    >>> import numpy as np
    >>> from monograph_gnn import hetero_graph
    >>> g = hetero_graph({"user": np.ones((2, 3), "float32"), "item": np.ones((4, 5), "float32")},
    ...                  {("user", "buys", "item"): ([0, 1, 1], [3, 0, 2])})
    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, g: han_conv(scope / "han", g, g.nodes, 8, heads=2))
    >>> {k: y.shape for k, y in call(g).items()}
    {'item': (4, 8)}
    """
    width = _per_head(scope, "han_conv", channels, heads)
    options: dict[str, Any] = {
        "kernel_initializer": kernel_initializer, "bias_initializer": bias_initializer,
    }  # fmt: skip
    held = {
        k: mg.reshape(nn.dense(scope / k, v, channels, **options), (-1, heads, width))
        for k, v in x.items()
    }
    arrived: dict[str, list[Any]] = {}
    for relation, index in graph.index.items():
        sender, _, receiver = relation
        own = scope / relation_name(relation)

        def scores(name: str, v: Any, own: mg.Scope = own) -> Any:
            return mg.sum(v * own.parameter(name, (heads, width), glorot_uniform, v.dtype), axis=-1)

        logits = sent(index, scores("attention_sender", held[sender]))
        logits = logits + received(index, scores("attention_receiver", held[receiver]))
        weights = edge_softmax(index, nn.activations.leaky_relu(logits, negative_slope))
        weights = nn.dropout(own, weights, dropout, training=training) if dropout else weights
        y = mg.relu(neighbor_sum(index, held[sender], weights))
        arrived.setdefault(receiver, []).append(mg.reshape(y, (-1, channels)))
    semantic = scope.shared("semantic")  # one for all types
    out = {}
    for k in x:
        if k not in arrived:
            continue
        ys = mg.stack(arrived[k])
        views = mg.tanh(nn.dense(semantic, ys, channels, **options))
        real = mg.astype(graph.node_mask(k), ys.dtype)[:, None]
        mean = mg.sum(views * real, axis=1) / mg.maximum(mg.sum(real), 1)
        query = semantic.parameter("query", (channels,), _vector(kernel_initializer), ys.dtype)
        share = mg.softmax(mean @ query, axis=0)
        out[k] = mg.sum(ys * share[:, None, None], axis=0)
    return out


def _vector(init: Init) -> Init:
    """``init`` of a row ``[1, n]``, as a vector."""
    return lambda key, shape, dtype: init(key, (1, *shape), dtype)[0]

"""Normalisation of nodes' features, over the nodes of each graph.

Each takes a `GraphBatch`, or an `EdgeIndex` by which ``x`` has a row per edge and each receiver is a group
(see `pooling`). Padding counts nowhere. For batch normalisation over all nodes give ``nn.batch_norm`` the mask:
``nn.batch_norm(scope, x, mask=graph.node_mask, training=training)``.
"""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import Init, glorot_uniform, ones, zeros

from .authoring import layer
from .batches import GraphBatch
from .index import EdgeIndex
from .pooling import Pooled, members
from .propagation import aggregate, received


def _mean(index: EdgeIndex, x: Any) -> Any:
    """Per row the mean of its graph's rows."""
    return received(index, aggregate(index, x, "mean"))


def _affine(scope: mg.Scope, x: Any, scale: bool = True, center: bool = True) -> Any:
    if scale:
        x = x * scope.parameter("gamma", x.shape[-1:], ones, x.dtype)
    if center:
        x = x + scope.parameter("beta", x.shape[-1:], zeros, x.dtype)
    return x


@layer
def graph_norm(scope: mg.Scope, graph: Pooled, x: Any, *, epsilon: float = 1e-5) -> Any:
    """Each feature to variance 1 over a graph's nodes, less a learned part of its mean (Cai et al. 2021).

    As PyG's GraphNorm.

    Args:
        scope: holds ``mean_scale``, ``gamma`` and ``beta [features]``.
        x: ``[nodes, features]``.

    Returns:
        ``[nodes, features]``.

    >>> x = mg.asarray([[1.0], [3.0]])
    >>> from monograph_gnn import graph
    >>> norm = lambda scope, g: graph_norm(scope / "norm", g, g.nodes, epsilon=0.0)
    >>> mg.Store().bind(norm)(graph(x, [0], [1])).tolist()
    [[-1.0], [1.0]]
    """
    index = members(graph)
    low = x - _mean(index, x) * scope.parameter("mean_scale", x.shape[-1:], ones, x.dtype)
    return _affine(scope, low * mg.rsqrt(_mean(index, low * low) + epsilon))


@layer
def graph_layer_norm(
    scope: mg.Scope, graph: Pooled, x: Any, *, epsilon: float = 1e-5, scale: bool = True,
    center: bool = True,
) -> Any:  # fmt: skip
    """All of a graph's numbers to mean 0 and variance 1, as PyG's LayerNorm; ``nn.layer_norm`` does a node's.

    Args:
        scope: holds ``gamma`` and ``beta [features]``, unless not ``scale`` or ``center``.
        x: ``[nodes, features]``.

    Returns:
        ``[nodes, features]``.

    >>> x = mg.asarray([[1.0, 3.0], [3.0, 1.0]])
    >>> from monograph_gnn import graph
    >>> norm = lambda scope, g: graph_layer_norm(scope / "norm", g, g.nodes, epsilon=0.0)
    >>> mg.Store().bind(norm)(graph(x, [0], [1])).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """
    index = members(graph)
    low = x - _mean(index, mg.mean(x, axis=-1, keepdims=True))
    variance = _mean(index, mg.mean(low * low, axis=-1, keepdims=True))
    return _affine(scope, low * mg.rsqrt(variance + epsilon), scale, center)


@layer
def graph_instance_norm(
    scope: mg.Scope, graph: Pooled, x: Any, *, epsilon: float = 1e-5, scale: bool = False,
    center: bool = False,
) -> Any:  # fmt: skip
    """Each feature to mean 0 and variance 1 over a graph's nodes, as PyG's InstanceNorm.

    Its ``affine=True`` is ``scale=True, center=True``.

    Args:
        scope: holds ``gamma`` and ``beta [features]``, if there shall be any.
        x: ``[nodes, features]``.

    Returns:
        ``[nodes, features]``.

    >>> x = mg.asarray([[1.0], [3.0]])
    >>> from monograph_gnn import graph
    >>> norm = lambda scope, g: graph_instance_norm(scope, g, g.nodes, epsilon=0.0)
    >>> mg.Store().bind(norm)(graph(x, [0], [1])).tolist()
    [[-1.0], [1.0]]
    """
    index = members(graph)
    low = x - _mean(index, x)
    return _affine(scope, low * mg.rsqrt(_mean(index, low * low) + epsilon), scale, center)


@layer
def pair_norm(
    scope: mg.Scope, graph: Pooled, x: Any, *, scale: float = 1.0,
    scale_individually: bool = False, epsilon: float = 1e-5,
) -> Any:  # fmt: skip
    """Centred nodes whose mean square length is ``scale ** 2``: PairNorm (Zhao and Akoglu 2020), as PyG's.

    So the distances between nodes stay what they are, however many layers there are.

    Args:
        x: ``[nodes, features]``.
        scale_individually: give each node the length ``scale`` (PairNorm-SI).

    Returns:
        ``[nodes, features]``.

    >>> x = mg.asarray([[1.0], [5.0]])
    >>> from monograph_gnn import graph
    >>> norm = lambda scope, g: pair_norm(scope, g, g.nodes, scale=3.0, epsilon=0.0)
    >>> mg.Store().bind(norm)(graph(x, [0], [1])).tolist()
    [[-3.0], [3.0]]
    """
    index = members(graph)
    low = x - _mean(index, x)
    if scale_individually:
        return low * (scale / (epsilon + mg.linalg.vector_norm(low, axis=-1, keepdims=True)))
    square = _mean(index, mg.sum(low * low, axis=-1, keepdims=True))
    return low * (scale * mg.rsqrt(epsilon + square))


@layer
def mean_subtraction_norm(scope: mg.Scope, graph: Pooled, x: Any) -> Any:
    """``x [nodes, features]`` less its mean over each graph (Yang et al. 2020), as PyG's MeanSubtractionNorm.

    >>> x = mg.asarray([[1.0], [5.0]])
    >>> from monograph_gnn import graph
    >>> norm = lambda scope, g: mean_subtraction_norm(scope, g, g.nodes)
    >>> mg.Store().bind(norm)(graph(x, [0], [1])).tolist()
    [[-2.0], [2.0]]
    """
    return x - _mean(members(graph), x)


@layer
def graph_size_norm(scope: mg.Scope, graph: Pooled, x: Any) -> Any:
    """``x [nodes, ...]`` over the root of its graph's number of nodes (Dwivedi et al. 2020), as PyG's GraphSizeNorm.

    >>> from monograph_gnn import graph
    >>> norm = lambda scope, g: graph_size_norm(scope, g, g.nodes)
    >>> mg.Store().bind(norm)(graph(mg.ones((4, 1)), [0], [1]))[:1].tolist()
    [[0.5]]
    """
    index = members(graph)
    sizes = mg.astype(mg.maximum(index.in_degrees, 1), x.dtype)
    factors = received(index, mg.rsqrt(sizes))
    return x * mg.reshape(factors, (-1,) + (1,) * (x.ndim - 1))


@layer
def message_norm(scope: mg.Scope, x: Any, messages: Any, *, learn_scale: bool = False) -> Any:
    """What arrives at nodes with the length of what they hold (Li et al. 2020), as PyG's MessageNorm.

    Args:
        scope: holds ``scale [1]``, if it is learned.
        x: ``[nodes, features]``, what nodes hold.
        messages: ``[nodes, channels]``, what arrived, aggregated.

    Returns:
        ``[nodes, channels]``.

    >>> norm = lambda scope, x, y: message_norm(scope, x, y)
    >>> mg.Store().bind(norm)(mg.asarray([[3.0, 4.0]]), mg.asarray([[0.5, 0.0]])).tolist()
    [[5.0, 0.0]]
    """
    y = nn.unit_norm(scope, messages) * mg.linalg.vector_norm(x, axis=-1, keepdims=True)
    return y * scope.parameter("scale", (1,), ones, x.dtype) if learn_scale else y


@layer
def diff_group_norm(
    scope: mg.Scope, graph: GraphBatch, x: Any, groups: int, *, training: bool = False,
    lamda: float = 0.01, epsilon: float = 1e-5, momentum: float = 0.9,
    kernel_initializer: Init = glorot_uniform, **affine: Any,
) -> Any:  # fmt: skip
    """Batch normalisation in soft groups of nodes (Zhou et al. 2020), as PyG's DiffGroupNorm.

    ``x + lamda * sum over groups of batch_norm(s_g * x)`` with ``s = softmax(x @ kernel)``.

    Args:
        scope: holds ``assignment/kernel [features, groups]`` and below ``norm`` the variables of
            ``nn.batch_norm`` over ``groups * features`` channels.
        x: ``[nodes, features]``; statistics are of all nodes of the batch.
        momentum: what moving statistics keep: 1 less PyG's.
        affine: as of ``nn.batch_norm``.

    Returns:
        ``[nodes, features]``.

    >>> from monograph_gnn import graph
    >>> norm = lambda scope, g: diff_group_norm(scope / "norm", g, g.nodes, 3, training=True)
    >>> mg.Store(seed=0).bind(norm)(graph(mg.ones((4, 2)), [0], [1])).shape
    (4, 2)
    """
    assigned = mg.softmax(
        nn.dense(
            scope / "assignment", x, groups, use_bias=False, kernel_initializer=kernel_initializer
        )
    )
    n, width = x.shape
    parts = mg.reshape(assigned[:, :, None] * x[:, None], (n, groups * width))
    parts = nn.batch_norm(
        scope / "norm", parts, training=training, momentum=momentum, epsilon=epsilon,
        unbiased=True, mask=graph.node_mask, **affine,
    )  # fmt: skip
    return x + lamda * mg.sum(mg.reshape(parts, (n, groups, width)), axis=1)

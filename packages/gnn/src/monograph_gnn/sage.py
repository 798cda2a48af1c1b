"""Convolutions with one kernel for a node and another for its neighbours: GraphSAGE and its kin."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn

from .authoring import layer
from .dense import both, neighbor_dense
from .index import EdgeIndex
from .propagation import Aggregation, aggregate, neighbor_sum


@layer
def sage_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, how: Aggregation = "mean",
    normalize: bool = False, root_weight: bool = True, project: bool = False, use_bias: bool = True,
    **options: Any,
) -> Any:  # fmt: skip
    """GraphSAGE (Hamilton et al. 2017), as PyG's SAGEConv: ``W1 x_i + W2 mean_j x_j + b``.

    Args:
        scope: holds ``neighbor/kernel [in, channels]``, ``neighbor/bias``, ``root/kernel``; with
            ``project`` ``project/kernel [in, in]`` and ``project/bias``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        how: what is made of the neighbours' features, see `aggregate`.
        normalize: whether each result has length 1.
        root_weight: whether the node itself takes part.
        project: neighbours pass a dense layer with ReLU first.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: sage_conv(scope / "sage", g.index, g.nodes, 2))(g).shape
    (3, 2)
    """
    source, target = both(x)
    if project:
        source = nn.dense(scope / "project", source, source.shape[-1], activation="relu", **options)
    y = neighbor_dense(
        scope / "neighbor", index, source, channels, how=how, use_bias=use_bias, **options
    )
    if root_weight:
        y = y + nn.dense(scope / "root", target, channels, use_bias=False, **options)
    return nn.unit_norm(scope, y) if normalize else y


@layer
def graph_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, edge_weight: Any = None,
    how: Aggregation = "sum", use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Graph convolution of Morris et al. 2019, as PyG's GraphConv: ``W1 x_i + W2 sum_j w_ij x_j + b``.

    Args:
        scope: holds ``neighbor/kernel [in, channels]``, ``neighbor/bias``, ``root/kernel``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        edge_weight: ``[edges]``, in the order of ``index``.
        how: see `aggregate`.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: graph_conv(scope / "conv", g.index, g.nodes, 2))(g).shape
    (3, 2)
    """
    source, target = both(x)
    y = neighbor_dense(
        scope / "neighbor", index, source, channels, weights=edge_weight, how=how,
        use_bias=use_bias, **options,
    )  # fmt: skip
    return y + nn.dense(scope / "root", target, channels, use_bias=False, **options)


@layer
def le_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, edge_weight: Any = None,
    use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Local extrema (Ranjan et al. 2020), as PyG's LEConv: ``W1 x_i + sum_j w_ij (W2 x_j - W3 x_i)``.

    Args:
        scope: holds ``root``, ``neighbor`` and ``difference``, each ``kernel [in, channels]``, the first
            two with a ``bias``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        edge_weight: ``[edges]``, in the order of ``index``.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: le_conv(scope / "conv", g.index, g.nodes, 2))(g).shape
    (3, 2)
    """
    source, target = both(x)
    others = nn.dense(scope / "neighbor", source, channels, use_bias=use_bias, **options)
    own = nn.dense(scope / "difference", target, channels, use_bias=False, **options)
    if edge_weight is None:
        edge_weight = mg.ones(index.num_edges, dtype=own.dtype)
    strength = aggregate(index, edge_weight)
    y = neighbor_sum(index, others, edge_weight) - strength[:, None] * own
    return y + nn.dense(scope / "root", target, channels, use_bias=use_bias, **options)

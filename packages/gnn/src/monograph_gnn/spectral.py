"""Convolutions by a normalised adjacency matrix: GCN and its kin."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.authoring import layer
from monograph_layers.initializers import Init, glorot_uniform, zeros
from monograph_layers.regularizers import Regularizer

from .index import EdgeIndex
from .loops import add_self_loops as with_self_loops, fill_edges
from .propagation import aggregate, neighbor_sum, received, sent


def gcn_norm(
    index: EdgeIndex, weights: Any = None, *, dtype: Any = "float32", add_self_loops: bool = True
) -> tuple[EdgeIndex, Any]:
    """``D^-1/2 (A + I) D^-1/2`` as edges and their weights (Kipf and Welling 2017).

    Args:
        weights: ``[edges]`` of ``index``; None: 1 each, of ``dtype``.

    Returns:
        The index, with self-loops, and ``[edges]``.
    """
    if weights is None:
        weights = mg.ones(index.num_edges, dtype=dtype)
    if add_self_loops:
        looped, places = with_self_loops(index)
        if looped is not index:
            index, weights = looped, fill_edges(weights, places, 1)
    degrees = aggregate(index, weights)
    some = degrees > 0
    scale = mg.where(some, mg.rsqrt(mg.where(some, degrees, 1)), 0)
    return index, sent(index, scale) * weights * received(index, scale)


@layer
def gcn_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, edge_weight: Any = None,
    add_self_loops: bool = True, normalize: bool = True, use_bias: bool = True,
    kernel_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
    kernel_regularizer: Regularizer = None,
) -> Any:  # fmt: skip
    """Graph convolution (Kipf and Welling 2017), as PyG's GCNConv: ``D^-1/2 (A + I) D^-1/2 x W + b``.

    Args:
        scope: holds ``kernel [in, channels]`` and ``bias [channels]``.
        x: ``[nodes, in]``, or a `SparseMatrix`.
        edge_weight: ``[edges]``, in the order of ``index``.
        normalize: whether edges are weighted by their ends' degrees; False leaves out self-loops, too,
            for weights that `gcn_norm` made beforehand.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: gcn_conv(scope / "gcn", g.index, g.nodes, 2))(g).shape
    (3, 2)
    """
    if normalize:
        index, edge_weight = gcn_norm(
            index, edge_weight, dtype=x.dtype, add_self_loops=add_self_loops
        )
    y = nn.dense(
        scope, x, channels, use_bias=False, kernel_initializer=kernel_initializer,
        kernel_regularizer=kernel_regularizer,
    )  # fmt: skip
    y = neighbor_sum(index, y, edge_weight)
    return y + scope.parameter("bias", (channels,), bias_initializer, y.dtype) if use_bias else y

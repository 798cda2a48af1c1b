"""Convolutions by a normalised adjacency matrix: GCN and its kin."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.activations import Activation, activate
from monograph_layers.initializers import Init, glorot_uniform, zeros
from monograph_layers.regularizers import Regularizer

from .authoring import layer
from .dense import add_bias, kernels, neighbor_dense
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
    degrees = aggregate(index.ungated, weights)
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


@layer
def cluster_gcn_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, diag_lambda: float = 0.0,
    add_self_loops: bool = True, use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Cluster-GCN (Chiang et al. 2019), as PyG's ClusterGCNConv.

    ``W1 x + W2 (B + diag_lambda diag(B)) x + b`` with ``B = D^-1 (A + I)``.

    Args:
        scope: holds ``neighbor/kernel [in, channels]``, ``neighbor/bias``, ``root/kernel``.
        x: ``[nodes, in]``.
        diag_lambda: how much more self-loops count.
        add_self_loops: whether every node gets one, in the place of those that are there.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: cluster_gcn_conv(scope / "conv", g.index, g.nodes, 2))(g).shape
    (3, 2)
    """
    if add_self_loops:
        index, _ = with_self_loops(index, keep=False)
    share = received(index, 1 / mg.maximum(mg.astype(index.in_degrees, x.dtype), 1))
    loops = mg.asarray(index.senders) == mg.asarray(index.receivers)
    weights = mg.where(loops, share * (1 + diag_lambda), share)
    y = neighbor_dense(
        scope / "neighbor", index, x, channels, weights=weights, use_bias=use_bias, **options
    )
    return y + nn.dense(scope / "root", x, channels, use_bias=False, **options)


@layer
def arma_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, num_stacks: int = 1,
    num_layers: int = 1, shared_weights: bool = False, activation: Activation = "relu",
    dropout: float = 0.0, training: bool = False, edge_weight: Any = None, use_bias: bool = True,
    **options: Any,
) -> Any:  # fmt: skip
    """Auto-regressive moving average filters (Bianchi et al. 2021), as PyG's ARMAConv.

    The mean of ``num_stacks`` recursions ``y <- act(A y W + x V + b)`` of ``num_layers`` steps, from
    ``y = x``, with ``A = D^-1/2 A D^-1/2``.

    Args:
        scope: holds for each layer ``0``, ``1`` ... ``kernel [num_stacks, in or channels, channels]``,
            ``root_kernel [num_stacks, in, channels]`` and ``bias [num_stacks, channels]``; with
            ``shared_weights`` for the first alone, and one ``recurrent_kernel [num_stacks, channels,
            channels]`` for the others.
        x: ``[nodes, in]``.
        dropout: of ``x`` where it enters anew, when ``training``.
        edge_weight: ``[edges]``, in the order of ``index``.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> model = lambda scope, g: arma_conv(scope / "arma", g.index, g.nodes, 2, num_stacks=3)
    >>> mg.Store(seed=0).bind(model)(g).shape
    (3, 2)
    """
    index, weights = gcn_norm(index, edge_weight, dtype=x.dtype, add_self_loops=False)
    x = mg.broadcast_to(x[:, None], (x.shape[0], num_stacks, x.shape[-1]))
    y = x
    for i in range(num_layers):
        at = scope.shared("0") if shared_weights else scope / str(i)

        def times(name: str, v: Any, at: mg.Scope = at) -> Any:
            kernel = kernels(at, name, (*v.shape[1:], channels), v.dtype, **options)
            return mg.einsum("nsi,sio->nso", v, kernel)

        again = shared_weights and i
        y = neighbor_sum(index, times("recurrent_kernel" if again else "kernel", y), weights)
        y = y + times("root_kernel", nn.dropout(scope, x, dropout, training=training))
        y = activate(add_bias(at, y, use_bias, **options), activation)
    return mg.mean(y, axis=1)

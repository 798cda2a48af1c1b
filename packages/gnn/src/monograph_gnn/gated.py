"""Convolutions that let messages through by gates, or shape them feature by feature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.activations import Activation, activate

from .authoring import layer, refuse
from .dense import add_bias, both, edge_dense, kernels
from .index import EdgeIndex
from .isomorphism import Network
from .propagation import Aggregation, aggregate, propagate


@layer
def gated_graph_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, num_layers: int, *,
    edge_weight: Any = None, how: Aggregation = "sum", use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Gated graph network (Li et al. 2016), as PyG's GatedGraphConv: a GRU over rounds of messages.

    Args:
        scope: holds ``kernel [num_layers, channels, channels]``, of each round's messages, and ``gru``,
            the same in all rounds, with the parameters of `monograph_layers.gru`.
        x: ``[nodes, in]``, ``in`` at most ``channels``: the state that nodes begin with, filled up with
            zeros.
        edge_weight: ``[edges]``, in the order of ``index``.
        how: see `aggregate`.
        options: initializer and regularizer of ``kernel``, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    Raises:
        ShapeError: ``x`` has more features than ``channels``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> model = lambda scope, g: gated_graph_conv(scope / "conv", g.index, g.nodes, 8, 3)
    >>> mg.Store(seed=0).bind(model)(g).shape
    (3, 8)
    """
    width = x.shape[-1]
    if width > channels:
        refuse(scope, "gated_graph_conv", f"{width} features do not fit into {channels} channels")
    x = mg.pad(x, ((0, 0), (0, channels - width)))
    shape = (num_layers, channels, channels)
    each = kernels(scope, "kernel", shape, x.dtype, **options)
    for i in range(num_layers):
        arriving = propagate(index, x @ each[i], weights=edge_weight, how=how)
        x = nn.gru(
            scope.shared("gru"), arriving[:, None], channels, initial_state=x, use_bias=use_bias
        )
    return x


@layer
def res_gated_graph_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, activation: Activation = "sigmoid",
    edges: Any = None, root_weight: bool = True, use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Residual gated graph network (Bresson and Laurent 2017), as PyG's ResGatedGraphConv.

    ``W x_i + sum_j activation(key_ij + query_ij) * value_ij + b``: the key is of the receiver, query and
    value of the sender, each with the edge's features.

    Args:
        scope: holds ``key``, ``query`` and ``value``, each ``kernel [in + edge features, channels]`` and
            ``bias``; ``root/kernel [in, channels]``, ``bias``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        edges: ``[edges, edge features]``, in the order of ``index``.
        root_weight: whether the node itself takes part.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> model = lambda scope, g: res_gated_graph_conv(scope / "conv", g.index, g.nodes, 2)
    >>> mg.Store(seed=0).bind(model)(g).shape
    (3, 2)
    """
    source, target = both(x)
    key = edge_dense(scope / "key", index, channels, receiver=target, edges=edges, **options)
    query = edge_dense(scope / "query", index, channels, sender=source, edges=edges, **options)
    value = edge_dense(scope / "value", index, channels, sender=source, edges=edges, **options)
    y = aggregate(index, activate(key + query, activation) * value)
    if root_weight:
        y = y + nn.dense(scope / "root", target, channels, use_bias=False, **options)
    return add_bias(scope, y, use_bias, **options)


@layer
def cg_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, *, edges: Any = None, how: Aggregation = "sum",
    batch_norm: bool = False, training: bool = False, mask: Any = None, use_bias: bool = True,
    **options: Any,
) -> Any:  # fmt: skip
    """Crystal graph convolution (Xie and Grossman 2018), as PyG's CGConv.

    ``x_i + sum_j sigmoid(W1 z_ij + b1) * softplus(W2 z_ij + b2)``, ``z_ij`` being both ends' features and
    the edge's side by side.

    Args:
        scope: holds ``gate`` and ``core``, each ``kernel [2 * in + edge features, in]`` and ``bias``; and
            ``norm``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        edges: ``[edges, edge features]``, in the order of ``index``.
        how: see `aggregate`.
        batch_norm: whether what arrives is normalised, by `monograph_layers.batch_norm` with PyTorch's
            settings.
        mask: ``[nodes]`` bools: which nodes count in the statistics (``GraphBatch.node_mask``).
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, in]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> mg.Store(seed=0).bind(lambda scope, g: cg_conv(scope / "conv", g.index, g.nodes))(g).shape
    (3, 5)
    """
    source, target = both(x)

    def projected(name: str) -> Any:
        return edge_dense(
            scope / name, index, target.shape[-1], receiver=target, sender=source, edges=edges,
            use_bias=use_bias, **options,
        )  # fmt: skip

    y = mg.sigmoid(projected("gate")) * nn.activations.softplus(projected("core"))
    y = aggregate(index, y, how)
    if batch_norm:
        y = torch_batch_norm(scope / "norm", y, training, mask)
    return y + target


def torch_batch_norm(scope: mg.Scope, x: Any, training: bool, mask: Any = None) -> Any:
    """`monograph_layers.batch_norm` with the settings that PyTorch begins with."""
    return nn.batch_norm(
        scope, x, training=training, mask=mask, momentum=0.9, epsilon=1e-5, unbiased=True
    )


@layer
def film_conv(
    scope: mg.Scope, index: EdgeIndex | Sequence[EdgeIndex], x: Any, channels: int, *,
    network: Network | None = None, activation: Activation = "relu", how: Aggregation = "mean",
    **options: Any,
) -> Any:  # fmt: skip
    """Feature-wise linear modulation of messages (Brockschmidt 2020), as PyG's FiLMConv.

    ``act(gamma_0i * W_0 x_i + beta_0i)``, plus, for each relation ``r``, the mean over ``j`` of
    ``act(gamma_ri * W_r x_j + beta_ri)``; the receiver decides how what it hears is scaled and shifted.

    Args:
        scope: holds ``root/kernel [in, channels]`` and ``root_film``, and for relation 0, 1 ...
            ``0/kernel`` and ``0/film``; a ``film`` is ``kernel [in, 2 * channels]``, with a ``bias`` but
            for the root's, or the network's part; beta comes first.
        index: one index, or one per relation.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        network: ``(scope, [nodes, in]) -> [nodes, 2 * channels]``, in the place of dense layers.
        how: see `aggregate`.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: film_conv(scope / "conv", g.index, g.nodes, 2))(g).shape
    (3, 2)
    """
    source, target = both(x)
    relations = [index] if isinstance(index, EdgeIndex) else index

    def film(scope: mg.Scope, use_bias: bool) -> tuple[Any, Any]:
        """Beta and gamma of each node."""
        if network is not None:
            y = network(scope, target)
        else:
            y = nn.dense(scope, target, 2 * channels, use_bias=use_bias, **options)
        return y[:, :channels], y[:, channels:]

    def message(sender: Any, receiver: Any, _: Any) -> Any:
        beta, gamma = receiver
        return activate(gamma * sender + beta, activation)

    own = nn.dense(scope / "root", target, channels, use_bias=False, **options)
    y = message(own, film(scope / "root_film", False), None)
    for i, one in enumerate(relations):
        at = scope / str(i)
        heard = nn.dense(at, source, channels, use_bias=False, **options)
        y = y + propagate(one, (heard, film(at / "film", True)), message, how=how)
    return y

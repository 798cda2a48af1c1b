"""Convolutions in which a network works on every edge: NNConv (MPNN) and EdgeConv."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .authoring import layer, refuse
from .dense import add_bias, both
from .index import EdgeIndex, at_once, edge_index
from .isomorphism import Network
from .propagation import Aggregation, propagate


@layer
def nn_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, network: Network, *, edges: Any,
    how: Aggregation = "sum", root_weight: bool = True, use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Message passing with a kernel per edge (Gilmer et al. 2017), as PyG's NNConv.

    ``W x_i + sum_j x_j network(e_ij) + b``: a network makes of an edge's features the kernel of its message.

    Args:
        scope: gives ``network`` its part ``network``; holds ``root/kernel [in, channels]`` and ``bias``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers.
        network: ``(scope, [edges, edge features]) -> [edges, in * channels]``.
        edges: ``[edges, edge features]``, in the order of ``index``.
        how: see `aggregate`.
        root_weight: whether the node itself takes part.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    Raises:
        ShapeError: what the network gives are no kernels of that size.

    >>> import numpy as np
    >>> import monograph_layers as nn
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2], edges=np.ones((2, 4), "float32"))
    >>> kernels = lambda scope, e: nn.dense(scope, e, 5 * 2)
    >>> model = lambda s, g: nn_conv(s / "conv", g.index, g.nodes, 2, kernels, edges=g.edges)
    >>> mg.Store(seed=0).bind(model)(g).shape
    (3, 2)
    """
    source, target = both(x)
    made, width = network(scope / "network", edges), source.shape[-1]
    if made.shape != (edges.shape[0], width * channels):
        refuse(
            scope, "nn_conv", f"network must give [edges, {width} * {channels}], a kernel for each "
            f"edge; it gave {made.shape} of edges {edges.shape}",
        )  # fmt: skip
    made = mg.reshape(made, (edges.shape[0], width, channels))
    y = propagate(
        index, (source, target), lambda j, i, e: mg.squeeze(j[:, None] @ e, axis=1), edges=made,
        how=how,
    )  # fmt: skip
    if root_weight:
        y = y + nn.dense(scope / "root", target, channels, use_bias=False, **options)
    return add_bias(scope, y, use_bias, **options)


@layer
def edge_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, network: Network, *, how: Aggregation = "max"
) -> Any:
    """Edge convolution (Wang et al. 2019), as PyG's EdgeConv: ``max_j network([x_i, x_j - x_i])``.

    Args:
        scope: gives ``network`` its part ``network``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers, of one width.
        network: ``(scope, [edges, 2 * in]) -> [edges, out]``.
        how: see `aggregate`.

    Returns:
        ``[nodes, out]``; 0 where no edge arrives.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.float32([[1], [2], [5]]), [0, 1], [2, 2])
    >>> call = mg.Store().bind(lambda s, g: edge_conv(s, g.index, g.nodes, lambda s, x: x))
    >>> call(g).tolist()
    [[0.0, 0.0], [0.0, 0.0], [5.0, -3.0]]
    """

    def message(sender: Any, receiver: Any, _: Any) -> Any:
        return network(scope / "network", mg.concat([receiver, sender - receiver], axis=-1))

    return propagate(index, x, message, how=how)


@layer
def dynamic_edge_conv(
    scope: mg.Scope, x: Any, network: Network, k: int, *, node_graph: Any = None,
    how: Aggregation = "max",
) -> Any:  # fmt: skip
    """`edge_conv` from each node's ``k`` nearest in ``x`` (Wang et al. 2019), as PyG's DynamicEdgeConv.

    The graph is found anew at every call, by `nearest_neighbors`; the node itself is the first.

    Args:
        scope: gives ``network`` its part ``network``.
        x: ``[nodes, in]``.
        network: ``(scope, [edges, 2 * in]) -> [edges, out]``.
        node_graph: ``[nodes]`` ascending, as of a `GraphBatch`: neighbours are of the same graph.
        how: see `aggregate`.

    Returns:
        ``[nodes, out]``.

    >>> import numpy as np
    >>> call = mg.Store().bind(lambda s, x: dynamic_edge_conv(s, x, lambda s, x: x, 2))
    >>> call(np.float32([[1], [2], [5]])).tolist()
    [[1.0, 1.0], [2.0, 0.0], [5.0, 0.0]]
    """
    return edge_conv(scope, nearest_neighbors(x, k, node_graph=node_graph), x, network, how=how)


def nearest_neighbors(x: Any, k: int, *, node_graph: Any = None, loops: bool = True) -> EdgeIndex:
    """Edges to each node from the ``k`` that are nearest to it; of equally near ones the first.

    All pairs of nodes are looked at, which takes ``nodes * nodes`` floats.

    Args:
        x: ``[nodes, features]``: places, by their Euclidean distance.
        node_graph: ``[nodes]``: only nodes of the same graph are neighbours.
        loops: whether a node is a neighbour of itself.

    Returns:
        An index of ``nodes * min(k, nodes)`` edges; where a node has fewer to choose from, the rest is
        padding.

    Raises:
        ArgumentError: ``k`` is less than 1.

    >>> import numpy as np
    >>> index = nearest_neighbors(np.float32([[1], [2], [5]]), 1, loops=False)
    >>> index.senders.tolist(), index.receivers.tolist()
    ([1, 0, 1], [0, 1, 2])
    """
    if k < 1:
        raise at_user_line(ArgumentError(f"k={k} nearest neighbours must be at least 1"))
    return at_once(_nearest, (x, node_graph), k, loops)


def _nearest(places: tuple[Any, Any], k: int, loops: bool) -> EdgeIndex:
    x, node_graph = mg.stop_gradient(mg.asarray(places[0])), places[1]
    n, k = x.shape[0], min(k, x.shape[0])
    far, _ = mg.scan(
        lambda total, p: (total + mg.square(p[:, None] - p), ()),
        mg.zeros((n, n), dtype=x.dtype.compute), mg.astype(mg.swapaxes(x, 0, 1), x.dtype.compute),
    )  # fmt: skip
    nodes = mg.arange(n, dtype="int32")
    if node_graph is not None:
        of = mg.asarray(node_graph)
        far = mg.where(of[:, None] == of, far, mg.inf)
    if not loops:
        far = mg.where(nodes[:, None] == nodes, mg.inf, far)
    nearness, senders = mg.top_k(-far, k)
    senders = mg.where(nearness == -mg.inf, n, mg.astype(senders, "int32"))
    return edge_index(mg.reshape(senders, (n * k,)), mg.repeat(nodes, k), n)[0]

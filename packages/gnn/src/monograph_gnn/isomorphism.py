"""Graph isomorphism networks: a network of sums, which tell apart what means cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import monograph_layers as nn

from .authoring import layer, refuse
from .dense import both
from .index import EdgeIndex
from .propagation import Aggregation, propagate

Network = Callable[[mg.Scope, Any], Any]
"""What is done with rows inside a convolution: ``(scope, x [..., in]) -> [..., out]``."""


@layer
def gin_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, network: Network, *, eps: float = 0.0,
    train_eps: bool = False, how: Aggregation = "sum",
) -> Any:  # fmt: skip
    """Graph isomorphism (Xu et al. 2019), as PyG's GINConv: ``network((1 + eps) x_i + sum_j x_j)``.

    Args:
        scope: gives ``network`` its part ``network``; holds ``eps [1]`` with ``train_eps``.
        x: ``[nodes, in]``, or a pair of those of senders and receivers, of one width.
        network: ``(scope, [nodes, in]) -> [nodes, out]``.
        eps: how much more the node itself counts; with ``train_eps`` at first.
        how: see `aggregate`.

    Returns:
        ``[nodes, out]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.float32([[1], [2], [3]]), [0, 1], [2, 2])
    >>> call = mg.Store().bind(lambda s, g: gin_conv(s, g.index, g.nodes, lambda s, x: 10 * x))
    >>> call(g).tolist()
    [[10.0], [20.0], [60.0]]
    """
    source, target = both(x)
    y = propagate(index, source, how=how) + _own(scope, target, eps, train_eps)
    return network(scope / "network", y)


def _own(scope: mg.Scope, x: Any, eps: float, train_eps: bool) -> Any:
    return (1 + (scope.parameter("eps", (1,), eps, x.dtype) if train_eps else eps)) * x


@layer
def gine_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, network: Network, *, edges: Any, eps: float = 0.0,
    train_eps: bool = False, project_edges: bool = False, how: Aggregation = "sum", **options: Any,
) -> Any:  # fmt: skip
    """`gin_conv` with what is known of edges (Hu et al. 2020), as PyG's GINEConv.

    ``network((1 + eps) x_i + sum_j relu(x_j + e_ij))``.

    Args:
        scope: as of `gin_conv`; with ``project_edges`` also ``edge/kernel [edge features, in]``,
            ``edge/bias``.
        edges: ``[edges, in]``, in the order of ``index``; with ``project_edges`` of any width.
        options: initializers and regularizers of ``edge``, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, out]``.

    Raises:
        ShapeError: edges of another width than nodes, without ``project_edges``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.float32([[1], [2], [3]]), [0, 1], [2, 2], edges=np.float32([[-3], [4]]))
    >>> model = lambda s, g: gine_conv(s, g.index, g.nodes, lambda s, x: x, edges=g.edges)
    >>> mg.Store().bind(model)(g).tolist()
    [[1.0], [2.0], [9.0]]
    """
    source, target = both(x)
    if project_edges:
        edges = nn.dense(scope / "edge", edges, source.shape[-1], **options)
    elif edges.shape[-1] != source.shape[-1]:
        refuse(
            scope, "gine_conv", f"edges {edges.shape} are not as wide as nodes {source.shape}; "
            f"project_edges=True makes them so",
        )  # fmt: skip
    ends = source, target
    y = propagate(index, ends, lambda j, i, e: mg.relu(j + e), edges=edges, how=how)
    return network(scope / "network", y + _own(scope, target, eps, train_eps))

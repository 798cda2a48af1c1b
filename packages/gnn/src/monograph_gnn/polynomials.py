"""Convolutions by polynomials of the adjacency matrix: APPNP, SGC, TAGCN and Chebyshev's.

A product with a kernel and sums over neighbours commute, so that sums are taken where rows are narrow.
"""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.errors import ArgumentError

from .authoring import layer, refuse
from .dense import add_bias
from .index import EdgeIndex
from .ops import edge_sum
from .propagation import neighbor_sum, received, sent
from .spectral import gcn_norm


@layer
def appnp(
    scope: mg.Scope, index: EdgeIndex, x: Any, k: int, alpha: float, *, edge_weight: Any = None,
    dropout: float = 0.0, training: bool = False, add_self_loops: bool = True,
    normalize: bool = True,
) -> Any:  # fmt: skip
    """Personalised propagation of predictions (Gasteiger et al. 2019), as PyG's APPNP.

    ``k`` times ``z <- (1 - alpha) A z + alpha x``, with GCN's ``A``. It has no parameters.

    Args:
        x: ``[nodes, features]``.
        k: rounds.
        alpha: how strongly nodes are drawn back to ``x``.
        edge_weight: ``[edges]``, in the order of ``index``.
        dropout: of the edges' weights, anew in each round, when ``training``.
        normalize: as of `gcn_conv`.

    Returns:
        ``[nodes, features]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.float32([[4], [0]]), [0, 1], [1, 0])
    >>> mg.Store().bind(lambda s, g: appnp(s, g.index, g.nodes, 1, 0.5))(g).tolist()
    [[3.0...], [0.99...]]
    """
    index, weights = _adjacency(index, edge_weight, x, add_self_loops, normalize)
    z = x
    for _ in range(k):
        z = neighbor_sum(index, z, _dropped(scope, weights, index, x, dropout, training))
        z = z * (1 - alpha) + alpha * x
    return z


def _dropped(
    scope: mg.Scope, weights: Any, index: EdgeIndex, x: Any, rate: float, training: bool
) -> Any:
    if weights is None and rate and training:
        weights = mg.ones(index.num_edges, dtype=x.dtype)
    return weights if weights is None else nn.dropout(scope, weights, rate, training=training)


def _adjacency(
    index: EdgeIndex, weights: Any, x: Any, add_self_loops: bool, normalize: bool
) -> tuple[EdgeIndex, Any]:
    if not normalize:
        return index, weights
    return gcn_norm(index, weights, dtype=x.dtype, add_self_loops=add_self_loops)


@layer
def sg_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, k: int = 1, edge_weight: Any = None,
    add_self_loops: bool = True, use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Simplified graph convolution (Wu et al. 2019), as PyG's SGConv: ``A^k x W + b``, with GCN's ``A``.

    Args:
        scope: holds ``kernel [in, channels]`` and ``bias [channels]``.
        x: ``[nodes, in]``.
        edge_weight: ``[edges]``, in the order of ``index``.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: sg_conv(scope / "conv", g.index, g.nodes, 2, k=2))(g).shape
    (3, 2)
    """
    index, weights = _adjacency(index, edge_weight, x, add_self_loops, True)
    first = channels < x.shape[-1]
    y = nn.dense(scope, x, channels, use_bias=False, **options) if first else x
    for _ in range(k):
        y = neighbor_sum(index, y, weights)
    if first:
        return add_bias(scope, y, use_bias, **options)
    return nn.dense(scope, y, channels, use_bias=use_bias, **options)


@layer
def tag_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, k: int = 3, edge_weight: Any = None,
    normalize: bool = True, use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Topology adaptive convolution (Du et al. 2017), as PyG's TAGConv: ``sum_i A^i x W_i + b``.

    Args:
        scope: holds ``0/kernel`` to ``k/kernel [in, channels]`` and ``bias [channels]``.
        x: ``[nodes, in]``.
        edge_weight: ``[edges]``, in the order of ``index``.
        normalize: whether ``A`` is ``D^-1/2 A D^-1/2``; it has no self-loops added.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: tag_conv(scope / "conv", g.index, g.nodes, 2))(g).shape
    (3, 2)
    """
    index, weights = _adjacency(index, edge_weight, x, False, normalize)
    terms = _terms(scope, x, channels, k + 1, options)
    y = terms.pop()
    while terms:  # Horner's rule: at the width of the result
        y = neighbor_sum(index, y, weights) + terms.pop()
    return add_bias(scope, y, use_bias, **options)


def _terms(scope: mg.Scope, x: Any, channels: int, n: int, options: dict[str, Any]) -> list[Any]:
    """``x`` times a kernel per power."""
    return [nn.dense(scope / str(i), x, channels, use_bias=False, **options) for i in range(n)]


@layer
def cheb_conv(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, k: int, *, edge_weight: Any = None,
    normalization: str | None = "sym", lambda_max: Any = None, use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """Chebyshev convolution (Defferrard et al. 2016), as PyG's ChebConv: ``sum_i T_i(L) x W_i + b``.

    ``L`` is the graph's Laplacian without self-loops, scaled to ``2 L / lambda_max - I``.

    Args:
        scope: holds ``0/kernel`` to ``(k - 1)/kernel [in, channels]`` and ``bias [channels]``.
        x: ``[nodes, in]``.
        k: how many polynomials, at least 1.
        edge_weight: ``[edges]``, in the order of ``index``.
        normalization: ``"sym"``: ``I - D^-1/2 A D^-1/2``; ``"rw"``: ``I - D^-1 A``; None: ``D - A``.
            Degrees are sums over the edges that leave a node.
        lambda_max: the Laplacian's largest eigenvalue, a number or one per node ``[nodes]``, of its
            graph; None: twice the largest entry.
        options: initializers and regularizers, as of `monograph_layers.dense`.

    Returns:
        ``[nodes, channels]``.

    Raises:
        ArgumentError: an unknown normalization, or ``k`` below 1.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> store.bind(lambda scope, g: cheb_conv(scope / "conv", g.index, g.nodes, 2, 3))(g).shape
    (3, 2)
    """
    if k < 1 or normalization not in _LAPLACIANS:
        refuse(
            scope, "cheb_conv", f"needs k of at least 1 and a normalization of "
            f"{', '.join(map(repr, _LAPLACIANS))}; got {k}, {normalization!r}", ArgumentError,
        )  # fmt: skip
    weights = mg.ones(index.num_edges, dtype=x.dtype) if edge_weight is None else edge_weight
    own, others = _LAPLACIANS[normalization](index, _without_loops(index, weights))
    if lambda_max is None:
        ends = [mg.max(v) for v in (own, others) if v.shape[0]]
        lambda_max = 2 * (mg.max(mg.stack(ends)) if ends else mg.ones((), dtype=x.dtype))
    top = mg.astype(mg.asarray(lambda_max), x.dtype)
    scale = mg.where(top == 0, 0, 2 / mg.where(top == 0, 1, top))
    own, others = scale * own - 1, (sent(index, scale) if scale.ndim else scale) * others
    terms = _terms(scope, x, channels, k, options)
    laplacian = lambda y: own[:, None] * y + neighbor_sum(index, y, others)  # noqa: E731
    y = before = mg.zeros_like(terms[0])
    while len(terms) > 1:  # Clenshaw's rule: at the width of the result
        y, before = terms.pop() + 2 * laplacian(y) - before, y
    return add_bias(scope, terms[0] + laplacian(y) - before, use_bias, **options)


def _without_loops(index: EdgeIndex, weights: Any) -> Any:
    return mg.where(mg.asarray(index.senders) == mg.asarray(index.receivers), 0, weights)


def _inverse(degrees: Any, power: float) -> Any:
    some = degrees > 0
    return mg.where(some, mg.pow(mg.where(some, degrees, 1), power), 0)


def _symmetric(index: EdgeIndex, weights: Any) -> tuple[Any, Any]:
    degrees = edge_sum(weights, *index.arrays, transpose=True)
    scale = _inverse(degrees, -0.5)
    return mg.ones_like(degrees), -sent(index, scale) * weights * received(index, scale)


def _random_walk(index: EdgeIndex, weights: Any) -> tuple[Any, Any]:
    degrees = edge_sum(weights, *index.arrays, transpose=True)
    return mg.ones_like(degrees), -sent(index, _inverse(degrees, -1)) * weights


def _plain(index: EdgeIndex, weights: Any) -> tuple[Any, Any]:
    return edge_sum(weights, *index.arrays, transpose=True), -weights


_LAPLACIANS = {"sym": _symmetric, "rw": _random_walk, None: _plain}
"""What a Laplacian has on its diagonal ``[nodes]`` and elsewhere ``[edges]``, of weights without loops."""

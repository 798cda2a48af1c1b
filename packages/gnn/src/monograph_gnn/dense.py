"""Dense layers where edges come in: of neighbours' sums, and of both ends of an edge.

Their ``options`` are those of `monograph_layers.dense`: ``kernel_initializer``, ``bias_initializer``,
``kernel_regularizer``, ``bias_regularizer``; every layer of this package that takes ``**options`` hands
them to each of its kernels.
"""

from __future__ import annotations

import math
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import Init, glorot_uniform, zeros

from .index import EdgeIndex
from .propagation import Aggregation, per_edge, propagate, received, sent


def both(x: Any) -> tuple[Any, Any]:
    """``(of senders, of receivers)``, from that pair or from one array for both."""
    return x if isinstance(x, tuple) else (x, x)


def add_bias(
    scope: mg.Scope, y: Any, use_bias: bool = True, *, bias_initializer: Init = zeros,
    bias_regularizer: Any = None, **_: Any,
) -> Any:  # fmt: skip
    """``y [rows, ...]`` plus ``bias [...]``."""
    if not use_bias:
        return y
    return y + scope.parameter("bias", y.shape[1:], bias_initializer, y.dtype, bias_regularizer)


def per_matrix(init: Init) -> Init:
    """``init`` for each matrix of a stack ``[..., in, out]`` by itself."""

    def stacked(key: Any, shape: tuple, dtype: Any) -> Any:
        keys = mg.random.split(key, math.prod(shape[:-2]))
        each = mg.vmap(lambda k: init(k, shape[-2:], dtype))(keys)
        return mg.reshape(each, shape)

    return stacked


def kernels(
    scope: mg.Scope, name: str, shape: tuple[int, ...], dtype: Any, *,
    kernel_initializer: Init = glorot_uniform, kernel_regularizer: Any = None, **_: Any,
) -> Any:  # fmt: skip
    """Several kernels in one parameter ``[..., in, out]``, each with first values of its own."""

    init = kernel_initializer if len(shape) == 2 else per_matrix(kernel_initializer)
    return scope.parameter(name, shape, init, dtype, kernel_regularizer)


def neighbor_dense(
    scope: mg.Scope, index: EdgeIndex, x: Any, channels: int, *, weights: Any = None,
    how: Aggregation = "sum", use_bias: bool = True, **options: Any,
) -> Any:  # fmt: skip
    """A dense layer of what `propagate` makes of senders' ``x [senders, in]``.

    Sums and means are taken on the side of the product that is narrower: the result is the same.
    """
    if how in ("sum", "mean") and channels < x.shape[-1]:
        y = nn.dense(scope, x, channels, use_bias=False, **options)
        y = propagate(index, y, weights=weights, how=how)
        return add_bias(scope, y, use_bias, **options)
    x = propagate(index, x, weights=weights, how=how)
    return nn.dense(scope, x, channels, use_bias=use_bias, **options)


def edge_dense(
    scope: mg.Scope, index: EdgeIndex, units: int, *, receiver: Any = None, sender: Any = None,
    edges: Any = None, use_bias: bool = True, kernel_initializer: Init = glorot_uniform,
    kernel_regularizer: Any = None, **options: Any,
) -> Any:  # fmt: skip
    """A dense layer per edge of ``[receiver, sender, edge features]`` side by side.

    What nodes hold is multiplied before it is gathered: once per node, not once per edge.

    Args:
        scope: holds ``kernel [sum of widths, units]`` and ``bias [units]``.
        receiver, sender: ``[nodes, width]``; None where they do not take part.
        edges: ``[edges, width]``.

    Returns:
        ``[edges, units]``.
    """
    along = {"receiver": received, "sender": sent, "edges": per_edge}
    parts = [(k, v) for k, v in zip(along, (receiver, sender, edges)) if v is not None]
    shape = (sum(v.shape[-1] for _, v in parts), units)
    dtype = parts[0][1].dtype
    kernel = scope.parameter("kernel", shape, kernel_initializer, dtype, kernel_regularizer)
    y, start = None, 0
    for name, v in parts:
        width = v.shape[-1]
        term = along[name](index, v @ kernel[start : start + width])
        y, start = term if y is None else y + term, start + width
    return add_bias(scope, y, use_bias, **options)

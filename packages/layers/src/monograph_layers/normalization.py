"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import monograph as mg

from ._layer import layer, refuse
from .initializers import ones, zeros


@layer
def batch_norm(
    scope: mg.Scope,
    x: Any,
    *,
    training: bool = False,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
    unbiased: bool = False,
) -> Any:
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015), as Keras.

    In training the batch's own statistics are used and ``moving_mean``, ``moving_variance`` move
    towards them by ``1 - momentum``; otherwise the moving ones are used.

    Args:
        x: ``[batch, ..., channels]``.
        unbiased: whether ``moving_variance`` is moved towards the unbiased variance, as in PyTorch.

    >>> store = mg.Store(seed=0)
    >>> f = store.bind(lambda s, x: batch_norm(s / "norm", x, training=True), engine="numpy")
    >>> f(mg.asarray([[1.0], [3.0]])).tolist()
    [[-0.99950...], [0.99950...]]
    """
    if not x.dtype.is_float:
        refuse(scope, "batch_norm", f"needs floats, got {x.spec}", mg.errors.DTypeError)
    shape, wide = (x.shape[-1],), x.dtype.compute  # statistics in 16 bits would stop moving
    gamma = mg.astype(scope.parameter("gamma", shape, ones, x.dtype), wide)
    beta = mg.astype(scope.parameter("beta", shape, zeros, x.dtype), wide)
    mean = scope.variable("moving_mean", shape, zeros, wide)
    variance = scope.variable("moving_variance", shape, ones, wide)
    values = mg.astype(x, wide)
    if not training or 0 in x.shape:
        factor = gamma / mg.sqrt(variance.value + epsilon)
        return mg.astype(values * factor + (beta - mean.value * factor), x.dtype)
    y, batch_mean, batch_variance = mg.ops.batch_norm_training(values, gamma, beta, epsilon=epsilon)
    if unbiased:
        rows = x.size // x.shape[-1]
        batch_variance = batch_variance * (rows / max(rows - 1, 1))
    for kept, seen in ((mean, batch_mean), (variance, batch_variance)):
        kept.assign(kept.value * momentum + mg.stop_gradient(seen) * (1 - momentum))
    return mg.astype(y, x.dtype)


@layer
def layer_norm(scope: mg.Scope, x: Any, *, epsilon: float = 1e-3) -> Any:
    """Layer normalisation over the last axis (Ba et al. 2016), as Keras.

    Args:
        x: ``[..., channels]``.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, x: layer_norm(scope, x, epsilon=0.0), engine="numpy")
    >>> call(mg.asarray([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """
    scale = scope.parameter("gamma", (x.shape[-1],), ones, x.dtype)
    shift = scope.parameter("beta", (x.shape[-1],), zeros, x.dtype)
    return mg.layer_norm(x, scale, shift, epsilon=epsilon)

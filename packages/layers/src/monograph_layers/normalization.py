"""Normalisation layers."""

from __future__ import annotations

from typing import Any

import monograph as mg

from ._layer import layer
from .initializers import ones, zeros


@layer
def batch_norm(
    scope: mg.Scope,
    x: Any,
    *,
    training: bool = False,
    momentum: float = 0.99,
    epsilon: float = 1e-3,
) -> Any:
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015), as Keras.

    In training the batch's own statistics are used and ``moving_mean``, ``moving_variance`` move
    towards them by ``1 - momentum``; otherwise the moving ones are used.

    Args:
        x: ``[batch, ..., channels]``.

    >>> store = mg.Store(seed=0)
    >>> f = store.bind(lambda s, x: batch_norm(s / "norm", x, training=True), engine="numpy")
    >>> f(mg.asarray([[1.0], [3.0]])).tolist()
    [[-0.99950...], [0.99950...]]
    """
    shape = (x.shape[-1],)
    scale = scope.parameter("gamma", shape, ones, x.dtype)
    shift = scope.parameter("beta", shape, zeros, x.dtype)
    mean = scope.variable("moving_mean", shape, zeros, x.dtype)
    variance = scope.variable("moving_variance", shape, ones, x.dtype)
    if not training:
        factor = scale / mg.sqrt(variance.value + epsilon)
        return x * factor + (shift - mean.value * factor)
    y, batch_mean, batch_variance = mg.ops.batch_norm_training(x, scale, shift, epsilon=epsilon)
    for kept, seen in ((mean, batch_mean), (variance, batch_variance)):
        kept.assign(kept.value * momentum + mg.stop_gradient(seen) * (1 - momentum))
    return y


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

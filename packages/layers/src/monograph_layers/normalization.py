"""Normalisation layers, channels last. Statistics of 16-bit floats are float32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import monograph as mg

from .authoring import layer, refuse
from .initializers import Init, ones, zeros
from .regularizers import Regularizer


def _affine(
    scope: mg.Scope, shape: tuple[int, ...], dtype: Any, *, scale: bool = True, center: bool = True,
    gamma_initializer: Init = ones, beta_initializer: Init = zeros,
    gamma_regularizer: Regularizer = None, beta_regularizer: Regularizer = None,
) -> tuple[Any, Any]:  # fmt: skip
    """``gamma`` and ``beta``: variables, or ones and zeros where there shall be none."""
    gamma, beta = mg.ones(shape, dtype=dtype), mg.zeros(shape, dtype=dtype)
    if scale:
        gamma = scope.parameter("gamma", shape, gamma_initializer, dtype, gamma_regularizer)
    if center:
        beta = scope.parameter("beta", shape, beta_initializer, dtype, beta_regularizer)
    return gamma, beta


def _floats(scope: mg.Scope, name: str, x: Any) -> None:
    if not x.dtype.is_float:
        refuse(scope, name, f"needs floats, got {x.spec}", mg.errors.DTypeError)


def _rows(
    scope: mg.Scope, name: str, x: Any, axis: int | Sequence[int]
) -> tuple[Any, tuple[int, ...], Any]:
    """``x`` with ``axis`` last and flat, the lengths of ``axis``, and the way back."""
    axes = sorted({a % x.ndim for a in ((axis,) if isinstance(axis, int) else axis)})
    if not axes or x.ndim == 0:
        refuse(scope, name, f"needs an axis to normalise, got axis={axis} of shape {x.shape}")
    order = [a for a in range(x.ndim) if a not in axes] + axes
    shape = tuple(x.shape[a] for a in axes)
    moved = mg.permute_dims(x, order)
    flat = mg.reshape(moved, (*moved.shape[: -len(axes)], math.prod(shape)))
    home = [order.index(a) for a in range(x.ndim)]
    return flat, shape, lambda y: mg.permute_dims(mg.reshape(y, moved.shape), home)


@layer
def batch_norm(
    scope: mg.Scope, x: Any, *, training: bool = False, momentum: float = 0.99,
    epsilon: float = 1e-3, unbiased: bool = False, mask: Any = None,
    moving_mean_initializer: Init = zeros, moving_variance_initializer: Init = ones, **affine: Any,
) -> Any:  # fmt: skip
    """Batch normalisation over all axes but the last (Ioffe and Szegedy 2015), as Keras.

    In training the batch's own statistics are used and ``moving_mean``, ``moving_variance`` move
    towards them by ``1 - momentum``; otherwise the moving ones are used.

    Args:
        x: ``[batch, ..., channels]``.
        unbiased: whether ``moving_variance`` is moved towards the unbiased variance, as in PyTorch.
        mask: bools ``[batch, ...]``; where false, elements do not count in the statistics.
        affine: ``scale=True`` and ``center=True`` (whether there are ``gamma`` and ``beta
            [channels]``), and their ``gamma_initializer``, ``gamma_regularizer``, and so on.

    >>> store = mg.Store(seed=0)
    >>> f = store.bind(lambda s, x: batch_norm(s / "norm", x, training=True), engine="numpy")
    >>> f(mg.asarray([[1.0], [3.0]])).tolist()
    [[-0.99950...], [0.99950...]]
    """
    _floats(scope, "batch_norm", x)
    shape, wide = (x.shape[-1],), x.dtype.compute  # statistics in 16 bits would stop moving
    gamma, beta = (mg.astype(v, wide) for v in _affine(scope, shape, x.dtype, **affine))
    mean = scope.variable("moving_mean", shape, moving_mean_initializer, wide)
    variance = scope.variable("moving_variance", shape, moving_variance_initializer, wide)
    values = mg.astype(x, wide)
    if not training or 0 in x.shape:
        factor = gamma / mg.sqrt(variance.value + epsilon)
        return mg.astype(values * factor + (beta - mean.value * factor), x.dtype)
    if mask is None:
        y, *seen = mg.ops.batch_norm_training(values, gamma, beta, epsilon=epsilon)
    else:
        y, *seen = _masked(scope, values, mask, gamma, beta, epsilon)
    if unbiased:
        seen[1] = seen[1] * _correction(x, mask)
    for kept, now in zip((mean, variance), seen):
        kept.assign(kept.value * momentum + mg.stop_gradient(now) * (1 - momentum))
    return mg.astype(y, x.dtype)


def _masked(scope: mg.Scope, x: Any, mask: Any, gamma: Any, beta: Any, epsilon: float) -> tuple:
    if mask.shape != x.shape[:-1]:
        refuse(
            scope, "batch_norm", f"mask {mask.shape} must have the shape of x without its channels, "
            f"{x.shape[:-1]}",
        )  # fmt: skip
    counts, rest = mask[..., None], tuple(range(x.ndim - 1))
    n = mg.maximum(mg.sum(mg.astype(counts, x.dtype)), 1.0)
    mean = mg.sum(mg.where(counts, x, 0.0), axis=rest) / n  # not a product: it may hide a NaN
    low = x - mean
    variance = mg.sum(mg.square(mg.where(counts, low, 0.0)), axis=rest) / n
    return low * (gamma / mg.sqrt(variance + epsilon)) + beta, mean, variance


def _correction(x: Any, mask: Any) -> Any:
    """``n / (n - 1)``, Bessel's, of the ``n`` rows that count; 1 for a single one."""
    if mask is None:
        n = x.size // x.shape[-1]
        return n / max(n - 1, 1)  # Python numbers: exact enough for float64 too
    n = mg.sum(mg.astype(mask, x.dtype.compute))
    return n / mg.maximum(n - 1.0, 1.0)


@layer
def layer_norm(
    scope: mg.Scope, x: Any, *, axis: int | Sequence[int] = -1, epsilon: float = 1e-3, **affine: Any
) -> Any:
    """Layer normalisation over ``axis`` (Ba et al. 2016), as Keras.

    Args:
        x: ``[batch, ...]``.
        axis: one or several; ``gamma`` and ``beta`` have their lengths.
        affine: as of `batch_norm`.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, x: layer_norm(scope, x, epsilon=0.0), engine="numpy")
    >>> call(mg.asarray([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """
    _floats(scope, "layer_norm", x)
    rows, shape, back = _rows(scope, "layer_norm", x, axis)
    gamma, beta = (mg.reshape(v, (-1,)) for v in _affine(scope, shape, x.dtype, **affine))
    return back(mg.layer_norm(rows, gamma, beta, epsilon=epsilon))


@layer
def group_norm(
    scope: mg.Scope, x: Any, *, groups: int = 32, epsilon: float = 1e-3, **affine: Any
) -> Any:
    """Normalisation of each example over places and a group of channels (Wu and He 2018), as Keras.

    Args:
        x: ``[batch, ..., channels]``.
        groups: divides the channels; -1: one for each channel, which is `instance_norm`.
        affine: as of `batch_norm`.

    Raises:
        ShapeError: ``groups`` does not divide the channels.

    >>> call = mg.Store(seed=0).bind(lambda s, x: group_norm(s, x, groups=2), engine="numpy")
    >>> call(mg.ones((1, 3, 3, 4))).shape
    (1, 3, 3, 4)
    """
    _floats(scope, "group_norm", x)
    channels = x.shape[-1]
    groups = channels if groups == -1 else groups
    if groups < 1 or channels % groups:
        refuse(scope, "group_norm", f"groups={groups} must divide the {channels} channels")
    wide = x.dtype.compute
    gamma, beta = (mg.astype(v, wide) for v in _affine(scope, (channels,), x.dtype, **affine))
    values = mg.reshape(mg.astype(x, wide), (x.shape[0], math.prod(x.shape[1:-1]), channels))
    low = values - _group_mean(values, groups)
    y = low * mg.rsqrt(_group_mean(mg.square(low), groups) + epsilon) * gamma + beta
    return mg.astype(mg.reshape(y, x.shape), x.dtype)


def _group_mean(x: Any, groups: int) -> Any:
    """``[batch, 1, channels]`` of ``[batch, places, channels]``; places first: channels lie together."""
    batch, _, channels = x.shape
    each = mg.reshape(mg.mean(x, axis=1), (batch, groups, channels // groups))
    mean = mg.mean(each, axis=2, keepdims=True)
    return mg.reshape(mg.broadcast_to(mean, each.shape), (batch, 1, channels))


@layer
def instance_norm(
    scope: mg.Scope, x: Any, *, epsilon: float = 1e-5, scale: bool = False, center: bool = False,
    **affine: Any,
) -> Any:  # fmt: skip
    """Normalisation of each example and channel over its places, as PyTorch's InstanceNorm.

    Ulyanov et al. 2016. PyTorch's ``affine=True`` is ``scale=True, center=True``.

    Args:
        x: ``[batch, *spatial, channels]``.

    >>> call = mg.Store(seed=0).bind(lambda s, x: instance_norm(s, x, epsilon=0.0), engine="numpy")
    >>> call(mg.asarray([[[1.0], [3.0]]])).tolist()
    [[[-1.0], [1.0]]]
    """
    return group_norm(scope, x, groups=-1, epsilon=epsilon, scale=scale, center=center, **affine)


@layer
def rms_norm(
    scope: mg.Scope, x: Any, *, axis: int | Sequence[int] = -1, epsilon: float = 1e-6,
    scale_initializer: Init = ones,
) -> Any:  # fmt: skip
    """Division by the root mean square over ``axis``, times ``scale``, as Keras's RMSNormalization.

    Zhang and Sennrich 2019.

    Args:
        scope: holds ``scale``, with the lengths of ``axis``.
        x: ``[batch, ...]``.

    >>> call = mg.Store(seed=0).bind(lambda s, x: rms_norm(s, x, epsilon=0.0), engine="numpy")
    >>> call(mg.asarray([[1.0, 7.0]])).tolist()
    [[0.2..., 1.39...]]
    """
    _floats(scope, "rms_norm", x)
    rows, shape, back = _rows(scope, "rms_norm", x, axis)
    scale = mg.reshape(scope.parameter("scale", shape, scale_initializer, x.dtype), (-1,))
    return back(mg.rms_norm(rows, scale, epsilon=epsilon))


@layer
def unit_norm(scope: mg.Scope, x: Any, *, axis: int | Sequence[int] = -1) -> Any:
    """Division by the Euclidean length over ``axis``, as Keras's UnitNormalization; 0 stays 0.

    >>> call = mg.Store(seed=0).bind(unit_norm, engine="numpy")
    >>> call(mg.asarray([[3.0, 4.0]])).tolist()
    [[0.6..., 0.8...]]
    """
    _floats(scope, "unit_norm", x)
    values = mg.astype(x, x.dtype.compute)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    square = mg.sum(mg.square(values), axis=axes, keepdims=True)
    # no length is below 1e-12, as in Keras: so a zero has a gradient
    return mg.astype(values * mg.rsqrt(mg.maximum(square, 1e-24)), x.dtype)

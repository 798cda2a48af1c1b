"""Normalisations."""

from __future__ import annotations

from typing import Any

import monograph as mg
from monograph import ops

from ..rules import rule


def _channels(v: Any, ndim: int) -> Any:
    """``[channels]`` shaped for axis 1."""
    return mg.reshape(v, (1, -1, *[1] * (ndim - 2))) if ndim > 1 else v


@rule("BatchNormalization", since=7, state=(3, 4))
def batch_normalization(
    x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float = 1e-5, momentum: float = 0.9,
    training_mode: int = 0, spatial: int = 1, outputs: int = 1,
) -> Any:  # fmt: skip
    """Channels normalised by the running statistics, or by the batch's, which then move the running ones.

    The standard: Ioffe and Szegedy 2015, with the population's variance for both.
    """
    x = mg.asarray(x)
    row = lambda v: _channels(v, x.ndim)  # noqa: E731
    if training_mode:
        axes = tuple(a for a in range(x.ndim) if a != 1)
        now = mg.mean(x, axis=axes), mg.var(x, axis=axes)
        moved = [
            mg.astype(momentum * a + (1 - momentum) * b, mg.Spec.of(a).dtype)
            for a, b in zip((mean, var), now)
        ]
        mean, var = now
    y = (x - row(mean)) * (row(scale) / mg.sqrt(row(var) + epsilon)) + row(bias)
    y = mg.astype(y, x.dtype)
    return (y, *moved) if training_mode else y


def _standard(x: Any, axes: tuple[int, ...], epsilon: float) -> Any:
    centred = x - mg.mean(x, axis=axes, keepdims=True)
    return centred * mg.rsqrt(mg.mean(mg.square(centred), axis=axes, keepdims=True) + epsilon)


@rule("InstanceNormalization")
def instance_normalization(x: Any, scale: Any, bias: Any, *, epsilon: float = 1e-5) -> Any:
    """Each channel of each row to mean 0, variance 1."""
    x = mg.asarray(x)
    out = _standard(x, tuple(range(2, x.ndim)), epsilon)
    return out * _channels(scale, x.ndim) + _channels(bias, x.ndim)


@rule("GroupNormalization")
def group_normalization(
    x: Any, scale: Any, bias: Any, *, num_groups: int, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    """Groups of channels to mean 0, variance 1 (Wu and He 2018); a scale per group before version 21."""
    x = mg.asarray(x)
    channels = x.shape[1]
    wide = mg.astype(mg.reshape(x, (x.shape[0], num_groups, -1)), _stash(x, stash_type))
    out = mg.reshape(mg.astype(_standard(wide, (2,), epsilon), x.dtype), x.shape)
    scale, bias = (
        mg.repeat(v, channels // num_groups) if mg.Spec.of(v).size == num_groups != channels else v
        for v in (scale, bias)
    )
    return out * _channels(scale, x.ndim) + _channels(bias, x.ndim)


def _stash(x: Any, stash_type: int) -> Any:
    """The dtype that statistics are taken in: float32 unless the operator says otherwise."""
    return mg.float32 if stash_type == 1 and x.dtype.bits < 32 else x.dtype


@rule("LayerNormalization")
def layer_normalization(
    x: Any, scale: Any, bias: Any = None, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1,
    outputs: int = 1,
) -> Any:  # fmt: skip
    """The axes from ``axis`` on to mean 0, variance 1, scaled and shifted (Ba et al. 2016)."""
    x = mg.asarray(x)
    axes = tuple(range(axis % x.ndim, x.ndim))
    if outputs == 1 and len(axes) == 1 and mg.Spec.of(scale).ndim == 1 and bias is not None:
        return mg.layer_norm(x, scale, bias, epsilon=epsilon)
    wide = mg.astype(x, _stash(x, stash_type))
    mean = mg.mean(wide, axis=axes, keepdims=True)
    centred = wide - mean
    inverse = mg.rsqrt(mg.mean(mg.square(centred), axis=axes, keepdims=True) + epsilon)
    y = mg.astype(centred * inverse, x.dtype) * scale
    return (y if bias is None else y + bias), mean, inverse


@rule("RMSNormalization")
def rms_normalization(
    x: Any, scale: Any, *, axis: int = -1, epsilon: float = 1e-5, stash_type: int = 1
) -> Any:
    """The axes from ``axis`` on divided by their root mean square, then scaled."""
    x = mg.asarray(x)
    axes = tuple(range(axis % x.ndim, x.ndim))
    if len(axes) == 1 and mg.Spec.of(scale).ndim == 1:
        return mg.rms_norm(x, scale, epsilon=epsilon)
    wide = mg.astype(x, _stash(x, stash_type))
    size = mg.mean(mg.square(wide), axis=axes, keepdims=True)
    return mg.astype(wide * mg.rsqrt(size + epsilon), x.dtype) * scale


@rule("LRN")
def lrn(x: Any, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Any:
    """Divided by the squares of neighbouring channels (Krizhevsky et al. 2012)."""
    x = mg.asarray(x)
    ones, low = (1,) * x.ndim, (size - 1) // 2
    around = ops.reduce_window_sum(
        mg.square(x), window=(1, size, *ones[2:]), strides=ones, base_dilation=ones, window_dilation=ones,
        padding=((0, 0), (low, size - 1 - low), *[(0, 0)] * (x.ndim - 2)),
    )  # fmt: skip
    return x / mg.pow(bias + alpha / size * around, beta)


@rule("LpNormalization", p=(1, 2))
def lp_normalization(x: Any, *, axis: int = -1, p: int = 2) -> Any:
    """Divided by the p-norm along an axis; zeros stay."""
    x = mg.asarray(x)
    if p == 1:
        norm = mg.sum(mg.abs(x), axis=axis, keepdims=True)
    else:
        square = mg.sum(mg.square(x), axis=axis, keepdims=True)
        norm = mg.sqrt(mg.where(square == 0, 1, square))
    return x / mg.where(norm == 0, 1, norm)

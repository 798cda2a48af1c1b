"""Normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg

from .convolution import channels_first, channels_last


def _per_channel(v: Any, x: Any) -> Any:
    return mg.reshape(v, (1, -1, *[1] * (x.ndim - 2)))


def _layer_norm(
    x: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Any:
    return _with_statistics(x, normalized_shape, weight, bias, eps)[0]


def _with_statistics(
    x: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float
) -> tuple[Any, ...]:
    """The normalised rows, their mean and ``1 / std``, with a length of 1 where they were taken."""
    n, lead = math.prod(normalized_shape), x.shape[: x.ndim - len(normalized_shape)]
    scale, shift = (
        mg.full((n,), fill, dtype=x.dtype) if v is None else mg.reshape(v, (n,))
        for v, fill in ((weight, 1), (bias, 0))
    )
    y, mean, rstd = mg.ops.layer_norm(mg.reshape(x, (*lead, n)), scale, shift, epsilon=eps)
    ones = (1,) * len(normalized_shape)
    return mg.reshape(y, x.shape), *(mg.reshape(v, (*lead, *ones)) for v in (mean, rstd))


def _standardised(x: Any, mean: Any, rstd: Any, g: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """``x`` normalised, and the cotangent of ``x`` from ``g``, that of the normalised."""
    y = (x - mean) * rstd
    along = mg.mean(g * y, axis=axes, keepdims=True)
    return y, (g - mg.mean(g, axis=axes, keepdims=True) - y * along) * rstd


def _layer_norm_backward(
    g: Any,
    x: Any,
    normalized_shape: Any,
    mean: Any,
    rstd: Any,
    weight: Any,
    bias: Any,
    output_mask: Any,
) -> tuple[Any, ...]:
    lead = x.ndim - len(normalized_shape)
    y, dx = _standardised(
        x, mean, rstd, g if weight is None else g * weight, tuple(range(lead, x.ndim))
    )
    rows = tuple(range(lead))
    return _wanted(output_mask, dx, mg.sum(g * y, axis=rows), mg.sum(g, axis=rows))


def _group_norm_backward(
    g: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    weight: Any,
    N: int,
    C: int,
    HxW: int,
    group: int,
    output_mask: Any,
) -> tuple[Any, ...]:
    shape, full = (N, group, -1), (N, C, HxW)
    scaled = g if weight is None else g * _per_channel(weight, g)
    mean, rstd = (mg.expand_dims(v, axis=-1) for v in (mean, rstd))
    y, dx = _standardised(mg.reshape(x, shape), mean, rstd, mg.reshape(scaled, shape), (2,))
    g, y = mg.reshape(g, full), mg.reshape(y, full)
    return _wanted(
        output_mask, mg.reshape(dx, x.shape), mg.sum(g * y, axis=(0, 2)), mg.sum(g, axis=(0, 2))
    )


def _wanted(mask: Any, *grads: Any) -> tuple[Any, ...]:
    return tuple(d if m else None for d, m in zip(grads, mask))


def _rms_norm(x: Any, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
    n, lead = math.prod(normalized_shape), x.shape[: x.ndim - len(normalized_shape)]
    scale = mg.ones((n,), dtype=x.dtype) if weight is None else mg.reshape(weight, (n,))
    eps = mg.finfo(x.dtype).eps if eps is None else eps
    return mg.reshape(mg.rms_norm(mg.reshape(x, (*lead, n)), scale, epsilon=eps), x.shape)


def _group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Any:
    return _grouped(x, num_groups, weight, bias, eps)[0]


def _grouped(x: Any, groups: int, weight: Any, bias: Any, eps: float) -> tuple[Any, ...]:
    n = x.size // (x.shape[0] * groups) if x.size else 1
    rows = mg.reshape(x, (x.shape[0], groups, n))
    y, mean, rstd = _with_statistics(rows, [n], None, None, eps)
    y = mg.reshape(y, x.shape)
    y = y if weight is None else y * _per_channel(weight, x)
    y = y if bias is None else y + _per_channel(bias, x)
    return y, mg.squeeze(mean, -1), mg.squeeze(rstd, -1)


def _native_group_norm(
    x: Any, weight: Any, bias: Any, N: int, C: int, HxW: int, group: int, eps: float
) -> Any:
    return _grouped(x, group, weight, bias, eps)


def _instance_norm(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, use_input_stats: bool,
    momentum: float, eps: float, *_: Any,
) -> Any:  # fmt: skip
    if not use_input_stats:
        return _normalised(x, weight, bias, running_mean, running_var, eps)
    return _grouped(x, x.shape[1], weight, bias, eps)[0]


def _normalised(x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> Any:
    scale = mg.rsqrt(var + eps)
    scale = scale if weight is None else scale * weight
    y = (x - _per_channel(mean, x)) * _per_channel(scale, x)
    return y if bias is None else y + _per_channel(bias, x)


def _trained(x: Any, weight: Any, bias: Any, eps: float) -> tuple[Any, ...]:
    """By the batch's own statistics: result, mean, biased variance."""
    c = x.shape[1]
    scale = mg.ones((c,), dtype=x.dtype) if weight is None else weight
    shift = mg.zeros((c,), dtype=x.dtype) if bias is None else bias
    y, mean, var = mg.ops.batch_norm_training(channels_last(x), scale, shift, epsilon=eps)
    return channels_first(y), mean, var


def _batch_norm(
    x: Any, weight: Any, bias: Any, running_mean: Any, running_var: Any, training: bool,
    momentum: float, eps: float, *_: Any,
) -> tuple[Any, tuple[Any, Any]]:  # fmt: skip
    if not training and running_mean is not None:
        y = _normalised(x, weight, bias, running_mean, running_var, eps)
        return y, (running_mean, running_var)
    y, mean, var = _trained(x, weight, bias, eps)
    return y, _moved(x, running_mean, running_var, mean, var, momentum)


def _moved(
    x: Any, running_mean: Any, running_var: Any, mean: Any, var: Any, momentum: float
) -> tuple[Any, Any]:
    if running_mean is None:
        return None, None
    n = x.size // x.shape[1]
    var = var * (n / max(n - 1, 1))  # the unbiased one is kept
    mean, var = mg.stop_gradient(mean), mg.stop_gradient(var)
    return tuple(
        old * (1 - momentum) + new * momentum
        for old, new in ((running_mean, mean), (running_var, var))
    )


def _legit(
    x: Any,
    weight: Any,
    bias: Any,
    running_mean: Any,
    running_var: Any,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    if training:
        y, mean, var = _trained(x, weight, bias, eps)
        return (y, mean, mg.rsqrt(var + eps)), _moved(
            x, running_mean, running_var, mean, var, momentum
        )
    none = mg.zeros((0,), dtype=x.dtype)
    y = _normalised(x, weight, bias, running_mean, running_var, eps)
    return (y, none, none), (running_mean, running_var)


def _legit_functional(*args: Any) -> tuple[Any, ...]:
    results, kept = _legit(*args)
    return *results, *kept


def _no_stats(x: Any, weight: Any, bias: Any, training: bool, momentum: float, eps: float) -> Any:
    y, mean, var = _trained(x, weight, bias, eps)
    return y, mean, mg.rsqrt(var + eps)


def _no_training(
    x: Any, weight: Any, bias: Any, mean: Any, var: Any, momentum: float, eps: float
) -> Any:
    none = mg.zeros((0,), dtype=x.dtype)
    return _normalised(x, weight, bias, mean, var, eps), none, none


RULES: dict[str, Callable] = {
    "batch_norm": _batch_norm, "_native_batch_norm_legit": _legit,
    "_native_batch_norm_legit_functional": _legit_functional,
    "_native_batch_norm_legit.no_stats": _no_stats,
    "_native_batch_norm_legit_no_training": _no_training, "group_norm": _group_norm,
    "instance_norm": _instance_norm, "layer_norm": _layer_norm,
    "native_group_norm": _native_group_norm, "native_layer_norm": _with_statistics,
    "native_group_norm_backward": _group_norm_backward,
    "native_layer_norm_backward": _layer_norm_backward, "rms_norm": _rms_norm,
}  # fmt: skip

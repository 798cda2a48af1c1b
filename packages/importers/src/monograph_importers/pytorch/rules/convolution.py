"""Convolutions, and their windows as columns. torch keeps channels first, Monograph last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ._types import made


def channels_last(x: Any) -> Any:
    """``[batch, channels, *spatial]`` with the channels last."""
    return mg.moveaxis(x, 1, -1)


def channels_first(x: Any) -> Any:
    """And back."""
    return mg.moveaxis(x, -1, 1)


def several(value: Any, n: int) -> list[Any]:
    """One entry per spatial axis; torch lets one stand for all."""
    given = list(value) if isinstance(value, (list, tuple)) else [value]
    return given * n if len(given) == 1 else given


def _convolution(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    transposed: bool = False, output_padding: Any = 0, groups: int = 1, *_: Any,
) -> Any:  # fmt: skip
    n = weight.ndim - 2
    if x.ndim == n + 1:  # no batch
        args = (weight, bias, stride, padding, dilation, transposed, output_padding, groups)
        return _convolution(mg.expand_dims(x, axis=0), *args)[0]
    stride, dilation = several(stride, n), several(dilation, n)
    padding = padding if isinstance(padding, str) else several(padding, n)
    attrs = {"strides": stride, "padding": padding, "dilation": dilation, "groups": groups}
    kernel = mg.permute_dims(weight, (*range(2, n + 2), 1, 0))
    if transposed:
        attrs["output_padding"] = several(output_padding, n)
    out = (mg.conv_transpose if transposed else mg.conv)(channels_last(x), kernel, **attrs)
    return channels_first(out if bias is None else out + bias)


def _conv(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    return _convolution(x, weight, bias, stride, padding, dilation, False, 0, groups)


def _conv_transpose(
    x: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, output_padding: Any = 0,
    groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    return _convolution(x, weight, bias, stride, padding, dilation, True, output_padding, groups)


def backward(fn: Callable, g: Any, *primals: Any) -> Any:
    """Cotangents of ``primals`` from that of ``fn(*primals)``: the ``*_backward`` ops of ATen."""
    return mg.vjp(fn, *primals)[1](g)


def _convolution_backward(
    g: Any, x: Any, weight: Any, bias_sizes: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, output_mask: Any,
) -> tuple[Any, ...]:  # fmt: skip
    def run(x: Any, w: Any) -> Any:
        return _convolution(
            x, w, None, stride, padding, dilation, transposed, output_padding, groups
        )

    dx, dw = backward(run, g, x, weight)
    axes = (0, *range(2, g.ndim)) if g.ndim == weight.ndim else tuple(range(1, g.ndim))
    grads = dx, dw, mg.sum(g, axis=axes)
    return tuple(d if wanted else None for d, wanted in zip(grads, output_mask))


def _window_places(
    sizes: Any, kernel: Any, dilation: Any, padding: Any, stride: Any
) -> tuple[Any, Any]:
    """Where each window reads ``[kernel, windows]`` in a padded plane, and that plane's lengths."""
    padded = [n + 2 * p for n, p in zip(sizes, padding)]
    rows = []
    for n, k, d, s in zip(padded, kernel, dilation, stride):
        windows = (n - d * (k - 1) - 1) // s + 1
        made(k, windows)
        rows.append(np.arange(k)[:, None] * d + np.arange(windows) * s)
    made(rows[0].size, rows[1].size)
    place = rows[0][:, None, :, None] * padded[1] + rows[1][None, :, None, :]
    return place.reshape(place.shape[0] * place.shape[1], -1), padded


def _im2col(x: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    lead, sizes = x.shape[:-2], x.shape[-2:]
    place, padded = _window_places(
        sizes, *(several(v, 2) for v in (kernel_size, dilation, padding, stride))
    )
    p = several(padding, 2)
    x = mg.pad(x, [(0, 0)] * len(lead) + [(p[0], p[0]), (p[1], p[1])])
    out = mg.take(mg.reshape(x, (*lead, padded[0] * padded[1])), place, axis=len(lead))
    return mg.reshape(out, (*lead[:-1], lead[-1] * place.shape[0], place.shape[1]))


def _col2im(
    x: Any, output_size: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> Any:
    k = several(kernel_size, 2)
    shape = (*x.shape[:-2], x.shape[-2] // (k[0] * k[1]), *output_size)
    blank = mg.zeros(shape, dtype=x.dtype)
    return backward(lambda v: _im2col(v, k, dilation, padding, stride), x, blank)[0]


RULES: dict[str, Callable] = {
    "col2im": _col2im, "conv1d": _conv, "conv2d": _conv, "conv3d": _conv,
    "conv_transpose1d": _conv_transpose, "conv_transpose2d": _conv_transpose,
    "conv_transpose3d": _conv_transpose, "convolution": _convolution, "_convolution": _convolution,
    "convolution_backward": _convolution_backward, "im2col": _im2col,
}  # fmt: skip

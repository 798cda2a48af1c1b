"""Convolutions: ONNX has channels second, `mg.conv` last."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops

from ..._sampling import bilinear
from ..rules import rule
from .shapes import ints

AUTO_PADS = ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID", "")


def last(x: Any) -> Any:
    """``[batch, channels, *spatial]`` with the channels last."""
    return mg.moveaxis(mg.asarray(x), 1, -1)


def second(x: Any) -> Any:
    """``[batch, *spatial, channels]`` with the channels second."""
    return mg.moveaxis(x, -1, 1)


def edges(
    auto_pad: str, pads: Sequence[int] | None, shape: Sequence[int], window: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:  # fmt: skip
    """What is put before and after each axis; ``window`` with its dilation."""
    n = len(shape)
    if auto_pad in ("NOTSET", ""):
        pads = pads or [0] * 2 * n
        return list(zip(pads[:n], pads[n:]))
    if auto_pad == "VALID":
        return [(0, 0)] * n
    out = []
    for length, w, s in zip(shape, window, strides):
        total = max((math.ceil(length / s) - 1) * s + w - length, 0)
        small = total // 2
        out.append((small, total - small) if auto_pad == "SAME_UPPER" else (total - small, small))
    return out


def _reach(window: Sequence[int], dilations: Sequence[int]) -> list[int]:
    return [(w - 1) * d + 1 for w, d in zip(window, dilations)]


@rule("Conv", auto_pad=AUTO_PADS)
def conv(
    x: Any, w: Any, b: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """``x [batch, in, *spatial]`` with ``w [out, in / group, *window]``."""
    x, w = mg.asarray(x), mg.asarray(w)
    n = x.ndim - 2
    strides, dilations = strides or [1] * n, dilations or [1] * n
    padding = edges(auto_pad, pads, x.shape[2:], _reach(w.shape[2:], dilations), strides)
    kernel = mg.permute_dims(w, (*range(2, n + 2), 1, 0))
    out = mg.conv(
        last(x), kernel, strides=strides, padding=padding, dilation=dilations, groups=group
    )
    return second(out if b is None else out + b)


@rule("ConvTranspose", auto_pad=AUTO_PADS)
def conv_transpose(
    x: Any, w: Any, b: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, output_padding: Any = None, output_shape: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    """The transpose of `conv`: ``x [batch, in, *spatial]`` with ``w [in, out / group, *window]``."""
    x, w = mg.asarray(x), mg.asarray(w)
    n = x.ndim - 2
    strides, dilations = strides or [1] * n, dilations or [1] * n
    more, window = output_padding or [0] * n, _reach(w.shape[2:], dilations)
    full = [(m - 1) * s + k + e for m, s, k, e in zip(x.shape[2:], strides, window, more)]
    if output_shape is None and auto_pad.startswith("SAME"):
        output_shape = [m * s for m, s in zip(x.shape[2:], strides)]
    if output_shape is None:
        padding = edges(auto_pad, pads, full, window, strides)
        lengths = [f - sum(p) for f, p in zip(full, padding)]
    else:
        lengths = list(output_shape)[-n:]
        total = [f - m for f, m in zip(full, lengths)]
        halves = [(t // 2, t - t // 2) for t in total]
        padding = halves if auto_pad == "SAME_UPPER" else [(b, a) for a, b in halves]
    # the kernel of the convolution which leads back: [*window, out / group, in]
    kernel = mg.permute_dims(w, (*range(2, n + 2), 1, 0))
    out = ops.convolution_input_grad(
        last(x), kernel, input_shape=(x.shape[0], *lengths, w.shape[1] * group), strides=strides,
        padding=padding, lhs_dilation=(1,) * n, rhs_dilation=dilations, feature_groups=group,
    )  # fmt: skip
    return second(out if b is None else out + b)


@rule("Col2Im", known=(1, 2))
def col2im(
    x: Any, image_shape: Any, block_shape: Any, *, dilations: Any = None, pads: Any = None,
    strides: Any = None,
) -> Any:  # fmt: skip
    """Windows ``[batch, channels * window, positions]`` added into images."""
    x, image, block = mg.asarray(x), ints(image_shape), ints(block_shape)
    n, size = len(image), math.prod(block)
    strides, dilations = strides or [1] * n, dilations or [1] * n
    padding = edges("NOTSET", pads, image, _reach(block, dilations), strides)
    room = [i + sum(p) - r for i, p, r in zip(image, padding, _reach(block, dilations))]
    batch, channels = x.shape[0], x.shape[1] // size
    x = mg.reshape(x, (batch * channels, size, *[r // s + 1 for r, s in zip(room, strides)]))
    kernel = np.eye(size, dtype=x.dtype.numpy).reshape(*block, 1, size)
    out = ops.convolution_input_grad(
        last(x), kernel, input_shape=(batch * channels, *image, 1), strides=strides, padding=padding,
        lhs_dilation=(1,) * n, rhs_dilation=dilations, feature_groups=1,
    )  # fmt: skip
    return mg.reshape(out, (batch, channels, *image))


@rule("DeformConv")
def deform_conv(
    x: Any, w: Any, offset: Any, b: Any = None, mask: Any = None, *, dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, offset_group: int = 1, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """A convolution whose windows are moved point by point (Dai et al. 2017), in two dimensions."""

    x, w, offset = mg.asarray(x), mg.asarray(w), mg.asarray(offset)
    strides, dilations = strides or [1, 1], dilations or [1, 1]
    window, pads = w.shape[2:], pads or [0] * 4
    (n, c), (h, v), taps = x.shape[:2], offset.shape[2:], math.prod(window)
    moved = mg.reshape(offset, (n, offset_group, taps, 2, h, v))
    base = [
        np.arange(m).reshape([1, 1, 1, -1, 1] if a == 0 else [1, 1, 1, 1, -1]) * strides[a] - pads[a]
        for a, m in enumerate((h, v))
    ]  # fmt: skip
    at = np.array(list(itertools.product(*map(range, window)))).reshape(taps, 2)
    places = [
        moved[:, :, :, a] + (base[a] + at[:, a].reshape(1, 1, -1, 1, 1) * dilations[a]).astype(x.dtype.numpy)
        for a in (0, 1)
    ]  # fmt: skip
    parts = mg.reshape(x, (n * offset_group, c // offset_group, *x.shape[2:]))
    rows, columns = (mg.reshape(p, (n * offset_group, taps, h, v)) for p in places)
    seen = bilinear(parts, rows, columns)  # [n * groups, c / groups, taps, h, v]
    if mask is not None:
        seen = seen * mg.reshape(mask, (n * offset_group, 1, taps, h, v))
    seen = mg.reshape(seen, (n, group, c // group, taps, h, v))
    kernel = mg.reshape(w, (group, w.shape[0] // group, c // group, taps))
    out = mg.reshape(mg.einsum("ngcthv,gfct->ngfhv", seen, kernel), (n, w.shape[0], h, v))
    return out if b is None else out + mg.reshape(b, (1, -1, 1, 1))

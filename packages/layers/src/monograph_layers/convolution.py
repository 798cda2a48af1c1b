"""Convolutions, channels last: ``[batch, *spatial, channels]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg

from .initializers import Init, glorot_uniform, zeros


def conv(
    scope: Any, x: Any, channels: int, kernel: int | Sequence[int], *, strides: Any = 1,
    padding: Any = "same", dilation: Any = 1, groups: int = 1, use_bias: bool = True,
    kernel_init: Init = glorot_uniform, bias_init: Init = zeros,
) -> Any:  # fmt: skip
    """Convolution over every spatial axis of ``x``, no kernel flip (Dumoulin and Visin 2016).

    Args:
        scope: holds ``kernel [*spatial, in / groups, channels]`` and ``bias [channels]``.
        x: ``[batch, *spatial, in]``.
        kernel: window length, one for all axes or one each.
        padding: ``"same"``, ``"valid"``, or ``(low, high)`` per spatial axis.

    Returns:
        ``[batch, *spatial, channels]``.

    Raises:
        ShapeError: no spatial axis, or ``groups`` does not divide the channels.
    """
    n = x.ndim - 2
    if n < 1:
        raise mg.errors.ShapeError(
            f"conv {scope.path!r} needs [batch, *spatial, channels], got shape {x.shape}"
        )
    if x.shape[-1] % groups or channels % groups:
        raise mg.errors.ShapeError(
            f"conv {scope.path!r}: groups={groups} must divide the {x.shape[-1]} input and {channels} "
            f"output channels"
        )
    window = (kernel,) * n if isinstance(kernel, int) else tuple(kernel)
    w = scope.parameter("kernel", (*window, x.shape[-1] // groups, channels), kernel_init, x.dtype)
    y = mg.conv(x, w, strides=strides, padding=padding, dilation=dilation, groups=groups)
    return y + scope.parameter("bias", (channels,), bias_init, x.dtype) if use_bias else y


def conv2d(scope: Any, x: Any, channels: int, kernel: int | Sequence[int], **options: Any) -> Any:
    """Convolution of images ``[batch, height, width, channels]``; see `conv`.

    >>> store = mg.Store(seed=0)
    >>> layer = store.bind(lambda s, x: conv2d(s / "stem", x, 8, 3, strides=2), engine="numpy")
    >>> layer(mg.ones((1, 6, 6, 3))).shape
    (1, 3, 3, 8)
    """
    if x.ndim != 4:
        raise mg.errors.ShapeError(
            f"conv2d {scope.path!r} needs [batch, height, width, channels], got shape {x.shape}"
        )
    return conv(scope, x, channels, kernel, **options)

"""Convolutions, channels last: ``[batch, *spatial, channels]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg

from ._layer import each, layer, refuse
from .activations import Activation, activate
from .initializers import Init, glorot_uniform, zeros
from .regularizers import Regularizer


@layer
def conv(
    scope: mg.Scope, x: Any, channels: int, kernel: int | Sequence[int], *, strides: Any = 1,
    padding: Any = "valid", dilation_rate: Any = 1, groups: int = 1, activation: Activation = None,
    use_bias: bool = True, kernel_initializer: Init = glorot_uniform,
    bias_initializer: Init = zeros, kernel_regularizer: Regularizer = None,
    bias_regularizer: Regularizer = None,
) -> Any:  # fmt: skip
    """Convolution over every spatial axis of ``x``, no kernel flip (Dumoulin and Visin 2016).

    Args:
        scope: holds ``kernel [*spatial, in / groups, channels]`` and ``bias [channels]``.
        x: ``[batch, *spatial, in]``.
        channels: of the output (Keras: ``filters``).
        kernel: window length, one for all axes or one each (Keras: ``kernel_size``).
        padding: ``"same"``, ``"valid"``, a number, or ``(low, high)`` per spatial axis.

    Returns:
        ``[batch, *spatial, channels]``.

    Raises:
        ShapeError: no spatial axis, or ``groups`` does not divide the channels.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda s, x: conv(s / "stem", x, 8, 3, strides=2), engine="numpy")
    >>> call(mg.ones((1, 7, 7, 3))).shape
    (1, 3, 3, 8)
    """
    n = x.ndim - 2
    if n < 1:
        refuse(scope, "conv", f"needs [batch, *spatial, channels], got shape {x.shape}")
    if x.shape[-1] % groups or channels % groups:
        refuse(
            scope, "conv", f"groups={groups} must divide the {x.shape[-1]} input and {channels} "
            f"output channels",
        )  # fmt: skip
    window = each(scope, "conv", "kernel", kernel, n)
    shape = (*window, x.shape[-1] // groups, channels)
    w = scope.parameter("kernel", shape, kernel_initializer, x.dtype, kernel_regularizer)
    y = mg.conv(x, w, strides=strides, padding=padding, dilation=dilation_rate, groups=groups)
    if use_bias:
        y = y + scope.parameter("bias", (channels,), bias_initializer, x.dtype, bias_regularizer)
    return activate(y, activation)


@layer
def conv2d(
    scope: mg.Scope, x: Any, channels: int, kernel: int | Sequence[int], **options: Any
) -> Any:
    """Convolution of images ``[batch, height, width, channels]``, as Keras's Conv2D; see `conv`.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda s, x: conv2d(s / "stem", x, 8, 3, padding="same"), engine="numpy")
    >>> call(mg.ones((1, 6, 6, 3))).shape
    (1, 6, 6, 8)
    """
    if x.ndim != 4:
        refuse(scope, "conv2d", f"needs [batch, height, width, channels], got shape {x.shape}")
    return conv(scope, x, channels, kernel, **options)

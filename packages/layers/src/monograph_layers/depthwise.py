"""Convolutions of each channel by itself, alone or followed by a 1x1 that mixes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg

from ._rank import ranks
from .activations import Activation
from .authoring import each, layer
from .convolution import biased, edges, spatial_axes
from .initializers import Init, glorot_uniform, zeros
from .regularizers import Regularizer


def _depthwise(
    scope: mg.Scope, layer_name: str, x: Any, kernel: Any, depth_multiplier: int, strides: Any,
    padding: Any, dilation_rate: Any, variable: str, init: Init, regularizer: Regularizer,
) -> Any:  # fmt: skip
    """Convolution of each channel by ``depth_multiplier`` kernels of its own."""
    n, channels = spatial_axes(scope, layer_name, x), x.shape[-1]
    window = each(scope, layer_name, "kernel", kernel, n)
    dilation = each(scope, layer_name, "dilation_rate", dilation_rate, n)
    shape = (*window, channels, depth_multiplier)
    w = scope.parameter(variable, shape, init, x.dtype, regularizer)
    return mg.conv(
        x, mg.reshape(w, (*window, 1, channels * depth_multiplier)), strides=strides,
        padding=edges(padding, window, dilation), dilation=dilation, groups=channels,
    )  # fmt: skip


@layer
def depthwise_conv(
    scope: mg.Scope, x: Any, kernel: int | Sequence[int], *, strides: Any = 1,
    padding: Any = "valid", depth_multiplier: int = 1, dilation_rate: Any = 1,
    activation: Activation = None, use_bias: bool = True,
    depthwise_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
    depthwise_regularizer: Regularizer = None, bias_regularizer: Regularizer = None,
) -> Any:  # fmt: skip
    """Convolution of each channel by its own ``depth_multiplier`` kernels (Sifre 2014).

    Args:
        scope: holds ``kernel [*spatial, in, depth_multiplier]``, ``bias [in * depth_multiplier]``.
        x: ``[batch, *spatial, in]``.
        kernel: window length, one for all axes or one each (Keras: ``kernel_size``).
        padding: as of `conv`.

    Returns:
        ``[batch, *spatial, in * depth_multiplier]``, the results of one channel side by side.

    Raises:
        ShapeError: no spatial axis.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda s, x: depthwise_conv(s, x, 3, depth_multiplier=2), engine="numpy")
    >>> call(mg.ones((1, 7, 7, 3))).shape, store["kernel"].shape
    ((1, 5, 5, 6), (3, 3, 3, 2))
    """
    y = _depthwise(
        scope, "depthwise_conv", x, kernel, depth_multiplier, strides, padding, dilation_rate,
        "kernel", depthwise_initializer, depthwise_regularizer,
    )  # fmt: skip
    return biased(scope, y, use_bias, bias_initializer, bias_regularizer, activation)


@layer
def separable_conv(
    scope: mg.Scope, x: Any, channels: int, kernel: int | Sequence[int], *, strides: Any = 1,
    padding: Any = "valid", dilation_rate: Any = 1, depth_multiplier: int = 1,
    activation: Activation = None, use_bias: bool = True,
    depthwise_initializer: Init = glorot_uniform, pointwise_initializer: Init = glorot_uniform,
    bias_initializer: Init = zeros, depthwise_regularizer: Regularizer = None,
    pointwise_regularizer: Regularizer = None, bias_regularizer: Regularizer = None,
) -> Any:  # fmt: skip
    """`depthwise_conv`, then a 1x1 convolution (Chollet 2017), as Keras's SeparableConv2D.

    Args:
        scope: holds ``depthwise_kernel [*spatial, in, depth_multiplier]``,
            ``pointwise_kernel [*ones, in * depth_multiplier, channels]`` and ``bias [channels]``.
        x: ``[batch, *spatial, in]``.
        channels: of the output (Keras: ``filters``).
        kernel: window length, one for all axes or one each (Keras: ``kernel_size``).
        padding: as of `conv`.

    Returns:
        ``[batch, *spatial, channels]``.

    Raises:
        ShapeError: no spatial axis.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda s, x: separable_conv(s, x, 8, 3), engine="numpy")
    >>> call(mg.ones((1, 7, 7, 3))).shape, store["pointwise_kernel"].shape
    ((1, 5, 5, 8), (1, 1, 3, 8))
    """
    y = _depthwise(
        scope, "separable_conv", x, kernel, depth_multiplier, strides, padding, dilation_rate,
        "depthwise_kernel", depthwise_initializer, depthwise_regularizer,
    )  # fmt: skip
    shape = (*(1,) * (x.ndim - 2), y.shape[-1], channels)
    w = scope.parameter(
        "pointwise_kernel", shape, pointwise_initializer, x.dtype, pointwise_regularizer
    )
    y = mg.conv(y, w)
    return biased(scope, y, use_bias, bias_initializer, bias_regularizer, activation)


depthwise_conv1d, depthwise_conv2d, depthwise_conv3d = ranks(depthwise_conv, "depthwise_conv{}d")
separable_conv1d, separable_conv2d, separable_conv3d = ranks(separable_conv, "separable_conv{}d")

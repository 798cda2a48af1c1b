"""Convolutions and their transposes, channels last: ``[batch, *spatial, channels]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg

from ._rank import ranks
from .activations import Activation, activate
from .authoring import each, layer, refuse
from .initializers import Init, glorot_uniform, zeros
from .regularizers import Regularizer


def spatial_axes(scope: mg.Scope, name: str, x: Any) -> int:
    """How many axes stand between the batch and the channels; at least one."""
    if x.ndim < 3:
        refuse(scope, name, f"needs [batch, *spatial, channels], got shape {x.shape}")
    return x.ndim - 2


def biased(
    scope: mg.Scope, y: Any, use_bias: bool, init: Init, regularizer: Regularizer,
    activation: Activation,
) -> Any:  # fmt: skip
    """How every convolution ends: ``activation(y + bias)``."""
    if use_bias:
        y = y + scope.parameter("bias", y.shape[-1:], init, y.dtype, regularizer)
    return activate(y, activation)


def edges(padding: Any, window: Sequence[int], dilation: Sequence[int]) -> Any:
    """``padding`` as `monograph.conv` takes it, which knows no ``"causal"``."""
    if isinstance(padding, str) and padding.lower() == "causal":
        return [((w - 1) * d, 0) for w, d in zip(window, dilation)]
    return padding


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
        padding: ``"same"``, ``"valid"``, ``"causal"`` (a result sees nothing after its own place),
            a number, or ``(low, high)`` per spatial axis.

    Returns:
        ``[batch, *spatial, channels]``.

    Raises:
        ShapeError: no spatial axis, or ``groups`` does not divide the channels.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda s, x: conv(s / "stem", x, 8, 3, strides=2), engine="numpy")
    >>> call(mg.ones((1, 7, 7, 3))).shape
    (1, 3, 3, 8)
    """
    n = spatial_axes(scope, "conv", x)
    if x.shape[-1] % groups or channels % groups:
        refuse(
            scope, "conv", f"groups={groups} must divide the {x.shape[-1]} input and {channels} "
            f"output channels",
        )  # fmt: skip
    window = each(scope, "conv", "kernel", kernel, n)
    dilation = each(scope, "conv", "dilation_rate", dilation_rate, n)
    shape = (*window, x.shape[-1] // groups, channels)
    w = scope.parameter("kernel", shape, kernel_initializer, x.dtype, kernel_regularizer)
    y = mg.conv(
        x, w, strides=strides, padding=edges(padding, window, dilation), dilation=dilation,
        groups=groups,
    )  # fmt: skip
    return biased(scope, y, use_bias, bias_initializer, bias_regularizer, activation)


@layer
def conv_transpose(
    scope: mg.Scope, x: Any, channels: int, kernel: int | Sequence[int], *, strides: Any = 1,
    padding: Any = "valid", output_padding: Any = None, dilation_rate: Any = 1, groups: int = 1,
    activation: Activation = None, use_bias: bool = True,
    kernel_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
    kernel_regularizer: Regularizer = None, bias_regularizer: Regularizer = None,
) -> Any:  # fmt: skip
    """Transposed convolution: what the gradient of `conv` does, as Keras's Conv2DTranspose.

    Args:
        scope: holds ``kernel [*spatial, channels / groups, in]`` and ``bias [channels]``.
        x: ``[batch, *spatial, in]``.
        channels: of the output (Keras: ``filters``).
        kernel: window length, one for all axes or one each (Keras: ``kernel_size``).
        padding: that of the `conv` which leads back. ``"valid"`` and ``"same"`` as Keras; a number,
            or ``(low, high)`` per spatial axis, as PyTorch.
        output_padding: elements added at the high end, one number or one per axis. None: enough for
            ``strides`` times the length (``"same"``), or for no input to be lost (``"valid"``).

    Returns:
        ``[batch, *spatial, channels]``.

    Raises:
        ShapeError: no spatial axis, or ``groups`` does not divide the channels.

    >>> store = mg.Store(seed=0)
    >>> f = store.bind(lambda s, x: conv_transpose(s, x, 8, 3, strides=2, padding="same"), "numpy")
    >>> f(mg.ones((1, 7, 7, 3))).shape, store["kernel"].shape
    ((1, 14, 14, 8), (3, 3, 8, 3))
    """
    name = "conv_transpose"
    n = spatial_axes(scope, name, x)
    if x.shape[-1] % groups or channels % groups:
        refuse(
            scope, name, f"groups={groups} must divide the {x.shape[-1]} input and {channels} "
            f"output channels",
        )  # fmt: skip
    window = each(scope, name, "kernel", kernel, n)
    steps = each(scope, name, "strides", strides, n)
    dilation = each(scope, name, "dilation_rate", dilation_rate, n)
    shape = (*window, channels // groups, x.shape[-1])
    w = scope.parameter("kernel", shape, kernel_initializer, x.dtype, kernel_regularizer)
    more = [output_padding] * n if isinstance(output_padding, int | None) else output_padding
    if isinstance(padding, str):
        spans = [(k - 1) * d + 1 for k, d in zip(window, dilation)]
        kept = [_keras_edges(scope, padding, *axis) for axis in zip(spans, steps, more)]
        padding, more = [p for p, _ in kept], [m for _, m in kept]
    y = mg.conv_transpose(
        x, w, strides=steps, padding=padding, dilation=dilation, groups=groups,
        output_padding=[m or 0 for m in more],
    )  # fmt: skip
    return biased(scope, y, use_bias, bias_initializer, bias_regularizer, activation)


def _keras_edges(
    scope: mg.Scope, padding: str, span: int, stride: int, more: int | None
) -> tuple[tuple[int, int], int]:
    """``(low, high)`` and what is added at the high end, for a window that spans so much."""
    kind = padding.lower()
    if kind == "valid":
        return (0, 0), max(stride - span, 0) if more is None else more
    if kind != "same":
        refuse(
            scope, "conv_transpose", f"padding={padding!r} is neither 'same', 'valid' nor numbers",
            mg.errors.ArgumentError,
        )  # fmt: skip
    # all that is cut from (length - 1) * stride + span; the odd one is cut at the high end
    cut = span - stride if more is None else span - span % 2 - more
    low = max(cut // 2, 0)
    return (low, max(cut - low, 0)), max(low - cut, 0)


conv1d, conv2d, conv3d = ranks(conv, "conv{}d")
conv1d_transpose, conv2d_transpose, conv3d_transpose = ranks(conv_transpose, "conv{}d_transpose")

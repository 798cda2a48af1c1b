"""ResNet v1.5 (He et al. 2016, with the stride in the 3x3 convolution as in NVIDIA's and PyTorch's)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import he_normal


def resnet(
    scope: mg.Scope, images: Any, blocks: Sequence[int], *, classes: int = 1000,
    training: bool = False, include_top: bool = True, padding: str = "symmetric",
    unbiased: bool = True,
) -> Any:  # fmt: skip
    """A ResNet of bottleneck blocks; the defaults are PyTorch's.

    Args:
        scope: holds ``stem``, ``stage1/block1/layer1`` and so on, each with ``conv/kernel`` and
            ``norm/gamma, beta, moving_mean, moving_variance``; and ``logits/kernel, bias``.
        images: ``[batch, height, width, channels]``.
        blocks: how many blocks each stage has. Stage ``i`` has ``256 * 2 ** i`` channels, and all
            but the first halve height and width.
        training: whether batch norm uses the batch's statistics and moves the kept ones.
        include_top: whether to end with the mean over height and width and the logits.
        padding: of windows longer than one: ``"symmetric"`` (PyTorch) or ``"same"`` (TensorFlow,
            haiku), which differ where the stride is 2.
        unbiased: whether the kept variance is the unbiased one (PyTorch).

    Returns:
        Logits ``[batch, classes]``, or features ``[batch, height / 32, width / 32, channels]``.

    Raises:
        ArgumentError: ``padding`` is neither of the two.

    >>> call = mg.Store(seed=0).bind(resnet, engine="numpy", blocks=(1, 1), classes=10)
    >>> call(mg.ones((1, 16, 16, 3))).shape
    (1, 10)
    """
    if padding not in ("symmetric", "same"):
        raise mg.tracing.at_user_line(
            mg.errors.ArgumentError(f"padding={padding!r} is neither 'symmetric' nor 'same'")
        )

    def edges(window: int) -> Any:
        return window // 2 if padding == "symmetric" else "same"

    def unit(scope: mg.Scope, x: Any, channels: int, kernel: int, strides: int = 1) -> Any:
        x = nn.conv2d(
            scope / "conv", x, channels, kernel, strides=strides, padding=edges(kernel),
            use_bias=False, kernel_initializer=he_normal,
        )  # fmt: skip
        return nn.batch_norm(
            scope / "norm", x, training=training, momentum=0.9, epsilon=1e-5, unbiased=unbiased
        )

    def block(scope: mg.Scope, x: Any, channels: int, strides: int) -> Any:
        y = mg.relu(unit(scope / "layer1", x, channels // 4, 1))
        y = mg.relu(unit(scope / "layer2", y, channels // 4, 3, strides))
        y = unit(scope / "layer3", y, channels, 1)
        if y.shape != x.shape:
            x = unit(scope / "shortcut", x, channels, 1, strides)
        return mg.relu(x + y)

    x = mg.relu(unit(scope / "stem", images, 64, 7, 2))
    x = nn.max_pooling2d(scope, x, 3, strides=2, padding=edges(3))
    for i, count in enumerate(blocks):
        for j in range(count):
            strides = 2 if i and not j else 1
            x = block(scope / f"stage{i + 1}" / f"block{j + 1}", x, 256 * 2**i, strides)
    if not include_top:
        return x
    return nn.dense(scope / "logits", nn.global_average_pooling2d(scope, x), classes)


def resnet50(scope: mg.Scope, images: Any, **options: Any) -> Any:
    """ResNet-50, 25,557,032 parameters; `resnet` documents the options."""
    return resnet(scope, images, (3, 4, 6, 3), **options)


def resnet101(scope: mg.Scope, images: Any, **options: Any) -> Any:
    """ResNet-101, 44,549,160 parameters; `resnet` documents the options."""
    return resnet(scope, images, (3, 4, 23, 3), **options)


def resnet152(scope: mg.Scope, images: Any, **options: Any) -> Any:
    """ResNet-152, 60,192,808 parameters; `resnet` documents the options."""
    return resnet(scope, images, (3, 8, 36, 3), **options)

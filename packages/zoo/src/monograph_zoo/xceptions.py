"""Xception (Chollet 2017), as Keras's."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn


def xception(
    scope: mg.Scope, images: Any, *, classes: int = 1000, training: bool = False,
    include_top: bool = True,
) -> Any:  # fmt: skip
    """Xception; 22,855,952 parameters with the defaults.

    Args:
        scope: holds Keras's names, such as ``block2_sepconv1/pointwise_kernel`` and
            ``block2_sepconv1_bn/gamma``; ``block2_shortcut/kernel`` is what Keras leaves unnamed.
        images: ``[batch, height, width, channels]``, at least 71 high and wide.
        include_top: whether to end with the mean over height and width and the logits.

    Returns:
        Logits ``[batch, classes]``, or features ``[batch, height / 32, width / 32, 2048]``.

    >>> bound = mg.Store(seed=0).bind(xception, engine="numpy", classes=10)
    >>> [y.shape for y in bound.trace(mg.ones((1, 71, 71, 3))).output_specs][0]
    (1, 10)
    """

    def normed(name: str, x: Any) -> Any:
        return nn.batch_norm(scope / f"{name}_bn", x, training=training)

    def conv(name: str, x: Any, channels: int, kernel: int, **options: Any) -> Any:
        x = nn.conv2d(scope / name, x, channels, kernel, use_bias=False, **options)
        return normed(name, x)

    def separable(name: str, x: Any, channels: int) -> Any:
        x = nn.separable_conv2d(scope / name, x, channels, 3, padding="same", use_bias=False)
        return normed(name, x)

    def shrunk(block: int, x: Any, first: int, channels: int, start: Any = mg.relu) -> Any:
        """Two separable convolutions, halved in height and width, beside a 1x1 shortcut."""
        y = separable(f"block{block}_sepconv1", start(x), first)
        y = separable(f"block{block}_sepconv2", mg.relu(y), channels)
        y = nn.max_pooling2d(scope, y, 3, strides=2, padding="same")
        return y + conv(f"block{block}_shortcut", x, channels, 1, strides=2, padding="same")

    x = mg.relu(conv("block1_conv1", images, 32, 3, strides=2))
    x = mg.relu(conv("block1_conv2", x, 64, 3))
    x = shrunk(2, x, 128, 128, start=lambda x: x)  # already rectified
    x = shrunk(3, x, 256, 256)
    x = shrunk(4, x, 728, 728)
    for block in range(5, 13):
        y = x
        for i in (1, 2, 3):
            y = separable(f"block{block}_sepconv{i}", mg.relu(y), 728)
        x = x + y
    x = shrunk(13, x, 728, 1024)
    x = mg.relu(separable("block14_sepconv1", x, 1536))
    x = mg.relu(separable("block14_sepconv2", x, 2048))
    if not include_top:
        return x
    return nn.dense(scope / "predictions", nn.global_average_pooling2d(scope, x), classes)

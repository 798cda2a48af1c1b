"""MobileNet v1 (Howard et al. 2017), as Keras's."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn

# channels and stride of the separable blocks
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1),
    (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet_v1(
    scope: mg.Scope, images: Any, *, alpha: float = 1.0, depth_multiplier: int = 1,
    dropout: float = 1e-3, classes: int = 1000, training: bool = False, include_top: bool = True,
) -> Any:  # fmt: skip
    """MobileNet v1; 4,231,976 parameters with the defaults.

    Args:
        scope: holds Keras's names, such as ``conv_dw_1/kernel`` and ``conv_dw_1_bn/gamma``.
        images: ``[batch, height, width, channels]``.
        alpha: what all numbers of channels are multiplied with.
        depth_multiplier: results per channel of the depthwise convolutions.
        dropout: probability, before the logits, in training.
        include_top: whether to end with the mean over height and width and the logits.

    Returns:
        Logits ``[batch, classes]``, or features ``[batch, height / 32, width / 32, 1024 * alpha]``.

    >>> call = mg.Store(seed=0).bind(mobilenet_v1, engine="numpy", alpha=0.125, classes=10)
    >>> call(mg.ones((1, 32, 32, 3))).shape
    (1, 10)
    """

    def normed(name: str, x: Any) -> Any:
        return mg.clip(nn.batch_norm(scope / f"{name}_bn", x, training=training), 0.0, 6.0)

    def conv(name: str, x: Any, channels: int, kernel: int, strides: int = 1) -> Any:
        x = nn.conv2d(
            scope / name, x, int(channels * alpha), kernel, strides=strides, padding="same",
            use_bias=False,
        )  # fmt: skip
        return normed(name, x)

    x = conv("conv1", images, 32, 3, 2)
    for i, (channels, strides) in enumerate(BLOCKS, start=1):
        x = nn.depthwise_conv2d(
            scope / f"conv_dw_{i}", x, 3, strides=strides, depth_multiplier=depth_multiplier,
            padding="same" if strides == 1 else ((0, 1), (0, 1)), use_bias=False,
        )  # fmt: skip
        x = conv(f"conv_pw_{i}", normed(f"conv_dw_{i}", x), channels, 1)
    if not include_top:
        return x
    x = nn.global_average_pooling2d(scope, x, keepdims=True)
    x = nn.dropout(scope / "dropout", x, dropout, training=training)
    return nn.flatten(scope, nn.conv2d(scope / "conv_preds", x, classes, 1))

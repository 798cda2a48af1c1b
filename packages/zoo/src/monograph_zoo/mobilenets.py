"""MobileNet v1 (Howard et al. 2017) and v2 (Sandler et al. 2018), as Keras's."""

from __future__ import annotations

import functools
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.importing import Input

from .architectures import (
    DEPTHWISE,
    KERNEL,
    LABELS,
    PYTORCH,
    Architecture,
    Layout,
    architectures,
)  # fmt: skip

# channels and stride of the separable blocks
BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1), (512, 1),
    (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def _edges(padding: str, **more: Any) -> tuple[Any, Any]:
    """Padding of the first convolution and of the depthwise ones, where they halve height and width."""
    known = {"same": ("same", "same"), "symmetric": (1, 1)}
    known |= {name: ("same", edges) for name, edges in more.items()}
    if padding not in known:
        raise mg.tracing.at_user_line(
            mg.errors.ArgumentError(f"padding={padding!r} is none of {', '.join(known)}")
        )
    return known[padding]


def mobilenet_v1(
    scope: mg.Scope, images: Any, *, alpha: float = 1.0, depth_multiplier: int = 1,
    dropout: float = 1e-3, classes: int = 1000, padding: str = "keras", momentum: float = 0.99,
    unbiased: bool = False, training: bool = False, include_top: bool = True,
) -> Any:  # fmt: skip
    """MobileNet v1; 4,231,976 parameters with the defaults.

    Args:
        scope: holds Keras's names, such as ``conv_dw_1/kernel`` and ``conv_dw_1_bn/gamma``.
        images: ``[batch, height, width, channels]``.
        alpha: what all numbers of channels are multiplied with.
        depth_multiplier: results per channel of the depthwise convolutions.
        dropout: probability, before the logits, in training.
        padding: ``"same"`` (TensorFlow), ``"keras"`` or ``"symmetric"`` (PyTorch), which differ where
            the stride is 2: Keras pads at the high end alone, also where the length is odd.
        momentum, unbiased: of batch norm.
        include_top: whether to end with the mean over height and width and the logits.

    Returns:
        Logits ``[batch, classes]``, or features ``[batch, height / 32, width / 32, 1024 * alpha]``.

    Raises:
        ArgumentError: another ``padding``.

    >>> call = mg.Store(seed=0).bind(mobilenet_v1, engine="numpy", alpha=0.125, classes=10)
    >>> call(mg.ones((1, 32, 32, 3))).shape
    (1, 10)
    """
    first, halving = _edges(padding, keras=((0, 1), (0, 1)))

    def normed(name: str, x: Any) -> Any:
        x = nn.batch_norm(
            scope / f"{name}_bn", x, momentum=momentum, unbiased=unbiased, training=training
        )
        return mg.relu6(x)

    def conv(name: str, x: Any, channels: int, kernel: int, **options: Any) -> Any:
        x = nn.conv2d(scope / name, x, int(channels * alpha), kernel, use_bias=False, **options)
        return normed(name, x)

    x = conv("conv1", images, 32, 3, strides=2, padding=first)
    for i, (channels, strides) in enumerate(BLOCKS, start=1):
        x = nn.depthwise_conv2d(
            scope / f"conv_dw_{i}", x, 3, strides=strides, depth_multiplier=depth_multiplier,
            padding="same" if strides == 1 else halving, use_bias=False,
        )  # fmt: skip
        x = conv(f"conv_pw_{i}", normed(f"conv_dw_{i}", x), channels, 1)
    if not include_top:
        return x
    x = nn.global_average_pooling2d(scope, x, keepdims=True)
    x = nn.dropout(scope / "dropout", x, dropout, training=training)
    return nn.flatten(scope, nn.conv2d(scope / "conv_preds", x, classes, 1))


# channels and stride of the inverted residual blocks of v2
INVERTED = (
    (16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1), (96, 1),
    (96, 1), (96, 1), (160, 2), (160, 1), (160, 1), (320, 1),
)  # fmt: skip


def _eights(channels: float) -> int:
    """The nearest multiple of 8, at least 8, and no more than 10% less."""
    near = max(8, int(channels + 4) // 8 * 8)
    return near + 8 if near < 0.9 * channels else near


def mobilenet_v2(
    scope: mg.Scope, images: Any, *, alpha: float = 1.0, dropout: float = 0.0, classes: int = 1000,
    padding: str = "same", momentum: float = 0.999, unbiased: bool = False, training: bool = False,
    include_top: bool = True,
) -> Any:  # fmt: skip
    """MobileNet v2; 3,504,872 parameters with the defaults.

    Args:
        scope: holds ``stem``, ``block0/depthwise``, ``block0/project``, ``block1/expand`` and so on to
            ``block16``, and ``top``, each with ``conv/kernel`` and ``norm/gamma, beta, moving_mean,
            moving_variance``; and ``logits/kernel, bias``.
        images: ``[batch, height, width, channels]``.
        alpha: what all numbers of channels are multiplied with, but the last one where it is below 1.
        dropout: probability, before the logits, in training.
        padding: ``"same"`` (TensorFlow) or ``"symmetric"`` (PyTorch), which differ where the stride is 2.
        momentum, unbiased: of batch norm.
        include_top: whether to end with the mean over height and width and the logits.

    Returns:
        Logits ``[batch, classes]``, or features ``[batch, height / 32, width / 32, 1280]``.

    >>> call = mg.Store(seed=0).bind(mobilenet_v2, engine="numpy", alpha=0.35, classes=10)
    >>> call(mg.ones((1, 32, 32, 3))).shape
    (1, 10)
    """
    first, halving = _edges(padding)

    def normed(scope: mg.Scope, x: Any) -> Any:
        return nn.batch_norm(
            scope / "norm", x, momentum=momentum, unbiased=unbiased, training=training
        )

    def conv(scope: mg.Scope, x: Any, channels: int, kernel: int = 1, **options: Any) -> Any:
        x = nn.conv2d(scope / "conv", x, channels, kernel, use_bias=False, **options)
        return normed(scope, x)

    x = mg.relu6(conv(scope / "stem", images, _eights(32 * alpha), 3, strides=2, padding=first))
    for i, (width, strides) in enumerate(INVERTED):
        block, y, channels = scope / f"block{i}", x, _eights(round(width * alpha))
        if i:
            y = mg.relu6(conv(block / "expand", y, 6 * x.shape[-1]))
        y = nn.depthwise_conv2d(
            block / "depthwise" / "conv", y, 3, strides=strides,
            padding="same" if strides == 1 else halving, use_bias=False,
        )  # fmt: skip
        y = conv(block / "project", mg.relu6(normed(block / "depthwise", y)), channels)
        x = x + y if strides == 1 and x.shape[-1] == channels else y
    x = mg.relu6(conv(scope / "top", x, _eights(1280 * max(alpha, 1.0))))
    if not include_top:
        return x
    x = nn.global_average_pooling2d(scope, x)
    x = nn.dropout(scope / "dropout", x, dropout, training=training)
    return nn.dense(scope / "logits", x, classes)


def _architecture(model: Any, momentum: float, **more: Any) -> Architecture:
    return Architecture(
        # transformers takes Keras's momentum for PyTorch's, which is 1 - momentum
        functools.partial(model, momentum=1 - momentum, unbiased=True),
        inputs=lambda sizes: (Input("pixel_values", ("batch", "height", "width", 3), mg.float32),),
        options={
            "alpha": ("depth_multiplier", 1.0),
            "dropout": ("classifier_dropout_prob", more.pop("dropout")),
            "padding": ("tf_padding", True, {True: "same", False: "symmetric"}.__getitem__),
            "classes": LABELS,
        },
        fixed={
            "min_depth": (8,), "num_channels": (3,), "hidden_act": ("relu6",),
            "layer_norm_eps": (0.001,), **more.pop("fixed", {}),
        },
        outputs=("logits",),
        **more,
    )  # fmt: skip


_AS_DENSE = Layout(KERNEL.ours, lambda kernel: kernel.reshape(kernel.shape[-2:]).T)

architectures["MobileNetV1ForImageClassification"] = _architecture(
    mobilenet_v1, 0.9997, dropout=0.999,
    rules=(
        (r"^conv1_bn/", "mobilenet_v1/conv_stem/normalization/"),
        (r"^conv1/", "mobilenet_v1/conv_stem/convolution/"),
        (r"^conv_dw_(\d+)", r"mobilenet_v1/layer/<2*\1-2>"),
        (r"^conv_pw_(\d+)", r"mobilenet_v1/layer/<2*\1-1>"),
        (r"(layer/[^/_]+)_bn/", r"\1/normalization/"),
        (r"(layer/[^/_]+)/(?!norm)", r"\1/convolution/"),
        (r"^conv_preds/", "classifier/"),
    ),
    leaves=(
        (r"^(conv_dw_\d+)/kernel$", r"\1/weight", DEPTHWISE),
        (r"^conv_preds/kernel$", "conv_preds/weight", _AS_DENSE),
        *PYTORCH,
    ),
)  # fmt: skip
architectures["MobileNetV2ForImageClassification"] = _architecture(
    mobilenet_v2, 0.997, dropout=0.8,
    fixed={
        "depth_divisible_by": (8,), "expand_ratio": (6,), "output_stride": (32,),
        "first_layer_is_expansion": (True,), "finegrained_output": (True,),
    },
    rules=(
        (r"^(?=stem/|block|top/)", "mobilenet_v2/"),
        ("/stem/", "/conv_stem/first_conv/"),
        ("/block0/", "/conv_stem/"),
        (r"/block(\d+)/", r"/layer/<\1-1>/"),
        ("/top/", "/conv_1x1/"),
        ("/expand/", "/expand_1x1/"),
        ("/depthwise/", "/conv_3x3/"),
        ("/project/", "/reduce_1x1/"),
        ("/conv/", "/convolution/"),
        ("/norm/", "/normalization/"),
        ("^logits/", "classifier/"),
    ),
)  # fmt: skip

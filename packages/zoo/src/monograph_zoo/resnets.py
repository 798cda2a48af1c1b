"""ResNets (He et al. 2016): v1.5 for ImageNet, and the small ones for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.importing import Input
from monograph_layers.initializers import he_normal

from .architectures import LABELS, Architecture, architectures


def resnet(
    scope: mg.Scope, images: Any, blocks: Sequence[int], *, classes: int = 1000,
    channels: Sequence[int] = (256, 512, 1024, 2048), stem: int = 64, bottleneck: bool = True,
    training: bool = False, include_top: bool = True, padding: str = "symmetric",
    unbiased: bool = True,
) -> Any:  # fmt: skip
    """ResNet v1.5, whose 3x3 convolutions have the strides; the defaults are PyTorch's.

    Args:
        scope: holds ``stem``, ``stage1/block1/layer1`` and so on, each with ``conv/kernel`` and
            ``norm/gamma, beta, moving_mean, moving_variance``; and ``logits/kernel, bias``.
        images: ``[batch, height, width, channels]``.
        blocks: how many blocks each stage has. All stages but the first halve height and width.
        channels: of each stage.
        stem: channels before the first stage.
        bottleneck: whether blocks are 1x1, 3x3 and 1x1 convolutions; else two of 3x3, as in ResNet-18
            and ResNet-34.
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
        narrow = channels // 4
        layers = (
            ((narrow, 1, 1), (narrow, 3, strides), (channels, 1, 1)) if bottleneck
            else ((channels, 3, strides), (channels, 3, 1))
        )  # fmt: skip
        y = x
        for i, layer in enumerate(layers, start=1):
            y = unit(scope / f"layer{i}", y if i == 1 else mg.relu(y), *layer)
        if strides != 1 or x.shape[-1] != channels:
            x = unit(scope / "shortcut", x, channels, 1, strides)
        return mg.relu(x + y)

    x = mg.relu(unit(scope / "stem", images, stem, 7, 2))
    x = nn.max_pooling2d(scope, x, 3, strides=2, padding=edges(3))
    for i, (count, width) in enumerate(zip(blocks, channels)):
        for j in range(count):
            strides = 2 if i and not j else 1
            x = block(scope / f"stage{i + 1}" / f"block{j + 1}", x, width, strides)
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


def resnet_cifar(
    scope: mg.Scope, images: Any, *, depth: int = 20, classes: int = 10, training: bool = False
) -> Any:
    """The ResNet for small images of He et al. 2016, section 4.2; 269,722 parameters of depth 20.

    Args:
        scope: holds the names of `resnet`, with three stages of blocks of two layers.
        images: ``[batch, height, width, channels]``, 32 by 32 in the paper.
        depth: ``6 n + 2``, for ``n`` blocks in a stage.

    Returns:
        Logits ``[batch, classes]``.

    Raises:
        ArgumentError: another depth.

    >>> call = mg.Store(seed=0).bind(resnet_cifar, engine="numpy", depth=8)
    >>> call(mg.ones((1, 8, 8, 3))).shape
    (1, 10)
    """
    if depth < 8 or depth % 6 != 2:
        raise mg.tracing.at_user_line(
            mg.errors.ArgumentError(f"depth={depth} is none of 8, 14, 20 and so on")
        )

    def unit(scope: mg.Scope, x: Any, channels: int, strides: int = 1) -> Any:
        x = nn.conv2d(
            scope / "conv", x, channels, 3, strides=strides, padding=1, use_bias=False,
            kernel_initializer=he_normal,
        )  # fmt: skip
        return nn.batch_norm(
            scope / "norm", x, training=training, momentum=0.9, epsilon=1e-5, unbiased=True
        )

    x = mg.relu(unit(scope / "stem", images, 16))
    for i, channels in enumerate((16, 32, 64)):
        for j in range(depth // 6):
            block = scope / f"stage{i + 1}" / f"block{j + 1}"
            strides = 2 if i and not j else 1
            y = mg.relu(unit(block / "layer1", x, channels, strides))
            y = unit(block / "layer2", y, channels)
            if (
                strides == 2
            ):  # the shortcut has no weights: every other place, zeros for new channels
                more = (channels - x.shape[-1]) // 2
                x = mg.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (more, more)))
            x = mg.relu(x + y)
    return nn.dense(scope / "logits", nn.global_average_pooling2d(scope, x), classes)


architectures["ResNetCifar"] = (
    Architecture(  # of no class in transformers: published as state dicts
        resnet_cifar,
        inputs=lambda sizes: (Input("images", ("batch", "height", "width", 3), mg.float32),),
        options={"depth": ("depth", 20), "classes": ("classes", 10)},
        outputs=("logits",),
        rules=(
            (r"^stem/conv/", "conv1/"),
            (r"^stem/norm/", "bn1/"),
            (r"^stage(\d+)/block(\d+)/layer(\d+)/conv/", r"layer\1/<\2-1>/conv\3/"),
            (r"^stage(\d+)/block(\d+)/layer(\d+)/norm/", r"layer\1/<\2-1>/bn\3/"),
            (r"^logits/", "linear/"),
        ),
        aliases=((r"^module\.", ""),),  # as saved from several devices
    )
)

architectures["ResNetForImageClassification"] = Architecture(
    resnet,
    inputs=lambda sizes: (Input("pixel_values", ("batch", "height", "width", 3), mg.float32),),
    options={
        "blocks": ("depths", [3, 4, 6, 3]),
        "channels": ("hidden_sizes", [256, 512, 1024, 2048]),
        "stem": ("embedding_size", 64),
        "bottleneck": ("layer_type", "bottleneck", {"bottleneck": True, "basic": False}.__getitem__),
        "classes": LABELS,
    },
    fixed={
        "hidden_act": ("relu",), "num_channels": (3,), "downsample_in_first_stage": (False,),
        "downsample_in_bottleneck": (False,),
    },
    outputs=("logits",),
    rules=(
        (r"^stem/", "resnet/embedder/embedder/"),
        (r"^stage(\d+)/block(\d+)/", r"resnet/encoder/stages/<\1-1>/layers/<\2-1>/"),
        (r"/layer(\d+)/", r"/layer/<\1-1>/"),
        (r"/conv/", "/convolution/"),
        (r"/norm/", "/normalization/"),
        (r"^logits/", "classifier/1/"),
    ),
)  # fmt: skip

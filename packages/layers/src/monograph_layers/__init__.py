"""Layers as functions of a scope: ``y = dense(scope / "logits", x, 10)``. Channels last."""

from . import activations, initializers, regularizers
from .activations import activate
from .convolution import (
    conv,
    conv1d,
    conv1d_transpose,
    conv2d,
    conv2d_transpose,
    conv3d,
    conv3d_transpose,
    conv_transpose,
)
from .depthwise import (
    depthwise_conv,
    depthwise_conv1d,
    depthwise_conv2d,
    depthwise_conv3d,
    separable_conv,
    separable_conv1d,
    separable_conv2d,
    separable_conv3d,
)
from .linear import dense, embedding
from .normalization import batch_norm, layer_norm
from .pooling import (
    adaptive_average_pooling,
    adaptive_average_pooling1d,
    adaptive_average_pooling2d,
    adaptive_average_pooling3d,
    adaptive_max_pooling,
    adaptive_max_pooling1d,
    adaptive_max_pooling2d,
    adaptive_max_pooling3d,
    average_pooling,
    average_pooling1d,
    average_pooling2d,
    average_pooling3d,
    global_average_pooling,
    global_average_pooling1d,
    global_average_pooling2d,
    global_average_pooling3d,
    global_max_pooling,
    global_max_pooling1d,
    global_max_pooling2d,
    global_max_pooling3d,
    max_pooling,
    max_pooling1d,
    max_pooling2d,
    max_pooling3d,
)
from .regularization import dropout
from .resampling import (
    resizing,
    up_sampling,
    up_sampling1d,
    up_sampling2d,
    up_sampling3d,
)
from .reshaping import (
    cropping,
    cropping1d,
    cropping2d,
    cropping3d,
    flatten,
    zero_padding,
    zero_padding1d,
    zero_padding2d,
    zero_padding3d,
)

__all__ = [
    "activate", "activations", "adaptive_average_pooling", "adaptive_average_pooling1d",
    "adaptive_average_pooling2d", "adaptive_average_pooling3d", "adaptive_max_pooling",
    "adaptive_max_pooling1d", "adaptive_max_pooling2d", "adaptive_max_pooling3d",
    "average_pooling", "average_pooling1d", "average_pooling2d", "average_pooling3d",
    "batch_norm", "conv", "conv1d", "conv1d_transpose", "conv2d", "conv2d_transpose", "conv3d",
    "conv3d_transpose", "conv_transpose", "cropping", "cropping1d", "cropping2d", "cropping3d",
    "dense", "depthwise_conv", "depthwise_conv1d", "depthwise_conv2d", "depthwise_conv3d",
    "dropout", "embedding", "flatten", "global_average_pooling", "global_average_pooling1d",
    "global_average_pooling2d", "global_average_pooling3d", "global_max_pooling",
    "global_max_pooling1d", "global_max_pooling2d", "global_max_pooling3d", "initializers",
    "layer_norm", "max_pooling", "max_pooling1d", "max_pooling2d", "max_pooling3d",
    "regularizers", "resizing", "separable_conv", "separable_conv1d", "separable_conv2d",
    "separable_conv3d", "up_sampling", "up_sampling1d", "up_sampling2d", "up_sampling3d",
    "zero_padding", "zero_padding1d", "zero_padding2d", "zero_padding3d",
]  # fmt: skip

"""Layers as functions of a scope: ``y = dense(scope / "logits", x, 10)``. Channels last."""

from . import activations, initializers, regularizers
from .activations import activate, prelu
from .attention import additive_attention, attention, multi_head_attention
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
from .heads import AttentionCache, attend, attention_cache
from .linear import dense, embedding
from .normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm, unit_norm
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
from .positions import position_embedding, rotary_embedding, sine_position_encoding
from .recurrent import bidirectional, gru, lstm, simple_rnn
from .regularization import (
    activity_regularization,
    alpha_dropout,
    drop_path,
    dropout,
    gaussian_dropout,
    gaussian_noise,
    spatial_dropout,
)
from .resampling import resizing, up_sampling, up_sampling1d, up_sampling2d, up_sampling3d
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
from .transforms import spectral_norm, weight_norm

__all__ = [
    "AttentionCache", "activate", "activations", "activity_regularization", "additive_attention", "attend",
    "attention", "adaptive_average_pooling", "adaptive_average_pooling1d", "adaptive_average_pooling2d",
    "adaptive_average_pooling3d", "adaptive_max_pooling", "adaptive_max_pooling1d",
    "adaptive_max_pooling2d", "adaptive_max_pooling3d", "alpha_dropout", "attention_cache",
    "average_pooling", "average_pooling1d", "average_pooling2d", "average_pooling3d",
    "batch_norm", "bidirectional", "conv", "conv1d", "conv1d_transpose", "conv2d",
    "conv2d_transpose", "conv3d", "conv3d_transpose", "conv_transpose", "cropping", "cropping1d",
    "cropping2d", "cropping3d", "dense", "depthwise_conv", "depthwise_conv1d", "depthwise_conv2d",
    "depthwise_conv3d", "drop_path", "dropout", "embedding", "flatten", "gaussian_dropout",
    "gaussian_noise", "global_average_pooling", "global_average_pooling1d",
    "global_average_pooling2d", "global_average_pooling3d", "global_max_pooling",
    "global_max_pooling1d", "global_max_pooling2d", "global_max_pooling3d", "group_norm", "gru",
    "initializers", "instance_norm", "layer_norm", "lstm", "max_pooling", "max_pooling1d",
    "max_pooling2d", "max_pooling3d", "multi_head_attention", "position_embedding", "prelu",
    "regularizers", "resizing", "rms_norm", "rotary_embedding", "separable_conv",
    "separable_conv1d", "separable_conv2d", "separable_conv3d", "simple_rnn",
    "sine_position_encoding", "spatial_dropout", "spectral_norm", "unit_norm", "up_sampling",
    "up_sampling1d", "up_sampling2d", "up_sampling3d", "weight_norm", "zero_padding",
    "zero_padding1d", "zero_padding2d", "zero_padding3d",
]  # fmt: skip

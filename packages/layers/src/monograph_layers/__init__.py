"""Layers as functions of a scope: ``y = dense(scope / "logits", x, 10)``. Channels last."""

from . import activations, initializers, regularizers
from .activations import activate, prelu
from .attention import AttentionCache, attention_cache, multi_head_attention
from .convolution import conv, conv2d
from .linear import dense, embedding
from .normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm, unit_norm
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
from .transforms import spectral_norm, weight_norm

__all__ = [
    "AttentionCache", "activate", "activations", "activity_regularization", "alpha_dropout",
    "attention_cache", "batch_norm", "bidirectional", "conv", "conv2d", "dense", "drop_path",
    "dropout", "embedding", "gaussian_dropout", "gaussian_noise", "group_norm", "gru",
    "initializers", "instance_norm", "layer_norm", "lstm", "multi_head_attention",
    "position_embedding", "prelu", "regularizers", "rms_norm", "rotary_embedding", "simple_rnn",
    "sine_position_encoding", "spatial_dropout", "spectral_norm", "unit_norm", "weight_norm",
]  # fmt: skip

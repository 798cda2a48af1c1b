"""Layers as functions of a scope: ``y = dense(scope / "logits", x, 10)``. Channels last."""

from . import activations, initializers, regularizers
from .activations import activate, prelu
from .convolution import conv, conv2d
from .linear import dense, embedding
from .normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm, unit_norm
from .regularization import (
    activity_regularization,
    alpha_dropout,
    drop_path,
    dropout,
    gaussian_dropout,
    gaussian_noise,
    spatial_dropout,
)

__all__ = [
    "activate", "activations", "activity_regularization", "alpha_dropout", "batch_norm", "conv",
    "conv2d", "dense", "drop_path", "dropout", "embedding", "gaussian_dropout", "gaussian_noise",
    "group_norm", "initializers", "instance_norm", "layer_norm", "prelu", "regularizers", "rms_norm",
    "spatial_dropout", "unit_norm",
]  # fmt: skip

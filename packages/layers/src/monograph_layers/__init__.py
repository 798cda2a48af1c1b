"""Layers as functions of a scope: ``y = dense(scope / "logits", x, 10)``. Channels last."""

from . import activations, initializers, regularizers
from .activations import activate
from .convolution import conv, conv2d
from .linear import dense, embedding
from .normalization import batch_norm, layer_norm
from .regularization import dropout

__all__ = [
    "activate", "activations", "batch_norm", "conv", "conv2d", "dense", "dropout", "embedding",
    "initializers", "layer_norm", "regularizers",
]  # fmt: skip

"""Published models as functions of a scope, and converters of their published weights."""

from . import from_haiku, from_huggingface, from_keras
from .load import load
from .mobilenet import mobilenet_v1
from .resnet import resnet, resnet50, resnet101, resnet152
from .xception import xception

__all__ = [
    "from_haiku", "from_huggingface", "from_keras", "load", "mobilenet_v1", "resnet", "resnet50",
    "resnet101", "resnet152", "xception",
]  # fmt: skip

"""Published models as functions of a scope, and converters of their published weights."""

from . import from_haiku, from_huggingface, from_keras
from ._load import load
from .generation import Generator, generate
from .gpt2s import gpt2
from .llamas import llama
from .mobilenets import mobilenet_v1
from .resnets import resnet, resnet50, resnet101, resnet152
from .xceptions import xception

__all__ = [
    "Generator", "from_haiku", "from_huggingface", "from_keras", "generate", "gpt2", "llama", "load", "mobilenet_v1", "resnet", "resnet50",
    "resnet101", "resnet152", "xception",
]  # fmt: skip

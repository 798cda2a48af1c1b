"""Published models as functions of a scope, and their published weights."""

from . import from_haiku, from_keras, huggingface
from ._load import load
from .berts import bert, bert_for_masked_lm, bert_for_sequence_classification
from .huggingface import Pretrained, from_pretrained, save_pretrained
from .mobilenets import mobilenet_v1, mobilenet_v2
from .resnets import resnet, resnet50, resnet101, resnet152, resnet_cifar
from .t5s import t5_encoder
from .vits import vit, vit_for_image_classification
from .xceptions import xception

__all__ = [
    "Pretrained", "bert", "bert_for_masked_lm", "bert_for_sequence_classification", "from_haiku",
    "from_keras", "from_pretrained", "huggingface", "load", "mobilenet_v1", "mobilenet_v2",
    "resnet", "resnet50", "resnet101", "resnet152", "resnet_cifar", "save_pretrained", "t5_encoder", "vit",
    "vit_for_image_classification", "xception",
]  # fmt: skip

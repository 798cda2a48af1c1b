"""Published models as functions of a scope, and their published weights."""

from . import from_haiku, from_keras, huggingface, scaling
from ._load import load
from .berts import (
    bert,
    bert_for_masked_lm,
    bert_for_question_answering,
    bert_for_sequence_classification,
    bert_for_token_classification,
)
from .chinchillas import chinchilla, chinchilla_parameters, chinchillas
from .generation import Generator, generate
from .gpt2s import gpt2
from .huggingface import Pretrained, from_pretrained, save_pretrained
from .llama_kinds import llama
from .mobilenets import mobilenet_v1, mobilenet_v2
from .resnets import resnet, resnet50, resnet101, resnet152, resnet_cifar
from .robertas import roberta, roberta_for_masked_lm, roberta_for_sequence_classification
from .t5s import t5_encoder
from .tokenizers import tokenizer
from .vits import vit, vit_for_image_classification
from .xceptions import xception

__all__ = [
    "Generator", "Pretrained", "bert", "bert_for_masked_lm", "bert_for_question_answering",
    "bert_for_sequence_classification", "bert_for_token_classification",
    "chinchilla", "chinchilla_parameters", "chinchillas", "from_haiku", "from_keras",
    "from_pretrained", "generate", "gpt2", "huggingface", "llama", "load", "mobilenet_v1",
    "mobilenet_v2", "resnet", "resnet50", "resnet101", "resnet152", "resnet_cifar", "roberta",
    "roberta_for_masked_lm", "roberta_for_sequence_classification", "save_pretrained", "scaling",
    "t5_encoder", "tokenizer", "vit", "vit_for_image_classification", "xception",
]  # fmt: skip

"""The models: what they are given, how large they are, and the weights that all competitors begin with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

MODES = ("inference", "training")
SEED, CLASSES = 0, 10
ADAM = {"rate": 1e-4, "b1": 0.9, "b2": 0.999, "epsilon": 1e-8}
SGD = {"rate": 1e-5, "momentum": 0.9}

BERT = dict(vocabulary=30_522, features=512, layers=4, heads=8, hidden=2048)
VIT = dict(features=384, layers=12, heads=6, hidden=1536)
GPT = dict(vocabulary=16_000, context=128, features=512, layers=6, heads=8)
PROMPT, NEW = 48, 16  # tokens read at once, tokens then made one by one
LSTM = dict(features=64, units=128, layers=2)
GRAPH = dict(nodes=5_000, edges=50_000, features=64, hidden=64)


class Program(NamedTuple):
    """One competitor's model, ready to run on its own data.

    Attributes:
        step: runs once; what it returns may still be on its way.
        read: waits for what `step` returned: logits of inference, the loss of training.
    """

    step: Callable[[], Any]
    read: Callable[[Any], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A row of the table.

    Attributes:
        title: what the table calls it.
        note: its size, in the page.
        data: ``(mode, rng) -> x``, a tree of arrays, images channels last.
        labels: how many the loss takes.
        optimizer: ``"adam"`` or ``"sgd"`` (with momentum).
        modes: which there are.
    """

    title: str
    note: str
    data: Callable[[str, np.random.Generator], Any]
    labels: int
    optimizer: str = "adam"
    modes: tuple[str, ...] = MODES

    def batch(self, mode: str) -> tuple[Any, np.ndarray]:
        """``(x, labels)``, the same in every process."""
        rng = np.random.default_rng(SEED)
        return self.data(mode, rng), rng.integers(0, CLASSES, self.labels).astype("int32")


def _floats(inference: tuple[int, ...], training: tuple[int, ...]) -> Callable:
    shapes = {"inference": inference, "training": training}
    return lambda mode, rng: rng.normal(size=shapes[mode]).astype("float32")


def _tokens(vocabulary: int, inference: tuple[int, int], training: tuple[int, int]) -> Callable:
    shapes = {"inference": inference, "training": training}
    return lambda mode, rng: rng.integers(1, vocabulary, shapes[mode]).astype("int32")


def _graph(mode: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Nodes, and edges in the order of their receivers, which all competitors are told."""
    nodes, edges = GRAPH["nodes"], GRAPH["edges"]
    x = rng.normal(size=(nodes, GRAPH["features"])).astype("float32")
    ends = rng.integers(0, nodes, (2, edges)).astype("int32")
    senders, receivers = ends[:, np.argsort(ends[1], kind="stable")]
    return {"x": x, "senders": senders, "receivers": receivers}


CASES = {
    "mlp": Case(
        "MLP", "64-128-128-10; batch 64", _floats((1, 64), (64, 64)), 64,
    ),
    "cnn": Case(
        "CNN", "three 3x3 convolutions of 16, 32, 32 channels with batch norm, pooled twice; 28x28; batch 32",
        _floats((1, 28, 28, 3), (32, 28, 28, 3)), 32, "sgd",
    ),
    "mobilenet": Case(
        "MobileNetV1", "4.2M parameters; inference 224x224, training 96x96; batch 8",
        _floats((1, 224, 224, 3), (8, 96, 96, 3)), 8, "sgd",
    ),
    "xception": Case(
        "Xception", "22.9M parameters; inference 128x128, training 96x96; batch 4",
        _floats((1, 128, 128, 3), (4, 96, 96, 3)), 4, "sgd",
    ),
    "resnet50": Case(
        "ResNet50", "v1.5, 25.6M parameters; inference 224x224, training 96x96; batch 8",
        _floats((1, 224, 224, 3), (8, 96, 96, 3)), 8, "sgd",
    ),
    "vit": Case(
        "ViT-small", "12 layers of 384 features, 6 heads, patches of 16; 160x160; batch 4",
        _floats((1, 160, 160, 3), (4, 160, 160, 3)), 4,
    ),
    "bert": Case(
        "BERT-small", "4 layers of 512 features, 8 heads; 128 tokens; batch 8",
        _tokens(BERT["vocabulary"], (1, 128), (8, 128)), 8,
    ),
    "gpt": Case(
        "GPT-2-like decoder",
        f"6 layers of 512 features, 8 heads, 16,000 words; a prompt of {PROMPT} tokens, then {NEW} one by one with a cache",
        _tokens(GPT["vocabulary"], (1, PROMPT), (1, PROMPT)), 1, modes=("inference",),
    ),
    "lstm": Case(
        "LSTM", "2 layers of 128 units, 64 times of 64 features; batch 32",
        _floats((1, 64, 64), (32, 64, 64)), 32,
    ),
    "gnn": Case(
        "graph network",
        "two layers that sum 64 features over 50,000 edges of 5,000 nodes; the whole graph",
        _graph, GRAPH["nodes"],
    ),
}  # fmt: skip


def weights(specs: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Random first values by our paths, so scaled that a network's results are neither 0 nor huge.

    Args:
        specs: shapes by path, as `monograph.variables` gives them.
    """
    rng = np.random.default_rng(SEED)
    return {path: _first(rng, path.rpartition("/")[2], spec.shape) for path, spec in specs.items()}


def _first(rng: np.random.Generator, leaf: str, shape: tuple[int, ...]) -> np.ndarray:
    if leaf == "gamma":
        return rng.uniform(0.3, 0.7, shape).astype("float32")
    if leaf == "moving_variance":
        return rng.uniform(0.5, 1.5, shape).astype("float32")
    if not leaf.endswith("kernel"):
        return rng.normal(0, 0.05, shape).astype("float32")
    # attention's first kernels are [features, heads, dim], its last [heads, dim, features]
    fan_in = shape[0] if len(shape) == 3 and shape[0] > shape[1] else int(np.prod(shape[:-1]))
    fan_in = shape[0] * shape[1] if leaf == "depthwise_kernel" or shape[-1] == 1 else fan_in
    return (rng.standard_normal(shape, "float32") * np.sqrt(2 / fan_in)).astype("float32")

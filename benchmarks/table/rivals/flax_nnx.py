"""The models in Flax NNX, stepped by ``nnx.jit`` over cached graph nodes, as its guide to performance says."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from .. import cases
from ..cases import CLASSES, Program
from .raw_jax import cross_entropy, gelu, max_pool, optimizer

RNGS = nnx.Rngs(0)
LEAVES = {
    "gamma": "scale", "beta": "bias", "moving_mean": "mean", "moving_variance": "var",
    "embeddings": "embedding",
}  # fmt: skip


def norm(channels: int, momentum: float = 0.99, epsilon: float = 1e-3) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=momentum, epsilon=epsilon, rngs=RNGS)


def conv(a: int, b: int, kernel: int, strides: int = 1, **options: Any) -> nnx.Conv:
    return nnx.Conv(a, b, (kernel, kernel), strides, rngs=RNGS, **options)


class Mlp(nnx.Module):
    def __init__(self) -> None:
        self.hidden0 = nnx.Linear(64, 128, rngs=RNGS)
        self.hidden1 = nnx.Linear(128, 128, rngs=RNGS)
        self.logits = nnx.Linear(128, CLASSES, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        return self.logits(nnx.relu(self.hidden1(nnx.relu(self.hidden0(x)))))


class Cnn(nnx.Module):
    def __init__(self) -> None:
        for i, (a, b) in enumerate(((3, 16), (16, 32), (32, 32))):
            setattr(self, f"conv{i}", conv(a, b, 3))
            setattr(self, f"norm{i}", norm(b))
        self.logits = nnx.Linear(32, CLASSES, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        for i in range(3):
            x = nnx.relu(getattr(self, f"norm{i}")(getattr(self, f"conv{i}")(x)))
            x = nnx.max_pool(x, (2, 2), (2, 2)) if i < 2 else x
        return self.logits(x.mean((1, 2)))


class Unit(nnx.Module):
    def __init__(self, a: int, b: int, kernel: int = 1, strides: int = 1) -> None:
        edge = kernel // 2
        padding = ((edge, edge), (edge, edge))
        self.conv = conv(a, b, kernel, strides, padding=padding, use_bias=False)
        self.norm = norm(b, 0.9, 1e-5)

    def __call__(self, x: Any) -> Any:
        return self.norm(self.conv(x))


class Bottleneck(nnx.Module):
    def __init__(self, a: int, b: int, strides: int) -> None:
        self.layer1, self.layer2 = Unit(a, b // 4), Unit(b // 4, b // 4, 3, strides)
        self.layer3 = Unit(b // 4, b)
        self.shortcut = Unit(a, b, 1, strides) if a != b else None

    def __call__(self, x: Any) -> Any:
        y = self.layer3(nnx.relu(self.layer2(nnx.relu(self.layer1(x)))))
        return nnx.relu(y + (self.shortcut(x) if self.shortcut else x))


class ResNet50(nnx.Module):
    def __init__(self) -> None:
        self.stem, a = Unit(3, 64, 7, 2), 64
        for stage, (blocks, b) in enumerate(zip((3, 4, 6, 3), (256, 512, 1024, 2048)), start=1):
            made = {}
            for i in range(1, blocks + 1):
                strides = 2 if stage > 1 and i == 1 else 1
                made[f"block{i}"] = Bottleneck(a, b, strides)
                a = b
            setattr(self, f"stage{stage}", nnx.Dict(made))
        self.logits = nnx.Linear(2048, 1000, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        edges = ((0, 0), (1, 1), (1, 1), (0, 0))
        x = max_pool(nnx.relu(self.stem(x)), 3, 2, edges)
        for stage, blocks in enumerate((3, 4, 6, 3), start=1):
            for i in range(1, blocks + 1):
                x = getattr(self, f"stage{stage}")[f"block{i}"](x)
        return self.logits(x.mean((1, 2)))


class Block(nnx.Module):
    def __init__(self) -> None:
        sizes = cases.VIT
        features, hidden = sizes["features"], sizes["hidden"]
        make_norm = functools.partial(nnx.LayerNorm, features, epsilon=1e-12, rngs=RNGS)
        self.layernorm_before, self.layernorm_after = make_norm(), make_norm()
        self.attention = nnx.MultiHeadAttention(sizes["heads"], features, decode=False, rngs=RNGS)
        self.intermediate = nnx.Linear(features, hidden, rngs=RNGS)
        self.output = nnx.Linear(hidden, features, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        x = x + self.attention(self.layernorm_before(x))
        return x + self.output(gelu(self.intermediate(self.layernorm_after(x))))


class Vit(nnx.Module):
    def __init__(self) -> None:
        features, layers = cases.VIT["features"], cases.VIT["layers"]
        self.projection = conv(3, features, 16, 16, padding="VALID")
        self.cls_token = nnx.Param(jnp.zeros((1, 1, features)))
        self.position_embeddings = nnx.Param(jnp.zeros((1, 101, features)))
        self.layer = nnx.List([Block() for _ in range(layers)])
        self.layernorm = nnx.LayerNorm(features, epsilon=1e-12, rngs=RNGS)
        self.classifier = nnx.Linear(features, CLASSES, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        x = self.projection(x)
        x = x.reshape(len(x), -1, x.shape[-1])
        first = jnp.broadcast_to(self.cls_token[...], (len(x), 1, x.shape[-1]))
        x = jnp.concatenate([first, x], 1) + self.position_embeddings[...]
        for block in self.layer:
            x = block(x)
        return self.classifier(self.layernorm(x)[:, 0])


class Lstm(nnx.Module):
    def __init__(self) -> None:
        features, units = cases.LSTM["features"], cases.LSTM["units"]
        for i in range(cases.LSTM["layers"]):
            cell = nnx.OptimizedLSTMCell(features if i == 0 else units, units, rngs=RNGS)
            setattr(self, f"lstm{i}", nnx.RNN(cell))
        self.logits = nnx.Linear(units, CLASSES, rngs=RNGS)

    def __call__(self, x: Any) -> Any:
        for i in range(cases.LSTM["layers"]):
            x = getattr(self, f"lstm{i}")(x)
        return self.logits(x[:, -1])


MODELS: dict[str, Callable[[], nnx.Module]] = {
    "mlp": Mlp, "cnn": Cnn, "resnet50": ResNet50, "vit": Vit, "lstm": Lstm,
}  # fmt: skip

RENAMED = {
    "vit/": "", "encoder/": "", "embeddings/": "", "patch_": "", "attention/attention/": "attention/",
    "attention_output": "out", "intermediate/dense": "intermediate", "output/dense": "output",
}  # fmt: skip


def load(module: nnx.Module, weights: dict[str, np.ndarray]) -> None:
    """Our weights, found by their paths."""
    for path, value in weights.items():
        for ours, theirs in RENAMED.items():
            path = path.replace(ours, theirs)
        *at, leaf = path.split("/")
        if at and at[0].startswith("lstm"):  # its dense layers: for inputs, without bias, and state
            kind = "dense_i" if leaf == "kernel" else "dense_h"
            at, leaf = [*at, "cell", kind], leaf.replace("recurrent_", "")
        node: Any = module
        for name in at:
            node = (
                node[int(name) if name.isdigit() else name] if _holds(node) else getattr(node, name)
            )
        variable = getattr(node, LEAVES.get(leaf, leaf))
        if variable.shape != value.shape:
            raise ValueError(f"{path} is {value.shape} here, {variable.shape} in Flax")
        variable[...] = jnp.array(value)


def _holds(node: Any) -> bool:
    return isinstance(node, (nnx.List, nnx.Dict))


def build(name: str, mode: str, weights: dict[str, np.ndarray]) -> Program:
    case, module = cases.CASES[name], MODELS[name]()
    load(module, weights)
    x, labels = jax.device_put(case.batch(mode))
    if mode == "inference":
        module.eval()
        call = nnx.cached_partial(nnx.jit(lambda module, x: module(x)), module)
        return Program(lambda: call(x), np.asarray)
    module.train()
    update = nnx.Optimizer(module, optimizer(case.optimizer), wrt=nnx.Param)

    @functools.partial(nnx.jit, donate_argnums=(0, 1))
    def train(module: Any, update: Any, x: Any, labels: Any) -> Any:
        value, grads = nnx.value_and_grad(lambda m: cross_entropy(m(x), labels))(module)
        update.update(module, grads)
        return value

    step = nnx.cached_partial(train, module, update)
    return Program(lambda: step(x, labels), np.asarray)

"""The models in Keras 3, on JAX or PyTorch, each stepped as Keras's guides to training loops write it.

Layers are called by our scopes with "__" for "/", so that weights find their places.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from .. import cases
from ..cases import CLASSES, Program


def mlp(shape: tuple[int, ...]) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input(shape),
            layers.Dense(128, "relu", name="hidden0"),
            layers.Dense(128, "relu", name="hidden1"),
            layers.Dense(CLASSES, name="logits"),
        ]
    )


def cnn(shape: tuple[int, ...]) -> keras.Model:
    x = inputs = keras.Input(shape)
    for i, channels in enumerate((16, 32, 32)):
        x = layers.Conv2D(channels, 3, padding="same", name=f"conv{i}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm{i}")(x))
        x = layers.MaxPooling2D()(x) if i < 2 else x
    x = layers.Dense(CLASSES, name="logits")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def mobilenet(shape: tuple[int, ...]) -> keras.Model:
    return keras.applications.MobileNet(shape, dropout=0.0, **_PUBLISHED)


def xception(shape: tuple[int, ...]) -> keras.Model:
    return keras.applications.Xception(input_shape=shape, **_PUBLISHED)


_PUBLISHED = dict(weights=None, classifier_activation=None)


def resnet50(shape: tuple[int, ...]) -> keras.Model:
    """Version 1.5: keras.applications' has its strides elsewhere."""

    def unit(at: str, x: Any, channels: int, kernel: int = 1, strides: int = 1) -> Any:
        if kernel > 1:
            x = layers.ZeroPadding2D(kernel // 2)(x)
        x = layers.Conv2D(channels, kernel, strides, use_bias=False, name=f"{at}__conv")(x)
        return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{at}__norm")(x)

    inputs = keras.Input(shape)
    x = layers.ReLU()(unit("stem", inputs, 64, 7, 2))
    x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))  # of what is not negative
    for stage, (blocks, channels) in enumerate(zip((3, 4, 6, 3), (256, 512, 1024, 2048)), start=1):
        for i in range(1, blocks + 1):
            at, strides = f"stage{stage}__block{i}", 2 if stage > 1 and i == 1 else 1
            y = layers.ReLU()(unit(f"{at}__layer1", x, channels // 4))
            y = layers.ReLU()(unit(f"{at}__layer2", y, channels // 4, 3, strides))
            y = unit(f"{at}__layer3", y, channels)
            x = unit(f"{at}__shortcut", x, channels, 1, strides) if i == 1 else x
            x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Dense(1000, name="logits")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, x)


def lstm(shape: tuple[int, ...]) -> keras.Model:
    count, units = cases.LSTM["layers"], cases.LSTM["units"]
    recurrent = [
        layers.LSTM(units, return_sequences=i < count - 1, name=f"lstm{i}") for i in range(count)
    ]
    return keras.Sequential([keras.Input(shape), *recurrent, layers.Dense(CLASSES, name="logits")])


MODELS: dict[str, Callable[[tuple[int, ...]], keras.Model]] = {
    f.__name__: f for f in (mlp, cnn, mobilenet, xception, resnet50, lstm)
}


def paths(name: str, model: keras.Model) -> dict[str, Any]:
    """The model's variables by our paths."""
    if name == "xception":  # whose shortcuts have numbers for names
        from monograph_zoo.from_keras import xception

        places = xception([(w.path, i) for i, w in enumerate(model.weights)])
        return {path: model.weights[int(i)] for path, i in places.items()}
    # "sequential_1/lstm0/lstm_cell/kernel", "stem__conv/kernel"
    return {
        re.sub(r"^sequential[^/]*/|lstm_cell/", "", w.path).replace("__", "/"): w
        for w in model.weights
        if "seed_generator" not in w.path
    }


def load(name: str, model: keras.Model, weights: dict[str, np.ndarray]) -> None:
    found = paths(name, model)
    if set(found) != set(weights):
        raise ValueError(f"weights and variables differ: {sorted(set(found) ^ set(weights))}")
    for path, variable in found.items():
        variable.assign(weights[path])


def optimizer(kind: str) -> keras.Optimizer:
    if kind == "sgd":
        return keras.optimizers.SGD(cases.SGD["rate"], cases.SGD["momentum"])
    a = cases.ADAM
    return keras.optimizers.Adam(a["rate"], a["b1"], a["b2"], a["epsilon"])


def build(name: str, mode: str, weights: dict[str, np.ndarray]) -> Program:
    case = cases.CASES[name]
    x, labels = case.batch(mode)
    model = MODELS[name](x.shape[1:])
    load(name, model, weights)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    make = {"jax": on_jax, "torch": on_torch}[keras.backend.backend()]
    return make(model, mode, loss, optimizer(case.optimizer), x, labels)


def on_jax(
    model: keras.Model, mode: str, loss: Any, update: keras.Optimizer, x: Any, labels: Any
) -> Program:
    """A jitted step of ``stateless_call`` and ``stateless_apply``."""
    import jax

    x, labels = jax.device_put((x, labels))
    trainable = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    if mode == "inference":
        call = jax.jit(lambda t, o, x: model.stateless_call(t, o, x, training=False)[0])
        return Program(lambda: call(trainable, others, x), np.asarray)
    update.build(model.trainable_variables)

    def objective(trainable: Any, others: Any, x: Any, labels: Any) -> Any:
        y, others = model.stateless_call(trainable, others, x, training=True)
        return loss(labels, y), others

    @functools.partial(jax.jit, donate_argnums=0)
    def train(state: Any, x: Any, labels: Any) -> Any:
        trainable, others, moments = state
        gradients = jax.value_and_grad(objective, has_aux=True)
        (value, others), grads = gradients(trainable, others, x, labels)
        trainable, moments = update.stateless_apply(moments, grads, trainable)
        return (trainable, others, moments), value

    state = (trainable, others, [v.value for v in update.variables])

    def step() -> Any:
        nonlocal state
        state, value = train(state, x, labels)
        return value

    return Program(step, np.asarray)


def on_torch(
    model: keras.Model, mode: str, loss: Any, update: keras.Optimizer, x: Any, labels: Any
) -> Program:
    """``backward`` of torch, and Keras's optimizer."""
    import torch

    x, labels = torch.tensor(x), torch.tensor(labels)
    if mode == "inference":

        def infer() -> Any:
            with torch.no_grad():
                return model(x, training=False)

        return Program(infer, lambda y: y.numpy())

    def train() -> Any:
        model.zero_grad()
        value = loss(labels, model(x, training=True))
        value.backward()
        weights = model.trainable_weights
        with torch.no_grad():
            update.apply([w.value.grad for w in weights], weights)
        return value.detach()

    return Program(train, lambda y: y.numpy())

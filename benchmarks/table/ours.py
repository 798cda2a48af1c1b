"""The models as functions of a scope, on one of our engines."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import monograph_train as train
import monograph_zoo as zoo
import numpy as np

from . import cases
from .cases import CLASSES, Program


def mlp(scope: Any, x: Any) -> Any:
    for name in ("hidden0", "hidden1"):
        x = nn.dense(scope / name, x, 128, activation="relu")
    return nn.dense(scope / "logits", x, CLASSES)


def cnn(scope: Any, x: Any, training: bool = False) -> Any:
    for i, channels in enumerate((16, 32, 32)):
        x = nn.conv2d(scope / f"conv{i}", x, channels, 3, padding="same")
        x = mg.relu(nn.batch_norm(scope / f"norm{i}", x, training=training))
        x = mg.max_pool(x, 2) if i < 2 else x
    return nn.dense(scope / "logits", mg.mean(x, axis=(1, 2)), CLASSES)


def lstm(scope: Any, x: Any) -> Any:
    for i in range(cases.LSTM["layers"]):
        x = nn.lstm(scope / f"lstm{i}", x, cases.LSTM["units"], return_sequences=True)
    return nn.dense(scope / "logits", x[:, -1], CLASSES)


def gnn_sum(scope: Any, x: Any) -> Any:
    nodes, index = x
    hidden = mg.relu(gnn.graph_conv(scope / "conv0", index, nodes, cases.GRAPH["hidden"]))
    return gnn.graph_conv(scope / "conv1", index, hidden, CLASSES)


MODELS: dict[str, Callable[..., Any]] = {
    "mlp": mlp,
    "cnn": cnn,
    "mobilenet": functools.partial(zoo.mobilenet_v1, dropout=0.0),
    "xception": zoo.xception,
    "resnet50": functools.partial(zoo.resnet50, unbiased=False),
    "vit": functools.partial(zoo.vit_for_image_classification, classes=CLASSES, **cases.VIT),
    "bert": functools.partial(
        zoo.bert_for_sequence_classification, classes=CLASSES, dropout=0.0, attention_dropout=0.0,
        **cases.BERT,
    ),
    "gpt": functools.partial(zoo.gpt2, **cases.GPT),
    "lstm": lstm,
    "gnn": gnn_sum,
}  # fmt: skip

PREPARED = {
    "gnn": lambda x: (
        x["x"], gnn.edge_index(x["senders"], x["receivers"], len(x["x"]))[0]
    ),
}  # fmt: skip
"""What is made of a case's data once, where a model wants more than the arrays."""


def data(name: str, mode: str) -> tuple[Any, np.ndarray]:
    """A case's batch as our model takes it."""
    x, labels = cases.CASES[name].batch(mode)
    return PREPARED.get(name, lambda x: x)(x), labels


def weights(name: str, mode: str) -> dict[str, np.ndarray]:
    """The first values that every competitor begins with, by our paths."""
    return cases.weights(mg.variables(MODELS[name], data(name, mode)[0]))


def optimizer(kind: str) -> Any:
    if kind == "sgd":
        return train.sgd(cases.SGD["rate"], cases.SGD["momentum"])
    a = cases.ADAM
    return train.adam(a["rate"], a["b1"], a["b2"], a["epsilon"])


def build(name: str, mode: str, weights: dict[str, np.ndarray], engine: str) -> Program:
    """The program of a model on ``engine``, its data held there."""
    model, store = MODELS[name], mg.Store()
    zoo.load(store, weights)
    x, labels = mg.tree.map(functools.partial(mg.tensor, device=engine), data(name, mode))
    if name == "gpt":
        return generation(model, store, engine, x)
    if mode == "inference":
        call = store.bind(model, engine)
        return Program(lambda: call(x), lambda y: y.numpy())
    loss = functools.partial(train.sparse_categorical_crossentropy, from_logits=True)
    update = optimizer(cases.CASES[name].optimizer)
    trainer = train.Trainer(model, loss, update, store=store, engine=engine)
    return Program(lambda: trainer.step(x, labels)["loss"], lambda y: y.numpy())


def generation(model: Any, store: mg.Store, engine: str, ids: Any) -> Program:
    """A prompt, then one token after the other: each the likeliest."""

    def decode(scope: Any, ids: Any, cache: Any) -> tuple[Any, Any, Any]:
        y, cache = model(scope, ids, cache=cache, last=True)
        return mg.argmax(y[:, -1:], axis=-1), y[:, -1], cache

    begin = store.bind(functools.partial(decode, cache=cases.PROMPT + cases.NEW), engine)
    go_on = store.bind(decode, engine, donate_argnums=1)

    def step() -> Any:
        token, y, cache = begin(ids)
        for _ in range(cases.NEW - 1):
            token, y, cache = go_on(token, cache)
        return y

    return Program(step, lambda y: y.numpy())

"""A training step of three separable convolutions against jax.lax's own and Keras on PyTorch.

The step is forward, gradients and gradient descent. Interleaved; medians of the ratios of our time
to theirs. The losses after some steps from the same weights are compared first.
"""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import statistics
import time

import jax
import jax.numpy as jnp
import keras
import monograph as mg
import monograph_layers as nn
import numpy as np
import torch
from monograph_train import sgd

ROUNDS, RATE, LAYERS = 15, 2.0**-6, 3


def model(scope, x):
    for i in range(LAYERS):
        layer = scope / f"sep{i}"
        x = nn.separable_conv2d(layer, x, x.shape[-1], 3, padding="same", activation="relu")
    return x


def ours(engine, weights, x):
    store, update = mg.Store(), sgd(RATE)
    for path, value in weights.items():
        store.add(path, value)

    def step(scope, x):
        value, grads = scope.value_and_grad(lambda: mg.mean(mg.square(model(scope, x) - 1.0)))()
        update(scope, grads)
        return value

    bound, held = store.bind(step, engine), mg.tensor(x, device=engine)
    return lambda: bound(held).item()


def by_jax(weights, x):
    dims, channels = ("NHWC", "HWIO", "NHWC"), x.shape[-1]

    def loss(w, x):
        for i in range(LAYERS):
            k = w[f"sep{i}/depthwise_kernel"].reshape(3, 3, 1, channels)
            x = jax.lax.conv_general_dilated(
                x, k, (1, 1), "SAME", dimension_numbers=dims, feature_group_count=channels
            )
            point = w[f"sep{i}/pointwise_kernel"]
            x = jax.lax.conv_general_dilated(x, point, (1, 1), "SAME", dimension_numbers=dims)
            x = jax.nn.relu(x + w[f"sep{i}/bias"])
        return jnp.mean(jnp.square(x - 1))

    @jax.jit
    def step(w, x):
        value, grads = jax.value_and_grad(loss)(w, x)
        return value, jax.tree.map(lambda a, g: a - RATE * g, w, grads)

    state, held = {p: jnp.asarray(v) for p, v in weights.items()}, jnp.asarray(x)

    def run():
        nonlocal state
        value, state = step(state, held)
        return value.item()

    return run


def by_keras(weights, x):
    channels = x.shape[-1]
    options = dict(padding="same", activation="relu")
    layers = [keras.layers.SeparableConv2D(channels, 3, **options) for _ in range(LAYERS)]
    for i, layer in enumerate(layers):
        layer.build(x.shape)
        layer.set_weights([weights[f"sep{i}/{w.name}"] for w in layer.weights])
    params = [w.value for layer in layers for w in layer.weights]
    update, held = torch.optim.SGD(params, lr=RATE), torch.tensor(x)

    def run():
        update.zero_grad()
        y = held
        for layer in layers:
            y = layer(y)
        loss = torch.mean(torch.square(y - 1))
        loss.backward()
        update.step()
        return loss.item()

    return run


def interleaved(runs):
    """Median milliseconds on xla, and the ratios xla / jax, xla / Keras, torch / Keras."""
    rounds = []
    for _ in range(ROUNDS):
        times = []
        for run in runs:
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        rounds.append(times)
    pairs = ((0, 2), (0, 3), (1, 3))
    ratios = [statistics.median(r[a] / r[b] for r in rounds) for a, b in pairs]
    return statistics.median(r[0] for r in rounds) * 1e3, *ratios


print("batch, size, channels       ms of xla   of jax.lax   of Keras   and of torch: of Keras")
for batch, size, channels in ((8, 28, 64), (8, 14, 128), (4, 56, 32)):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, size, size, channels)).astype("float32")
    weights = {}
    for i in range(LAYERS):
        for name, shape, fan in (
            ("depthwise_kernel", (3, 3, channels, 1), 9),
            ("pointwise_kernel", (1, 1, channels, channels), channels),
            ("bias", (channels,), channels),
        ):
            weights[f"sep{i}/{name}"] = rng.normal(0, fan**-0.5, shape).astype("float32")
    runs = [ours("xla", weights, x), ours("torch", weights, x)]
    runs += [by_jax(weights, x), by_keras(weights, x)]
    losses = np.array([[run() for run in runs] for _ in range(5)])
    np.testing.assert_allclose(losses, losses[:, :1].repeat(4, 1), rtol=1e-4)
    assert losses[-1, 0] < losses[0, 0]
    ms, jax_ratio, keras_ratio, torch_ratio = interleaved(runs)
    print(
        f"{batch, size, channels!s:<26}{ms:>11.2f}{jax_ratio:>13.3f}{keras_ratio:>11.3f}"
        f"{torch_ratio:>25.3f}"
    )

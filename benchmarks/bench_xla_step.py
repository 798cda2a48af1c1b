"""A training step of a small CNN on XLA: Monograph's against the same maths written in jax by hand.

All donate their state. Interleaved, medians of the ratios; the losses of twenty steps are compared
first. Prints the compiled programs' instruction counts too. ``python bench_xla_step.py [rounds]``
"""

import collections
import functools
import re
import statistics
import sys
import time

import jax
import jax.numpy as jnp
import monograph as mg
import monograph_layers as nn
import numpy as np
from monograph_train import Trainer, adam, sparse_categorical_crossentropy

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 60
STEPS, RATE, B1, B2, EPSILON = 20, 1e-3, 0.9, 0.999, 1e-8
loss = functools.partial(sparse_categorical_crossentropy, from_logits=True)


def model(scope, x, training=False):
    x = mg.relu(nn.conv2d(scope / "stem", x, 32, 3, padding="same"))
    x = nn.batch_norm(scope / "norm", x, training=training, momentum=0.9)
    x = mg.max_pool(mg.relu(nn.conv2d(scope / "body", x, 64, 3, strides=2, padding="same")), 2)
    x = mg.gelu(nn.dense(scope / "hidden", mg.reshape(x, (x.shape[0], -1)), 128))
    return nn.dense(scope / "logits", x, 10)


# ---- by hand


def by_hand(params, moving, x):
    def conv(x, name, stride=1):
        kernel, dims = params[f"{name}/kernel"], ("NHWC", "HWIO", "NHWC")
        y = jax.lax.conv_general_dilated(
            x, kernel, (stride, stride), "SAME", dimension_numbers=dims
        )
        return y + params[f"{name}/bias"]

    x = jax.nn.relu(conv(x, "stem"))
    mean, var = jnp.mean(x, (0, 1, 2)), jnp.var(x, (0, 1, 2))
    x = (x - mean) * jax.lax.rsqrt(var + 1e-3) * params["norm/gamma"] + params["norm/beta"]
    moving = {
        "norm/moving_mean": moving["norm/moving_mean"] * 0.9 + jax.lax.stop_gradient(mean) * 0.1,
        "norm/moving_variance": moving["norm/moving_variance"] * 0.9
        + jax.lax.stop_gradient(var) * 0.1,
    }
    x = jax.nn.relu(conv(x, "body", 2))
    x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    x = x.reshape(x.shape[0], -1) @ params["hidden/kernel"] + params["hidden/bias"]
    x = jax.nn.gelu(x, approximate=False)
    return x @ params["logits/kernel"] + params["logits/bias"], moving


def hand_loss(params, moving, x, y):
    logits, moving = by_hand(params, moving, x)
    low = jax.nn.log_softmax(logits)
    return -jnp.mean(jnp.take_along_axis(low, y[:, None], 1)), moving


def hand_step(state, x, y):
    params, m, v, step, moving = state
    (value, moving), grads = jax.value_and_grad(hand_loss, has_aux=True)(params, moving, x, y)
    step = step + 1
    tree = jax.tree.map
    m = tree(lambda m, g: B1 * m + (1 - B1) * g, m, grads)
    v = tree(lambda v, g: B2 * v + (1 - B2) * g * g, v, grads)
    c1, c2 = 1 - B1**step, 1 - B2**step
    params = tree(
        lambda p, m, v: p - RATE / c1 * (m / (jnp.sqrt(v) / jnp.sqrt(c2) + EPSILON)), params, m, v
    )
    return (params, m, v, step, moving), value


# ---- by Monograph, without Store and Trainer


def plain_step(state, x, y):
    params, m, v, step, moving = state
    (value, moving), grads = mg.value_and_grad(plain_loss, has_aux=True)(params, moving, x, y)
    step, n, names = step + 1.0, len(params), list(params)
    arrays = [group[p] for group in (params, grads, m, v) for p in names]
    out = mg.ops.adam_update(
        mg.asarray(RATE, dtype="float32"), step, *arrays, count=n,
        beta1=B1, beta2=B2, epsilon=EPSILON,
    )  # fmt: skip
    params, m, v = (dict(zip(names, out[i * n : (i + 1) * n])) for i in range(3))
    return (params, m, v, step, moving), value


def plain_loss(params, moving, x, y):
    def conv(x, name, stride=1):
        y = mg.conv(x, params[f"{name}/kernel"], strides=stride, padding="same")
        return y + params[f"{name}/bias"]

    x, mean, var = mg.ops.batch_norm_training(
        mg.relu(conv(x, "stem")), params["norm/gamma"], params["norm/beta"], epsilon=1e-3
    )
    seen = {"norm/moving_mean": mean, "norm/moving_variance": var}
    moving = {p: moving[p] * 0.9 + mg.stop_gradient(seen[p]) * 0.1 for p in moving}
    x = mg.max_pool(mg.relu(conv(x, "body", 2)), 2)
    x = mg.reshape(x, (x.shape[0], -1)) @ params["hidden/kernel"] + params["hidden/bias"]
    logits = mg.gelu(x) @ params["logits/kernel"] + params["logits/bias"]
    return mg.mean(mg.cross_entropy(logits, y)), moving


# ---- the comparison


def instructions(text):
    """How many of each kind the compiled program holds, fused ones included."""
    found = re.findall(r"^  (?:ROOT )?%?\S+ = [^=]*? ([a-z][\w-]*)\(", text, re.M)
    counts = collections.Counter(found)
    kinds = ("convolution", "dot", "fusion", "reduce", "copy", "transpose")
    return {k: counts[k] for k in kinds} | {"all": sum(counts.values())}


class Runner:
    """A step function that carries its state and gives the loss as a number."""

    def __init__(self, step, state, x, y):
        self.step, self.state, self.args = step, state, (x, y)

    def __call__(self):
        self.state, value = self.step(self.state, *self.args)
        return float(value)


def compare(batch, size):
    images = np.random.default_rng(0).normal(size=(batch, size, size, 1)).astype("float32")
    labels = np.random.default_rng(1).integers(0, 10, batch).astype("int32")
    loss = functools.partial(sparse_categorical_crossentropy, from_logits=True)
    trainer = Trainer(model, loss, adam(RATE, B1, B2, EPSILON), seed=3, engine="xla")
    store = trainer.store
    store.bind(lambda scope, x: model(scope, x, training=True))(images)  # makes the variables

    def initial(array):
        params = {p: store[p].numpy() for p in store.trainable}
        zeros, ones = (np.full(32, i, "float32") for i in (0, 1))
        moving = {"norm/moving_mean": zeros, "norm/moving_variance": ones}
        state = (params, *[{p: 0 * x for p, x in params.items()} for _ in range(2)])
        state = (*state, np.zeros((), "float32"), moving)
        return jax.tree.map(array, state)

    theirs = jax.jit(hand_step, donate_argnums=0)
    to_xla = functools.partial(mg.tensor, device="xla")
    hand = Runner(theirs, initial(jnp.array), jax.device_put(images), jax.device_put(labels))
    x, y = to_xla(images), to_xla(labels)
    plain = Runner(mg.jit(plain_step, engine="xla", donate_argnums=0), initial(to_xla), x, y)
    fns = {
        "by hand": hand,
        "mg.jit": plain,
        "Trainer.step": lambda: trainer.step(x, y)["loss"].item(),
    }
    losses = np.array([[fn() for fn in fns.values()] for _ in range(STEPS)])
    np.testing.assert_allclose(losses[:, 1:], losses[:, :1] * np.ones((1, 2)), rtol=5e-3)
    rounds = []
    for i in range(ROUNDS):
        times = {}
        for name in list(fns)[:: 1 if i % 2 else -1]:
            start = time.perf_counter()
            fns[name]()
            times[name] = time.perf_counter() - start
        rounds.append(times)
    print(f"batch {batch}, images {size} x {size}: loss after {STEPS} steps {losses[-1]}")
    for name in fns:
        ms = statistics.median(r[name] for r in rounds) * 1e3
        ratio = statistics.median(r[name] / r["by hand"] for r in rounds)
        print(f"  {name:<13}{ms:9.2f} ms   ratio {ratio:.3f}")
    shapes = jax.tree.map(
        lambda v: jax.ShapeDtypeStruct(v.shape, v.dtype), (hand.state, *hand.args)
    )
    (entry,) = trainer._step._cache.values()
    print("  by hand     ", instructions(theirs.lower(*shapes).compile().as_text()))
    print("  Trainer.step", instructions(entry.compiled.executable.as_text()))


for batch, size in ((64, 28), (64, 8), (8, 8)):
    compare(batch, size)

"""Training in mixed precision: as accurate as in float32, within half a point, on both engines.

Handwritten digits (scikit-learn, 8 x 8 pixels): 1,000 to learn from and 797 to be asked. Half a point
is 4 of these, so each number is a mean over seeds; they share initial weights and batches.
"""

import monograph as mg
import numpy as np
import pytest
from monograph_dtypes import DynamicLossScale, Policy, mixed_bfloat16, mixed_float16
from monograph_layers import batch_norm, conv2d, dense, embedding, layer_norm
from monograph_train import adam

datasets = pytest.importorskip("sklearn.datasets", reason="the digits are scikit-learn's")

SEEDS = range(3)
POLICIES = {
    "float32": Policy(), "mixed_bfloat16": mixed_bfloat16, "mixed_float16": mixed_float16,
}  # fmt: skip


def cnn(scope, x, training):
    for i, channels in enumerate((16, 32)):
        block = scope / f"block{i}"
        x = conv2d(block / "conv", x[..., None] if i == 0 else x, channels, 3, padding="same")
        x = mg.relu(batch_norm(block / "norm", x, training=training, momentum=0.9))
        x = mg.max_pool(x, (2, 2))
    return dense(scope / "logits", mg.mean(x, axis=(1, 2)), 10)


def transformer(scope, x, training, width=32, heads=4):
    """One block over the eight rows of an image."""
    x = dense(scope / "rows", x, width)
    x = x + embedding(scope / "places", mg.arange(8), 8, width)
    y = layer_norm(scope / "norm1", x)
    q, k, v = (
        mg.reshape(dense(scope / n, y, width), (-1, 8, heads, width // heads)) for n in "qkv"
    )
    x = x + dense(scope / "out", mg.reshape(mg.attention(q, k, v), x.shape), width)
    y = mg.gelu(dense(scope / "wide", layer_norm(scope / "norm2", x), 2 * width))
    x = x + dense(scope / "narrow", y, width)
    return dense(scope / "logits", mg.reshape(layer_norm(scope / "norm", x), (-1, 8 * width)), 10)


class Run:
    """A model under a policy on an engine: one compilation, trained from many seeds."""

    def __init__(self, model, policy, engine):
        scaling = DynamicLossScale(growth_interval=50)
        self.model, self.initial = model, scaling.initial

        def predict(scope, x):
            logits = model(scope.with_policy(policy), x, False)
            assert logits.dtype is policy.compute
            return mg.argmax(logits, axis=-1)

        def step(scope, x, y, rate):
            def forward():
                logits = model(scope.with_policy(policy), x, True)
                loss = mg.mean(mg.cross_entropy(mg.astype(logits, "float32"), y))
                return scaling.scale(scope, loss)

            _, grads = scope.value_and_grad(forward)()
            optimizer = adam(lambda step: rate)
            return scaling.apply(scope, grads, lambda g: optimizer(scope / "optimizer", g))

        self.store = mg.Store(0)
        self.step = self.store.bind(step, engine)
        self.predict = self.store.bind(predict, engine)

    def restart(self, seed, x):
        fresh = mg.Store(seed)
        fresh.bind(lambda scope, x: self.model(scope, x, False), "numpy")(x)
        for path, value in self.store.numpy().items():
            self.store[path] = fresh[path].numpy() if path in fresh else np.zeros_like(value)
        self.store["loss_scale/scale"] = np.float32(self.initial)

    def accuracy(self, seed, data, epochs, size=100, rate=8e-3):
        """Trained at a rate that falls to 0, so that the last steps add no noise."""
        (x, y), (asked, labels) = data
        self.step(x[:size], y[:size], np.float32(0))  # makes the variables
        self.restart(seed, x[:size])
        rng = np.random.default_rng(seed)
        batches = [r for _ in range(epochs) for r in rng.permutation(len(x)).reshape(-1, size)]
        for i, rows in enumerate(batches):
            self.step(x[rows], y[rows], np.float32(rate * (1 - i / len(batches))))
        assert all(np.isfinite(v).all() for v in self.store.numpy().values())
        return float(np.mean(self.predict(asked).numpy() == labels))


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def digits():
    x, y = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x.reshape(-1, 8, 8) / 16).astype("float32")[order], y[order].astype("int32")
    return (x[:1000], y[:1000]), (x[1000:], y[1000:])


@pytest.mark.parametrize("engine", ["xla", "torch"])
@pytest.mark.parametrize("model, epochs", [(cnn, 12), (transformer, 20)])
def test_mixed_precision_loses_no_half_point_of_accuracy(model, epochs, engine, digits):
    got = {}
    for name, policy in POLICIES.items():
        run = Run(model, policy, engine)
        got[name] = 100 * np.mean([run.accuracy(seed, digits, epochs) for seed in SEEDS])
        assert run.store.spec("logits/kernel").dtype is mg.float32
    assert got["float32"] > 95
    for name in ("mixed_bfloat16", "mixed_float16"):
        assert got[name] > got["float32"] - 0.5, got

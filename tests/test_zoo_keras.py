"""MobileNet and Xception against keras.applications': random weights and batch statistics."""

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import monograph as mg
import monograph_zoo as zoo
import numpy as np
import pytest
import torch

keras = pytest.importorskip("keras", reason="the reference is Keras")

ENGINES = ("xla", "torch")
SIZE = 96  # odd lengths on the way down, where "same" pads one side more

# ours, the converter, Keras's, options of both, trainable parameters, scales of normalised values
MODELS = {
    "mobilenet": (
        zoo.mobilenet_v1, zoo.from_keras.mobilenet_v1, "MobileNet", {}, 4_231_976, (0.5, 1.2),
    ),
    "mobilenet, narrow": (
        zoo.mobilenet_v1, zoo.from_keras.mobilenet_v1, "MobileNet",
        dict(alpha=0.5, depth_multiplier=2, classes=7), 1_634_359, (0.5, 1.2),
    ),
    "mobilenet v2": (
        zoo.mobilenet_v2, zoo.from_keras.mobilenet_v2, "MobileNetV2", dict(alpha=0.35, classes=7),
        405_095, (0.5, 1.2),
    ),
    "xception": (
        zoo.xception, zoo.from_keras.xception, "Xception", {}, 22_855_952, (0.1, 0.7),
    ),
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


def theirs(name, options, scales):
    """Keras's model of logits, and its weights in order, with random numbers in all of them."""
    model = getattr(keras.applications, name)(
        weights=None, input_shape=(SIZE, SIZE, 3), classifier_activation=None, **options
    )
    rng = np.random.default_rng(1)

    def number(w):
        if w.name == "moving_variance":
            return rng.uniform(0.5, 2.0, w.shape)
        if w.name == "gamma":
            return rng.uniform(*scales, w.shape)
        if w.name.endswith("kernel"):
            fan_in = np.prod(w.shape[: 2 if "depthwise" in w.name or "dw" in w.path else -1])
            return rng.normal(0, np.sqrt(2 / fan_in), w.shape)
        return rng.normal(0, 0.1, w.shape)

    values = [number(w).astype("float32") for w in model.weights]
    model.set_weights(values)
    return model, [(w.path, v) for w, v in zip(model.weights, values)]


@pytest.mark.parametrize("what", MODELS)
def test_logits_and_parameters_are_those_of_keras(what):
    ours, convert, name, options, count, scales = MODELS[what]
    model, weights = theirs(name, options, scales)
    x = np.random.default_rng(0).normal(size=(2, SIZE, SIZE, 3)).astype("float32")
    with torch.no_grad():
        want = model(x, training=False).numpy()
    assert 0.1 < want.std() < 10
    arrays = convert(weights)
    assert len(arrays) == len(weights)
    store = mg.Store()
    zoo.load(store, arrays)
    for engine in ENGINES:
        got = store.bind(ours, engine, **options)(x).numpy()
        # some fifty layers' float32 roundings
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)
    assert set(store) == set(arrays), "the model asks for what the converter gives"
    assert sum(store.spec(path).size for path in store.trainable) == count
    assert count == sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(
    "what, options, engine", [
        *[("mobilenet", dict(alpha=0.25, dropout=0.0), e) for e in ENGINES],
        ("mobilenet v2", dict(alpha=0.35), "torch"),  # whose 52 layers XLA compiles for long
    ],
)  # fmt: skip
def test_training_moves_batch_statistics_as_in_keras(what, options, engine):
    ours, convert, name, _, _, scales = MODELS[what]
    model, weights = theirs(name, {**options, "classes": 7}, scales)
    x = np.random.default_rng(0).normal(size=(4, SIZE, SIZE, 3)).astype("float32")
    store = mg.Store()
    zoo.load(store, convert(weights))
    with torch.no_grad():
        want = model(x, training=True).numpy()
    got = store.bind(ours, engine, training=True, **options, classes=7)(x).numpy()
    # each layer divides by its own deviation: roundings grow more than in inference
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-3 * want.std())
    before = dict(weights)
    for w in model.non_trainable_weights:
        want = w.value.detach().numpy()
        assert not np.allclose(want, before[w.path], rtol=1e-4, atol=0), "must have moved"
        (path,) = convert([(w.path, want)])
        np.testing.assert_allclose(store[path].numpy(), want, rtol=1e-4, atol=1e-5)

"""Layers against closed forms."""

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
from monograph.errors import ArgumentError, DTypeError, ShapeError


def run(layer, x, **values):
    store = mg.Store(seed=1)
    f = store.bind(layer, engine="numpy")
    f(mg.tensor(x))
    for path, value in values.items():
        store[path] = value
    return f(mg.tensor(x)).numpy(), store


def test_dense_is_a_matrix_product_and_a_shift():
    x, w, b = np.arange(6.0).reshape(2, 3), np.ones((3, 4)) * [1, 2, 3, 4], np.arange(4.0)
    x, w, b = (v.astype("float32") for v in (x, w, b))
    got, _ = run(lambda s, v: nn.dense(s, v, 4), x, kernel=w, bias=b)
    np.testing.assert_allclose(got, x @ w + b)


def test_batch_norm_normalises_in_training_and_moves_its_statistics():
    x = np.random.default_rng(0).normal(3, 2, (64, 5)).astype("float32")
    store = mg.Store()
    train = store.bind(
        lambda s, v: nn.batch_norm(s, v, training=True, momentum=0.9), engine="numpy"
    )
    y = train(mg.tensor(x)).numpy()
    np.testing.assert_allclose(y, (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-3), atol=1e-5)
    np.testing.assert_allclose(store["moving_mean"].numpy(), 0.1 * x.mean(0), rtol=1e-5)
    np.testing.assert_allclose(store["moving_variance"].numpy(), 0.9 + 0.1 * x.var(0), rtol=1e-5)


def test_dropout_keeps_the_mean_and_is_off_in_inference():
    x = np.ones((200, 200), "float32")
    got, _ = run(lambda s, v: nn.dropout(s, v, 0.25, training=True), x)
    assert abs(got.mean() - 1) < 0.02 and abs((got == 0).mean() - 0.25) < 0.02
    off, _ = run(lambda s, v: nn.dropout(s, v, 0.25), x)
    assert (off == 1).all()


def test_embedding_takes_rows():
    _, store = run(lambda s, v: nn.embedding(s, v, 5, 3), np.array([0, 4]))
    got = store.bind(lambda s, v: nn.embedding(s, v, 5, 3), engine="numpy")(mg.tensor([4, 4, 1]))
    np.testing.assert_array_equal(got.numpy(), store["embeddings"].numpy()[[4, 4, 1]])


@pytest.mark.parametrize(
    "layer, x, error, words",
    [
        (
            lambda s, v: nn.conv2d(s / "c", v, 4, 3),
            np.ones((2, 3)),
            ShapeError,
            "conv2d 'c': needs",
        ),
        (lambda s, v: nn.conv(s, v, 4, 3, groups=3), np.ones((1, 8, 4)), ShapeError, "groups=3"),
        (lambda s, v: nn.dropout(s, v, 1.5), np.ones(3), ArgumentError, "rate=1.5"),
        (
            lambda s, v: nn.embedding(s, v, 5, 3),
            np.ones(3),
            DTypeError,
            r"layers.py:\d+: embedding: needs integer ids",
        ),
    ],
)
def test_mistakes_name_the_layer(layer, x, error, words):
    with pytest.raises(error, match=words):
        run(layer, x.astype("float32"))

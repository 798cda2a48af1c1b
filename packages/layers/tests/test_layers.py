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
        (
            lambda s, v: nn.group_norm(s / "g", v, groups=3),
            np.ones((2, 4)),
            ShapeError,
            r"layers.py:\d+: group_norm 'g': groups=3 must divide the 4 channels",
        ),
        (
            lambda s, v: nn.batch_norm(s, v, training=True, mask=mg.ones((3,), dtype="bool")),
            np.ones((2, 4)),
            ShapeError,
            r"mask \(3,\) must have",
        ),
        (lambda s, v: nn.layer_norm(s, v, axis=()), np.ones((2, 4)), ShapeError, "axis to norm"),
        (lambda s, v: nn.lstm(s, v, 3), np.ones((2, 4)), ShapeError, "lstm: needs .batch, time"),
        (
            lambda s, v: nn.lstm(s, v, 3, initial_state=mg.zeros((2, 3))),
            np.ones((2, 4, 1)),
            ShapeError,
            r"initial_state needs 2 arrays \(2, 3\), got \(2, 3\)",
        ),
        (
            lambda s, v: nn.gru(s, v, 3, mask=mg.ones((2, 5), dtype="bool")),
            np.ones((2, 4, 1)),
            ShapeError,
            r"mask \(2, 5\) needs the input's",
        ),
        (
            lambda s, v: nn.bidirectional(s, v, nn.gru, 3, merge_mode="add"),
            np.ones((2, 4, 1)),
            ArgumentError,
            "merge_mode='add' is none of 'concat', 'sum'",
        ),
        (
            lambda s, v: nn.activate(v, "rleu"),
            np.ones(3),
            ArgumentError,
            "activation='rleu' is none of celu",
        ),
    ],
)
def test_mistakes_name_the_layer(layer, x, error, words):
    with pytest.raises(error, match=words):
        run(layer, x.astype("float32"))


def test_a_zero_vector_has_a_finite_gradient_in_unit_norm():
    store = mg.Store()
    slope = store.bind(
        lambda s, v: mg.grad(lambda v: mg.sum(nn.unit_norm(s, v)))(v), engine="numpy"
    )
    assert np.isfinite(slope(np.zeros((2, 3), "float32")).numpy()).all()


def test_masked_statistics_are_those_of_what_is_seen():
    rng = np.random.default_rng(0)
    x, seen = rng.normal(size=(8, 5, 3)).astype("float32"), rng.integers(0, 2, (8, 5)).astype(bool)
    x[~seen] = np.nan
    store = mg.Store()
    f = store.bind(
        lambda s, v, m: nn.batch_norm(s, v, training=True, mask=m, momentum=0.0), engine="numpy"
    )
    f(x, seen)
    np.testing.assert_allclose(store["moving_mean"].numpy(), x[seen].mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(store["moving_variance"].numpy(), x[seen].var(0), rtol=1e-4)


def test_weight_transforms_touch_the_weights_they_are_told_to():
    def model(scope, x):
        norm = nn.weight_norm(scope, names=("recurrent_kernel",))
        return nn.lstm(norm / "memory", x, 3)

    store = mg.Store()
    store.bind(model, engine="numpy")(np.ones((1, 2, 3), "float32"))
    assert [p for p in store if p.endswith("_g")] == ["memory/recurrent_kernel_g"]

"""Noise in training has the moments that its papers give, and none of it is left in inference."""

import functools
import math

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
from monograph.errors import ArgumentError, ShapeError


def run(layer, x, training=True, engine="numpy", **options):
    call = mg.Store(seed=3).bind(lambda s, v: layer(s, v, training=training, **options), engine)
    return call(x).numpy()


NOISE = {
    "dropout": dict(rate=0.3), "spatial_dropout": dict(rate=0.3), "drop_path": dict(rate=0.3),
    "gaussian_dropout": dict(rate=0.3), "gaussian_noise": dict(stddev=0.3),
    "alpha_dropout": dict(rate=0.3),
}  # fmt: skip


@pytest.mark.parametrize("name", NOISE)
def test_noise_is_off_in_inference_and_repeats_with_its_seed(name):
    x = np.random.default_rng(0).normal(size=(4, 5, 6)).astype("float32")
    layer = getattr(nn, name)
    np.testing.assert_array_equal(run(layer, x, training=False, **NOISE[name]), x)
    once = run(layer, x, **NOISE[name])
    assert (once != x).any()
    np.testing.assert_array_equal(run(layer, x, **NOISE[name]), once)

    store = mg.Store(seed=3)
    call = store.bind(lambda s, v: layer(s, v, training=True, **NOISE[name]), "numpy")
    assert (call(x).numpy() != call(x).numpy()).any(), "every call draws anew"


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_keeps_the_mean(rate):
    n = 100_000
    y = run(nn.dropout, np.ones(n, "float32"), rate=rate)
    assert set(np.unique(y)) == {0, np.float32(1 / (1 - rate))}
    assert abs((y == 0).mean() - rate) < 5 * math.sqrt(rate * (1 - rate) / n)


@pytest.mark.parametrize(
    "layer, together",
    [
        (nn.spatial_dropout, (1, 2)),
        (nn.drop_path, (1, 2, 3)),
        (functools.partial(nn.dropout, noise_shape=(1, None, 5, 1)), (0, 3)),
        (functools.partial(nn.alpha_dropout, noise_shape=(None, 1, 1, None)), (1, 2)),
    ],
)
def test_what_goes_together_goes_together(layer, together):
    shape = (9, 4, 5, 8)
    y = run(layer, np.ones(shape, "float32"), rate=0.5)
    assert (np.ptp(y, axis=together) == 0).all()
    for apart in set(range(4)) - set(together):
        assert (np.ptp(y, axis=apart) > 0).any()


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_gaussian_dropout_has_dropouts_mean_and_variance(rate):
    n = 100_000
    y = run(nn.gaussian_dropout, np.full(n, 2, "float32"), rate=rate)
    std = 2 * math.sqrt(rate / (1 - rate))
    assert abs(y.mean() - 2) < 5 * std / math.sqrt(n)
    assert abs(y.std() / std - 1) < 5 / math.sqrt(2 * n)


def test_gaussian_noise_is_added():
    n = 100_000
    y = run(nn.gaussian_noise, np.full(n, 7, "float32"), stddev=0.5) - 7
    assert abs(y.mean()) < 5 * 0.5 / math.sqrt(n)
    assert abs(y.std() / 0.5 - 1) < 5 / math.sqrt(2 * n)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance_of_standard_activations(rate):
    n = 200_000
    x = np.random.default_rng(0).normal(size=n).astype("float32")
    y = run(nn.alpha_dropout, x, rate=rate)
    # a few times the standard errors of mean and variance
    assert abs(y.mean() - x.mean()) < 0.02 and abs(y.var() - x.var()) < 0.03


@pytest.mark.parametrize("layer", [nn.lstm, nn.gru, nn.simple_rnn])
def test_recurrent_layers_drop_inputs_and_state_in_training_only(layer):
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")

    def outputs(training, **options):
        store = mg.Store(seed=3)
        call = store.bind(
            lambda s, v: layer(s, v, 5, return_sequences=True, training=training, **options),
            "numpy",
        )
        return call(x).numpy()

    plain = outputs(False, dropout=0.5, recurrent_dropout=0.5)
    np.testing.assert_array_equal(plain, outputs(True))
    kept_first = outputs(True, recurrent_dropout=0.5)
    np.testing.assert_allclose(kept_first[:, 0], plain[:, 0], rtol=1e-6)  # the first state is 0
    assert (kept_first[:, 1:] != plain[:, 1:]).any()
    assert (outputs(True, dropout=0.5) != plain).any()


def test_inputs_drop_out_of_recurrent_layers_for_all_times():
    ones = np.ones((50, 4, 1), "float32")
    call = mg.Store(seed=3).bind(
        lambda s, v: nn.simple_rnn(
            s, v, 1, activation=None, dropout=0.5, return_sequences=True, training=True,
            recurrent_initializer=nn.initializers.zeros, kernel_initializer=nn.initializers.ones,
        ),
        "numpy",
    )  # fmt: skip
    y = call(ones).numpy()[..., 0]  # the input alone: 0 or 2
    assert set(np.unique(y)) == {0, 2} and (np.ptp(y, axis=1) == 0).all()


@pytest.mark.parametrize(
    "layer, options, error, words",
    [
        (nn.dropout, dict(rate=1.0), ArgumentError, r"rate=1.0 must be in \[0, 1\)"),
        (nn.dropout, dict(rate=0.5, noise_shape=(2, 1)), ShapeError, r"noise_shape=\(2, 1\)"),
        (nn.gaussian_noise, dict(stddev=-1), ArgumentError, "stddev=-1"),
        (nn.spatial_dropout, dict(rate=0.5), ShapeError, "spatial, channels"),
    ],
)
def test_mistakes_are_explained(layer, options, error, words):
    with pytest.raises(error, match=words):
        run(layer, np.ones((3, 4), "float32"), **options)

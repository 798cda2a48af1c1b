"""Initializers have the variances and ranges that their papers give, and orthogonality."""

import math

import monograph as mg
import monograph_layers.initializers as init
import numpy as np
import pytest
from monograph.errors import ArgumentError, ShapeError

KEY = mg.random.key(7)
SHAPE = (3, 3, 60, 40)  # fans 540 and 360
FAN_IN, FAN_OUT = 540, 360
CUT_SPREAD = 0.8796256610342398  # of a standard normal cut at two deviations

# name: (initializer, mean, standard deviation, largest distance from the mean)
RANDOM = {
    "uniform": (init.uniform(), 0, 0.1 / math.sqrt(12), 0.05),
    "uniform shifted": (init.uniform(1.0, 3.0), 2, 2 / math.sqrt(12), 1),
    "normal": (init.normal(), 0, 0.05, math.inf),
    "normal shifted": (init.normal(1.0, 2.0), 1, 2, math.inf),
    "truncated_normal": (init.truncated_normal(), 0, 0.05 * CUT_SPREAD, 0.1),
    "truncated_normal shifted": (init.truncated_normal(1.0, 2.0), 1, 2 * CUT_SPREAD, 4),
    "variance_scaling": (init.variance_scaling(), 0, FAN_IN**-0.5, 2 / CUT_SPREAD * FAN_IN**-0.5),
    "variance_scaling untruncated": (
        init.variance_scaling(3.0, "fan_out", "untruncated_normal"), 0, (3 / FAN_OUT) ** 0.5,
        math.inf,
    ),
}  # fmt: skip
for name, variance in {
    "glorot": 2 / (FAN_IN + FAN_OUT), "he": 2 / FAN_IN, "lecun": 1 / FAN_IN,
}.items():  # fmt: skip
    std = math.sqrt(variance)
    RANDOM[f"{name}_uniform"] = getattr(init, f"{name}_uniform"), 0, std, math.sqrt(3) * std
    RANDOM[f"{name}_normal"] = getattr(init, f"{name}_normal"), 0, std, 2 / CUT_SPREAD * std


@pytest.mark.parametrize("name", RANDOM)
def test_random_initializers_have_their_mean_spread_and_range(name):
    fn, mean, std, reach = RANDOM[name]
    x = fn(KEY, SHAPE, "float32").numpy()
    assert x.shape == SHAPE and x.dtype == "float32"
    n = x.size  # 21,600: five standard errors of the mean and of the deviation
    assert abs(x.mean() - mean) < 5 * std / math.sqrt(n)
    assert abs(x.std() / std - 1) < 5 / math.sqrt(2 * n)
    assert np.abs(x - mean).max() <= reach * (1 + 1e-6)
    if reach < math.inf:
        assert np.abs(x - mean).max() > 0.97 * reach


@pytest.mark.parametrize(
    "shape, expected", [((), (1, 1)), ((7,), (7, 7)), ((3, 5), (3, 5)), ((2, 3, 5), (6, 10))]
)
def test_fans_are_counted_as_keras_counts_them(shape, expected):
    assert init.fans(shape) == expected


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_every_dtype_gets_the_same_numbers_rounded(dtype):
    for fn in (init.he_normal, init.orthogonal(2.0)):
        x = fn(KEY, (8, 4), dtype)
        assert x.dtype.name == dtype
        if dtype != "float64":
            wide = fn(KEY, (8, 4), "float32")
            np.testing.assert_array_equal(x.numpy(), wide.astype(dtype).numpy())


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8), (2, 3, 4), (2, 2, 9)])
def test_orthogonal_kernels_are_orthogonal(shape):
    w = init.orthogonal(1.5)(KEY, shape, "float64").numpy().reshape(-1, shape[-1]) / 1.5
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-12)


def test_orthogonal_matrices_are_spread_evenly():
    """An entry of a uniformly random rotation has mean 0 and variance 1 / n."""
    keys = mg.random.split(KEY, 400)
    first = np.array([init.orthogonal()(k, (4, 4), "float64").numpy() for k in keys])
    assert np.abs(first.mean(0)).max() < 5 * 0.5 / math.sqrt(400)
    np.testing.assert_allclose((first**2).mean(0), 0.25, atol=0.06)


def test_constants():
    assert init.zeros(KEY, (2,), "float32").tolist() == [0, 0]
    assert init.ones(KEY, (2,), "float16").tolist() == [1, 1]
    assert init.constant([1, 2])(KEY, (2, 2), "float32").tolist() == [[1, 2], [1, 2]]
    assert init.identity(3.0)(KEY, (2, 3), "float32").tolist() == [[3, 0, 0], [0, 3, 0]]


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: init.variance_scaling(-1.0), ArgumentError, "scale > 0"),
        (lambda: init.variance_scaling(1.0, "fan"), ArgumentError, "'fan'"),
        (lambda: init.orthogonal()(KEY, (3,), "float32"), ShapeError, r"initializers.py:\d+: "),
        (lambda: init.identity()(KEY, (3,), "float32"), ShapeError, "needs a matrix"),
    ],
)
def test_mistakes_are_explained(make, error, words):
    with pytest.raises(error, match=words):
        make()

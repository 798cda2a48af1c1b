"""16-bit floats: rounding as ml_dtypes, computing in float32."""

import ml_dtypes
import monograph as mg
import numpy as np
import pytest


@pytest.mark.parametrize("name, numpy", [("bfloat16", ml_dtypes.bfloat16), ("float16", np.float16)])
def test_sixteen_bit_floats_round_once_at_the_end(name, numpy):
    x = np.linspace(0.1, 3, 50).astype(numpy)
    got = mg.jit(lambda v: mg.exp(v), engine="numpy")(x)
    assert got.dtype is mg.dtypes.dtype(name) and got.numpy().dtype == numpy
    np.testing.assert_array_equal(got.numpy(), np.exp(x.astype("float32")).astype(numpy))


def test_the_two_promote_to_float32_and_win_over_integers():
    b, h = mg.bfloat16, mg.float16
    assert mg.dtypes.promote(b, h) is mg.float32 and mg.dtypes.promote(b, mg.int64) is b


def test_sixteen_bit_exponential_numbers_are_finite():
    for dtype in ("bfloat16", "float16"):
        drawn = mg.random.exponential(mg.random.key(0), (20000,), dtype)
        assert bool(mg.all(mg.isfinite(drawn)))

"""What is special to the XLA engine; the ops themselves are the conformance kit's business."""

import jax
import monograph as mg
import numpy as np


def test_64_bit_types_are_64_bit_and_the_users_configuration_is_untouched():
    before = jax.config.jax_enable_x64
    out = mg.jit(lambda x, i: (x + 1e-12, i + 2**40), engine="xla")(np.float64(1), np.int64(1))
    assert out[0].item() == 1 + 1e-12 and out[1].item() == 2**40 + 1
    assert jax.config.jax_enable_x64 == before
    assert jax.numpy.ones(2, "float32").dtype == "float32"


def test_changing_an_array_after_it_was_handed_over_never_shows():
    f = mg.jit(lambda x: x * 2, engine="xla")
    for trial in range(20):
        raw = np.zeros(4096 + 16, "float32")
        start = -raw.ctypes.data % 64 // 4  # aligned to 64 bytes: what XLA would alias
        x = raw[start : start + 4096]
        x[:] = trial
        kept, out = mg.tensor(x, device="xla"), f(x)
        x[:] = -1
        assert (kept.numpy() == trial).all() and (out.numpy() == 2 * trial).all()


def test_donated_state_is_replaced_and_what_was_read_stays():
    store = mg.Store()

    def count(scope, x):
        n = scope.variable("n", (1000,), 0.0)
        n.assign(n.value + x)
        return mg.sum(n.value)

    f = store.bind(count, engine="xla")
    f(mg.tensor(1.0))
    read = store["n"]
    assert f(mg.tensor(1.0)).item() == 2000 and read.numpy().max() == 1


def test_convolution_and_its_gradients_agree_with_jax():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 8, 7, 3)).astype("float32")
    k = rng.normal(size=(3, 2, 3, 4)).astype("float32")

    def ours(x, k):
        return mg.sum(mg.tanh(mg.conv(x, k, strides=2, padding="same")))

    def theirs(x, k):
        y = jax.lax.conv_general_dilated(
            x, k, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return jax.numpy.tanh(y).sum()

    for got, want in zip(mg.grad(ours, (0, 1)).on("xla")(x, k), jax.grad(theirs, (0, 1))(x, k)):
        np.testing.assert_allclose(got.numpy(), want, rtol=2e-5, atol=2e-5)


def test_random_bits_are_those_of_jax():
    key = jax.random.wrap_key_data(np.array([7, 9], "uint32"), impl="threefry2x32")
    want = jax.random.bits(key, (5, 3), "uint32")
    ours = mg.jit(lambda k: mg.random.bits(k, (5, 3)))
    for engine in ("numpy", "xla"):
        got = ours.on(engine)(np.array([7, 9], "uint32")).numpy()
        np.testing.assert_array_equal(got, np.asarray(want))


def test_a_constant_that_went_to_integers_and_back_is_whole():
    """XLA's sums over windows took the constant from before the conversions; jax's own do."""

    def fn():
        x = mg.astype(mg.astype(mg.sigmoid(mg.asarray(-1.0)), "int32"), "float32")
        row = mg.concat([mg.reshape(x, (1,))] * 3)
        return mg.cumulative_sum(row)

    assert mg.jit(fn).on("xla")().tolist() == [0.0, 0.0, 0.0]

import jax
import jax.numpy as jnp
import monograph as mg
import numpy as np
import pytest
from monograph import ops
from monograph_xla.lowerings import replay

# kernel, strides, padding, dilation of the input, dilation of the kernel, channel multiplier
DEPTHWISE = [
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    ((3, 2), (2, 1), ((0, 1), (2, 0)), (1, 1), (1, 2), 2),
    ((2, 3), (1, 2), ((-1, 2), (1, -1)), (2, 1), (1, 1), 3),
    ((3, 2), (2, 3), ((0, 1), (2, 0)), (1, 1), (1, 2), 1),  # some places of the input are not seen
    ((2, 3), (3, 2), ((-1, 2), (1, -1)), (1, 1), (2, 1), 1),
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (2, 1), (1, 1), 1),
    ((9, 9), (1, 1), ((4, 4), (4, 4)), (1, 1), (1, 1), 1),  # too many places: XLA's own
]


def attrs_of(case, channels):
    _, strides, padding, lhs, rhs, _ = case
    return {
        "strides": strides, "padding": padding, "lhs_dilation": lhs, "rhs_dilation": rhs,
        "feature_groups": channels,
    }  # fmt: skip


def by_jax(x, k, a):
    return jax.lax.conv_general_dilated(
        x, k, a["strides"], a["padding"], a["lhs_dilation"], a["rhs_dilation"],
        ("NHWC", "HWIO", "NHWC"), a["feature_groups"],
    )  # fmt: skip


def drawn(case, channels=4, dtype="float32"):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 7, 6, channels)).astype(dtype)
    return x, rng.normal(size=(*case[0], 1, channels * case[-1])).astype(dtype)


@pytest.mark.parametrize("case", DEPTHWISE)
def test_depthwise_convolution_and_its_gradients_are_those_of_jax(case):
    x, k = drawn(case)
    a = attrs_of(case, 4)
    want, pull = jax.vjp(lambda x, k: by_jax(x, k, a), x, k)
    g = np.random.default_rng(1).normal(size=want.shape).astype("float32")

    @mg.jit
    def run(x, k, g):
        out, pullback = mg.vjp(lambda x, k: ops.convolution(x, k, **a), x, k)
        return out, *pullback(g)

    for got, expected in zip(run.on("xla")(x, k, g), (want, *pull(g))):
        # sums of up to 81 * 7 * 6 * 2 float32 products, in another order
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-4)


def compiled(fn, *arrays):
    graph = mg.trace(fn, *[mg.Spec.of(x) for x in arrays])
    run = jax.jit(lambda *xs: replay(graph, xs))
    return run.lower(*[jax.ShapeDtypeStruct(x.shape, x.dtype) for x in arrays]).compile().as_text()


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the shifted form is for the CPU")
def test_depthwise_convolution_on_the_cpu_is_a_fused_loop_of_multiply_adds():
    x, k = drawn(DEPTHWISE[0])
    a = attrs_of(DEPTHWISE[0], 4)

    def grads(x, k):
        out, pull = mg.vjp(lambda x, k: ops.convolution(x, k, **a), x, k)
        return out, *pull(out)

    assert " convolution(" not in compiled(grads, x, k)


def test_a_1x1_convolution_and_its_gradients_are_matrix_products():
    x, k = np.ones((2, 5, 5, 4), "float32"), np.ones((1, 1, 4, 3), "float32")

    def grads(x, k):
        out, pull = mg.vjp(lambda x, k: mg.conv(x, k), x, k)
        return out, *pull(out)

    text = compiled(grads, x, k)
    assert " convolution(" not in text and " dot(" in text


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
def test_convolution_gradients_of_16_bit_floats_are_summed_in_float32(dtype, groups, size):
    # 4,096 equal terms of 1: summed in 16 bits they would stop at 2,048 (float16) or 256 (bfloat16)
    x = jnp.ones((1, 64 + size - 1, 64 + size - 1, 2), dtype)
    k = jnp.ones((size, size, 2 // groups, 2), dtype)

    @mg.jit
    def run(x, k):
        out, pull = mg.vjp(lambda k: mg.conv(x, k, groups=groups), k)
        return pull(mg.ones_like(out))[0]

    got = run.on("xla")(mg.tensor(np.asarray(x)), mg.tensor(np.asarray(k)))
    assert np.all(np.asarray(got.numpy(), "float64") == 4096)

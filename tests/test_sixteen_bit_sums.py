"""Sums over long axes of 16-bit floats are kept in float32: off by the result's rounding only.

A sum kept in 16 bits stops growing at 256 (bfloat16) or 2048 (float16) times its terms.
"""

import monograph as mg
import numpy as np
import pytest
from monograph.testing.distance import distance

_rng = np.random.default_rng(0)
IDS = np.arange(4096) % 3


def _u(*shape):
    return _rng.uniform(0.5, 1.5, shape)


def _n(*shape):
    return _rng.normal(size=shape)


def _dot(a, b):  # a kernel's gradient: both contracted over the batch
    return mg.ops.dot_general(
        a, b, lhs_batching=(), rhs_batching=(), lhs_contracting=(0,), rhs_contracting=(0,)
    )


def _conv(size, groups=1):
    edge = (size // 2, size // 2)
    return dict(
        strides=(1, 1), padding=(edge, edge), lhs_dilation=(1, 1), rhs_dilation=(1, 1),
        feature_groups=groups,
    )  # fmt: skip


def _pulled(fn, i):
    """The gradient of ``fn(*xs)``, weighted by the last operand, by operand ``i``."""

    def grad(*xs):
        *xs, g = xs
        return mg.vjp(lambda v: fn(*xs[:i], v, *xs[i + 1 :]), xs[i])[1](g)[0]

    return grad


def _layer_norm(x, scale, bias):
    return mg.layer_norm(x, scale, bias, epsilon=1e-5)


def _batch_norm(x, scale, bias):
    return mg.ops.batch_norm_training(x, scale, bias, epsilon=1e-5)[0]


def _window(window, stride):
    n = len(window)
    return lambda x: mg.ops.reduce_window_sum(
        x, window=window, strides=stride, padding=((0, 0),) * n, base_dilation=(1,) * n,
        window_dilation=(1,) * n,
    )  # fmt: skip


CASES = {
    # reductions
    "sum of everything": (mg.sum, np.full(4096, 0.01)),
    "sum, first axis": (lambda x: mg.sum(x, axis=0), _u(4096, 3)),
    "sum, last axis": (lambda x: mg.sum(x, axis=-1), _u(3, 4096)),
    "mean": (lambda x: mg.mean(x, axis=-1), _u(3, 4096)),
    "var": (lambda x: mg.var(x, axis=-1), _u(3, 4096)),
    "std": (lambda x: mg.std(x, axis=0), _u(4096, 3)),
    "prod": (lambda x: mg.prod(x, axis=-1), 1 + 0.001 * _n(3, 1024)),
    "vector_norm": (lambda x: mg.linalg.vector_norm(x, axis=-1), _u(3, 4096)),
    "cumulative_sum": (lambda x: mg.cumulative_sum(x, axis=0), _u(4096)),
    "softmax": (lambda x: mg.softmax(x, axis=-1), _n(3, 4096)),
    "log_softmax": (lambda x: mg.log_softmax(x, axis=-1), _n(3, 4096)),
    "softmax's gradient": (_pulled(lambda x: mg.softmax(x, axis=-1), 0), _n(3, 4096), _n(3, 4096)),
    "logsumexp": (lambda x: mg.logsumexp(x, axis=-1), _n(3, 4096)),
    "image windows": (_window((1, 32, 32, 1), (1, 32, 32, 1)), _u(2, 64, 64, 3)),
    "long windows": (_window((2048,), (64,)), _u(4096)),
    "broadcast's gradient": (_pulled(lambda b: mg.broadcast_to(b, (4096, 7)), 0), _u(7), _u(4096, 7)),
    # products
    "matmul": (mg.matmul, _u(5, 4096), _u(4096, 7)),
    "matvec": (mg.matmul, _u(5, 4096), _u(4096)),
    "vecdot": (mg.vecdot, _u(3, 4096), _u(3, 4096)),
    "batched matmul": (mg.matmul, _u(2, 5, 4096), _u(2, 4096, 7)),
    "matmul's kernel gradient": (_dot, _u(4096, 5), _u(4096, 7)),
    "batched kernel gradient": (_pulled(mg.matmul, 1), _u(2, 4096, 4), _u(2, 4, 6), _u(2, 4096, 6)),
    "einsum over two": (lambda a, b: mg.einsum("bik,bkj->ij", a, b), _u(8, 5, 512), _u(8, 512, 7)),
    "attention": (mg.attention, _n(1, 4, 2, 8), _n(1, 4096, 2, 8), _u(1, 4096, 2, 8)),
    # convolutions
    "3x3": (lambda x, k: mg.ops.convolution(x, k, **_conv(3)), _u(2, 6, 6, 512), _u(3, 3, 512, 8)),
    "1x1": (lambda x, k: mg.ops.convolution(x, k, **_conv(1)), _u(2, 6, 6, 4096), _u(1, 1, 4096, 8)),
    "depthwise": (
        lambda x, k: mg.ops.convolution(x, k, **_conv(15, 4)), _u(1, 40, 40, 4), _u(15, 15, 1, 4),
    ),
    "input gradient": (
        lambda g, k: mg.ops.convolution_input_grad(g, k, input_shape=(2, 6, 6, 8), **_conv(3)),
        _u(2, 6, 6, 512), _u(3, 3, 8, 512),
    ),
    "kernel gradient": (
        lambda x, g: mg.ops.convolution_kernel_grad(x, g, kernel_shape=(3, 3, 4, 8), **_conv(3)),
        _u(16, 32, 32, 4), _u(16, 32, 32, 8),
    ),
    "1x1 kernel gradient": (
        lambda x, g: mg.ops.convolution_kernel_grad(x, g, kernel_shape=(1, 1, 4, 8), **_conv(1)),
        _u(16, 32, 32, 4), _u(16, 32, 32, 8),
    ),
    "depthwise kernel gradient": (
        lambda x, g: mg.ops.convolution_kernel_grad(x, g, kernel_shape=(3, 3, 1, 8), **_conv(3, 8)),
        _u(16, 32, 32, 8), _u(16, 32, 32, 8),
    ),
    # normalisation
    "layer_norm": (_layer_norm, _u(3, 4096), _u(4096), _u(4096)),
    "layer_norm by x": (_pulled(_layer_norm, 0), _u(8, 4096), _u(4096), _u(4096), _n(8, 4096)),
    "layer_norm by scale": (_pulled(_layer_norm, 1), _n(4096, 8), _u(8), _u(8), _u(4096, 8)),
    "layer_norm by bias": (_pulled(_layer_norm, 2), _n(4096, 8), _u(8), _u(8), _u(4096, 8)),
    "batch_norm": (_batch_norm, _u(4096, 3), _u(3), _u(3)),
    "batch_norm by scale": (_pulled(_batch_norm, 1), _n(4096, 8), _u(8), _u(8), _u(4096, 8)),
    "batch_norm by bias": (_pulled(_batch_norm, 2), _n(4096, 8), _u(8), _u(8), _u(4096, 8)),
    # adding to places
    "segment_sum": (lambda x: mg.segment_sum(x, mg.asarray(IDS), 3), _u(4096, 5)),
    "an embedding's gradient": (
        _pulled(lambda w: mg.take(w, mg.asarray(IDS), axis=0), 0), _u(3, 5), _u(4096, 5),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_long_sums_are_off_by_the_results_rounding(case):
    fn, *xs = CASES[case]
    for name in ("bfloat16", "float16"):
        d = mg.dtypes.dtype(name)
        narrow = [x.astype(d.numpy) for x in xs]
        want = mg.jit(fn).on("numpy")(*[x.astype("float64") for x in narrow]).numpy()
        for engine in ("numpy", "xla", "torch"):
            got = mg.jit(fn).on(engine)(*narrow)
            assert got.dtype is d
            # half a unit for the rounding; a composite's parts may round once more
            off = distance(got.numpy(), want, d)
            assert off < 0.75, f"{engine} {name}: off by {off:.2f} ulp of the largest"


@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_attentions_gradient_over_many_queries_does_not_stop_growing(engine):
    """torch's flash kernel rounds its probabilities to bfloat16: one unit more than the rest."""
    fn = _pulled(mg.attention, 2)
    xs = _n(1, 4096, 2, 8), _n(1, 6, 2, 8), _u(1, 6, 2, 8), _u(1, 4096, 2, 8)
    for name in ("bfloat16", "float16"):
        d = mg.dtypes.dtype(name)
        narrow = [x.astype(d.numpy) for x in xs]
        want = mg.jit(fn).on("numpy")(*[x.astype("float64") for x in narrow]).numpy()
        assert distance(mg.jit(fn).on(engine)(*narrow).numpy(), want, d) < 1.75

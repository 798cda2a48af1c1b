"""Images pooled by torch's own kernels, with padding of every kind, against the reference."""

import functools
import itertools

import monograph as mg
import numpy as np
import pytest
import torch
from monograph import ops
from monograph_torch.codegen import generate

EDGES = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (0, 2), (1, -1)]


def pooled(pool, x, g):
    y, pull = mg.vjp(pool, x)
    return y, *pull(g)


@pytest.mark.parametrize("window, stride", [(2, 2), (3, 2), (3, 1), (3, 3), (2, 3)])
@pytest.mark.parametrize("op", [ops.reduce_window_max, ops.reduce_window_sum], ids=["max", "sum"])
def test_padding_of_every_kind(op, window, stride):
    rng, ones = np.random.default_rng(0), (1,) * 4
    for n, edges in itertools.product((5, 6, 7), EDGES):
        x = rng.normal(size=(2, n, 6, 3)).astype("float32")
        attrs = dict(
            window=(1, window, window, 1), strides=(1, stride, stride, 1), base_dilation=ones,
            window_dilation=ones, padding=((0, 0), edges, (0, 1), (0, 0)),
        )  # fmt: skip
        pool = functools.partial(op, **attrs)
        g = rng.normal(size=mg.trace(pool, mg.Spec(x.shape)).outputs[0].shape).astype("float32")
        both = mg.jit(functools.partial(pooled, pool))
        for got, want in zip(both.on("torch")(x, g), both.on("numpy")(x, g)):
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("n", [5, 6, 12, 13])
def test_uneven_padding_copies_nothing(n):
    def total(x):
        return mg.sum(mg.square(mg.max_pool(x, 3, strides=2, padding="same")))

    graph = mg.trace(mg.value_and_grad(total), mg.Spec((2, n, n, 4)))
    source = generate(graph, torch.device("cpu")).source
    assert "torch.max_pool2d(" in source and "reduce_window" not in source

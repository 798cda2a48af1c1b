"""Composites on every engine against PyTorch's functions, forward and gradients."""

import monograph as mg
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monograph import ops

ENGINES = ("numpy", "xla", "torch")
DTYPES = ("float64", "float32", "float16", "bfloat16")
# Relative to the largest magnitude: a few roundings in the result's dtype. torch's own gradients of
# 16-bit layer_norm round the statistics to 16 bits as well, hence 16 of them there.
EPS = {"float64": 2**-52, "float32": 2**-23, "float16": 2**-10, "bfloat16": 2**-7}
ULPS = {"float64": 200, "float32": 50, "float16": 16, "bfloat16": 16}

LABELS = np.array([[0, 3, 5, 1], [2, 2, 4, 0], [5, 1, 0, 3]])
SHAPE = (3, 4, 6)  # [batch, rows, channels]


def first(op):
    return lambda *xs: op(*xs, epsilon=1e-5)[0]


def channels_second(x):
    return x.movedim(-1, 1)


# name: (ours, torch's, how many per-channel operands beside x)
CASES = {
    "softmax": (lambda x: mg.softmax(x), lambda x: F.softmax(x, -1), 0),
    "softmax over rows": (lambda x: mg.softmax(x, axis=1), lambda x: F.softmax(x, 1), 0),
    "log_softmax": (lambda x: mg.log_softmax(x), lambda x: F.log_softmax(x, -1), 0),
    "gelu": (lambda x: mg.gelu(x), F.gelu, 0),
    "gelu by tanh": (
        lambda x: mg.gelu(x, approximate=True),
        lambda x: F.gelu(x, approximate="tanh"),
        0,
    ),
    "silu": (lambda x: mg.silu(x), F.silu, 0),
    "relu6": (lambda x: mg.relu6(5 * x), lambda x: F.relu6(5 * x), 0),
    "hard_tanh": (lambda x: mg.hard_tanh(x, -0.3, 0.7), lambda x: F.hardtanh(x, -0.3, 0.7), 0),
    "layer_norm": (
        lambda x, s, b: mg.layer_norm(x, s, b),
        lambda x, s, b: F.layer_norm(x, s.shape, s, b),
        2,
    ),
    "rms_norm": (lambda x, s: mg.rms_norm(x, s), lambda x, s: F.rms_norm(x, s.shape, s, 1e-5), 1),
    "batch_norm": (
        first(ops.batch_norm_training),
        lambda x, s, b: F.batch_norm(channels_second(x), None, None, s, b, True).movedim(1, -1),
        2,
    ),
    "cross_entropy": (
        lambda x: mg.cross_entropy(x, LABELS),
        lambda x: F.cross_entropy(channels_second(x), torch.tensor(LABELS), reduction="none"),
        0,
    ),
}


def drawn(name, dtype):
    rng = np.random.default_rng(2)
    shapes = [SHAPE] + [SHAPE[-1:]] * CASES[name][2]
    return [
        torch.tensor(rng.normal(size=s)).to(getattr(torch, dtype)).double().numpy() for s in shapes
    ]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_a_composite_and_its_gradients_are_those_of_torch(name, dtype, engine):
    ours, theirs, _ = CASES[name]
    xs = drawn(name, dtype)
    leaves = [torch.tensor(x, requires_grad=True) for x in xs]
    out = theirs(*leaves)
    g = np.sign(np.random.default_rng(3).normal(size=out.shape))
    out.backward(torch.tensor(g))
    want = [out.detach(), *[x.grad for x in leaves]]

    @mg.jit
    def run(xs, g):
        y, pull = mg.vjp(ours, *xs)
        return y, *pull(g)

    cast = lambda x: mg.asarray(x).astype(dtype)
    for got, expected in zip(run.on(engine)([cast(x) for x in xs], cast(g)), want, strict=True):
        assert str(got.dtype) == dtype
        scale = float(expected.abs().max())
        np.testing.assert_allclose(
            got.astype("float64").numpy() / scale, expected.numpy() / scale,
            rtol=0, atol=ULPS[dtype] * EPS[dtype],
        )  # fmt: skip


def on(engine, fn, *xs):
    out = mg.jit(fn).on(engine)(*xs)
    return [o.numpy() for o in out] if isinstance(out, (tuple, list)) else out.numpy()


@pytest.mark.parametrize("engine", ENGINES)
def test_cross_entropy_beside_an_impossible_class_is_finite(engine):
    logits = np.array([[0.0, -np.inf, 1.0], [0.0, -np.inf, 1.0]], "float32")
    labels = np.array([0, 1])
    x = torch.tensor(logits, requires_grad=True)
    want = F.cross_entropy(x, torch.tensor(labels), reduction="none")
    want.sum().backward()
    loss = on(engine, mg.cross_entropy, logits, labels)
    np.testing.assert_allclose(loss, want.detach().numpy(), rtol=1e-6)
    assert np.isfinite(loss[0]) and loss[1] == np.inf
    grad = on(engine, mg.grad(lambda x: mg.sum(mg.cross_entropy(x, labels))), logits)
    np.testing.assert_allclose(grad, x.grad.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("engine", ENGINES)
def test_norms_over_nothing_are_empty_and_finite(engine):
    none, vector = np.zeros((3, 0), "float32"), np.zeros((0,), "float32")
    assert on(engine, mg.layer_norm, none, vector, vector).shape == (3, 0)
    assert on(engine, mg.rms_norm, none, vector).shape == (3, 0)

    @mg.jit
    def step(x, s, b):  # a batch without rows
        (y, mean, var), pull = mg.vjp(
            lambda *xs: ops.batch_norm_training(*xs, epsilon=1e-5), x, s, b
        )
        return y, mean, var, *pull((y, mean, var))

    x, s = np.zeros((0, 4), "float32"), np.ones(4, "float32")
    y, mean, var, dx, ds, db = on(engine, step, x, s, s)
    assert y.shape == dx.shape == (0, 4)
    assert not any(v.any() for v in (mean, var, ds, db))


@pytest.mark.parametrize("engine", ENGINES)
def test_softmax_of_a_row_that_is_all_impossible_is_nan_and_of_an_empty_axis_empty(engine):
    i = np.inf
    x = np.array([[-i, -i], [0, -i]], "float32")
    for ours, theirs in ((mg.softmax, torch.softmax), (mg.log_softmax, torch.log_softmax)):
        np.testing.assert_array_equal(on(engine, ours, x), theirs(torch.tensor(x), -1).numpy())
        assert on(engine, ours, np.zeros((3, 0), "float32")).shape == (3, 0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.0, 0.999), (0.9, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_is_that_of_torch_also_without_memory(engine, betas, decay):
    rng = np.random.default_rng(0)
    p, grads = rng.normal(size=(5,)), rng.normal(size=(3, 5))
    kind = torch.optim.AdamW if decay else torch.optim.Adam
    theirs = torch.nn.Parameter(torch.tensor(p))
    optimizer = kind([theirs], lr=0.1, betas=betas, weight_decay=decay)
    m, v = np.zeros(5), np.zeros(5)
    attrs = {"beta1": betas[0], "beta2": betas[1], "weight_decay": decay, "count": 1}
    for step, g in enumerate(grads, 1):
        theirs.grad = torch.tensor(g)
        optimizer.step()
        update = lambda *xs: ops.adam_update(*xs, **attrs)
        p, m, v = on(engine, update, np.float32(0.1), np.float32(step), p, g, m, v)
        # the rate 0.1 is a float32 here: right to 2e-9 of it
        np.testing.assert_allclose(p, theirs.detach().numpy(), rtol=1e-6)


def test_adam_refuses_a_beta_of_1_by_name():
    x = np.zeros(2, "float32")
    with pytest.raises(mg.errors.ArgumentError, match="beta2=1.0 must be at least 0 and below 1"):
        ops.adam_update(np.float32(1), np.float32(1), x, x, x, x, beta2=1.0, count=1)

"""mg.linalg on every engine: gradients against torch and jax, properties over batch shapes.

What a library leaves open, signs and phases, stays out of the losses that are compared with it;
between Monograph's engines everything is compared.
"""

import functools

import jax
import jax.numpy as jnp
import monograph as mg
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

ENGINES = ("numpy", "xla", "torch")
DTYPES = ("float64", "complex128")
every_engine = pytest.mark.parametrize("engine", ENGINES)


def draw(dtype, *shape, seed=0):
    rng = np.random.default_rng([seed, *shape])
    x = rng.normal(size=shape)
    return x + 1j * rng.normal(size=shape) if dtype.startswith("complex") else x


def positive(xp, x):
    return x @ xp.conj(x).mT + xp.eye(x.shape[-1])


def weighted(xp, x):
    """A real number that no phase of a row or column changes."""
    size = xp.abs(x)
    n = int(np.prod(x.shape))
    return xp.sum(size * xp.reshape(xp.arange(1.0, n + 1.0), x.shape)) / n


def eigh_loss(xp, x):
    w, v = xp.linalg.eigh(positive(xp, x))
    return weighted(xp, w) + weighted(xp, v)


def qr_loss(xp, x):
    q, r = xp.linalg.qr(x)
    return weighted(xp, q) + weighted(xp, r)


def svd_loss(xp, x):
    u, s, vh = xp.linalg.svd(x, full_matrices=False)
    return weighted(xp, u) + weighted(xp, s) + weighted(xp, vh)


def slogdet_loss(xp, x):
    sign, log = xp.linalg.slogdet(x)
    return xp.sum(log) + weighted(xp, sign + 0.5)


LOSSES = {
    "cholesky": lambda xp, x: weighted(xp, xp.linalg.cholesky(positive(xp, x))),
    "det": lambda xp, x: weighted(xp, xp.linalg.det(x) + 0.5),
    "eigh": eigh_loss,
    "eigvalsh": lambda xp, x: weighted(xp, xp.linalg.eigvalsh(positive(xp, x))),
    "inv": lambda xp, x: weighted(xp, xp.linalg.inv(x)),
    "matrix_norm": lambda xp, x: sum(
        xp.sum(xp.linalg.matrix_norm(x, ord=o)) for o in ("fro", "nuc", 2, -2, 1, -1)
    ),
    "matrix_power": lambda xp, x: weighted(xp, xp.linalg.matrix_power(x, -3)),
    "pinv": lambda xp, x: weighted(xp, xp.linalg.pinv(x)),
    "qr": qr_loss,
    "slogdet": slogdet_loss,
    "solve": lambda xp, x: weighted(xp, xp.linalg.solve(x, positive(xp, x)[..., :2] + x[..., :2])),
    "svd": svd_loss,
}
RECTANGULAR = ("matrix_norm", "pinv", "qr", "svd")
CASES = [
    *[(name, shape) for name in LOSSES for shape in ((2, 3, 3),)],
    *[(name, shape) for name in RECTANGULAR for shape in ((4, 2), (2, 4))],
]


def torch_gradient(name, x):
    t = torch.tensor(x, requires_grad=True)
    LOSSES[name](torch, t).backward()
    return t.grad.numpy()


def jax_gradient(name, x):
    with jax.enable_x64(True):
        return np.conj(np.asarray(jax.grad(functools.partial(LOSSES[name], jnp))(x)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name, shape", CASES)
def test_gradients_agree_with_torch_and_jax(name, shape, dtype):
    x = draw(dtype, *shape)
    wide_qr = name == "qr" and shape[-2] < shape[-1]
    wants = [torch_gradient(name, x)] + ([] if wide_qr else [jax_gradient(name, x)])  # jax has none
    for engine in ENGINES:
        got = mg.grad(functools.partial(LOSSES[name], mg)).on(engine)(x).numpy()
        for want in wants:
            np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-9 * np.abs(want).max())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ("cholesky", "det", "eigh", "inv", "pinv", "qr", "slogdet", "svd"))
def test_second_derivatives_agree_with_torch(name, dtype):
    x, push = draw(dtype, 3, 3), draw(dtype, 3, 3, seed=1)
    t = torch.tensor(x, requires_grad=True)
    (g,) = torch.autograd.grad(LOSSES[name](torch, t), t, create_graph=True)
    (want,) = torch.autograd.grad(torch.sum(g * torch.tensor(push).conj()).real, t)

    def along(v):
        g = mg.grad(functools.partial(LOSSES[name], mg))(v)
        return mg.real(mg.sum(g * np.conj(push)))

    for engine in ENGINES:
        got = mg.grad(along).on(engine)(x).numpy()
        np.testing.assert_allclose(
            got, want.numpy(), rtol=1e-7, atol=1e-8 * float(want.abs().max())
        )


# ---- properties


batches = st.sampled_from(((), (2,), (0,), (1, 3)))
lengths = st.integers(0, 4)
dtypes = st.sampled_from(("float32", "complex64", *DTYPES))
few = settings(max_examples=8, deadline=None, derandomize=True)


def near(got, want, dtype):
    tol = 2e-4 if dtype in ("float32", "complex64") else 1e-11
    np.testing.assert_allclose(got.numpy(), want, rtol=tol, atol=tol * 10)


def matrix(dtype, *shape):
    return draw(dtype, *shape).astype(dtype)


def same_everywhere(fn, x, dtype):
    """What ``fn`` gives on the engines, which must agree in every element, signs included."""
    wants, *others = [mg.jit(fn, engine=engine)(x) for engine in ENGINES]
    for gots in others:
        for got, want in zip(gots, wants):
            assert got.spec == want.spec
            near(got, want.numpy(), dtype)
    return wants


def orthonormal(v, dtype):
    n = v.shape[-1]
    near(mg.conj(v).mT @ v, np.broadcast_to(np.eye(n), (*v.shape[:-2], n, n)), dtype)


def rectangular(x):
    thin, full = (mg.linalg.svd(x, full_matrices=f) for f in (False, True))
    return *mg.linalg.qr(x), *thin, full.U, full.Vh, *mg.ops.lu(x), mg.linalg.pinv(x)


@few
@given(batch=batches, m=lengths, n=lengths, dtype=dtypes)
def test_rectangular_factorisations_give_the_matrix_back(batch, m, n, dtype):
    x, k = matrix(dtype, *batch, m, n), min(m, n)
    q, r, u, s, vh, full_u, full_vh, packed, order, p = same_everywhere(rectangular, x, dtype)
    near(q @ r, x, dtype)
    near((u * s[..., None, :]) @ vh, x, dtype)
    near(x @ p @ x, x, dtype)
    for v in (q, u, vh.mT, full_u, full_vh):
        orthonormal(v, dtype)
    low = np.tril(packed.numpy()[..., :k], -1) + np.eye(m, k)
    rows = np.take_along_axis(x, order.numpy()[..., None], -2)
    near(mg.tensor(low @ np.triu(packed.numpy()[..., :k, :])), rows, dtype)


def square(x):
    part, la = x @ mg.conj(x).mT, mg.linalg
    return *la.eigh(part), la.cholesky(part), la.inv(x), la.det(x), *la.slogdet(x)


@few
@given(batch=batches, n=lengths, dtype=dtypes)
def test_square_functions_undo_themselves(batch, n, dtype):
    x = matrix(dtype, *batch, n, n) + 3 * np.eye(n, dtype=dtype)
    w, v, low, inv, det, sign, log = same_everywhere(square, x, dtype)
    part = x @ np.conj(x.mT)
    near(v * w[..., None, :] @ mg.conj(v).mT, part, dtype)
    orthonormal(v, dtype)
    near(low @ mg.conj(low).mT, part, dtype)
    near(inv @ x, np.broadcast_to(np.eye(n), x.shape), dtype)
    near(sign * mg.exp(log), det.numpy(), dtype)


@every_engine
def test_failures_are_nan_on_every_engine_and_spare_the_rest_of_the_batch(engine):
    one = np.eye(2)
    batch = np.stack([one, one * np.nan, -one])

    def both(x):
        return mg.linalg.cholesky(x), *mg.linalg.eigh(x), *mg.linalg.svd(x)

    low, w, v, u, s, vh = (y.numpy() for y in mg.jit(both, engine=engine)(batch))
    assert [np.isnan(y).any() for y in low] == [False, True, True]
    for y in (w, v, u, s, vh):
        assert [np.isnan(m).any() for m in y] == [False, True, False]

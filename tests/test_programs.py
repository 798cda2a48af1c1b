"""Whole programs with loops, branches and custom gradients, written once for jax and for Monograph.

Values, gradients, second derivatives and directional derivatives must agree on every engine.
"""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import monograph as mg
import numpy as np
import pytest
import torch

JAX = SimpleNamespace(
    sin=jnp.sin, tanh=jnp.tanh, sum=jnp.sum, where=jnp.where, exp=jnp.exp, matmul=jnp.matmul,
    scan=jax.lax.scan, cond=jax.lax.cond, while_loop=jax.lax.while_loop, switch=jax.lax.switch,
    checkpoint=jax.checkpoint, custom_vjp=jax.custom_vjp, grad=jax.grad, arange=jnp.arange,
    stop_gradient=jax.lax.stop_gradient, jvp=jax.jvp, fori_loop=jax.lax.fori_loop,
)  # fmt: skip
MG = SimpleNamespace(**{name: getattr(mg, name) for name in vars(JAX)})


def recurrent(m, w, x):
    def step(h, t):
        h = m.tanh(m.matmul(w, h) + t)
        return h, m.sum(h * h)

    h, ys = m.scan(step, x[0], x)
    return m.sum(h) + m.sum(ys * m.sin(ys))


def backwards(m, w, x):
    def step(carry, t):
        a, b = carry
        return (b, m.sin(a * t) + m.sum(w)), a

    (a, b), ys = m.scan(step, (x[0], x[1]), x, reverse=True)
    return m.sum(a * b) + m.sum(ys)


def nested(m, w, x):
    def outer(c, row):
        def inner(d, v):
            return d * m.sin(v) + c[0], d

        last, seen = m.scan(inner, m.sum(row), row)
        return c + last * w[0], m.sum(seen)

    c, ys = m.scan(outer, x[0], x)
    return m.sum(c * c) + m.sum(ys)


def branches(m, w, x):
    def step(c, row):
        c = m.cond(m.sum(c) > 0, lambda v: m.sin(v) * w[0], lambda v: v * v + row, c)
        return c, m.sum(c)

    c, ys = m.scan(step, x[0], x)
    return m.sum(c * ys[0]) + m.switch(2, [lambda v: v, lambda v: 2 * v, m.sin], m.sum(ys))


def search_inside(m, w, x):
    # a while loop whose result steers, without being differentiated
    def step(c, row):
        n = m.while_loop(lambda s: m.sum(s) < 5, lambda s: s * 2 + 1, m.stop_gradient(row * row))
        return m.tanh(c + n * row), m.sum(c)

    c, ys = m.scan(step, w[0], x)
    return m.sum(c) * m.sum(ys)


def rematerialised(m, w, x):
    @m.checkpoint
    def block(h, row):
        return m.tanh(m.matmul(w, h)) + m.sin(row)

    h, _ = m.scan(lambda h, row: (block(h, row), ()), x[0], x)
    return m.sum(block(h, x[1]) ** 2)


def own_gradient(m, w, x):
    @m.custom_vjp
    def scaled(v, k):
        return m.sin(v) * k

    # the true gradient in other words: jax applies the rule once only, so any other would differ
    scaled.defvjp(
        lambda v, k: (m.sin(v) * k, (v, k, m.sin(v))),
        lambda res, g: (g * res[1] * m.sin(res[0] + math.pi / 2), m.sum(g * res[2])),
    )
    c, _ = m.scan(lambda c, row: (scaled(c + row, m.sum(w)), ()), x[0], x)
    return m.sum(c)


def gradient_inside(m, w, x):
    def energy(v):
        return m.sum(m.tanh(m.matmul(w, v)) ** 2)

    return m.fori_loop(0, 4, lambda i, v: v - 0.1 * m.grad(energy)(v), x[0]).sum()


def masked(m, w, x):
    safe = m.where(x > 0, x, 1.0)
    return m.sum(m.where(x > 0, safe**0.5, x * x)) + m.sum(m.exp(-w))


PROGRAMS = [
    recurrent, backwards, nested, branches, search_inside, rematerialised, own_gradient,
    gradient_inside, masked,
]  # fmt: skip
RNG = np.random.default_rng(3)
W, X, V = (RNG.normal(size=s) for s in ((3, 3), (4, 3), (4, 3)))


def derivatives(m, program):
    """Everything to compare, as one function of arrays."""

    def run(w, x, v):
        f = lambda w, x: program(m, w, x)
        gw, gx = m.grad(f, (0, 1))(w, x)
        along = m.grad(lambda x: m.sum(m.grad(f, 1)(w, x) * v))(x)
        return f(w, x), gw, gx, along

    return run


@pytest.fixture(scope="module")
def wanted():
    with jax.enable_x64(True):
        return {p: jax.jit(derivatives(JAX, p))(W, X, V) for p in PROGRAMS}


@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_values_and_derivatives_agree_with_jax(program, engine, wanted):
    got = mg.jit(derivatives(MG, program), engine=engine)(W, X, V)
    for name, g, w in zip(("value", "by w", "by x", "second along v"), got, wanted[program]):
        np.testing.assert_allclose(g.numpy(), w, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize(
    "program", [p for p in PROGRAMS if p is not own_gradient], ids=lambda p: p.__name__
)
def test_directional_derivatives_agree_with_jax(program):
    with jax.enable_x64(True):
        want = jax.jvp(lambda x: program(JAX, W, x), (X,), (V,))[1]
    got = mg.jit(lambda w, x, v: mg.jvp(lambda x: program(MG, w, x), (x,), (v,))[1])(W, X, V)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-9)


def test_a_second_derivative_applies_a_custom_rule_again_as_torch_does():
    class Tripled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.sin(x)

        @staticmethod
        def backward(ctx, g):
            return 3 * g * torch.cos(ctx.saved_tensors[0])

    tripled = mg.custom_vjp(mg.sin)
    tripled.defvjp(lambda x: (mg.sin(x), x), lambda x, g: (3 * g * mg.cos(x),))
    x = torch.tensor(X, requires_grad=True)
    (first,) = torch.autograd.grad((Tripled.apply(x) ** 2).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x)
    grad = mg.grad(lambda x: mg.sum(tripled(x) ** 2))
    np.testing.assert_allclose(grad(X).numpy(), first.detach(), rtol=1e-12)
    np.testing.assert_allclose(
        mg.grad(lambda x: mg.sum(grad(x) ** 2))(X).numpy(), second, rtol=1e-12
    )

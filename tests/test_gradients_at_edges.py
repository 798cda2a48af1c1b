"""Gradients where functions have kinks, poles, ties and zeros, against torch and jax in float64.

Where the two agree, Monograph agrees with both; where they part, or both are wrong, the table says
what was decided and why.
"""

import warnings
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import monograph as mg
import numpy as np
import pytest
import torch

INF, NAN = np.inf, np.nan


def shared(module, **own):
    """The functions of a module that the three name alike, and its own words for others."""
    names = (
        "abs asin atan2 clip floor full_like hypot log logaddexp maximum minimum ones_like pow prod "
        "remainder sign sqrt sum tanh where zeros_like"
    )
    return SimpleNamespace(**{n: getattr(module, n) for n in names.split()}, **own)


MG = shared(
    mg, amax=mg.max, cumprod=mg.cumulative_prod, relu=mg.relu, sigmoid=mg.sigmoid, sort=mg.sort,
    softmax=mg.softmax, logsumexp=mg.logsumexp, var=mg.var, relu6=mg.relu6, hard_tanh=mg.hard_tanh,
    std=mg.std, norm=mg.linalg.vector_norm,
    cummax=lambda x: mg.ops.cummax(x, axis=0), array=lambda v: mg.asarray(v, dtype="float64"),
)  # fmt: skip
JAX = shared(
    jnp, amax=jnp.max, cumprod=jnp.cumprod, relu=jax.nn.relu, sigmoid=jax.nn.sigmoid, sort=jnp.sort,
    softmax=jax.nn.softmax, logsumexp=jax.nn.logsumexp, var=jnp.var, std=jnp.std, norm=jnp.linalg.norm, cummax=jax.lax.cummax,
    array=jnp.array, relu6=jax.nn.relu6, hard_tanh=jax.nn.hard_tanh,
)  # fmt: skip
TORCH = shared(
    torch, amax=torch.amax, cumprod=lambda x: torch.cumprod(x, 0), relu=torch.relu,
    sigmoid=torch.sigmoid, sort=lambda x: torch.sort(x, stable=True)[0],
    softmax=lambda x: torch.softmax(x, 0), logsumexp=lambda x: torch.logsumexp(x, 0),
    var=lambda x: torch.var(x, correction=0), std=lambda x: torch.std(x, correction=0),
    norm=torch.linalg.vector_norm, cummax=lambda x: torch.cummax(x, 0)[0],
    array=lambda v: torch.tensor(v, dtype=torch.float64), relu6=torch.nn.functional.relu6,
    hard_tanh=torch.nn.functional.hardtanh,
)  # fmt: skip

# name: (function, x, first derivative of its sum, second, who differs and why)
CASES = {
    "sqrt at 0": (lambda m, x: m.sqrt(x), [0.0], [INF], [-INF], {}),
    "abs at 0": (
        lambda m, x: m.abs(x), [0.0, -0.0], [0, 0], [0, 0],
        {"jax": "takes the right-hand slope 1"},
    ),
    "sign at 0": (lambda m, x: m.sign(x), [0.0, 1], [0, 0], [0, 0], {}),
    "floor at a step": (lambda m, x: m.floor(x), [2.0], [0], [0], {}),
    "x ** 0": (lambda m, x: x**0, [0.0, -3], [0, 0], [0, 0], {}),
    "x ** 2": (lambda m, x: x**2, [0.0, -3], [0, -6], [2, 2], {}),
    "x ** 0.5 at 0": (lambda m, x: x**0.5, [0.0], [INF], [-INF], {}),
    "x ** -1 at 0": (lambda m, x: x**-1, [0.0, 2], [-INF, -0.25], [INF, 0.25], {}),
    "pow(x, 0)": (
        lambda m, x: m.pow(x, m.zeros_like(x)), [0.0, 1], [0, 0], [0, 0],
        {"jax": "NaN at 0 with an array exponent", "torch": "NaN in the second at 0"},
    ),
    "pow(x, 1), pow(x, 2)": (
        lambda m, x: m.pow(x, m.array([1.0, 2.0, 3.0])), [0.0, 0, 0], [1, 0, 0], [0, 2, 0],
        {"jax": "NaN where the exponent falls to 0"},
    ),
    "negative base, integer exponent": (
        lambda m, x: m.pow(x, m.full_like(x, 3.0)), [-2.0, 0], [12, 0], [-12, 0], {},
    ),
    "negative base, other exponent": (
        lambda m, x: m.pow(x, m.full_like(x, 0.5)), [-2.0, 0], [NAN, INF], [NAN, -INF], {},
    ),
    "exponent of 0": (
        lambda m, x: m.pow(m.zeros_like(x), x), [2.0, 0, 0.5], [0, 0, 0], [0, 0, 0],
        {"torch": "NaN in the second"},
    ),
    "exponent of a negative base": (
        lambda m, x: m.pow(m.full_like(x, -2.0), x), [2.0, 3], [NAN, NAN], [NAN, NAN], {},
    ),
    "maximum of equals": (
        lambda m, x: m.maximum(x, m.ones_like(x)), [1.0, 2], [0.5, 1], [0, 0], {},
    ),
    "maximum with itself": (lambda m, x: m.maximum(x, x), [1.0, 2], [1, 1], [0, 0], {}),
    "minimum of equals": (
        lambda m, x: m.minimum(x, m.ones_like(x)), [1.0, 0], [0.5, 1], [0, 0], {},
    ),
    "clip at its bounds": (
        lambda m, x: m.clip(x, 0.0, 1.0), [0.0, 1, 0.5, 2], [0.5, 0.5, 1, 0], [0, 0, 0, 0],
        {"torch": "1 at a bound: no tie is shared"},
    ),
    "relu at 0": (lambda m, x: m.relu(x), [0.0, 1, -1], [0, 1, 0], [0, 0, 0], {}),
    "relu6 at its bounds": (
        lambda m, x: m.relu6(x), [0.0, 6, 3, -1, 7], [0, 0, 1, 0, 0], [0] * 5, {},
    ),
    "hard tanh at its bounds": (
        lambda m, x: m.hard_tanh(x), [-1.0, 1, 0.5, -2, 2], [0, 0, 1, 0, 0], [0] * 5,
        {"jax": "1 at a bound"},
    ),
    "largest of equals": (lambda m, x: m.amax(x), [2.0, 2, 1], [0.5, 0.5, 0], [0, 0, 0], {}),
    "running maximum of equals": (
        lambda m, x: m.cummax(x), [2.0, 1, 2, 3], [2.5, 0, 0.5, 1], [0, 0, 0, 0],
        {"torch": "the last of equals takes all"},
    ),
    "root of a sum at 0": (
        lambda m, x: m.sqrt(m.sum(x * x)), [0.0, 0], [NAN, NAN], [NAN, NAN], {},
    ),
    "logaddexp at -inf": (
        lambda m, x: m.logaddexp(x, m.full_like(x, -INF)), [-INF, 1], [NAN, 1], [NAN, 0], {},
    ),
    "logaddexp far apart": (
        lambda m, x: m.logaddexp(x, m.zeros_like(x)), [1e3, -1e3], [1, 0], [0, 0],
        {"torch": "NaN in the second"},
    ),
    "logsumexp with -inf": (lambda m, x: m.logsumexp(x), [-INF, 1], [0, 1], [0, 0], {}),
    "softmax with -inf": (
        lambda m, x: m.softmax(x) * m.array([1.0, 2, 3]), [-INF, 0, 0],
        [0, -0.25, 0.25], [0, 0, 0], {},
    ),
    "where, the other branch NaN": (
        lambda m, x: m.where(x > 0, x, m.full_like(x, NAN)), [1.0, 2], [1, 1], [0, 0], {},
    ),
    "where after a pole": (  # the slope there is 0 * inf; the next case is the remedy
        lambda m, x: m.where(x > 0, m.sqrt(x), m.zeros_like(x)), [0.0, 4],
        [NAN, 0.25], [NAN, -1 / 32], {},
    ),
    "where before and after a pole": (
        lambda m, x: m.where(
            x > 0, m.sqrt(m.where(x > 0, x, m.ones_like(x))), m.zeros_like(x)
        ), [0.0, 4], [0, 0.25], [0, -1 / 32], {},
    ),
    "product with a zero": (lambda m, x: m.prod(x), [0.0, 2, 3], [6, 0, 0], [5, 3, 2], {}),
    "product with two zeros": (lambda m, x: m.prod(x), [0.0, 2, 0], [0, 0, 0], [2, 0, 2], {}),
    "running product with zeros": (
        lambda m, x: m.cumprod(x), [2.0, 0, 3, 0, 4], [1, 8, 0, 0, 0], [4, 36, 2, 30, 0], {},
    ),
    "atan2(0, 0)": (
        lambda m, x: m.atan2(x, m.zeros_like(x)), [0.0, 1], [NAN, 0], [NAN, 0],
        {"torch": "masks the pole with 0"},
    ),
    "hypot at 0": (
        lambda m, x: m.hypot(x, m.zeros_like(x)), [0.0, 1], [0, 1], [0, 0],
        {"torch": "NaN", "jax": "shares a tie, as of maximum"},
    ),
    "x log x at 0": (lambda m, x: x * m.log(x), [0.0], [NAN], [NAN], {}),
    "asin at 1": (lambda m, x: m.asin(x), [1.0, -1], [INF, INF], [INF, -INF], {}),
    "1 / 0": (lambda m, x: m.ones_like(x) / x, [0.0, 2], [-INF, -0.25], [INF, 0.25], {}),
    "remainder at a step": (
        lambda m, x: m.remainder(x, m.full_like(x, 2.0)), [2.0, 3, 0], [1, 1, 1], [0, 0, 0], {},
    ),
    "variance of equals": (lambda m, x: m.var(x), [1.0, 1], [0, 0], [0, 0], {}),
    "deviation of equals": (
        lambda m, x: m.std(x), [1.0, 1], [0, 0], [0, 0], {"jax": "NaN"},
    ),
    "vector norm at 0": (
        lambda m, x: m.norm(x), [0.0, 0], [0, 0], [0, 0],
        {"jax": "NaN", "torch": "NaN in the second"},
    ),
    "saturated sigmoid": (lambda m, x: m.sigmoid(x), [1e3, -1e3, 0], [0, 0, 0.25], [0, 0, 0], {}),
    "saturated tanh": (lambda m, x: m.tanh(x), [1e3, -1e3], [0, 0], [0, 0], {}),
    "sort of equals": (
        lambda m, x: m.sort(x) * m.array([1.0, 2, 3]), [2.0, 2, 1], [2, 3, 1], [0, 0, 0], {},
    ),
}  # fmt: skip


def ours(f, x, engine):
    first = mg.grad(lambda v: mg.sum(f(MG, v)))
    second = mg.grad(lambda v: mg.sum(first(v)))
    return [g.on(engine)(np.array(x, "float64")).numpy() for g in (first, second)]


def by_jax(f, x):
    with jax.enable_x64(True):
        first = jax.grad(lambda v: jnp.sum(f(JAX, v)))
        second = jax.grad(lambda v: jnp.sum(first(v)))
        return [np.asarray(g(jnp.array(x, "float64"))) for g in (first, second)]


def by_torch(f, x):
    v = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(f(TORCH, v).sum(), v, create_graph=True)[0]
    second = (
        torch.autograd.grad(first.sum(), v, allow_unused=True)[0] if first.requires_grad else None
    )
    zero = torch.zeros_like(v).detach()  # added, because torch's symbolic zeros know no .numpy()
    return [zero.numpy() if g is None else (zero + g.detach()).numpy() for g in (first, second)]


def close(got, want):
    return np.allclose(got, np.array(want, "float64"), rtol=1e-10, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_gradient(name, engine):
    f, x, *wants, _ = CASES[name]
    for got, want in zip(ours(f, x, engine), wants):
        assert close(got, want), f"{got} is not {want}"


@pytest.mark.parametrize("name", CASES)
def test_the_others_agree_unless_the_table_says_why_not(name):
    f, x, *wants, differs = CASES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {"jax": by_jax(f, x), "torch": by_torch(f, x)}
    for who, gots in found.items():
        agree = all(close(g, w) for g, w in zip(gots, wants))
        assert agree == (who not in differs), f"{who}: {gots} against {wants}"

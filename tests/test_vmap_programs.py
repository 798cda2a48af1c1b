"""Programs under vmap, written once for jax and for Monograph, on every engine.

Loops, branches, custom gradients and checkpoints; gradients of batches and batches of gradients;
jacobians and second derivatives by vmap; maps in maps.
"""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import monograph as mg
import numpy as np
import pytest

NAMES = (
    "sin", "tanh", "sum", "where", "exp", "matmul", "sqrt", "sort", "cumulative_sum", "arange", "argmax", "log",
    "concat", "stack", "max",
)  # fmt: skip
JAX = SimpleNamespace(
    **{n: getattr(jnp, n) for n in NAMES}, scan=jax.lax.scan, cond=jax.lax.cond, grad=jax.grad,
    while_loop=jax.lax.while_loop, switch=jax.lax.switch, checkpoint=jax.checkpoint, vmap=jax.vmap,
    custom_vjp=jax.custom_vjp, fori_loop=jax.lax.fori_loop, jvp=jax.jvp, vjp=jax.vjp, eye=jnp.eye,
    stop_gradient=jax.lax.stop_gradient, solve=jnp.linalg.solve, det=jnp.linalg.det,
    inv=jnp.linalg.inv, softmax=jax.nn.softmax, take=jnp.take, uniform=jax.random.uniform,
    split=jax.random.split, key=lambda n: jax.random.PRNGKey(n), jacobian=jax.jacrev,
    hessian=jax.hessian,
)  # fmt: skip
MG = SimpleNamespace(
    **{n: getattr(mg, n) for n in NAMES}, scan=mg.scan, cond=mg.cond, grad=mg.grad,
    while_loop=mg.while_loop, switch=mg.switch, checkpoint=mg.checkpoint, vmap=mg.vmap,
    custom_vjp=mg.custom_vjp, fori_loop=mg.fori_loop, jvp=mg.jvp, vjp=mg.vjp, eye=mg.eye,
    stop_gradient=mg.stop_gradient, solve=mg.linalg.solve, det=mg.linalg.det, inv=mg.linalg.inv,
    softmax=mg.softmax, take=mg.take, uniform=mg.random.uniform, split=mg.random.split,
    key=mg.random.key, jacobian=mg.jacobian, hessian=mg.hessian,
)  # fmt: skip

RNG = np.random.default_rng(5)
W = RNG.normal(size=(3, 3))  # shared by all examples
X = RNG.normal(size=(5, 3))  # five examples
X[0] = np.abs(X[0])
KEEP = RNG.integers(0, 3, 5)


# ---- functions of one example: (m, w [3, 3], x [3], k int) -> scalar


def recurrent(m, w, x, k):
    def step(h, t):
        h = m.tanh(m.matmul(w, h) + t)
        return h, m.sum(h * h)

    h, ys = m.scan(step, x, m.stack([x, x * 2, m.sin(x)]))
    return m.sum(h) + m.sum(ys * m.sin(ys))


def carry_becomes_batched_late(m, w, x, k):
    # a is shared at first and depends on x after two turns, through b
    def step(carry, i):
        a, b, c = carry
        return (b, c, c * 0.5 + x[0]), a

    last, seen = m.scan(step, (w[0, 0], w[0, 1], w[0, 2]), m.arange(4), reverse=True)
    return sum(last) * m.sum(m.sin(seen))


def counted(m, w, x, k):
    # the counter is shared by all examples: no example has a loop of its own length
    return m.fori_loop(0, 3, lambda i, v: m.sin(v) * w[i] + x[i], x).sum()


def branches(m, w, x, k):
    y = m.cond(m.sum(x) > 0, lambda v: m.sin(v) * w[0], lambda v: v * v, x)
    return m.sum(y) * m.switch(k, [lambda v: v, lambda v: 2 * v + w[1, 1], m.sin], m.sum(x))


def shared_branch(m, w, x, k):
    return m.cond(w[0, 0] > 0, lambda v: m.sum(m.sin(v)), lambda v: m.sum(v * w[1]) + w[2, 2], x)


def guarded(m, w, x, k):
    # each branch has an infinite derivative where the other is taken
    return m.cond(
        x[0] > 0,
        lambda v: m.sum(w[0]) * m.sqrt(v),
        lambda v: m.sqrt(-v) / m.sqrt(w[0, 0] ** 2),
        x[0],
    )


def loop_of_its_own_length(m, w, x, k):
    n = m.while_loop(lambda s: m.sum(s) < 50, lambda s: s * 1.5 + 1, m.stop_gradient(x * x))
    return m.sum(n * x)


def loops_in_loops(m, w, x, k):
    def outer(s):
        i, v = s
        return i + 1, m.while_loop(lambda u: u < 10 + i, lambda u: u * 2, v + 1)

    start = (0, 1 + m.stop_gradient(x[0] ** 2))
    return m.while_loop(lambda s: s[0] < k + 2, outer, start)[1] * x[1]


def loop_that_must_not_start(m, w, x, k):
    # where the other branch is taken this loop would never end: 0 * 2 stays below 5
    up = lambda v: m.while_loop(lambda s: s < 5, lambda s: s * 2, m.stop_gradient(v))
    y = m.where(x[0] > 0, x[0], 0.0)
    return m.cond(y > 0, up, lambda v: v * 1.0, y) * x[1]


def loop_that_must_not_start_again(m, w, x, k):
    # an example that is done has v = 0, from which the loop inside would never end
    def outer(s):
        i, v = s
        v = m.while_loop(lambda u: u < 4, lambda u: u * 2, v)
        return i + 1, m.where(i >= k, 0.0, v)

    start = (0, 1 + m.stop_gradient(x[0] ** 2))
    return m.while_loop(lambda s: s[1] > 0, outer, start)[0] * x[1]


def scan_in_a_branch(m, w, x, k):
    def some(v):
        def step(c, t):
            end = m.while_loop(lambda s: s < 4, lambda s: s + s, m.stop_gradient(t))
            return c * end + m.sin(t), c

        return m.scan(step, m.sum(v), v)[0]

    positive = m.where(m.sum(x) > 0, m.where(x > 0, x, 1.0), 0.0)
    return m.cond(m.sum(x) > 0, some, lambda v: m.sum(v * w[0] + x), positive)


def calls_in_a_branch(m, w, x, k):
    # which examples are here is handed on through a shared branch, a checkpoint and an own rule
    up = lambda v: m.while_loop(lambda s: s < 4, lambda s: s * 2, m.stop_gradient(v))
    kept = m.checkpoint(lambda v: up(v) * m.sin(v) * w[1, 1])

    @m.custom_vjp
    def own(v, u):
        return up(v) * u

    own.defvjp(lambda v, u: (up(v) * u, (v, u)), lambda res, g: (g * res[1] * 3, up(res[0]) * g))

    def some(v):
        y = m.cond(w[0, 0] < 9, lambda v: up(v) * v, lambda v: -v, v)
        return y + kept(v) * own(v, m.sum(w))

    y = m.where(x[0] > 0, x[0], 0.0)  # 0 would double for ever
    return m.cond(y > 0, some, lambda v: v * 1.0, y) * x[1]


def rematerialised(m, w, x, k):
    block = m.checkpoint(lambda h, t: m.tanh(m.matmul(w, h)) + m.sin(t))
    return m.sum(block(block(x, x * 2), x) ** 2)


def own_gradient(m, w, x, k):
    @m.custom_vjp
    def scaled(v, u):
        return m.sin(v) * u

    scaled.defvjp(  # not the true gradient: that the rule is used shows
        lambda v, u: (m.sin(v) * u, (v, u)), lambda res, g: (3 * g * res[1], m.sum(g * res[0]))
    )
    return m.sum(scaled(x, m.sum(w)) * scaled(w[0], x[0]))


def gradient_inside(m, w, x, k):
    energy = lambda v: m.sum(m.tanh(m.matmul(w, v)) ** 2)
    return m.fori_loop(0, 4, lambda i, v: v - 0.1 * m.grad(energy)(v), x).sum()


def positions(m, w, x, k):
    return w[k, 1] * x[k] + m.sum(m.take(x, m.stack([k, 2 - k])) * w[0, k])


def ordered(m, w, x, k):
    return m.sum(m.sort(x * w[0]) * m.cumulative_sum(x)) + m.max(m.softmax(x)) * w[1, 1]


def systems(m, w, x, k):
    a = w + 5 * m.eye(3, dtype="float64")
    return m.sum(m.solve(a, x) * m.solve(a + m.stack([x, x, x]), w[0])) + m.det(a * x[0])


def pushed(m, w, x, k):
    return m.sum(m.jvp(lambda v: m.tanh(m.matmul(w, v)), (x,), (x * x,))[1])


def mapped_inside(m, w, x, k):
    # rows of w, each with x; then x's elements, each with a column
    y = m.vmap(lambda row: m.sum(row * m.sin(x)))(w)
    z = m.vmap(lambda v, column: m.sum(v * column), (0, 1))(x, w)
    return m.sum(y * z)


PROGRAMS = [
    recurrent, carry_becomes_batched_late, counted, branches, shared_branch, guarded,
    loop_of_its_own_length, loops_in_loops, loop_that_must_not_start, loop_that_must_not_start_again, scan_in_a_branch, rematerialised,
    own_gradient, gradient_inside, calls_in_a_branch, positions, ordered, systems, pushed, mapped_inside,
]  # fmt: skip
# where jax has no answer: it waits for lanes that are not there, or its loop is for lanes one by one
ONE_BY_ONE = {
    loop_that_must_not_start, loop_that_must_not_start_again, scan_in_a_branch, loops_in_loops,
    calls_in_a_branch,
}  # fmt: skip


def everything(m, program):
    """Values and derivatives, batch of and by: one function of arrays."""

    def run(w, x, k):
        f = lambda w, x, k: program(m, w, x, k)
        axes = (None, 0, 0)
        batch = m.vmap(f, axes)
        each = m.vmap(m.grad(f, (0, 1)), axes)(w, x, k)
        total = m.grad(lambda w, x: m.sum(batch(w, x, k) ** 2), (0, 1))(w, x)
        return batch(w, x, k), *each, *total

    return run


def one_by_one(program):
    """The same by jax, an example at a time."""
    f = lambda w, x, k: program(JAX, w, x, k)
    grad = jax.jit(jax.value_and_grad(f, (0, 1)))
    ys, gs = zip(*[grad(W, x, k) for x, k in zip(X, KEEP)])
    ys, gw, gx = np.stack(ys), np.stack([g for g, _ in gs]), np.stack([g for _, g in gs])
    return ys, gw, gx, np.einsum("b,bij->ij", 2 * ys, gw), 2 * ys[:, None] * gx


@pytest.fixture(scope="module")
def wanted():
    kept = {}

    def get(program):
        if program not in kept:
            with jax.enable_x64(True):
                kept[program] = (
                    one_by_one(program) if program in ONE_BY_ONE
                    else jax.jit(everything(JAX, program))(W, X, KEEP)
                )  # fmt: skip
        return kept[program]

    return get


@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_values_and_gradients_agree_with_jax(program, engine, wanted):
    got = mg.jit(everything(MG, program), engine=engine)(W, X, KEEP)
    names = ("values", "each by w", "each by x", "total by w", "total by x")
    for name, g, w in zip(names, got, wanted(program), strict=True):
        np.testing.assert_allclose(g.numpy(), w, rtol=1e-9, atol=1e-9, err_msg=name)


def convolved(m, kernel, image):
    # [height, width, channels] of one example; a maximum over windows after it
    y = m.conv(image, kernel)
    return m.sum(m.tanh(m.pool(y)) ** 2)


def jax_conv(image, kernel):
    dims = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        image[None], kernel, (2, 1), [(1, 0), (1, 1)], dimension_numbers=dims, feature_group_count=2
    )[0]


def mg_conv(image, kernel):
    return mg.ops.convolution(
        image[None], kernel, strides=(2, 1), padding=((1, 0), (1, 1)), lhs_dilation=(1, 1),
        rhs_dilation=(1, 1), feature_groups=2,
    )[0]  # fmt: skip


def jax_pool(y):
    return jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (2, 2, 1), (2, 2, 1), "VALID")


def mg_pool(y):
    ones = (1, 1, 1)
    return mg.ops.reduce_window_max(
        y, window=(2, 2, 1), strides=(2, 2, 1), padding=((0, 0),) * 3, base_dilation=ones,
        window_dilation=ones,
    )  # fmt: skip


@pytest.mark.parametrize("axes", [(None, 0), (0, 0), (0, None)], ids=str)
@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
def test_gradients_of_a_convolution_per_sample(engine, axes):
    kernels = RNG.normal(size=(4, 3, 2, 2, 6))
    images = RNG.normal(size=(4, 7, 6, 4))
    args = [a if axis == 0 else a[0] for a, axis in zip((kernels, images), axes)]

    def both(m):
        f = lambda kernel, image: convolved(m, kernel, image)
        return m.vmap(m.grad(f, (0, 1)), axes)

    with jax.enable_x64(True):
        ns = SimpleNamespace(**vars(JAX), conv=jax_conv, pool=jax_pool)
        want = both(ns)(*args)
    ns = SimpleNamespace(**vars(MG), conv=mg_conv, pool=mg_pool)
    for g, w in zip(mg.jit(both(ns), engine=engine)(*args), want, strict=True):
        np.testing.assert_allclose(g.numpy(), w, rtol=1e-11, atol=1e-12)


def second_derivatives(m, w, x):
    """A jacobian and a hessian made by vmap, and the library's own under it."""
    f = lambda v: m.tanh(m.matmul(w, v)) * m.sum(v * v)
    loss = lambda v: m.sum(f(v) ** 2)
    by_rows = lambda v: m.vmap(m.vjp(f, v)[1])(m.eye(3, dtype="float64"))[0]
    by_columns = lambda v: m.vmap(lambda t: m.jvp(f, (v,), (t,))[1], out_axes=1)(
        m.eye(3, dtype="float64")
    )
    hessian = lambda v: m.vmap(lambda t: m.jvp(m.grad(loss), (v,), (t,))[1])(
        m.eye(3, dtype="float64")
    )
    each = [by_rows, by_columns, hessian, m.jacobian(f), m.hessian(loss)]
    return [m.vmap(g)(x) for g in each]


@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
def test_second_derivatives_agree_with_jax(engine):
    with jax.enable_x64(True):
        want = second_derivatives(JAX, W, X)
    got = mg.jit(lambda w, x: second_derivatives(MG, w, x), engine=engine)(W, X)
    for g, w in zip(got, want, strict=True):
        np.testing.assert_allclose(g.numpy(), w, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
def test_each_lane_has_random_numbers_of_its_own_key(engine):
    def draws(m):
        def one(key, x):
            a, b = m.split(key)
            return m.uniform(a, (2, 2)) * x, m.uniform(b, (3,))

        return lambda keys, x: m.vmap(one)(keys, x)

    keys = np.asarray(jax.random.split(jax.random.PRNGKey(3), 5))
    x = np.arange(5, dtype="float32")
    for g, w in zip(mg.jit(draws(MG), engine=engine)(keys, x), draws(JAX)(keys, x), strict=True):
        np.testing.assert_array_equal(g.numpy(), w)


def axes_everywhere(m, a, b, tree, named):
    inner = lambda x, y, t, *, scale: {
        "sum": x + y[0] * t["w"],
        "outer": x[:, None] * t["b"][0],
        "shared": t["b"][1] * 2 * scale[0],
    }
    once = m.vmap(
        lambda x, y, t: inner(x, y, t, scale=t["b"][1]),
        in_axes=(1, None, {"w": -1, "b": (0, None)}),
        out_axes={"sum": 1, "outer": -1, "shared": None},
    )
    keyword = m.vmap(lambda x, *, scale: x * scale[1], in_axes=2)
    deep = m.vmap(m.vmap(m.vmap(lambda u, v: m.sum(u * v), (0, None)), (None, 0), 1), (0, -1), -1)
    return once(a, b, tree), keyword(a, scale=named), deep(named, a)


@pytest.mark.parametrize("engine", ["numpy", "xla", "torch"])
def test_trees_axes_keywords_and_maps_in_maps_agree_with_jax(engine):
    a, b = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(5,))
    named = RNG.normal(size=(4, 2))
    tree = {"w": RNG.normal(size=(2, 4, 3)), "b": (RNG.normal(size=(3, 4)), RNG.normal(size=(4,)))}
    with jax.enable_x64(True):
        want = axes_everywhere(JAX, a, b, tree, named)
    got = mg.jit(lambda *xs: axes_everywhere(MG, *xs), engine=engine)(a, b, tree, named)
    leaves, structure = jax.tree.flatten(want)
    mine, other = jax.tree.flatten(got)
    assert structure == other
    for g, w in zip(mine, leaves, strict=True):
        np.testing.assert_allclose(g.numpy(), w, rtol=1e-12)

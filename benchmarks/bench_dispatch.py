"""What a call of `mg.jit` costs over jax.jit's own call, by what is handed in; results compared.

Calls alternate between the two, so that a busy machine weighs on both; the extra is the median of the
differences. Allowed: 5 us per call + 0.2 us per array in or out (for tensors).
"""

import statistics
from time import perf_counter

import jax
import monograph as mg
import numpy as np

CALLS = 600
HEAD = (
    f"{'call':<30}{'arrays':>7}{'mg.jit':>10}{'jax.jit':>10}{'extra':>9}{'least':>9}{'allowed':>9}"
)


def doubled(*xs):
    return tuple(x + x for x in xs)


def doubled_dict(xs):
    return {k: x + x for k, x in xs.items()}


def both_us(ours, theirs):
    """Interleaved times of two calls, in microseconds, as two lists."""
    times = ([], [])
    for _ in range(CALLS):
        for fn, out in zip((ours, theirs), times):
            start = perf_counter()
            fn()
            out.append((perf_counter() - start) * 1e6)
    return times


def measure(name, fn, mine, yours, allowed=True, **kwargs):
    f, g = mg.jit(fn, engine="xla"), jax.jit(fn)
    for a, b in zip(jax.tree.leaves(to_numpy(f(*mine))), jax.tree.leaves(g(*yours)), strict=True):
        np.testing.assert_array_equal(a, b)
    row(name, 2 * len(jax.tree.leaves(yours)), lambda: f(*mine), lambda: g(*yours), allowed)


def to_numpy(result):
    return mg.tree.map(lambda x: x.numpy(), result)


def row(name, arrays, ours, theirs, allowed):
    ours(), theirs()
    a, b = both_us(ours, theirs)
    extra = statistics.median(x - y for x, y in zip(a, b))
    limit = f"{5 + 0.2 * arrays:>9.1f}" if allowed else f"{'-':>9}"
    print(
        f"{name:<30}{arrays:>7}{statistics.median(a):>10.1f}{statistics.median(b):>10.1f}"
        f"{extra:>9.1f}{min(a) - min(b):>9.1f}{limit}"
    )


print(f"us per call, median of {CALLS}\n{HEAD}")
for n in (1, 20, 100, 500):
    xs = [np.full((4,), i, "float32") for i in range(n)]
    on_xla, on_jax = [mg.tensor(x, device="xla") for x in xs], [jax.device_put(x) for x in xs]
    measure("tensors", doubled, on_xla, on_jax)
    if n == 100:
        names = [f"layer{i:03}" for i in range(n)]
        measure(
            "a dict of tensors",
            doubled_dict,
            [dict(zip(names, on_xla))],
            [dict(zip(names, on_jax))],
        )
        measure("NumPy arrays (copied first)", doubled, xs, xs)
    if n == 1:
        measure("a NumPy array (copied first)", doubled, xs, xs)

x, y = mg.tensor(xs[1], device="xla"), jax.device_put(xs[1])
scale = lambda x, *, n: x * n  # noqa: E731
f, g = mg.jit(scale, engine="xla", static_argnames="n"), jax.jit(scale, static_argnames="n")
row("static argument", 2, lambda: f(x, n=3), lambda: g(y, n=3), True)
f, g = mg.jit(lambda x, y: x + y, engine="xla"), jax.jit(lambda x, y: x + y)
row("keyword argument", 3, lambda: f(x, y=x), lambda: g(y, y=y), True)
with mg.engine("xla"):
    f, g = mg.jit(doubled), jax.jit(doubled)
    row("engine from mg.engine", 2, lambda: f(x), lambda: g(y), True)
row("eager x + x, xla / jnp", 3, lambda: x + x, lambda: y + y, False)
h = mg.tensor(xs[1])
row("eager x + x, numpy / np", 3, lambda: h + h, lambda: xs[1] + xs[1], False)

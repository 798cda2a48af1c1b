"""What a call of `mg.jit` costs over jax.jit's own call, by what is handed in; results compared.

Calls alternate between the two, so that a busy machine weighs on both. The extra is the median of the
differences: of wall time, and of the calling thread's CPU time, which other processes disturb less.
Allowed: 5 us per call + 0.2 us per array in or out (for tensors).
"""

from time import perf_counter, thread_time

import jax
import monograph as mg
import numpy as np

CALLS = 600
COLUMNS = {"arrays": 7, "mg.jit": 9, "jax.jit": 9, "extra": 8, "CPU": 8, "least": 8, "allowed": 9}


def doubled(*xs):
    return tuple(x + x for x in xs)


def doubled_dict(xs):
    return {k: x + x for k, x in xs.items()}


def measure(name, fn, mine, yours, **options):
    """One row: ``fn`` under mg.jit on our arguments, and under jax.jit on jax's."""
    f, g = mg.jit(fn, engine="xla"), jax.jit(fn)
    ours = jax.tree.leaves(mg.tree.map(lambda x: x.numpy(), f(*mine)))
    for a, b in zip(ours, jax.tree.leaves(g(*yours)), strict=True):
        np.testing.assert_array_equal(a, b)
    row(name, 2 * len(ours), lambda: f(*mine), lambda: g(*yours), **options)


def times(ours, theirs, calls=CALLS):
    """Microseconds ``[ours or theirs, wall or CPU, call]``."""
    ours(), theirs()
    out = np.empty((2, 2, calls))
    for i in range(calls):
        for which, fn in enumerate((ours, theirs)):
            cpu, wall = thread_time(), perf_counter()
            fn()
            out[which, :, i] = perf_counter() - wall, thread_time() - cpu
    return out * 1e6


def row(name, arrays, ours, theirs, allowed=True):
    found = times(ours, theirs)
    mine, yours = np.median(found[:, 0], axis=1)
    extra, cpu = np.median(found[0] - found[1], axis=1)
    least = found[0, 0].min() - found[1, 0].min()
    limit = 5 + 0.2 * arrays if allowed else np.nan
    numbers = zip(COLUMNS.values(), (arrays, mine, yours, extra, cpu, least, limit))
    print(f"{name:<30}" + "".join(f"{x:>{w}.{int(w > 7)}f}" for w, x in numbers))


def state(n, work):
    """A call that updates n variables of a store, against jax.jit's with n donated leaves."""
    names = [f"w{i:03}" for i in range(n)]

    def step(scope):
        ws = [scope.parameter(name, (4,), float(i)) for i, name in enumerate(names)]
        gs = [mg.sin(w) * mg.sum(w) for w in ws] if work else ws
        for name, w in zip(names, mg.ops.sgd_update(mg.asarray(0.1), *ws, *gs, count=n)):
            scope.assign(name, w)
        return ws[0]

    def by_hand(ws):
        gs = [jax.numpy.sin(w) * w.sum() for w in ws] if work else ws
        return ws[0], [w - 0.1 * g for w, g in zip(ws, gs)]

    call, jitted = mg.Store().bind(step, "xla"), jax.jit(by_hand, donate_argnums=0)
    held = [jax.numpy.full(4, i, "float32") for i in range(n)]

    def theirs():
        nonlocal held
        out, held = jitted(held)
        return out.block_until_ready()

    for _ in range(3):
        np.testing.assert_allclose(call().numpy(), theirs(), rtol=1e-5)
    kind = "sin(w) * sum(w)" if work else "decayed"
    row(f"variables, {kind}", 2 * n, lambda: call().numpy(), theirs, allowed=False)


def main():
    print(
        f"{f'us per call, medians of {CALLS}':<30}"
        + "".join(f"{k:>{w}}" for k, w in COLUMNS.items())
    )
    for n in (1, 20, 100, 500):
        xs = [np.full((4,), i, "float32") for i in range(n)]
        on_xla, on_jax = [mg.tensor(x, device="xla") for x in xs], [jax.device_put(x) for x in xs]
        measure("tensors", doubled, on_xla, on_jax)
        if n in (1, 100):
            measure("NumPy arrays (copied first)", doubled, xs, xs, allowed=False)
        if n == 100:
            names = [f"layer{i:03}" for i in range(n)]
            mine, yours = dict(zip(names, on_xla)), dict(zip(names, on_jax))
            measure("a dict of tensors", doubled_dict, [mine], [yours])
    for n in (20, 100, 500):
        state(n, work=False)
        state(n, work=True)

    x, y = mg.tensor(xs[1], device="xla"), jax.device_put(xs[1])
    scale = lambda x, *, n: x * n  # noqa: E731
    f, g = mg.jit(scale, engine="xla", static_argnames="n"), jax.jit(scale, static_argnames="n")
    row("static argument", 2, lambda: f(x, n=3), lambda: g(y, n=3))
    f, g = mg.jit(lambda x, y: x + y, engine="xla"), jax.jit(lambda x, y: x + y)
    row("keyword argument", 3, lambda: f(x, y=x), lambda: g(y, y=y))
    with mg.engine("xla"):
        f, g = mg.jit(doubled), jax.jit(doubled)
        row("engine from mg.engine", 2, lambda: f(x), lambda: g(y))
    row("eager x + x, xla / jnp", 3, lambda: x + x, lambda: y + y, allowed=False)
    h = mg.tensor(xs[1])
    row("eager x + x, numpy / np", 3, lambda: h + h, lambda: xs[1] + xs[1], allowed=False)


if __name__ == "__main__":
    main()

"""What a call of `mg.jit` costs over the engine's own compiled call, by number of arrays."""

import statistics
import time

import jax
import monograph as mg
import numpy as np


def median_us(fn, args, repeats=300):
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        fn(*args)
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


print("arrays in + out    mg.jit us    jax.jit us    extra us    allowed us")
for n in (1, 20, 100, 500):
    xs = [np.full((4,), i, "float32") for i in range(n)]

    def many(*args):
        return tuple(x + x for x in args)

    ours, theirs = mg.jit(many, engine="xla"), jax.jit(many)
    a, b = [mg.tensor(x, device="xla") for x in xs], [jax.device_put(x) for x in xs]
    ours(*a), theirs(*b)
    rounds = [(median_us(ours, a), median_us(theirs, b)) for _ in range(5)]
    us, jx = (statistics.median(r[i] for r in rounds) for i in (0, 1))
    print(f"{2 * n:>15} {us:>12.1f} {jx:>13.1f} {us - jx:>11.1f} {5 + 0.2 * 2 * n:>13.1f}")

"""Depthwise convolution on XLA, forward and gradients, against jax.lax's own and torch's.

Interleaved; medians of the ratios to `jax.lax.conv_general_dilated`. Results are compared first.
"""

import statistics
import time

import jax
import jax.numpy as jnp
import monograph as mg
import numpy as np

ROUNDS = 15


def interleaved(fns):
    """Median milliseconds of the first, and each one's median ratio to it."""
    for fn in fns:
        fn()
    rounds = []
    for _ in range(ROUNDS):
        times = []
        for fn in fns:
            start = time.perf_counter()
            fn()
            times.append(time.perf_counter() - start)
        rounds.append(times)
    ratios = [statistics.median(r[i] / r[0] for r in rounds) for i in range(len(fns))]
    return statistics.median(r[0] for r in rounds) * 1e3, ratios


def part(what, conv, vjp):
    """The forward, or one gradient, of ``conv`` as a function of x, kernel and cotangent."""
    return {
        "forward": lambda x, w, g: conv(x, w),
        "input grad": lambda x, w, g: vjp(lambda v: conv(v, w), x)[1](g)[0],
        "kernel grad": lambda x, w, g: vjp(lambda v: conv(x, v), w)[1](g)[0],
    }[what]


print("batch, size, channels, kernel, stride   what         jax.lax ms   xla ratio   torch ratio")
for batch, size, channels, k, stride in (
    (8, 28, 64, 3, 1), (8, 28, 64, 3, 2), (4, 56, 32, 3, 1), (4, 14, 128, 5, 1), (2, 28, 64, 7, 1),
):  # fmt: skip
    rng = np.random.default_rng(0)
    edges = [((k - 1) // 2,) * 2] * 2
    x = rng.normal(size=(batch, size, size, channels)).astype("float32")
    w = rng.normal(size=(k, k, 1, channels)).astype("float32")

    def theirs(x, w, channels=channels, stride=stride, edges=edges):
        return jax.lax.conv_general_dilated(
            x, w, (stride, stride), edges, dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=channels,
        )  # fmt: skip

    def ours(x, w, channels=channels, stride=stride, edges=edges):
        return mg.conv(x, w, strides=stride, padding=edges, groups=channels)

    g = rng.normal(size=theirs(x, w).shape).astype("float32")
    for what in ("forward", "input grad", "kernel grad"):
        runs = [(jax.jit(part(what, theirs, jax.vjp)), [jnp.asarray(v) for v in (x, w, g)])]
        runs += [
            (mg.jit(part(what, ours, mg.vjp)).on(e), [mg.tensor(v, device=e) for v in (x, w, g)])
            for e in ("xla", "torch")
        ]
        outs = [np.asarray(fn(*args)) for fn, args in runs]
        for out in outs[1:]:
            np.testing.assert_allclose(out, outs[0], rtol=1e-3, atol=1e-3 * np.abs(outs[0]).max())
        ms, ratios = interleaved([lambda fn=fn, a=a: np.asarray(fn(*a)) for fn, a in runs])
        print(
            f"{batch, size, channels, k, stride!s:<38}"
            f"{what:<12}{ms:>11.2f}{ratios[1]:>12.3f}{ratios[2]:>14.3f}"
        )

"""Matrix products and convolutions in 16 bits against float32, forward and gradients.

    python benchmarks/bench_16bit.py [xla] [torch] [--case conv3x3] [--rounds 30]

The programs run interleaved; a ratio is the median over the rounds of 16 bits over float32 (below 1:
16 bits are faster). Results are compared first.
"""

import argparse
import statistics
import time

import monograph as mg
import numpy as np

DTYPES = ("float32", "bfloat16", "float16")


def conv(x, kernel, strides=1, groups=1):
    return mg.conv(x, kernel, strides=strides, padding="same", groups=groups)


# name -> function, shapes of its operands
CASES = {
    "matmul 512": (mg.matmul, (512, 512), (512, 512)),
    "matmul 1024": (mg.matmul, (1024, 1024), (1024, 1024)),
    "dense 64x1024x1024": (mg.matmul, (64, 1024), (1024, 1024)),
    "batched 8x256": (mg.matmul, (8, 256, 256), (8, 256, 256)),
    "conv3x3 32x32 32-64": (conv, (16, 32, 32, 32), (3, 3, 32, 64)),
    "conv3x3 16x16 128-128": (conv, (16, 16, 16, 128), (3, 3, 128, 128)),
    "conv3x3 64x64 3-32": (conv, (16, 64, 64, 3), (3, 3, 3, 32)),
    "conv3x3/2 32x32 64-128": (
        lambda x, k: conv(x, k, strides=2), (16, 32, 32, 64), (3, 3, 64, 128),
    ),
    "conv1x1 16x16 256-128": (conv, (16, 16, 16, 256), (1, 1, 256, 128)),
    "depthwise3x3 28x28 128": (
        lambda x, k: conv(x, k, groups=128), (16, 28, 28, 128), (3, 3, 1, 128),
    ),
}  # fmt: skip

PARTS = {
    "forward": lambda fn: lambda x, w, g: fn(x, w),
    "input grad": lambda fn: lambda x, w, g: mg.vjp(lambda v: fn(v, w), x)[1](g)[0],
    "kernel grad": lambda fn: lambda x, w, g: mg.vjp(lambda v: fn(x, v), w)[1](g)[0],
}


def interleaved(fns, rounds):
    """Median milliseconds of each, and each one's median ratio to the first."""
    times = []
    for _ in range(rounds):
        row = []
        for fn in fns:
            start = time.perf_counter()
            fn()
            row.append(time.perf_counter() - start)
        times.append(row)
    medians = [1e3 * statistics.median(column) for column in zip(*times)]
    return medians, [statistics.median(r[i] / r[0] for r in times) for i in range(len(fns))]


def measure(case, engine, part, rounds):
    fn, *shapes = CASES[case]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype("float32") for s in shapes]
    arrays.append(rng.normal(size=mg.jit(fn)(*arrays).shape).astype("float32"))
    run = mg.jit(PARTS[part](fn)).on(engine)
    sets = [[mg.tensor(a, dtype=d, device=engine) for a in arrays] for d in DTYPES]
    want, *others = [np.asarray(run(*xs)).astype("float64") for xs in sets]
    for d, got in zip(DTYPES[1:], others):  # operands are rounded, and their sums cancel
        off = np.abs(got - want).max() / np.abs(want).max() / mg.finfo(d).eps
        assert off < 4, f"{case} {engine} {part} {d}: off by {off:.1f} eps of the largest"
    return interleaved([lambda xs=xs: np.asarray(run(*xs)) for xs in sets], rounds)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("engines", nargs="*", default=["xla", "torch"])
    parser.add_argument("--case", default="")
    parser.add_argument("--rounds", type=int, default=30)
    a = parser.parse_args()
    print(f"{'case':<24}{'engine':<7}{'part':<13}{'float32 ms':>11}{'bfloat16':>10}{'float16':>10}")
    for case in (c for c in CASES if a.case in c):
        for engine in a.engines:
            for part in PARTS:
                (ms, *_), (_, bf16, f16) = measure(case, engine, part, a.rounds)
                print(
                    f"{case:<24}{engine:<7}{part:<13}{ms:>11.2f}{bf16:>10.2f}{f16:>10.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()

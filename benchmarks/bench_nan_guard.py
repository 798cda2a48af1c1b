"""What `nan_guard` costs a training step: with it over without it, median of the pairs' ratios.

Of wall time, and of the process's CPU time, which other processes disturb less.

A CNN (residual blocks with batch normalization, 32 x 32 pixels) and a transformer (causal, one token
to the next), both with Adam, trained by `Trainer.step` on one thread. Steps with and without the guard
alternate, each trainer on its own copy of the variables; these are compared at the end.

    OMP_NUM_THREADS=1 python benchmarks/bench_nan_guard.py [--engines xla torch] [--rounds 40]
"""

from __future__ import annotations

import argparse
import functools
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import monograph as mg
import monograph_layers as nn
import monograph_train as train
import numpy as np

LOSS = functools.partial(train.sparse_categorical_crossentropy, from_logits=True)


def cnn(scope: Any, x: Any, training: bool = False) -> Any:
    def conv(name: str, y: Any, channels: int, strides: int = 1) -> Any:
        s = scope / name
        y = nn.conv2d(s / "conv", y, channels, 3, strides=strides, padding="same", use_bias=False)
        return nn.batch_norm(s / "norm", y, training=training)

    x = mg.relu(conv("stem", x, 32))
    for i, channels in enumerate((32, 64, 128)):
        y = mg.relu(conv(f"{i}a", x, channels, strides=1 + (i > 0)))
        y = conv(f"{i}b", y, channels)
        x = mg.relu(y + (x if i == 0 else conv(f"{i}c", x, channels, strides=2)))
    return nn.dense(scope / "logits", nn.global_average_pooling2d(scope / "pool", x), 10)


def transformer(scope: Any, ids: Any, training: bool = False, width: int = 192) -> Any:
    x = nn.embedding(scope / "tokens", ids, 512, width)
    for i in range(4):
        s = scope / f"block{i}"
        y = nn.layer_norm(s / "norm1", x)
        x = x + nn.multi_head_attention(
            s / "attention", y, num_heads=4, key_dim=width // 4, use_causal_mask=True
        )
        y = nn.dense(s / "up", nn.layer_norm(s / "norm2", x), 4 * width, activation="gelu")
        x = x + nn.dense(s / "down", y, width)
    return nn.dense(scope / "logits", nn.layer_norm(scope / "norm", x), 512)


def batches(name: str, rng: Any) -> tuple[Any, Any]:
    if name == "cnn":
        return rng.normal(size=(32, 32, 32, 3)).astype("float32"), rng.integers(0, 10, 32)
    ids = rng.integers(0, 512, (8, 129))
    return ids[:, :-1], ids[:, 1:]


def timed(fn: Callable[[], Any]) -> np.ndarray:
    """Milliseconds until the step's loss is there: wall time, and the process's CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    fn()["loss"].item()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu]) * 1e3


def measure(engine: str, name: str, model: Callable, rounds: int) -> None:
    """One line: both trainers in turn, which of them is first changing from pair to pair."""
    x, y = batches(name, np.random.default_rng(0))
    trainers = [
        train.Trainer(model, LOSS, train.adam(1e-4), engine=engine, nan_guard=guard)
        for guard in (False, True)
    ]
    steps = [functools.partial(t.step, x, y) for t in trainers]
    times: list[list[np.ndarray]] = [[], []]
    for i in range(rounds + 3):
        for which in (0, 1) if i % 2 else (1, 0):
            times[which].append(timed(steps[which]))
    plain, guarded = (np.array(t[3:]) for t in times)  # [pair, wall or CPU]
    ratios = guarded / plain
    low, middle, high = np.percentile(ratios, (25, 50, 75), axis=0)
    a, b = (t.store.numpy() for t in trainers)
    apart = max(float(np.max(np.abs(a[p] - b[p]), initial=0)) for p in a)
    off, on = np.median(plain, axis=0), np.median(guarded, axis=0)
    print(
        f"{engine:<7}{name:<13}{sum(v.size for v in a.values()):>11,}{off[0]:>9.1f}{on[0]:>9.1f}"
        + "".join(f"{middle[k]:>9.3f}  ({low[k]:.3f} to {high[k]:.3f})" for k in (0, 1))
        + f"{apart:>9.1e}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", nargs="+", default=["xla", "torch"])
    parser.add_argument("--models", nargs="+", default=["cnn", "transformer"])
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    if "torch" in args.engines:
        import torch

        torch.set_num_threads(1)
    print(
        f"{'engine':<7}{'model':<13}{'variables':>11}{'off, ms':>9}{'on, ms':>9}"
        f"{'wall':>9}  {'(middle half)':<16}{'CPU':>9}  {'(middle half)':<16}{'apart':>9}"
    )
    for engine in args.engines:
        for name in args.models:
            measure(engine, name, {"cnn": cnn, "transformer": transformer}[name], args.rounds)

"""What the Trainer adds to the compiled step that it runs, in microseconds per step.

`Trainer.step` and one epoch of `Trainer.fit` (a logger, checkpoints after the epoch and no terminal)
against the bound step on the same batches, interleaved, medians of differences. Allowed: 20 us.

    python benchmarks/bench_trainer.py [--engines numpy xla torch] [--rounds 30]
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monograph_layers as nn
import monograph_train as train
import numpy as np

BATCHES, SIZE = 200, 32


def model(scope: Any, x: Any, training: bool = False) -> Any:
    return nn.dense(scope / "logits", nn.dense(scope / "hidden", x, 32, activation="relu"), 10)


def timed(fn: Callable[[], None]) -> float:
    """Microseconds per batch."""
    start = time.perf_counter()
    fn()
    return (time.perf_counter() - start) / BATCHES * 1e6


def measure(engine: str, rounds: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(BATCHES * SIZE, 16)).astype("float32")
    y = rng.integers(0, 10, len(x))
    data = train.Dataset.from_arrays(x, y).batch(SIZE)
    batches = list(data)
    loss = functools.partial(train.sparse_categorical_crossentropy, from_logits=True)
    trainer = train.Trainer(model, loss, train.adam(), [train.accuracy], engine=engine)
    bare = trainer._step  # the compiled step itself

    def compiled() -> None:
        for bx, by in batches:
            values, _ = bare(bx, by, None)
        values["loss"].item()

    def step() -> None:
        for bx, by in batches:
            values = trainer.step(bx, by)
        values["loss"].item()

    with tempfile.TemporaryDirectory() as folder:

        def fit() -> None:
            log = train.JSONLogger(Path(folder) / "log.jsonl")
            trainer.fit(data, 1, callbacks=[log], progress=False)

        for fn in (compiled, step, fit):
            fn()
        base, added = [], ([], [])  # type: tuple[list[float], tuple[list[float], list[float]]]
        for i in range(rounds):
            for fn, differences in zip((step, fit), added):
                pair = (compiled, fn) if i % 2 else (fn, compiled)  # neither always comes first
                took = dict(zip(pair, map(timed, pair)))
                differences.append(took[fn] - took[compiled])
                base.append(took[compiled])
    print(
        f"{engine:<7}" + "".join(f"{statistics.median(t):14.1f}" for t in (base, *added)),
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engines", nargs="+", default=["numpy", "xla", "torch"])
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    print(f"batches of {SIZE}, {BATCHES} an epoch; microseconds per batch")
    print(f"{'engine':<7}{'compiled step':>14}{'Trainer.step +':>14}{'Trainer.fit +':>14}")
    for name in args.engines:
        measure(name, args.rounds)

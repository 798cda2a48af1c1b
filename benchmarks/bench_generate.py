"""Tokens per second of GPT-2 (124M, random weights) on our engines beside transformers' own generate.

Greedy, one prompt of 32 tokens, one thread, cache on: transformers' default cache, which grows, and its
static one. Each round runs all of them in turn, and a ratio is of times in the same round; the median
counts. Compilation and the first call are left out; all must make the same tokens.
"""

import os
import statistics
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")

import monograph_zoo as zoo
import numpy as np
import torch
import transformers
from rich.console import Console
from rich.table import Table

LENGTH, NEW, ROUNDS = 32, 64, 5


def main(rounds=ROUNDS, new=NEW):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config()).eval()
    config = {**model.config.to_dict(), "architectures": ["GPT2LMHeadModel"]}
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    ids = np.random.default_rng(0).integers(0, 50_000, (1, LENGTH))

    def theirs(**options):
        def run():
            made = model.generate(
                torch.tensor(ids), max_new_tokens=new, min_new_tokens=new, do_sample=False,
                pad_token_id=0, **options,
            )  # fmt: skip
            return made.numpy()

        return run

    def ours(engine):  # its own store each: variables move to the engine that runs
        generator = zoo.Generator(zoo.huggingface.from_weights(config, weights), engine=engine)
        return lambda: generator(ids, new, stop=())

    runs = {
        "transformers": theirs(),
        "transformers, static cache": theirs(
            cache_implementation="static", disable_compile=True
        ),
        "xla": ours("xla"),
        "torch": ours("torch"),
    }  # fmt: skip
    first = {name: run() for name, run in runs.items()}
    for name, made in first.items():
        if not np.array_equal(made, first["transformers"]):
            sys.exit(f"{name} made other tokens")
    seconds = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    table = Table("", "tokens per second", "speed against transformers")
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(seconds["transformers"], times))
        table.add_row(name, f"{new / statistics.median(times):.1f}", f"{ratio:.2f}x")
    Console().print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

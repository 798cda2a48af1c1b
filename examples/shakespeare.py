"""A small Chinchilla learns to write Shakespeare, letter by letter, and shows what it writes.

Any text will do; the figures below are for Tiny Shakespeare (Karpathy 2015, 1.1 MB):

    python examples/shakespeare.py TEXT [--engine xla] [--steps 1500] [--sample 400]

It prints the loss in bits per letter on the last tenth of the text, which it does not learn from: 2.25 after
eleven minutes on two cores.
"""

import argparse
import math
import sys
from functools import partial
from pathlib import Path

import monograph_train as train
import monograph_zoo as zoo
import numpy as np
from monograph_train import schedules
from rich.console import Console

SIZE = dict(features=128, layers=4, heads=4, key_dim=32)
LENGTH, BATCH, EPOCHS = 128, 32, 5


def windows(ids, count, seed):
    """Pieces of the text [count, LENGTH], and the same moved on by one letter."""
    starts = np.random.default_rng(seed).integers(0, len(ids) - LENGTH - 1, count)
    rows = starts[:, None] + np.arange(LENGTH)
    return ids[rows], ids[rows + 1]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=Path, help="a file of plain text")
    parser.add_argument("--engine", default="xla")
    parser.add_argument("--steps", type=int, default=1500, help=f"of {BATCH} pieces each")
    parser.add_argument("--sample", type=int, default=400, help="letters to write at the end")
    parser.add_argument("--temperature", type=float, default=0.8)
    args = parser.parse_args(argv)
    console = Console()
    try:
        text = args.text.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as e:
        sys.exit(f"cannot read {args.text}: {e}")
    if len(text) < 20 * LENGTH:
        sys.exit(f"{args.text} has {len(text)} letters; give at least {20 * LENGTH}")
    letters = sorted(set(text))
    place = {c: i for i, c in enumerate(letters)}
    ids = np.array([place[c] for c in text], "int32")
    split = len(ids) * 9 // 10

    model = partial(zoo.chinchilla, vocabulary=len(letters), **SIZE)

    def loss(labels, logits):
        return train.sparse_categorical_crossentropy(labels, logits, from_logits=True)

    rate = schedules.warmup(
        schedules.cosine_decay(3e-3, args.steps), steps=max(1, min(100, args.steps // 10))
    )
    trainer = train.Trainer(
        model, loss, train.adamw(rate, weight_decay=0.01), seed=0, engine=args.engine
    )
    per_epoch = max(1, args.steps // EPOCHS)
    data = windows(ids[:split], per_epoch * BATCH, seed=1)
    held = windows(ids[split:], min(16, per_epoch) * BATCH, seed=2)
    console.print(
        f"{len(letters)} letters, {zoo.chinchilla_parameters(len(letters), **SIZE):,} parameters"
    )
    data = train.Dataset.from_arrays(*data).shuffle(seed=0).batch(BATCH)
    trainer.fit(data, epochs=EPOCHS, validation=held, progress=console)
    bits = trainer.evaluate(held)["loss"] / math.log(2)
    console.print(f"{bits:.3f} bits per letter on what it did not learn from")
    console.rule("it writes")
    made = zoo.generate(
        model, ids[split : split + 8][None], args.sample, store=trainer.store, engine=args.engine,
        temperature=args.temperature,
    )  # fmt: skip
    console.print("".join(letters[i] for i in made[0]), markup=False, highlight=False)
    return bits


if __name__ == "__main__":
    main()

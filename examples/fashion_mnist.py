"""A network of separable convolutions learns Fashion-MNIST on two engines: the same curve, 91 % and more.

The images are those of the Debian package `dataset-fashion-mnist` (Xiao et al. 2017, arXiv:1708.07747):
``apt install dataset-fashion-mnist``, or name the folder that holds the four .gz files:

    python examples/fashion_mnist.py [FOLDER] [--engines xla torch] [--epochs 5] [--policy mixed_bfloat16]
"""

import argparse
import gzip
import sys
from functools import partial
from pathlib import Path

import monograph as mg
import monograph_dtypes as dtypes
import monograph_layers as nn
import monograph_train as train
import numpy as np
from monograph_train.schedules import cosine_decay, warmup
from rich.console import Console
from rich.table import Table

FOLDER = Path("/usr/share/datasets/fashion-mnist")
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def model(scope, images, training=False):
    """Logits [batch, 10] of images [batch, 28, 28, 1]: a stem, then two pairs of separable convolutions.

    Smooth all through: where relu and maxima switch, two engines' roundings grow fifty times as fast.
    """

    def norm(name, x):
        return nn.batch_norm(scope / name, x, training=training)

    x = nn.conv2d(scope / "stem", images, 32, 3, padding="same", use_bias=False)
    x = nn.average_pooling2d(scope, mg.silu(norm("stem_norm", x)))
    for i, channels in enumerate((64, 128)):
        for j in range(2):
            part = nn.separable_conv2d(
                scope / f"block{i}/conv{j}", x, channels, 3, padding="same", use_bias=False
            )
            part = norm(f"block{i}/norm{j}", part)
            x = mg.silu(part + x if j else part)
        if i == 0:
            x = nn.average_pooling2d(scope, x)
    x = nn.global_average_pooling2d(scope, x)
    return nn.dense(scope / "logits", x, 10)


def read(folder, kind):
    """Images [n, 28, 28, 1], of mean 0 and deviation 1 over the training set, and labels [n]."""

    def numbers(what):
        data = gzip.decompress((folder / f"{kind}-{what}-ubyte.gz").read_bytes())
        shape = np.frombuffer(data, ">i4", data[3], 4)  # the idx format: axes, then bytes
        return np.frombuffer(data, "u1", offset=4 + 4 * data[3]).reshape(shape)

    images = (numbers("images-idx3")[..., None] / 255 - 0.2860) / 0.3530
    return images.astype("float32"), numbers("labels-idx1").astype("int32")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument("--engines", nargs="+", default=["xla", "torch"])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rate", type=float, default=0.006, help="the highest learning rate")
    parser.add_argument("--policy", default="float32", choices=POLICIES)
    parser.add_argument("--plot", type=Path, help="draw the curves to this file")
    args = parser.parse_args()
    if not (args.folder / "train-images-idx3-ubyte.gz").exists():
        sys.exit(f"no images in {args.folder}: apt install dataset-fashion-mnist, or name a folder")
    (x, y), test = read(args.folder, "train"), read(args.folder, "t10k")
    data = train.Dataset.from_arrays(x, y).shuffle(seed=0).batch(args.batch_size, True).prefetch()
    steps = args.epochs * len(data)
    console, curves = Console(), {}
    for engine in args.engines:
        console.rule(engine)
        trainer = train.Trainer(
            model,
            partial(train.sparse_categorical_crossentropy, from_logits=True),
            train.adam(warmup(cosine_decay(args.rate, steps), steps // 10)),
            [train.accuracy],
            engine=engine,
            policy=dtypes.policy(args.policy),
            loss_scale=dtypes.DynamicLossScale() if args.policy == "mixed_float16" else None,
            average=0.99,
        )
        history = trainer.fit(data, args.epochs, validation=test, progress=console)
        curves[engine] = [e.metrics["val_accuracy"] for e in history]
        if args.plot:
            train.plot(history, args.plot.with_stem(f"{args.plot.stem}-{engine}"))
    table = Table("engine", *[f"epoch {i + 1}" for i in range(args.epochs)])
    for engine, curve in curves.items():
        table.add_row(engine, *[f"{v:.2%}" for v in curve])
    first, last = curves[args.engines[0]], curves[args.engines[-1]]
    table.add_row("difference", *[f"{abs(a - b) * 100:.2f} pt" for a, b in zip(first, last)])
    console.print(table)


if __name__ == "__main__":
    main()

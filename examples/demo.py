"""One model, two engines, one process: train on scikit-learn's digits and compare.

Run it with ``nox -s demo``, or ``python examples/demo.py`` where the packages are installed.
"""

import tempfile
import time
from functools import partial
from pathlib import Path

import monograph as mg
import monograph_layers as nn
import monograph_train as train
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def model(scope, images, training=False):
    """A small convolutional classifier of images [batch, 8, 8, 1]."""
    x = mg.relu(nn.conv2d(scope / "stem", images, 32, 3, padding="same"))
    x = nn.batch_norm(scope / "stem_norm", x, training=training, momentum=0.9)
    x = mg.max_pool(mg.relu(nn.conv2d(scope / "body", x, 64, 3, padding="same")), 2)
    x = nn.dropout(scope / "drop", mg.reshape(x, (x.shape[0], -1)), 0.3, training=training)
    return nn.dense(scope / "logits", x, 10)


def trainer(engine, store=None):
    loss = partial(train.sparse_categorical_crossentropy, from_logits=True)
    adam = train.adam(train.schedules.cosine_decay(4e-3, decay_steps=15 * 45))
    return train.Trainer(model, loss, adam, [train.accuracy], store=store, seed=7, engine=engine)


console = Console()
digits = load_digits()
images = (digits.images[..., None] / 16).astype("float32")
train_x, test_x, train_y, test_y = train_test_split(
    images, digits.target, test_size=0.2, random_state=0
)
rows, parameters, trained = [], [], []
for engine in ("xla", "torch"):
    console.rule(engine)
    t = trainer(engine)
    times = [time.perf_counter()]
    for i in range(0, 640, 64):  # ten identical steps on each engine; the first one compiles
        t.step(train_x[i : i + 64], train_y[i : i + 64])["loss"].item()
        times.append(time.perf_counter())
    parameters.append({path: t.store[path].numpy() for path in t.store.trainable})
    t.fit((train_x, train_y), epochs=15, validation=(test_x, test_y), progress=console)
    score = t.evaluate((test_x, test_y))["accuracy"]
    rows.append((engine, times[1] - times[0], np.median(np.diff(times[1:])) * 1e3, score))
    trained.append(t)

apart = max(np.abs(x - parameters[1][path]).max() for path, x in parameters[0].items())
table = Table("engine", "compile s", "step ms", "test accuracy", "apart after 10 steps")
for engine, compile_s, step_ms, score in rows:
    table.add_row(engine, f"{compile_s:.2f}", f"{step_ms:.2f}", f"{score:.2%}", f"{apart:.1e}")
console.print(table)

with tempfile.TemporaryDirectory() as folder:  # save on one engine, load on the other
    path = Path(folder) / "digits.safetensors"
    train.save_checkpoint(trained[0].store, path)
    logits = trained[0].predict(test_x)
    other = trainer("torch", train.load_checkpoint(path).store).predict(test_x)
agree = np.abs(logits - other).max()
console.print(f"saved on xla, loaded on torch: logits differ by at most {agree:.1e}")
figure = Figure(figsize=(8, 4.6))
figure.suptitle("Predictions (red: wrong)")
for i, (image, guess, truth) in enumerate(zip(test_x[:32], logits.argmax(-1), test_y)):
    ax = figure.add_subplot(4, 8, i + 1)
    ax.imshow(image[..., 0], cmap="gray_r")
    ax.set_title(str(guess), color="green" if guess == truth else "red")
    ax.axis("off")
figure.savefig("digits.png", dpi=120)
console.print("predictions drawn to digits.png")

assert (logits.argmax(-1) == other.argmax(-1)).all(), "the engines predict differently"
assert agree < 1e-3, "the loaded model gives other logits"
assert min(score for *_, score in rows) >= 0.98, "an engine stayed below 98% accuracy"

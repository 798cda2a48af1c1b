"""One model, two engines, one process: train on scikit-learn's digits and compare.

Run it with ``nox -s demo``, or ``python examples/demo.py`` where the packages are installed.
"""

import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import monograph as mg
import monograph_layers as nn
import numpy as np
from monograph_train import (
    Trainer,
    accuracy,
    adam,
    load_store,
    save_store,
    sparse_categorical_crossentropy as loss,
)
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

ENGINES = ("xla", "torch")


def model(scope, images, training=False):
    """A small convolutional classifier of images [batch, 8, 8, 1]."""
    x = mg.relu(nn.conv2d(scope / "stem", images, 32, 3))
    x = nn.batch_norm(scope / "stem_norm", x, training=training, momentum=0.9)
    x = mg.max_pool(mg.relu(nn.conv2d(scope / "body", x, 64, 3)), 2)
    x = nn.dropout(scope / "drop", mg.reshape(x, (x.shape[0], -1)), 0.3, training=training)
    return nn.dense(scope / "logits", x, 10)


def trainer(engine, store=None):
    return Trainer(model, loss, adam(1e-3), [accuracy], store=store, seed=7, engine=engine)


console = Console()
data = load_digits()
images = (data.images[..., None] / 16).astype("float32")
train_x, test_x, train_y, test_y = train_test_split(
    images, data.target, test_size=0.2, random_state=0
)

rows, parameters, trained = {}, {}, {}
for engine in ENGINES:
    console.rule(engine)
    t = trainer(engine)
    start = time.perf_counter()
    t.step(train_x[:64], train_y[:64])["loss"].item()
    compile_s, start = time.perf_counter() - start, time.perf_counter()
    for i in range(1, 10):  # with the first: ten identical steps on each engine
        t.step(train_x[64 * i : 64 * i + 64], train_y[64 * i : 64 * i + 64])["loss"].item()
    step_ms = (time.perf_counter() - start) / 9 * 1e3
    parameters[engine] = {p: t.store[p].numpy() for p in t.store.trainable}
    t.fit(train_x, train_y, epochs=15, batch_size=64, validation=(test_x, test_y), console=console)
    trained[engine] = t
    rows[engine] = (compile_s, step_ms, t.evaluate(test_x, test_y)["accuracy"])

first, second = (parameters[e] for e in ENGINES)
apart = max(float(np.abs(first[p] - second[p]).max()) for p in first)
table = Table(
    "engine", "compile s", "step ms", "test accuracy", "largest difference after 10 steps"
)
for engine, (compile_s, step_ms, score) in rows.items():
    table.add_row(engine, f"{compile_s:.2f}", f"{step_ms:.2f}", f"{score:.2%}", f"{apart:.1e}")
console.print(table)

with tempfile.TemporaryDirectory() as folder:  # save on one engine, load on the other
    path = Path(folder) / "digits.safetensors"
    save_store(trained["xla"].store, path)
    logits = trained["xla"].predict(test_x).numpy()
    other = trainer("torch", load_store(path)).predict(test_x).numpy()
agree = np.abs(logits - other).max()
console.print(f"saved on xla, loaded on torch: logits differ by at most {agree:.1e}")

figure, axes = plt.subplots(4, 8, figsize=(8, 4.6))
for ax, image, guess, truth in zip(axes.flat, test_x, logits.argmax(-1), test_y):
    ax.imshow(image[..., 0], cmap="gray_r")
    ax.set_title(str(guess), color="green" if guess == truth else "red")
    ax.axis("off")
figure.suptitle("Predictions (red: wrong)")
figure.savefig("digits.png", dpi=120)
console.print("predictions drawn to digits.png")

assert (logits.argmax(-1) == other.argmax(-1)).all(), "the engines predict differently"
assert agree < 1e-3, "the loaded model gives other logits"
assert min(score for *_, score in rows.values()) >= 0.98, "an engine stayed below 98% accuracy"

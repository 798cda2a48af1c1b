"""Start of a process to its first training step of ResNet50: Monograph on XLA against Keras 3 on JAX.

Batch 8 of 224 x 224, forward, backward and SGD, float32. Each run is a process of its own, Monograph's and
Keras's in turns: cold, with an empty cache folder, and second, with the folder that the cold one left. Keras has
jax's persistent cache switched on, for every compilation. Time counts from before the interpreter starts until
the loss is a number. ``python bench_startup.py [rounds]``
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time

DATA = """
import json, os, sys, time
import numpy as np
x = np.random.default_rng(0).normal(size=(8, 224, 224, 3)).astype("float32")
y = np.random.default_rng(1).integers(0, 1000, 8).astype("int32")
"""

CODE = {
    "Monograph": """
import functools
from monograph_train import Trainer, sgd, sparse_categorical_crossentropy
from monograph_zoo import resnet50
loss = functools.partial(sparse_categorical_crossentropy, from_logits=True)
trainer = Trainer(resnet50, loss, sgd(0.01), engine="xla")
def step():
    return trainer.step(x, y)["loss"].item()
""",
    "Keras": """
import jax
jax.config.update("jax_compilation_cache_dir", os.environ["MONOGRAPH_CACHE"])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
import keras
keras.utils.set_random_seed(0)
model = keras.applications.ResNet50(weights=None, classifier_activation=None)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(keras.optimizers.SGD(0.01), loss)
def step():
    return float(model.train_on_batch(x, y))
""",
}

END = """
first = step()
ended = time.time()
step()
print(json.dumps({"loss": first, "ended": ended, "step": time.time() - ended}))
"""


def run(name, folder, bytecode):
    """Seconds to the first step's loss, that loss, and the seconds of another step."""
    env = {**os.environ, "KERAS_BACKEND": "jax", "MONOGRAPH_CACHE": folder}
    # an installed package has its bytecode compiled; a checkout may not be allowed to keep it
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    env["PYTHONPYCACHEPREFIX"] = bytecode
    started = time.time()
    done = subprocess.run(
        [sys.executable, "-c", DATA + CODE[name] + END], env=env, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    return found["ended"] - started, found["loss"], found["step"]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as bytecode, tempfile.TemporaryDirectory() as folder:
        for name in CODE:
            run(name, folder, bytecode)
        report([measured(bytecode, i) for i in range(rounds)])


def measured(bytecode, i):
    """Both, cold and second; which is first changes from round to round."""
    row = {}
    for name in list(CODE)[:: 1 if i % 2 else -1]:
        with tempfile.TemporaryDirectory() as folder:
            for when in ("cold", "second"):
                row[name, when] = run(name, folder, bytecode)
    assert all(math.isfinite(v[1]) and 6 < v[1] < 9 for v in row.values()), row
    for name in CODE:
        assert math.isclose(row[name, "cold"][1], row[name, "second"][1], rel_tol=1e-6), row
    print({k: round(v[0], 2) for k, v in row.items()}, flush=True)
    return row


def report(rows):
    for when in ("cold", "second"):
        for name in CODE:
            seconds, losses, steps = zip(*[r[name, when] for r in rows])
            print(
                f"{when:<7}{name:<10}{statistics.median(seconds):7.2f} s, without the step "
                f"{statistics.median([a - b for a, b in zip(seconds, steps)]):.2f} s, loss {losses[0]:.4f}"
            )
        pairs = [(r["Monograph", when], r["Keras", when]) for r in rows]
        whole = statistics.median(a[0] / b[0] for a, b in pairs)
        without = statistics.median((a[0] - a[2]) / (b[0] - b[2]) for a, b in pairs)
        print(f"{when:<7}ratio     {whole:7.2f}, without the step {without:.2f}")


if __name__ == "__main__":
    main()

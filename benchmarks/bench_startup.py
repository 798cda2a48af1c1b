"""Start of a process to its first training step of ResNet50: Monograph on XLA and on torch against Keras 3 on JAX.

Batch 8 of 224 x 224, forward, backward and SGD, float32. Each run is a process of its own, all in turns:
cold, with an empty cache folder, and second, with the folder that the cold one left. Keras has jax's persistent
cache switched on, for every compilation. Time counts from before the interpreter starts until
the loss is a number; processor seconds are less at the mercy of what else the machine does.
``python bench_startup.py [rounds]``
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

OURS = """
import functools
from monograph_train import Trainer, sgd, sparse_categorical_crossentropy
from monograph_zoo import resnet50
loss = functools.partial(sparse_categorical_crossentropy, from_logits=True)
trainer = Trainer(resnet50, loss, sgd(0.01), engine="{}")
def step():
    return trainer.step(x, y)["loss"].item()
"""

CODE = {
    "xla": OURS.format("xla"),
    "torch": OURS.format("torch"),
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
ended, cpu = time.time(), time.process_time()
step()
found = {"loss": first, "ended": ended, "cpu": cpu}
print(json.dumps({**found, "step": time.time() - ended, "step_cpu": time.process_time() - cpu}))
"""


def run(name, folder, bytecode):
    """A process' first loss; seconds and processor seconds to it, and of another step."""
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
    return {**found, "wall": found["ended"] - started}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as bytecode, tempfile.TemporaryDirectory() as folder:
        for name in CODE:
            run(name, folder, bytecode)
        report([measured(bytecode, i) for i in range(rounds)])


def measured(bytecode, i):
    """Each, cold and second; which is first changes from round to round."""
    row = {}
    for name in list(CODE)[:: 1 if i % 2 else -1]:
        with tempfile.TemporaryDirectory() as folder:
            for when in ("cold", "second"):
                row[name, when] = run(name, folder, bytecode)
    assert all(math.isfinite(v["loss"]) and 6 < v["loss"] < 9 for v in row.values()), row
    for name in CODE:
        cold, second = row[name, "cold"]["loss"], row[name, "second"]["loss"]
        assert cold == second if name != "Keras" else math.isclose(cold, second, rel_tol=1e-5)
    print({k: round(v["wall"], 2) for k, v in row.items()}, flush=True)
    return row


MEASURES = {
    "seconds to the loss": lambda v: v["wall"],
    "without a step's": lambda v: v["wall"] - v["step"],
    "processor seconds": lambda v: v["cpu"],
    "without a step's ": lambda v: v["cpu"] - v["step_cpu"],
}


def report(rows):
    ours = [name for name in CODE if name != "Keras"]
    print(f"{'':<28}" + "".join(f"{n:>10}{'ratio':>8}" for n in ours) + f"{'Keras':>10}")
    for when in ("cold", "second"):
        for title, measure in MEASURES.items():
            found = [{name: measure(r[name, when]) for name in CODE} for r in rows]
            line = f"{when:<8}{title:<20}"
            for name in ours:
                ratio = statistics.median(r[name] / r["Keras"] for r in found)
                line += f"{statistics.median(r[name] for r in found):>10.2f}{ratio:>8.2f}"
            print(line + f"{statistics.median(r['Keras'] for r in found):>10.2f}")
    print("losses", {k: v["loss"] for k, v in rows[0].items()})


if __name__ == "__main__":
    main()

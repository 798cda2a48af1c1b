"""Training that is killed at any moment ends where it would have ended, to the bit.

Run as a script, this file forks children that train, and kills them; the test runs that script, so
that nothing is forked out of pytest's process with its engines' threads.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph_train import (
    Checkpoints,
    Dataset,
    Trainer,
    adam,
    load_checkpoint,
    mean_squared_error,
)

KILLS, EPOCHS, ROWS, WIDTH = 50, 3, 40, 700


def model(scope, x, training):
    h = mg.tanh(x @ scope.parameter("in/w", (8, WIDTH), 0.1))
    w = scope.parameter("mid/w", (WIDTH, WIDTH), lambda k, s, d: mg.random.normal(k, s, d) * 0.05)
    h = mg.tanh(h @ w)
    if training:  # dropout
        h = mg.where(mg.random.uniform(scope.key(), h.shape) < 0.8, h / 0.8, 0.0)
    return h @ scope.parameter("out/w", (WIDTH, 1), 0.01)


class Telling(Checkpoints):
    """Says through a pipe that it begins to save."""

    def __init__(self, folder, pipe):
        super().__init__(folder)
        self.pipe = pipe

    def save(self, *args, **kwargs):
        os.write(self.pipe, b".")
        return super().save(*args, **kwargs)


def train(folder, pipe):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 8)).astype("float32")
    data = Dataset.from_arrays(x, x[:, :1] * 2).shuffle(seed=3).batch(4)
    trainer = Trainer(model, mean_squared_error, adam(1e-3), seed=7, engine="numpy")
    trainer.fit(data, EPOCHS, checkpoints=Telling(folder, pipe), checkpoint_every=1, progress=False)


def child(folder):
    """Fork one that trains; its process id and a pipe with a byte per save."""
    out, into = os.pipe()
    pid = os.fork()
    if pid:
        os.close(into)
        return pid, out
    status = 1
    try:
        os.close(out)
        train(folder, into)
        status = 0
    except BaseException as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def killed_once(folder, rng):
    """Train until done or killed at a random moment; True when killed."""
    pid, pipe = child(folder)
    saves = rng.choice([0, 1, 2, 4])
    for _ in range(saves):
        os.read(pipe, 1)  # a save begins, or training has ended
    # before any: while it starts, restores or compiles; else during the save or a step after it
    time.sleep(rng.uniform(0, 0.03 if saves else 0.3))
    os.kill(pid, signal.SIGKILL)
    os.close(pipe)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.WEXITSTATUS(status) == 0, "training failed"
    return False


def end_of(folder):
    """All that must agree: every variable's bits, the step, the metrics of every epoch."""
    last = Checkpoints(folder).latest()
    bits = {path: a.tobytes().hex() for path, a in last.store.numpy().items()}
    return bits, last.step, [metrics for _, _, metrics in last.meta["run"]["history"]]


def main(folder):
    rng, kills, inside, chains = random.Random(0), 0, 0, 0
    pid, pipe = child(folder / "whole")
    assert os.waitpid(pid, 0)[1] == 0
    os.close(pipe)
    want = end_of(folder / "whole")
    while kills < KILLS:
        chain = folder / f"chain{chains}"
        while killed_once(chain, rng):
            kills += 1
            assert kills < 40 * KILLS, "training gets nowhere between kills"
            inside += any(chain.glob(".*.tmp"))
            for path in chain.glob("step-*"):
                load_checkpoint(path)
        assert end_of(chain) == want, f"{chain} ended elsewhere after {kills} kills"
        assert not any(chain.glob(".*.tmp"))
        chains += 1
    print(json.dumps({"kills": kills, "inside": inside, "chains": chains, "step": want[1]}))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_killed_training_ends_as_if_it_had_never_stopped(tmp_path):
    one_thread = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # sums in one order; safe to fork
    ran = subprocess.run(
        [sys.executable, __file__, tmp_path], capture_output=True, text=True, env=one_thread
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["kills"] >= KILLS and told["step"] == EPOCHS * ROWS // 4
    assert told["inside"] >= 1, "no kill hit a save: make the weights bigger"


def test_a_trainer_that_has_predicted_goes_on_from_a_checkpoint(tmp_path):
    def line(scope, x):
        return x * scope.parameter("slope", (), 0.0)

    x = np.linspace(0, 1, 16, dtype="float32")
    make = lambda: Trainer(line, mean_squared_error, adam(0.1), engine="numpy")
    make().fit((x, 2 * x), 2, checkpoints=tmp_path, progress=False)
    whole, again = make(), make()
    whole.fit((x, 2 * x), 4, progress=False)
    again.predict(x)  # makes the model's variables, not the optimizer's
    again.fit((x, 2 * x), 4, checkpoints=tmp_path, progress=False)
    assert again.store["slope"].item() == whole.store["slope"].item()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

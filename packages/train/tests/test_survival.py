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
    Callback,
    Checkpoints,
    Dataset,
    Trainer,
    adam,
    load_checkpoint,
    mean_squared_error,
)

KILLS, EPOCHS, ROWS, WIDTH = 50, 3, 40, 400


def model(scope, x, training):
    h = mg.tanh(x @ scope.parameter("in/w", (8, WIDTH), 0.1))
    w = scope.parameter("mid/w", (WIDTH, WIDTH), lambda k, s, d: mg.random.normal(k, s, d) * 0.05)
    h = mg.tanh(h @ w)
    if training:  # dropout
        h = mg.where(mg.random.uniform(scope.key(), h.shape) < 0.8, h / 0.8, 0.0)
    return h @ scope.parameter("out/w", (WIDTH, 1), 0.01)


class Tell(Callback):
    """Says through a pipe that a step is done."""

    def __init__(self, pipe):
        self.pipe = pipe

    def on_step_end(self, run):
        os.write(self.pipe, b".")


def train(folder, callbacks=()):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(ROWS, 8)).astype("float32")
    data = Dataset.from_arrays(x, x[:, :1] * 2).shuffle(seed=3).batch(4)
    trainer = Trainer(model, mean_squared_error, adam(1e-3), seed=7, engine="numpy")
    trainer.fit(
        data, EPOCHS, checkpoints=folder, checkpoint_every=2, callbacks=callbacks, progress=False
    )


def child(folder):
    """Fork one that trains; its process id and a pipe with a byte per step."""
    out, into = os.pipe()
    pid = os.fork()
    if pid:
        os.close(into)
        return pid, out
    status = 1
    try:
        os.close(out)
        train(folder, [Tell(into)])
        status = 0
    except BaseException as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr, flush=True)
    finally:
        os._exit(status)


def killed_once(folder, rng):
    """Train until done or killed at a random moment; True when killed."""
    pid, pipe = child(folder)
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, 0.2))  # while it starts, restores or compiles
    else:
        os.read(pipe, 1)  # the first step is done, or it has ended
        time.sleep(rng.uniform(0, 0.15))
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
    seconds = time.monotonic() - started
    print(
        json.dumps(dict(kills=kills, inside=inside, chains=chains, seconds=seconds, step=want[1]))
    )


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


if __name__ == "__main__":
    main(Path(sys.argv[1]))

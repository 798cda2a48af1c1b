"""A process that builds programs and runs their steps when told: JSON lines in, JSON lines out.

``python -m benchmarks.table.worker`` serves; `pipes.Worker` is the other end.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import traceback
from typing import Any

import numpy as np

from .cases import Program
from .competitors import Competitor

LOSSES = 3  # steps of training whose losses are compared
programs: dict[str, tuple[Program, str]] = {}


def read_weights(path: str) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def weights(name: str, mode: str, path: str) -> dict[str, Any]:
    """Make the first weights and keep them in a file for all competitors."""
    from . import ours

    np.savez(path, **ours.weights(name, mode))
    return {}


def build(
    key: str, competitor: dict[str, Any], name: str, mode: str, weights: str
) -> dict[str, Any]:
    """Make a program and take its first steps: ``{"missing": True}``, or results and seconds."""
    make = Competitor(**competitor).builder(name, mode)
    if make is None:
        return {"missing": True}
    started = time.perf_counter()
    program = make(read_weights(weights))
    built = time.perf_counter()
    results = [program.read(program.step())]
    compiled = time.perf_counter()
    if mode == "training":
        results += [program.read(program.step()) for _ in range(LOSSES - 1)]
    programs[key] = program, mode
    numbers = np.asarray(results, "float64").ravel().tolist()
    return {"result": numbers, "build_s": built - started, "compile_s": compiled - built}


def turn(key: str, steps: int) -> dict[str, Any]:
    """Seconds of ``steps`` steps. Each result of inference is waited for, of training the last loss."""
    program, mode = programs[key]
    step, read = program
    start = time.perf_counter()
    if mode == "inference":
        for _ in range(steps):
            read(step())
    else:
        for _ in range(steps):
            last = step()
        read(last)
    return {"seconds": time.perf_counter() - start}


def forget() -> dict[str, Any]:
    """Drop all programs."""
    programs.clear()
    gc.collect()
    return {}


def dispatch(arrays: int) -> dict[str, list[float]]:
    """Microseconds per call of what doubles small arrays: on our engines, by jax.jit, by PyTorch."""
    import jax
    import monograph as mg
    import torch

    from ..bench_dispatch import doubled, times

    xs = [np.full((4,), i, "float32") for i in range(arrays)]
    theirs = {
        "ours-xla": ("jax", jax.jit(doubled), [jax.device_put(x) for x in xs]),
        "ours-torch": ("torch", doubled, [torch.tensor(x) for x in xs]),
    }
    out = {}
    for key, (rival, call, held) in theirs.items():
        engine = key.removeprefix("ours-")
        f, mine = mg.jit(doubled, engine=engine), [mg.tensor(x, device=engine) for x in xs]
        us = times(lambda f=f, mine=mine: f(*mine), lambda call=call, held=held: call(*held))
        out[key], out[rival] = us[0, 0].tolist(), us[1, 0].tolist()
    return out


ORDERS = {f.__name__: f for f in (weights, build, turn, forget, dispatch)}


def main() -> None:
    """Obey until the other end closes the pipe."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print must not look like an answer
    for line in sys.stdin:
        order = json.loads(line)
        try:
            answer = ORDERS[order.pop("do")](**order)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()

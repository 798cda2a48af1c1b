"""Time and memory to import BERT-base, 438 MB of weights, beside transformers' own from_pretrained.

Each in a process of its own, with the libraries imported before the clock starts and the file in the
system's cache. Memory is what the process's peak rose by, as a multiple of the weights' size; pages of
a mapped file count. Both map the file, so that weights come in when they are looked at: "and read" sums
each of them. "and run" goes on to the first result of 8 tokens, compilation included.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 3
IDS = [[101, 7592, 2088, 999, 2003, 2023, 4248, 102]]


def transformers(folder, then):
    import torch
    from transformers import BertModel

    start = yield
    model = BertModel.from_pretrained(folder)
    with torch.no_grad():
        if then == "read":
            for p in model.parameters():
                p.sum()
        if then == "run":
            model(torch.tensor(IDS))
    yield start


def monograph(folder, then, engine="xla"):
    import monograph as mg
    import monograph_zoo as zoo
    import numpy as np

    mg.tensor(1.0, device=engine)  # the engine has started
    start = yield
    model = zoo.from_pretrained(folder)
    if then == "read":
        for array in model.parameters.values():
            array.sum()
    if then == "run":
        model.on(engine).call(np.array(IDS))["last_hidden_state"].numpy()
    yield start


HOW = {
    "transformers": transformers,
    "monograph on xla": monograph,
    "monograph on torch": lambda folder, then: monograph(folder, then, "torch"),
}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(name, folder, then):
    """Seconds and bytes of one import, in this process."""
    steps = HOW[name](folder, then)
    next(steps)
    before, start = peak(), time.perf_counter()
    steps.send(None)
    print(json.dumps([time.perf_counter() - start, peak() - before]))


SAVE = "import sys, transformers as t; t.BertModel(t.BertConfig()).save_pretrained(sys.argv[1])"


def main():
    with tempfile.TemporaryDirectory() as folder:
        # not in this process: a child's peak begins with its parent's size
        subprocess.run([sys.executable, "-c", SAVE, folder], capture_output=True, check=True)
        size = Path(folder, "model.safetensors").stat().st_size
        print(f"{'':22}{'seconds':>10}{'x weights':>12}   ({size / 1e6:.0f} MB)")
        for then in ("", "read", "run"):
            for name in HOW:
                rows = []
                for _ in range(ROUNDS):
                    command = [sys.executable, __file__, name, folder, then]
                    done = subprocess.run(command, capture_output=True, text=True, check=True)
                    rows.append(json.loads(done.stdout.splitlines()[-1]))
                seconds, memory = (min(column) for column in zip(*rows))
                label = name + (then and f", and {then}")
                print(f"{label:28}{seconds:8.2f}{memory / size:12.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*sys.argv[1:])
    else:
        main()

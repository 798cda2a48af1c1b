"""The example that sorts papers by topic: what it learns, and that a seed repeats, anywhere."""

import functools
import hashlib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph_gnn.datasets import planetoid

PATH = Path(__file__).parents[1] / "examples" / "cora.py"
ENGINES = [e.name for e in mg.engines() if e.ok and e.name in ("numpy", "xla", "torch")]


def load():
    spec = importlib.util.spec_from_file_location("cora", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cora = load()
pytestmark = pytest.mark.skipif(
    not (cora.FOLDER / "planetoid/cora.npz").exists(),
    reason="cora.npz is not in the folder of data",
)


@pytest.fixture(scope="module")
def task():
    return planetoid("cora", cora.FOLDER)


@functools.cache
def trainer_of(engine, model):
    """One for all tests, so that each step is compiled once."""
    return cora.trainer_of(model, 7, engine)


def trained(engine, model, task, epochs, seed=3):
    """A trainer after some epochs, and the losses on the way."""
    trainer = trainer_of(engine, model)
    trainer.reset(seed)
    history = trainer.fit(cora.batches(task, engine)[0], epochs, progress=False)
    return trainer, history.history["loss"]


def accuracy(engine, model, task, epochs):
    best = cora.Best(cora.CHOSEN_BY["cora"], epochs)
    return cora.run(trainer_of(engine, model), 0, cora.batches(task, engine), best, epochs)


def digest(trainer):
    """Of every variable, to the last bit."""
    found = hashlib.sha256()
    for path, value in trainer.store.numpy().items():
        found.update(path.encode() + value.tobytes())
    return found.hexdigest()


def test_the_split_is_planetoid_s(task):
    g, labels, training, validation, test = task
    assert (g.num_nodes, g.index.num_edges, g.nodes.shape[1]) == (2708, 10556, 1433)
    assert [m.sum() for m in (training, validation, test)] == [140, 500, 1000]
    assert np.bincount(labels[training]).tolist() == [20] * 7
    assert not (training & validation | training & test | validation & test).any()
    np.testing.assert_allclose(g.nodes.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_gcn_learns(task, engine):
    assert 0.785 < accuracy(engine, "gcn", task, 50) < 0.85


def test_gat_learns(task):
    assert 0.77 < accuracy("xla" if "xla" in ENGINES else ENGINES[0], "gat", task, 40) < 0.86


@pytest.mark.parametrize("model", ["gcn", "gat"])
def test_every_engine_goes_the_same_way(task, model):
    curves = [trained(engine, model, task, 6)[1] for engine in ENGINES]
    assert len(set(curves[0])) == 6, "it moves"
    for curve in curves[1:]:
        np.testing.assert_allclose(curve, curves[0], rtol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_seed_repeats_to_the_last_bit(task, engine):
    first, other, again = (digest(trained(engine, "gat", task, 3, seed)[0]) for seed in (3, 4, 3))
    assert first == again != other


def test_a_seed_repeats_in_another_process_with_other_threads(task):
    alone = {
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "MONOGRAPH_DATA": str(cora.FOLDER),
    }
    running = [  # the kernels take as many threads as is said; what BLAS sums may depend on its own
        subprocess.Popen(
            [sys.executable, __file__], env=os.environ | alone | {"OMP_NUM_THREADS": threads},
            stdout=subprocess.PIPE, text=True,
        )
        for threads in ("1", "2")
    ]  # fmt: skip
    said = [process.communicate()[0].split() for process in running]
    assert said[0] == said[1] and len(said[0]) == 2 * len(ENGINES)


if __name__ == "__main__":
    data = planetoid("cora", cora.FOLDER)
    for name in ENGINES:
        print(name, digest(trained(name, "gat", data, 2)[0]))

"""examples/molecules.py: it tells nitro groups, and its explanation points at them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parent.parent / "examples/molecules.py"
pytest.importorskip("matplotlib", reason="the example draws")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("example_molecules", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_atoms_do_not_give_the_label_away(example):
    rng = np.random.default_rng(0)
    count = lambda label: np.mean(
        [example.molecule(rng, label).nodes.sum(axis=0) for _ in range(400)], axis=0
    )
    np.testing.assert_allclose(count(0), count(1), rtol=0.05)


def test_it_learns_explains_and_draws(example, tmp_path, capsys):
    picture = tmp_path / "molecule.png"
    arguments = ["--engine", "torch", "--epochs", "6", "--batches", "16", "--picture", str(picture)]
    accuracy, found, g = example.main(arguments)
    assert accuracy >= 0.95
    atoms = example.ATOMS[g.nodes.argmax(axis=1)]
    bond = np.asarray(
        [{*atoms[[a, b]]} == {"N", "O"} for a, b in zip(g.index.senders, g.index.receivers)]
    )
    scores = np.abs(found.edges)
    assert bond.sum() == 4
    assert (scores[bond][:, None] > scores[~bond]).mean() >= 0.9
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "molecules it has not seen" in capsys.readouterr().out

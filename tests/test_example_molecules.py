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
    arguments = ["--engine", "torch", "--picture", str(picture)]
    accuracy, found, g = example.main(arguments)
    assert accuracy >= 0.95
    nitrogen = set(np.flatnonzero(g.nodes[:, 1]))
    scores = {}  # of a bond, whichever way
    for a, b, score in zip(g.index.senders, g.index.receivers, np.abs(found.edges)):
        scores[frozenset((a, b))] = scores.get(frozenset((a, b)), 0) + score
    group = [s for bond, s in scores.items() if bond & nitrogen]
    others = [s for bond, s in scores.items() if not bond & nitrogen]
    assert len(group) == 3
    assert np.greater.outer(group, others).mean() >= 0.8
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "molecules it has not seen" in capsys.readouterr().out

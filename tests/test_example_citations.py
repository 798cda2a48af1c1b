"""examples/citations.py: networks over the graph tell venues that features alone do not."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parent.parent / "examples/citations.py"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("example_citations", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_graph_tells_more_than_features(example, capsys):
    scores = example.main(["--engine", "torch", "--papers", "400", "--epochs", "50"])
    assert scores["features"] < 0.45  # of 0.125 by guessing
    for name in ("sage", "rgcn", "hgt"):
        assert scores[name] > scores["features"] + 0.1, name
    assert "test accuracy" in capsys.readouterr().out


def test_edges_follow_venues_more_often_than_chance(example):
    graph, venues = example.citations(800)
    index = graph.index["paper", "cites", "paper"]
    alike = np.mean(venues[index.senders] == venues[index.receivers])
    assert 0.6 < alike < 0.7  # 0.6, and an eighth of the rest
    back = graph.index["paper", "cites (back)", "paper"]
    assert {*zip(back.receivers, back.senders)} == {*zip(index.senders, index.receivers)}

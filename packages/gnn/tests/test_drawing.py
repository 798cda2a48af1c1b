"""Pictures: what is in them, where nodes go, and what is refused."""

import sys

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from monograph_gnn.drawing import WRONG, layout

pytest.importorskip("matplotlib", reason="it draws")


def house():
    a, b = np.asarray([(0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 4)]).T
    return gnn.graph(np.zeros((5, 1), "float32"), np.r_[a, b], np.r_[b, a])


def lines(figure):
    return figure.axes[0].patches


def test_widths_are_of_the_larger_direction_and_wrong_nodes_are_ringed():
    g = house()
    strong = [{0, 1}, {3, 4}]
    pairs = [{int(a), int(b)} for a, b in zip(g.index.senders, g.index.receivers)]
    scores = np.asarray([-2.0 * (p in strong) * (a < b) for p, (a, b) in zip(
        pairs, zip(g.index.senders, g.index.receivers)
    )])  # fmt: skip
    figure = gnn.draw(
        g, classes=[0, 1, 1, 2, 0], truth=[0, 1, 2, 2, 1], class_names="abc", edge_scores=scores,
        labels=range(5), title="House",
    )  # fmt: skip
    assert len(lines(figure)) == 6
    widths = sorted(line.get_linewidth() for line in lines(figure))
    assert widths == pytest.approx([0.8] * 4 + [6.0] * 2)
    texts = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert texts == ["a", "b", "c", "wrong (2 of 5)", "important edge"]
    nodes, ringed = figure.axes[0].collections
    assert len(nodes.get_offsets()) == 5
    np.testing.assert_allclose(ringed.get_offsets(), nodes.get_offsets()[[2, 4]])
    import matplotlib.colors

    assert matplotlib.colors.to_hex(ringed.get_edgecolors()[0]) == WRONG
    assert [t.get_text() for t in figure.axes[0].texts] == [*"01234"]
    assert figure.axes[0].get_title() == "House"


def test_one_way_edges_have_heads_and_padding_is_left_out():
    g = gnn.batch([gnn.graph(np.zeros((3, 1)), [0, 1, 2], [1, 0, 0])], num_nodes=8, num_edges=9)
    figure = gnn.draw(g, node_scores=np.arange(8.0), edge_scores=np.ones(9))
    assert len(figure.axes[0].collections[0].get_offsets()) == 3
    assert len(lines(figure)) == 2
    kinds = {type(line.get_arrowstyle()).__name__ for line in lines(figure)}
    assert kinds == {"Curve", "CurveFilledB"}
    sizes = figure.axes[0].collections[0].get_sizes()
    assert sizes[2] == pytest.approx(4 * sizes[0])


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_files(tmp_path, ending):
    path = tmp_path / f"house.{ending}"
    gnn.draw(house(), path)
    begin = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(begin)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_distances_in_the_layout_are_those_in_the_graph():
    ring = layout(np.arange(6), (np.arange(6) + 1) % 6, 6)
    sides = np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1)
    np.testing.assert_allclose(sides, sides[0], rtol=0.02)
    path = layout(np.arange(9), np.arange(9) + 1, 10)
    ends = np.abs(np.diff(path[:, 0]))
    np.testing.assert_allclose(ends, 1, atol=0.02)
    np.testing.assert_array_equal(path, layout(np.arange(9), np.arange(9) + 1, 10))


@pytest.mark.parametrize("nodes", [0, 1, 2, 5])
def test_graphs_without_edges(nodes):
    places = layout(np.zeros(0, int), np.zeros(0, int), nodes)
    assert places.shape == (nodes, 2)
    assert np.isfinite(places).all()
    apart = np.linalg.norm(places[:, None] - places, axis=-1) + 9 * np.eye(nodes)
    assert (apart > 0.3).all()
    gnn.draw(gnn.graph(np.zeros((nodes, 1)), [], []))


def test_what_does_not_fit_is_named_at_once():
    with pytest.raises(mg.errors.ArgumentError) as e:
        gnn.draw(house(), classes=[0, 1], edge_scores=np.ones(3))
    assert "classes needs 5 entries, one per node, not 2" in str(e.value)
    assert "edge_scores needs 12 entries, one per edge, not 3" in str(e.value)
    assert __file__ in str(e.value)
    with pytest.raises(mg.errors.ArgumentError, match="501 nodes are more than the 500"):
        gnn.draw(gnn.graph(np.zeros((501, 1)), [], []))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(mg.errors.PluginError, match=r"pip install monograph-gnn\[plots\]"):
        gnn.draw(house())

"""Graphs from elsewhere: what goes there and back is the same, and agrees with PyG's own conversions."""

import subprocess
import sys
import warnings

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError
from monograph_gnn import conversions


@pytest.fixture(scope="module")
def pyg_data():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch_geometric.data", reason="the reference")


def same(a, b):
    xs, ys = (mg.tree.flatten(t) for t in (a, b))
    assert xs[1] == ys[1]
    for x, y in zip(xs[0], ys[0]):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


@st.composite
def graphs(draw):
    """Duplicates, loops, isolated nodes, no edges; features by name, two of some."""
    n = draw(st.integers(1, 6))
    edges = draw(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=10))
    s, r = np.asarray(edges, "int64").reshape(-1, 2).T
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    nodes = {"x": rng.normal(size=(n, 3)).astype("float32"), "y": rng.integers(0, 3, n)}
    features = {"edge_attr": rng.normal(size=(len(s), 2)).astype("float32")}
    return gnn.graph(nodes, s, r, edges=features, graphs={"target": np.float32(rng.normal(size=2))})


# ---- PyG


@given(graphs())
@settings(deadline=None, max_examples=30)
def test_to_pyg_and_back(pyg_data, g):
    torch = pytest.importorskip("torch")
    data = conversions.to_pyg(g, torch.from_numpy)
    assert isinstance(data, pyg_data.Data) and data.validate()
    assert data.num_nodes == g.num_nodes
    same(conversions.from_pyg(data, graphs=["target"]), g)
    padded = gnn.batch([g, g, g], num_nodes=30, num_edges=40, num_graphs=5)
    several = conversions.to_pyg(padded, torch.from_numpy)
    assert isinstance(several, pyg_data.Batch) and several.num_graphs == 3
    same(conversions.from_pyg(several, graphs=["target"]), gnn.batch([g, g, g]))


def test_a_batch_of_pyg_is_one_here(pyg_data):
    torch = pytest.importorskip("torch")
    made = [
        pyg_data.Data(
            x=torch.randn(n, 2, requires_grad=True), edge_index=torch.randint(n, (2, 6)) if n else torch.zeros((2, 0), dtype=torch.int64),
            edge_weight=torch.randn(6 if n else 0), y=torch.tensor([float(n)]),
        )
        for n in (3, 5, 2)
    ]  # fmt: skip
    got = conversions.from_pyg(pyg_data.Batch.from_data_list(made))
    assert got.graphs["y"].tolist() == [3, 5, 2] and got.graph_offsets.tolist() == [0, 3, 8, 10]
    for one, data in zip(gnn.unbatch(got), made):
        np.testing.assert_array_equal(one.nodes["x"], data.x.detach())
        order = np.argsort(data.edge_index[1].numpy(), kind="stable")
        np.testing.assert_array_equal(one.index.senders, data.edge_index[0].numpy()[order])
        np.testing.assert_array_equal(one.edges["edge_weight"], data.edge_weight.numpy()[order])


def test_hetero_data_there_and_back(pyg_data, rng):
    torch = pytest.importorskip("torch")
    g = gnn.hetero_graph(
        {"paper": {"x": rng.normal(size=(4, 3)), "year": np.arange(4)}, "author": 3, "venue": {"x": np.zeros((0, 2))}},
        {
            ("author", "writes", "paper"): ([0, 2, 2], [3, 0, 3]),
            ("paper", "cites", "paper"): ([0, 1], [1, 1]),
            ("paper", "in", "venue"): ([], []),
        },
        {("paper", "cites", "paper"): {"edge_attr": rng.normal(size=(2, 2))}},
    )  # fmt: skip
    data = conversions.to_pyg(g, torch.from_numpy)
    assert isinstance(data, pyg_data.HeteroData) and data.validate()
    assert data["author"].num_nodes == 3 and "x" not in data["author"]
    same(conversions.from_pyg(data), g)
    padded = gnn.hetero_batch(
        [g, g], num_nodes={"paper": 11}, num_edges={("paper", "in", "venue"): 3}
    )
    both = conversions.to_pyg(padded, torch.from_numpy)
    assert both.num_graphs == 2 and both["paper"].x.shape == (8, 3)
    pairs = zip(*both["author", "writes", "paper"].edge_index.tolist())
    assert sorted(pairs) == [(0, 3), (2, 0), (2, 3), (3, 7), (5, 4), (5, 7)]
    padded = gnn.hetero_batch([g], num_nodes={"paper": 11})
    same(conversions.from_pyg(conversions.to_pyg(padded, torch.from_numpy)), g)
    with pytest.raises(ArgumentError, match="no place for features of graphs"):
        conversions.to_pyg(g.replace(graphs=np.ones((1, 2))), torch.from_numpy)


def test_bare_arrays_get_pygs_names(pyg_data):
    torch = pytest.importorskip("torch")
    g = gnn.graph(np.ones((2, 3)), [0], [1], edges=np.ones((1, 2)), graphs=np.int64(4))
    data = conversions.to_pyg(g, torch.from_numpy)
    assert data.x.shape == (2, 3) and data.edge_attr.shape == (1, 2) and data.y.tolist() == [4]
    data.x += 1  # memory of its own
    assert (g.nodes == 1).all()
    with pytest.raises(
        ArgumentError, match=r"an array or a dict of arrays by name, got \(\*, \*\)"
    ):
        conversions.to_pyg(g.replace(nodes=(g.nodes, g.nodes)), torch.from_numpy)


def test_what_of_pyg_cannot_be_read_is_named(pyg_data):
    torch = pytest.importorskip("torch")
    data = pyg_data.Data(x=torch.zeros(2, 1), name="cora", words=["a", "b"])
    with pytest.raises(ArgumentError) as e:
        conversions.from_pyg(data)
    for part in ("Data: it has no edge_index", "name is no array but str", "words is no array"):
        assert part in str(e.value)
    data.edge_index = torch.tensor([[0], [1]])
    assert set(conversions.from_pyg(data, only=["x"]).nodes) == {"x"}
    data = pyg_data.HeteroData()
    data["a"].num_nodes, data["a"].label = 2, "text"
    data["a", "to", "a"].edge_attr = torch.zeros(1, 1)
    with pytest.raises(
        ArgumentError, match=r"a: label is no array.*\('a', 'to', 'a'\): it has no edge_index"
    ):
        conversions.from_pyg(data)
    data = pyg_data.Data(edge_index=torch.tensor([[0], [5]]), num_nodes=2)
    with pytest.raises(ArgumentError, match=r"receivers\[0\] is 5, of 2 nodes"):
        conversions.from_pyg(data)


# ---- networkx


@given(graphs())
@settings(deadline=None, max_examples=40)
def test_to_networkx_and_back(g):
    nx = pytest.importorskip("networkx")
    names = dict(nodes=["x", "y"], edges=["edge_attr"], graphs=["target"])
    G = conversions.to_networkx(g, multi=True)
    assert type(G) is nx.MultiDiGraph and G.number_of_edges() == g.index.num_edges
    g = g.replace(nodes={**g.nodes, "y": g.nodes["y"].astype("int32")})
    back = conversions.from_networkx(G, **names)
    key = lambda h: np.lexsort((*h.edges["edge_attr"].T, h.index.senders, h.index.receivers))
    if not g.index.num_edges:  # of no edge not even the shape is known
        assert back.index.num_edges == 0
        return
    a, b = key(g), key(back)
    np.testing.assert_array_equal(g.edges["edge_attr"][a], back.edges["edge_attr"][b])
    for end in ("senders", "receivers"):
        assert getattr(g.index, end)[a].tolist() == getattr(back.index, end)[b].tolist()
    same((back.nodes, back.graphs), (g.nodes, g.graphs))


@given(st.integers(0, 999), st.integers(0, 8), st.integers(0, 12), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=60)
def test_from_networkx_and_back(seed, nodes, edges, directed, multi):
    nx = pytest.importorskip("networkx")
    rng = np.random.default_rng(seed)
    G = [[nx.Graph, nx.MultiGraph], [nx.DiGraph, nx.MultiDiGraph]][directed][multi]()
    G.add_nodes_from((i, {"size": float(i)}) for i in range(nodes))
    for a, b in rng.integers(0, max(nodes, 1), (edges if nodes else 0, 2)).tolist():
        G.add_edge(a, b, weight=rng.integers(0, 9) / 4, kind=int(rng.integers(5)))
    g = conversions.from_networkx(G, ["size"], ["weight", "kind"])
    loops = nx.number_of_selfloops(G)
    assert g.index.num_edges == G.number_of_edges() * (1 if directed else 2) - loops * (
        not directed
    )
    back = conversions.to_networkx(g, directed=directed, multi=multi)
    assert type(back) is type(G)
    assert nx.utils.graphs_equal(back, G) or (multi and multiset(back) == multiset(G))


def multiset(G):
    """The edges of a multigraph, which have no order."""
    ends = lambda a, b: (a, b) if G.is_directed() else tuple(sorted((a, b)))
    edges = sorted((*ends(a, b), d["weight"], d["kind"]) for a, b, d in G.edges(data=True))
    return edges, dict(G.nodes(data=True))


@pytest.mark.parametrize("directed", [False, True])
def test_from_networkx_has_pygs_edges(pyg_data, directed):
    nx = pytest.importorskip("networkx")
    from torch_geometric.utils import from_networkx

    G = nx.gnp_random_graph(12, 0.3, seed=0, directed=directed)
    G.add_edge(3, 3)
    theirs = from_networkx(G).edge_index.numpy()
    ours = conversions.from_networkx(G).index
    assert sorted(zip(*theirs.tolist())) == sorted(
        zip(ours.senders.tolist(), ours.receivers.tolist())
    )


def test_attributes_that_are_no_features_are_named():
    nx = pytest.importorskip("networkx")
    G = nx.Graph()
    G.add_node("a", size=1.0, word="x", row=[1, 2])
    G.add_node("b", word="y", row=[1])
    G.add_edge("a", "b", weight=2)
    with pytest.raises(ArgumentError) as e:
        conversions.from_networkx(G, ["size", "word", "row"], ["weight", "length"], ["name"])
    for part in (
        "node attribute 'size': 1 of 2 have none, the first is 'b'",
        "node attribute 'word': its values are no numbers, the first is 'x'",
        "node attribute 'row': its shapes are different: (1,), (2,)",
        "edge attribute 'length': 1 of 1 have none, the first is ('a', 'b')",
        "graph attribute 'name'",
    ):
        assert part in str(e.value)


def test_graphs_that_networkx_would_change_are_refused():
    pytest.importorskip("networkx")
    twice = gnn.graph(None, [0, 0, 1], [1, 1, 0], edges={"w": np.arange(3)}, num_nodes=2)
    with pytest.raises(ArgumentError, match="1 edges are there before: multi=True keeps them"):
        conversions.to_networkx(twice)
    with pytest.raises(ArgumentError, match="edges without a reverse"):
        conversions.to_networkx(twice, directed=False, multi=True)
    uneven = gnn.graph(None, [0, 1], [1, 0], edges={"w": np.arange(2)}, num_nodes=2)
    with pytest.raises(ArgumentError, match="w of edges is not that of their reverses"):
        conversions.to_networkx(uneven, directed=False)
    with pytest.raises(ArgumentError, match="it is 2 graphs"):
        conversions.to_networkx(gnn.batch([uneven, uneven]))


# ---- SciPy


@given(st.integers(0, 999), st.integers(0, 6), st.integers(0, 6), st.integers(0, 12))
@settings(deadline=None, max_examples=40)
def test_sparse_matrices_there_and_back(seed, rows, columns, entries):
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(seed)
    entries = entries if rows and columns else 0
    ends = rng.integers(0, max(rows, 1), entries), rng.integers(0, max(columns, 1), entries)
    matrix = sparse.coo_array((rng.integers(0, 5, entries) / 2, ends), (rows, columns))
    for form in (matrix, matrix.tocsr(), matrix.tocsc()):
        index, weights = conversions.from_scipy(form)
        assert (index.num_senders, index.num_receivers) == (rows, columns)
        assert index.num_edges == form.nnz
        np.testing.assert_array_equal(
            conversions.to_scipy(index, weights).toarray(), matrix.toarray()
        )
    x = rng.normal(size=(rows, 3))
    np.testing.assert_allclose(  # a sum over neighbours is a product with its transpose
        gnn.neighbor_sum(index, x, weights).numpy(), matrix.T @ x, atol=1e-12
    )


def test_padding_is_no_entry():
    pytest.importorskip("scipy.sparse")
    g = gnn.batch([gnn.graph(None, [0, 1], [1, 1], num_nodes=2)], num_nodes=4, num_edges=5)
    assert conversions.to_scipy(g.index).nnz == 2
    assert conversions.to_scipy(g.index).shape == (4, 4)


def test_nothing_is_imported_before_it_is_asked_for():
    code = "import sys, monograph_gnn; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert not loaded & {"torch", "jax", "torch_geometric", "networkx", "scipy", "ogb", "pykeen"}

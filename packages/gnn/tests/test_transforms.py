"""Transforms and splits against PyG's and networkx's, and by what they promise."""

import warnings

import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError
from monograph_gnn import splits, transforms


@pytest.fixture(scope="module")
def pyg_transforms():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch_geometric.transforms", reason="the reference")


def drawn(seed=0, nodes=15, edges=40):
    rng = np.random.default_rng(seed)
    s, r = rng.integers(0, nodes - 3, edges), rng.integers(0, nodes - 3, edges)
    s[:3], r[:3] = r[3:6], s[3:6]
    s[7], r[7] = s[8], r[8]
    return gnn.graph(
        rng.uniform(size=(nodes, 4)).astype("float32"), s, r,
        edges=rng.normal(size=(edges, 2)).astype("float32"),
    )  # fmt: skip


def to_data(g):
    import torch
    from torch_geometric.data import Data

    edge_index = torch.tensor(np.stack([g.index.senders, g.index.receivers]).astype("int64"))
    return Data(x=torch.tensor(g.nodes), edge_index=edge_index, edge_attr=torch.tensor(g.edges))


def edges_of(g):
    """Senders, receivers and features, sorted."""
    order = np.lexsort((g.index.receivers, g.index.senders))
    return g.index.senders[order], g.index.receivers[order], g.edges[order]


def same_as_data(g, data):
    s, r, edges = edges_of(g)
    order = np.lexsort(data.edge_index.numpy()[::-1])
    assert data.edge_index.numpy()[:, order].tolist() == [s.tolist(), r.tolist()]
    np.testing.assert_allclose(edges, data.edge_attr.numpy()[order], rtol=1e-6)
    np.testing.assert_array_equal(g.nodes, data.x.numpy())


@pytest.mark.parametrize("reduce", ["sum", "mean", "max", "min"])
def test_edges_both_ways_and_once_are_pygs(pyg_transforms, reduce):
    g = drawn()
    kind = {"sum": "add"}.get(reduce, reduce)
    same_as_data(
        transforms.to_undirected(g, reduce), pyg_transforms.ToUndirected(reduce=kind)(to_data(g))
    )
    same_as_data(
        transforms.remove_duplicates(g, reduce),
        pyg_transforms.RemoveDuplicatedEdges(reduce=kind)(to_data(g)),
    )


def test_what_is_removed_is_what_pyg_removes(pyg_transforms):
    g = drawn()
    same_as_data(
        transforms.remove_self_loops(g), pyg_transforms.RemoveSelfLoops("edge_attr")(to_data(g))
    )
    same_as_data(
        transforms.largest_component(g), pyg_transforms.LargestConnectedComponents()(to_data(g))
    )
    x = np.asarray(g.nodes) * 5  # with sums below 1 PyG leaves rows as they are
    x -= x.min()
    data = to_data(g.replace(nodes=x))
    assert (x.sum(1) > 1).all()
    np.testing.assert_allclose(
        transforms.normalize_features(x), pyg_transforms.NormalizeFeatures()(data).x, rtol=1e-6
    )


@given(st.integers(0, 999), st.integers(1, 30), st.integers(0, 40))
@settings(deadline=None, max_examples=60)
def test_components_are_networkxs(seed, nodes, edges):
    nx = pytest.importorskip("networkx", reason="the reference")
    rng = np.random.default_rng(seed)
    s, r = rng.integers(0, nodes, (2, edges))
    G = nx.Graph(list(zip(s.tolist(), r.tolist())))
    G.add_nodes_from(range(nodes))
    found = transforms.components(gnn.graph(None, s, r, num_nodes=nodes))
    want = np.zeros(nodes, int)
    for k, part in enumerate(sorted(nx.connected_components(G), key=min)):
        want[list(part)] = k
    assert found.tolist() == want.tolist()


def test_a_subgraph_of_several_graphs_keeps_them_apart():
    a = gnn.graph(np.arange(3.0), [0, 1, 2], [1, 2, 0], edges=np.arange(3))
    both = gnn.batch([a, a, a])
    some = transforms.subgraph(both, [8, 1, 2, 7])
    assert [g.nodes.tolist() for g in gnn.unbatch(some)] == [[1, 2], [], [1, 2]]
    assert [g.edges.tolist() for g in gnn.unbatch(some)] == [[1], [], [1]]
    mask = np.zeros(9, bool)
    mask[[1, 2, 7, 8]] = True
    assert transforms.subgraph(both, mask).nodes.tolist() == some.nodes.tolist()
    assert transforms.subgraph(both, []).num_nodes == 0
    for bad in ([9], [-1], np.ones(4, bool)):
        with pytest.raises(ArgumentError, match="no such nodes"):
            transforms.subgraph(both, bad)


def test_graphs_without_edges_or_nodes_go_through():
    for n in (0, 3):
        g = gnn.graph(np.zeros((n, 2), "float32"), [], [], edges=np.zeros((0, 2)))
        for made in (
            transforms.to_undirected(g), transforms.remove_duplicates(g, "mean"),
            transforms.remove_self_loops(g),
        ):  # fmt: skip
            assert made.num_nodes == n and made.index.num_edges == 0
            assert made.edges.shape == (0, 2)
        assert transforms.largest_component(g).edges.shape == (0, 2)
    assert transforms.largest_component(g).num_nodes == 1
    assert transforms.normalize_features(np.zeros((0, 3))).shape == (0, 3)
    with pytest.raises(ArgumentError, match=r"x\[1, 0\] is -1"):
        transforms.normalize_features([[1], [-1]])
    with pytest.raises(ArgumentError, match="reduce='product' is none of sum"):
        transforms.remove_duplicates(g, "product")


@given(st.integers(0, 60), st.integers(0, 40), st.integers(0, 30), st.integers(0, 5))
@settings(deadline=None)
def test_nodes_are_split_without_overlap(n, validation, test, seed):
    if validation + test > n:
        with pytest.raises(ArgumentError, match=f"are more than {n} nodes"):
            splits.split_nodes(n, None, validation, test, seed=seed)
        return
    parts = splits.split_nodes(n, None, validation, test, seed=seed)
    assert [int(m.sum()) for m in parts] == [n - validation - test, validation, test]
    assert (np.sum(parts, axis=0) == 1).all()
    again = splits.split_nodes(n, None, validation, test, seed=seed)
    assert all((a == b).all() for a, b in zip(parts, again))


def test_nodes_are_split_by_class():
    labels = np.random.default_rng(0).integers(-1, 4, 300)
    parts = splits.split_nodes(300, 20, 0.25, 100, labels=labels, seed=3)
    assert np.bincount(labels[parts.train]).tolist() == [20] * 4
    assert [int(m.sum()) for m in parts] == [80, 75, 100]
    assert np.sum(parts, axis=0).max() == 1
    other = splits.split_nodes(300, 20, 0.25, 100, labels=labels, seed=4)
    assert (other.train != parts.train).any()
    with pytest.raises(ArgumentError) as e:
        splits.split_nodes(300, 70, 200, 200, labels=labels)
    assert str(e.value).count("train=70") >= 2 and "are more than 300 nodes" in str(e.value)
    with pytest.raises(ArgumentError, match="only one .* can be the rest"):
        splits.split_nodes(30, None, None, 5)


@pytest.mark.parametrize("undirected", [False, True], ids=["directed", "undirected"])
@pytest.mark.parametrize("disjoint", [0.0, 0.4])
def test_links_are_split_as_pyg_does(pyg_transforms, undirected, disjoint):
    """The random numbers are others; how many of what there are, and which may be where, is the same."""
    import torch

    torch.manual_seed(0)
    g = transforms.remove_duplicates(drawn(nodes=30, edges=60))
    g = transforms.to_undirected(g) if undirected else g
    data = to_data(g)
    data.edge_attr = None
    theirs = pyg_transforms.RandomLinkSplit(
        0.1, 0.2, is_undirected=undirected, disjoint_train_ratio=disjoint
    )(data)
    ours = splits.split_links(g, 0.1, 0.2, undirected=undirected, disjoint=disjoint, seed=1)
    edges = set(zip(g.index.senders.tolist(), g.index.receivers.tolist()))
    seen = []
    for a, b in zip(ours, theirs):
        assert len(a.labels) == b.edge_label.numel()
        assert a.labels.sum() == b.edge_label.sum()
        if not undirected:  # loops have no second way: how many are where is chance
            assert a.graph.index.num_edges == b.edge_index.shape[1]
        pairs = list(zip(a.senders.tolist(), a.receivers.tolist()))
        real = [p for p, label in zip(pairs, a.labels) if label]
        none = [p for p, label in zip(pairs, a.labels) if not label]
        assert set(real) <= edges and not set(none) & edges and len(set(none)) == len(none)
        assert all(s != r for s, r in none)
        inside = set(zip(a.graph.index.senders.tolist(), a.graph.index.receivers.tolist()))
        assert inside <= edges
        if undirected:
            assert {(r, s) for s, r in inside} == inside
            assert all(s <= r for s, r in pairs)
        if a is not ours.train or disjoint:
            assert not set(real) & inside
        seen += real
    assert len(seen) == len(set(seen))  # no link is predicted in two parts
    again = splits.split_links(g, 0.1, 0.2, undirected=undirected, disjoint=disjoint, seed=1)
    assert [t.senders.tolist() for t in again] == [t.senders.tolist() for t in ours]


def test_features_of_links_stay_with_them():
    s, r = np.asarray([0, 1, 2, 3, 4]), np.asarray([1, 2, 3, 4, 5])
    g = gnn.graph(np.zeros((6, 1)), s, r, edges=10 * s + r)
    for part in splits.split_links(g, 1, 1):
        i = part.graph.index
        assert (part.graph.edges == 10 * i.senders + i.receivers).all()


def test_splits_that_cannot_be_are_refused():
    full = gnn.graph(None, *np.nonzero(1 - np.eye(4)), num_nodes=4)
    with pytest.raises(
        ArgumentError, match="12 links that do not exist are asked for, there are 0"
    ):
        splits.split_links(full, 2, 2)
    assert len(splits.split_links(full, 2, 2, negatives=0).test.labels) == 2
    almost = gnn.graph(None, full.index.senders[1:], full.index.receivers[1:], num_nodes=4)
    found = splits.split_links(almost, 1, 0, negatives=1 / 10).train
    missing = (full.index.senders[0], full.index.receivers[0])
    assert (found.senders[-1], found.receivers[-1]) == missing
    with pytest.raises(ArgumentError) as e:
        splits.split_links(almost, 20, 1, undirected=True, disjoint=2)
    for part in ("1 edges have no reverse", "validation and test take 21", "disjoint=2"):
        assert part in str(e.value)
    with pytest.raises(ArgumentError, match="is 2 graphs"):
        splits.split_links(gnn.batch([full, full]))

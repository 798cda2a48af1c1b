"""Layer-wise inference gives what the whole graph gives, and so do samples with all neighbours."""

import functools

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import numpy as np
import pytest
from monograph.errors import ArgumentError
from monograph_gnn.sampling import GraphStore, NeighborSampler, layerwise

NODES, EDGES = 70, 350


@pytest.fixture
def whole(rng):
    """A store with a node that has 60 neighbours, features, features of edges."""
    senders, receivers = rng.integers(0, NODES, (2, EDGES))
    senders[:60], receivers[:60] = np.arange(60), 7
    store = GraphStore.from_edges(senders, receivers, NODES)
    x = rng.normal(size=(NODES, 4)).astype("float32")
    return store, x, rng.uniform(0.5, 1.5, EDGES).astype("float32")


def layer(number, scope, index, x, weights):
    y = gnn.propagate(index, x, weights=weights, how="mean")
    y = nn.dense(scope / f"in{number}", y, 6) + nn.dense(
        scope / f"self{number}", x[: index.num_receivers], 6
    )
    return mg.tanh(y)


def model(scope, layers, x, weights):
    """``layers``: an index each, ``weights``: of the edges of each."""
    for i, (index, w) in enumerate(zip(layers, weights)):
        x = layer(i, scope, index, x, w)
    return x


@pytest.mark.parametrize(("batch_size", "max_edges"), [(16, 40), (1, 1), (64, 10_000)])
def test_three_ways_to_one_result(engine, whole, tmp_path, batch_size, max_edges):
    store, x, w = whole
    receivers = np.repeat(np.arange(NODES), np.diff(store.offsets))
    index, _ = gnn.edge_index(store.senders, receivers, NODES)
    variables = mg.Store(seed=0)
    full = variables.bind(model, engine)([index] * 2, x, [w] * 2).numpy()

    calls = [variables.bind(functools.partial(layer, i), engine) for i in range(2)]
    sizes = {"edges": w, "batch_size": batch_size, "max_edges": max_edges}
    inferred = layerwise(calls, store, x, **sizes)
    np.testing.assert_allclose(inferred, full, rtol=1e-5, atol=1e-5)
    kept = layerwise(calls, store, x, **sizes, folder=tmp_path)
    assert isinstance(kept, np.memmap)
    np.testing.assert_array_equal(kept, inferred)

    sampled = NeighborSampler(store, (-1, -1), 3, nodes=x, edges=w).sample([7, 0, 69])
    weights = [sampled.graph.edges[: i.num_edges] for i in sampled.layers]
    of_sample = variables.bind(model, engine)(sampled.layers, sampled.graph.nodes, weights)
    np.testing.assert_allclose(of_sample.numpy(), full[[7, 0, 69]], rtol=1e-5, atol=1e-5)


def test_a_layer_is_always_given_the_same_shapes(whole):
    store, x, _ = whole
    seen = set()

    def watched(index, x):
        seen.add((tuple(a.shape for a in index.arrays), x.shape))
        return gnn.neighbor_sum(index, x)

    layerwise([watched], store, x, batch_size=16, max_edges=40)
    assert len(seen) == 1


def test_trees_of_features(whole):
    store, x, _ = whole

    def both(index, x):
        return {k: gnn.neighbor_sum(index, v) for k, v in x.items()}

    out = layerwise([both, both], store, {"a": x, "b": x[:, :1]}, batch_size=20)
    np.testing.assert_array_equal(out["b"], out["a"][:, :1])


RELATIONS = {
    ("author", "writes", "paper"): (9, 12), ("paper", "cites", "paper"): (12, 12),
    ("paper", "has", "author"): (12, 9), ("paper", "none", "venue"): (12, 4),
}  # fmt: skip


def typed_layer(index, x):
    """Sums over relations and the node's own."""
    own = {k: mg.asarray(v) for k, v in x.items()}
    out = {}
    for (s, _, r), i in index.items():
        out[r] = out.get(r, own[r][: i.num_receivers]) + gnn.neighbor_sum(i, own[s])
    return out


def test_types_and_relations(rng):
    edges = {r: (rng.integers(0, n, 30), rng.integers(0, m, 30)) for r, (n, m) in RELATIONS.items()}
    edges["paper", "none", "venue"] = ([], [])
    stores = {r: GraphStore.from_edges(*edges[r], m, n) for r, (n, m) in RELATIONS.items()}
    x = {k: rng.normal(size=(n, 3)) for k, n in (("author", 9), ("paper", 12), ("venue", 4))}
    graph = gnn.hetero_graph(x, edges)
    want = typed_layer(graph.index, typed_layer(graph.index, x))
    got = layerwise([typed_layer] * 2, stores, x, batch_size=4, max_edges=10)
    assert got.keys() == x.keys()
    for k in x:
        np.testing.assert_allclose(got[k], np.asarray(want[k]), rtol=1e-12)
    fanouts = (-1, -1)
    sampled = NeighborSampler(stores, fanouts, {"paper": 2}, nodes=x).sample({"paper": [3, 11]})
    y = sampled.graph.nodes
    for index in sampled.layers:
        y = typed_layer(index, y)
    np.testing.assert_allclose(np.asarray(y["paper"]), np.asarray(want["paper"])[[3, 11]])


@pytest.mark.parametrize("nodes", [0, 3])
def test_graphs_without_edges_or_nodes(nodes):
    store = GraphStore.from_edges([], [], nodes)
    out = layerwise([gnn.neighbor_sum], store, np.ones((nodes, 2), "float32"), batch_size=2)
    np.testing.assert_array_equal(out, np.zeros((nodes, 2)))


def test_what_does_not_fit(whole):
    store, x, _ = whole
    with pytest.raises(ArgumentError, match="there are no layers"):
        layerwise([], store, x)
    with pytest.raises(ArgumentError, match="nodes: 70 rows are needed"):
        layerwise([gnn.neighbor_sum], store, x[:-1])


def test_no_nodes_at_a_time_is_an_error():
    path = gnn.GraphStore.from_edges([1], [0], num_nodes=2)
    with pytest.raises(mg.errors.ArgumentError, match="batch_size=0 must be 1 or more"):
        gnn.layerwise([gnn.neighbor_sum], path, np.ones((2, 1), "float32"), batch_size=0)

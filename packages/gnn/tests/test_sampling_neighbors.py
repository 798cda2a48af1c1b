"""Neighbour sampling: what is in a sample, how likely, and that C and NumPy draw the same."""

import itertools
from collections import Counter

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, ShapeError
from monograph_gnn import edge_index
from monograph_gnn.sampling import GraphStore, NeighborSampler, kernels as native

stats = pytest.importorskip("scipy.stats", reason="the reference")

WRITES, CITES = ("author", "writes", "paper"), ("paper", "cites", "paper")


@pytest.fixture(params=["c", "numpy"])
def kernels(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setenv("MONOGRAPH_NATIVE", "0")
    elif native.kernels() is native.plain:
        pytest.skip("there is no compiler")


def random_store(rng, nodes=60, edges=400, senders=None):
    ends = rng.integers(0, senders or nodes, edges), rng.integers(0, nodes, edges)
    return GraphStore.from_edges(*ends, nodes, senders)


def same(a, b):
    xs, ys = mg.tree.leaves(a), mg.tree.leaves(b)
    assert len(xs) == len(ys)
    for x, y in zip(xs, ys):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)


# ---- what is in a sample


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("fanouts", [(3,), (4, 2), (2, -1, 3), (5, 0)])
def test_a_sample(kernels, rng, fanouts, replace):
    store = random_store(rng)
    sampler = NeighborSampler(store, fanouts, 8, replace=replace)
    seeds = rng.permutation(60)[:6]
    sampled = sampler.sample(seeds, 3)
    index, ids, hops = sampled.graph.index, sampled.node_ids, sampled.hop_nodes
    real, edges = hops[-1], index.offsets[-1]

    assert ids[:6].tolist() == seeds.tolist()
    assert sampled.seeds.tolist() == [*range(6), len(ids), len(ids)]
    assert np.asarray(sampled.seed_mask).tolist() == [True] * 6 + [False] * 2
    assert len(set(ids[:real])) == real
    assert (ids[real:] == 60).all()
    assert np.asarray(sampled.graph.node_mask).tolist() == (np.arange(len(ids)) < real).tolist()
    # every edge is one of the store, the same place
    receivers = np.repeat(np.arange(60), np.diff(store.offsets))
    places = sampled.edge_ids[:edges]
    np.testing.assert_array_equal(ids[index.senders[:edges]], store.senders[places])
    np.testing.assert_array_equal(ids[index.receivers[:edges]], receivers[places])
    assert (sampled.edge_ids[edges:] == 400).all()
    assert replace or len(set(places)) == edges
    # as many as asked for, of the nodes that each hop found
    degrees = np.diff(store.offsets)[ids[:real]]
    of = np.diff(index.offsets)[:real]
    for k, a, b in zip(fanouts, [0, *hops], hops):
        want = degrees[a:b] if k < 0 else np.minimum(degrees[a:b], k)
        if replace and k >= 0:
            want = np.where(degrees[a:b] > 0, k, 0)
        assert of[a:b].tolist() == want.tolist()
    assert not of[hops[-2] :].any()
    # the index is what sorting its edges gives
    want, order = edge_index(index.senders[:edges], index.receivers[:edges], len(ids))
    assert order.tolist() == [*range(edges)]
    for name in ("senders", "receivers", "targets", "order"):
        np.testing.assert_array_equal(getattr(index, name)[:edges], getattr(want, name))
    for name in ("offsets", "sender_offsets"):
        np.testing.assert_array_equal(getattr(index, name), getattr(want, name))
    assert (index.receivers[edges:] == len(ids)).all()
    assert (index.senders[edges:] == len(ids)).all()
    assert (index.targets[edges:] == len(ids)).all()
    assert ((index.order >= 0) & (index.order < max(index.num_edges, 1))).all()


def test_shapes_do_not_depend_on_the_sample(rng):
    store = random_store(rng)
    sampler = NeighborSampler(store, (3, 2), 4, num_nodes=40, num_edges=36)
    shapes = {
        tuple(x.shape for x in mg.tree.leaves(sampler.sample(rng.integers(0, 60, n), n)))
        for n in (0, 1, 4, 4)
    }
    assert len(shapes) == 1


def test_all_edges_of_all_hops_are_the_ones_within_reach(kernels, pyg, rng):
    import torch
    from torch_geometric.utils import k_hop_subgraph

    store = random_store(rng, 80, 160)
    receivers = np.repeat(np.arange(80), np.diff(store.offsets))
    ends = torch.tensor(np.stack([store.senders, receivers]).astype("int64"))
    nodes, *_ = k_hop_subgraph([5, 17], 2, ends, num_nodes=80)
    sampled = NeighborSampler(store, (-1, -1), 2).sample([5, 17])
    found = sampled.node_ids[: sampled.hop_nodes[-1]]
    assert sorted(found) == nodes.tolist()


def test_seeds_that_are_there_twice_are_one_node(kernels, rng):
    store = random_store(rng)
    sampled = NeighborSampler(store, (3,), 6).sample([7, 3, 7, 7, 9], 1)
    assert sampled.seeds.tolist()[:5] == [0, 1, 0, 0, 2]
    assert sampled.hop_nodes[0] == 3
    once = NeighborSampler(store, (3,), 6).sample([7, 3, 9], 1)
    same(sampled.replace(seeds=once.seeds), once)


def test_no_edges_and_no_seeds(kernels):
    store = GraphStore.from_edges([], [], 5)
    sampled = NeighborSampler(store, (2, 2), 3, num_edges=4).sample([4, 0])
    assert sampled.hop_nodes.tolist() == [2, 2, 2]
    assert sampled.graph.index.offsets[-1] == 0
    assert NeighborSampler(store, (2,), 3).sample([]).hop_nodes.tolist() == [0, 0]


def test_features_are_gathered(tmp_path, rng):
    store = random_store(rng)
    np.save(tmp_path / "x.npy", rng.normal(size=(60, 3)).astype("float32"))
    x = {"x": np.load(tmp_path / "x.npy", mmap_mode="r"), "year": np.arange(60)}
    w = rng.normal(size=400)
    sampled = NeighborSampler(store, (3, 2), 4, nodes=x, edges=w).sample([1, 2, 3], 0)
    real, edges = sampled.hop_nodes[-1], sampled.graph.index.offsets[-1]
    ids, graph = sampled.node_ids[:real], sampled.graph
    np.testing.assert_array_equal(graph.nodes["x"][:real], np.load(tmp_path / "x.npy")[ids])
    np.testing.assert_array_equal(graph.nodes["year"][:real], ids)
    assert not graph.nodes["x"][real:].any() and graph.nodes["x"].dtype == "float32"
    np.testing.assert_array_equal(graph.edges[:edges], w[sampled.edge_ids[:edges]])
    assert not graph.edges[edges:].any()


def test_buckets(rng):
    store = random_store(rng)
    sampler = NeighborSampler(store, (3, 3), 8, num_nodes=[12, 30, 60], num_edges=[9, 40, 96])
    for n in (1, 4, 8):
        sampled = sampler.sample(np.arange(n), 0)
        index = sampled.graph.index
        size = (len(sampled.node_ids), index.num_edges)
        assert size in [(12, 9), (30, 40), (60, 96)]
        fits = [
            (a, b)
            for a, b in [(12, 9), (30, 40), (60, 96)]
            if a >= sampled.hop_nodes[-1] and b >= index.offsets[-1]
        ]
        assert size == fits[0]
    tight = NeighborSampler(store, (3, 3), 8, num_nodes=13, num_edges=12)
    with pytest.raises(ArgumentError, match=r"nodes do not fit num_nodes=13; .* num_edges=12"):
        tight.sample(np.arange(8))
    assert tight.sample([0]).graph.num_nodes == 13  # it still works afterwards


def test_what_cannot_be_sampled(rng):
    store = random_store(rng)
    with pytest.raises(ArgumentError, match="fan-outs are integers"):
        NeighborSampler(store, (3, -2), 4)
    with pytest.raises(ArgumentError, match="fan-outs are integers.*batch_size is an integer"):
        NeighborSampler(store, (), 0)
    with pytest.raises(ArgumentError, match="nodes: 60 rows are needed.*edges: 400 rows"):
        NeighborSampler(store, (1,), 1, nodes=np.zeros((59, 2)), edges=np.zeros(3))
    with pytest.raises(ArgumentError, match="as many of each"):
        NeighborSampler(store, (1,), 1, num_nodes=[1, 2], num_edges=[1, 2, 3])
    sampler = NeighborSampler(store, (1,), 2)
    with pytest.raises(ArgumentError, match=r"seeds: 60 is no node of 60 \(2 are out of range\)"):
        sampler.sample([60, -1])
    with pytest.raises(ShapeError, match="at most 2"):
        sampler.sample([1, 2, 3])
    with pytest.raises(ArgumentError, match=r"knows.* has 4 nodes .*another relation 3"):
        stores = {
            WRITES: GraphStore.from_edges([0], [0], 5, 3),
            ("author", "knows", "author"): GraphStore.from_edges([0], [0], 4),
        }
        NeighborSampler(stores, (1,), {"paper": 1})
    with pytest.raises(ArgumentError, match="no fan-outs for.*seeds of type 'venue'"):
        NeighborSampler({CITES: store}, {WRITES: (1,)}, {"venue": 1})


# ---- how likely


def drawn(k, leaves=12, times=6000, weights=None, **options):
    """What so many nodes draw, each of as many senders of its own: a list of numbers each."""
    n = times * (leaves + 1)
    receivers = np.repeat(np.arange(times), leaves)
    store = GraphStore.from_edges(np.arange(times, n), receivers, n)
    if weights is not None:
        store = store.with_weights(np.tile(weights, times))
    sampled = NeighborSampler(store, (k,), times, **options).sample(np.arange(times), 1)
    offsets = sampled.graph.index.offsets
    return [
        tuple((sampled.edge_ids[a:b] % leaves).tolist())
        for a, b in itertools.pairwise(offsets[: times + 1])
    ]


def fits(counts, expected):
    assert stats.chisquare(counts, expected).pvalue > 1e-3


@pytest.mark.parametrize("k", [1, 4, 11])
def test_without_replacement_every_set_is_as_likely(k):
    times = 6000
    sets = Counter(tuple(sorted(e)) for e in drawn(k, times=times))
    every = [*itertools.combinations(range(12), k)]
    assert set(sets) <= set(every)
    fits([sets[s] for s in every], [times / len(every)] * len(every))


def test_with_replacement_every_sequence_is_as_likely():
    sequences = Counter(drawn(2, replace=True))
    every = [*itertools.product(range(12), repeat=2)]
    fits([sequences[s] for s in every], [6000 / 144] * 144)


def test_many_nodes_draw_independently(rng):
    # each of 5000 nodes has the same 8 senders, one of which it draws
    n = 5000
    senders, receivers = np.tile(np.arange(8), n), np.repeat(np.arange(8, n + 8), 8)
    store = GraphStore.from_edges(senders, receivers, n + 8)
    sampled = NeighborSampler(store, (1,), n).sample(np.arange(8, n + 8), 5)
    of = sampled.node_ids[sampled.graph.index.senders[:n]]
    fits(np.bincount(of, minlength=8), [n / 8] * 8)
    pairs = np.bincount(of[:-1] * 8 + of[1:], minlength=64)
    fits(pairs, [(n - 1) / 64] * 64)


WEIGHTS = np.asarray([4, 0, 1, 2.5, 0.5])


def successive(k):
    """The likelihood of each set of k drawn one after the other by weight."""
    out = Counter()
    for order in itertools.permutations(np.flatnonzero(WEIGHTS), k):
        p, left = 1.0, WEIGHTS.sum()
        for i in order:
            p *= WEIGHTS[i] / left
            left -= WEIGHTS[i]
        out[tuple(sorted(int(i) for i in order))] += p
    return out


@pytest.mark.parametrize("k", [1, 2, 3])
def test_by_weight_without_replacement(k):
    sets = Counter(drawn(k, 5, 5000, WEIGHTS))
    want = successive(k)
    assert set(sets) <= set(want)
    fits([sets[s] for s in want], [5000 * p for p in want.values()])


def test_by_weight_with_replacement_and_exhausted():
    every = np.concatenate(drawn(3, 5, 2000, WEIGHTS, replace=True))
    some = np.flatnonzero(WEIGHTS)
    assert set(every) <= set(some)
    fits(np.bincount(every, minlength=5)[some], 6000 * WEIGHTS[some] / WEIGHTS.sum())
    assert drawn(9, 5, 1, WEIGHTS) == [(0, 2, 3, 4)]
    assert drawn(3, 5, 1, np.zeros(5)) == [()]
    assert drawn(9, 5, 1, [1e308, 1e308, 0, 0, 5e-324]) == [(0, 1, 4)]


# ---- C and NumPy, threads


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_c_draws_what_numpy_draws(data):
    if native.kernels() is native.plain:
        pytest.skip("there is no compiler")
    seed = data.draw(st.integers(0, 2**32))
    rng = np.random.default_rng(seed)
    nodes = data.draw(st.integers(1, 30))
    store = random_store(rng, nodes, data.draw(st.integers(0, 300)))
    if data.draw(st.booleans()):
        store = store.with_weights(
            rng.integers(0, 4, store.num_edges) * rng.random(store.num_edges)
        )
    fanouts = data.draw(st.lists(st.integers(-1, 8), min_size=1, max_size=3))
    options = {"replace": data.draw(st.booleans())}
    seeds = rng.integers(0, nodes, data.draw(st.integers(0, 5)))
    sampler = NeighborSampler(store, fanouts, 5, **options)
    made = sampler.sample(seeds, seed)
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MONOGRAPH_NATIVE", "0")
        same(made, sampler.sample(seeds, seed))


def test_samples_follow_from_the_random_numbers_alone(rng):
    store = random_store(rng)
    sampler, another = (NeighborSampler(store, (3, 2), 4) for _ in range(2))
    first = sampler.sample([1, 2], (0, 1))
    for i in range(5):
        sampler.sample(rng.integers(0, 60, 3), i)
    same(first, sampler.sample([1, 2], (0, 1)))
    same(first, another.sample([1, 2], np.random.default_rng((0, 1))))
    assert any(
        (first.edge_ids != sampler.sample([1, 2], (0, i)).edge_ids).any() for i in range(2, 5)
    )


# ---- types and relations


@pytest.fixture
def typed(rng):
    return {
        WRITES: random_store(rng, 40, 150, senders=25),
        CITES: random_store(rng, 40, 90),
        ("paper", "has", "author"): GraphStore.from_edges(
            rng.integers(0, 40, 70), rng.integers(0, 25, 70), 25, 40
        ),
        ("paper", "none", "author"): GraphStore.from_edges([], [], 25, 40),
    }


def test_a_sample_with_types(kernels, typed, rng):
    fanouts = dict.fromkeys(typed, (3, 2, 2)) | {CITES: (2, 0, -1)}
    x = {"paper": rng.normal(size=(40, 2)), "author": rng.normal(size=(25, 3))}
    sampler = NeighborSampler(typed, fanouts, {"paper": 4}, nodes=x)
    sampled = sampler.sample({"paper": [5, 6, 7]}, 2)
    ids, hops = sampled.node_ids, sampled.hop_nodes
    assert ids["paper"][:3].tolist() == [5, 6, 7] and hops["author"][0] == 0
    for t in x:
        real = hops[t][-1]
        assert len(set(ids[t][:real])) == real
        np.testing.assert_array_equal(sampled.graph.nodes[t][:real], x[t][ids[t][:real]])
        assert sampled.graph.num_nodes(t) == len(ids[t])
        assert sampled.graph.node_mask(t).tolist() == [i < real for i in range(len(ids[t]))]
    for r, store in typed.items():
        index, (s, _, t) = sampled.graph.index[r], r
        edges = index.offsets[-1]
        receivers = np.repeat(np.arange(store.num_nodes), np.diff(store.offsets))
        places = sampled.edge_ids[r][:edges]
        assert len(set(places)) == edges
        np.testing.assert_array_equal(ids[s][index.senders[:edges]], store.senders[places])
        np.testing.assert_array_equal(ids[t][index.receivers[:edges]], receivers[places])
        degrees, of = np.diff(store.offsets), np.diff(index.offsets)
        for k, a, b in zip(fanouts[r], [0, *hops[t]], hops[t]):
            d = degrees[ids[t][a:b]]
            assert of[a:b].tolist() == (d if k < 0 else np.minimum(d, k)).tolist()
    assert [len(layer) for layer in sampled.layers] == [4, 4, 4]
    papers = [layer[CITES].num_receivers for layer in sampled.layers]
    assert papers[-1] == 4 and papers == sorted(papers, reverse=True)


def test_c_draws_what_numpy_draws_with_types(typed, monkeypatch):
    if native.kernels() is native.plain:
        pytest.skip("there is no compiler")
    sampler = NeighborSampler(typed, (3, 2), {"paper": 4, "author": 2})
    seeds = {"paper": [1, 9], "author": [3]}
    made = sampler.sample(seeds, 4)
    monkeypatch.setenv("MONOGRAPH_NATIVE", "0")
    same(made, sampler.sample(seeds, 4))


# ---- models


def model(scope, sampled, trimmed=True):
    """Two layers of means, along the layers of a sample or along all its edges."""
    import monograph_gnn as gnn
    import monograph_layers as nn

    x = sampled.graph.nodes
    whole = (sampled.graph.index,) * len(sampled.layers)
    for i, index in enumerate(sampled.layers if trimmed else whole):
        y = gnn.propagate(index, x, how="mean")
        y = nn.dense(scope / f"layer{i}", y, 5) + nn.dense(
            scope / f"self{i}", x[: index.num_receivers], 5
        )
        x = mg.tanh(y)
    return x[: sampled.seeds.shape[0]]


@pytest.mark.parametrize("buckets", [{}, {"num_nodes": 55, "num_edges": 300}])
def test_layers_give_the_seeds_what_the_whole_sample_gives(engine, rng, buckets):
    store = random_store(rng)
    x = rng.normal(size=(60, 4)).astype("float32")
    sampler = NeighborSampler(store, (4, 3), 6, nodes=x, **buckets)
    sampled = sampler.sample([3, 1, 4, 15], 2)
    variables = mg.Store(seed=0)

    def loss(trimmed):
        def both(scope, sampled):
            return scope.value_and_grad(
                lambda: (lambda y: (mg.sum(mg.sin(y[:4])), y))(model(scope, sampled, trimmed)),
                has_aux=True,
            )()

        return variables.bind(both, engine)(sampled)

    ((_, out), grads), ((_, want), wanted) = loss(True), loss(False)
    np.testing.assert_allclose(out.numpy()[:4], want.numpy()[:4], rtol=1e-5, atol=1e-6)
    for name in wanted:
        np.testing.assert_allclose(grads[name].numpy(), wanted[name].numpy(), rtol=1e-4, atol=1e-5)

"""Negatives, walks, links: never an edge, as likely as said, sizes that stay."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, ShapeError
from monograph_gnn.sampling import (
    GraphStore,
    LinkSampler,
    corrupt_edges,
    corrupt_triples,
    kernels as native,
    negative_edges,
    random_walks,
)

stats = pytest.importorskip("scipy.stats", reason="the reference")


def fits(counts, expected):
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def store_of(rng, nodes=20, edges=60, senders=None):
    ends = rng.integers(0, senders or nodes, edges), rng.integers(0, nodes, edges)
    return GraphStore.from_edges(*ends, nodes, senders)


def edges_of(store):
    receivers = np.repeat(np.arange(store.num_nodes), np.diff(store.offsets))
    return {*zip(store.senders.tolist(), receivers.tolist())}


# ---- negatives


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("senders", [None, 7])
def test_pairs_that_are_no_edges_are_all_as_likely(rng, senders, loops):
    store = store_of(rng, 10, 40, senders)
    n = senders or 10
    free = {(s, r) for s in range(n) for r in range(10)} - edges_of(store)
    if senders is None and not loops:
        free -= {(i, i) for i in range(10)}
    pairs = Counter(zip(*map(np.ndarray.tolist, negative_edges(store, 5000, loops=loops, rng=1))))
    assert set(pairs) <= free
    fits([pairs[p] for p in free], [5000 / len(free)] * len(free))


def test_the_one_pair_that_is_left_is_found():
    every = [(s, r) for s in range(40) for r in range(40) if (s, r) != (17, 23)]
    store = GraphStore.from_edges(*zip(*every), 40)
    s, r = negative_edges(store, 3)
    assert s.tolist() == [17] * 3 and r.tolist() == [23] * 3
    whole = GraphStore.from_edges([0, 1], [1, 0], 2)
    with pytest.raises(ArgumentError, match="no pair without an edge"):
        negative_edges(whole, 1)
    assert negative_edges(whole, 0)[0].shape == (0,)


@pytest.mark.parametrize("end", ["sender", "receiver", "both"])
def test_corrupted_edges(rng, end):
    store = store_of(rng)
    edges = np.asarray(sorted(edges_of(store)))
    s, r, found = corrupt_edges(store, *edges.T, 50, end=end, rng=3)
    assert s.shape == r.shape == found.shape == (len(edges), 50)
    assert found.all()
    kept = (s == edges[:, :1]).astype(int) + (r == edges[:, 1:])
    assert (kept == 1).all()
    assert not store.has_edge(s, r).any()
    assert not (s == r).any()
    share = (r == edges[:, 1:]).mean()
    assert share == {"sender": 1, "receiver": 0}.get(end, pytest.approx(0.5, abs=0.05))
    # of one edge's: every free node as likely
    u, v = edges[0]
    if end == "receiver":
        free = [x for x in range(20) if x != u and (u, x) not in edges_of(store)]
        many = corrupt_edges(store, [u], [v], 4000, end=end, rng=5)[1][0]
        counts = np.bincount(many, minlength=20)
        assert counts[free].sum() == 4000
        fits(counts[free], [4000 / len(free)] * len(free))


def test_an_edge_that_has_no_negative_is_told(rng):
    # node 0 sends to all, so that only the sender can be replaced
    store = GraphStore.from_edges([0, 0, 0], [1, 2, 0], 3)
    s, r, found = corrupt_edges(store, [0, 0], [1, 2], 4, end="receiver")
    assert not found.any()
    assert s.tolist() == [[0] * 4] * 2 and r.tolist() == [[1] * 4, [2] * 4]
    s, r, found = corrupt_edges(store, [0, 0], [1, 2], 20, end="both")
    assert found.all() and set(s[0].tolist()) == {2} and set(s[1].tolist()) == {1}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=50
    ),
    st.sampled_from(["head", "tail", "both"]),
    st.integers(0, 2**40),
)
def test_corrupted_triples(triples, end, seed):
    made, found = corrupt_triples(triples, 4, 3, end=end, rng=seed)
    assert made.shape == (len(triples), 3, 3)
    known = set(triples)
    for (h, r, t), row, ok in zip(triples, made.tolist(), found):
        free = {"head": [(x, r, t) for x in range(4)], "tail": [(h, r, x) for x in range(4)]}
        free["both"] = free["head"] + free["tail"]
        free = set(free[end]) - known
        assert ok.all() if free else not ok.any()
        assert {*map(tuple, row)} <= (free or {(h, r, t)})


def test_what_is_known_may_be_more_than_what_is_corrupted():
    made, found = corrupt_triples(
        [[0, 0, 1]], 4, 30, known=[[0, 0, 1], [0, 0, 2]], end="tail", rng=1
    )
    assert found.all() and set(made[0, :, 2].tolist()) == {0, 3}


def test_what_cannot_be_corrupted(rng):
    store = store_of(rng)
    with pytest.raises(ArgumentError, match="end='head'; it is one of sender, receiver, both"):
        corrupt_edges(store, [0], [0], end="head")
    with pytest.raises(ArgumentError, match="entities of triples: 4 is no node of 4"):
        corrupt_triples([[0, 0, 4]], 4)
    with pytest.raises(ShapeError, match=r"\[triples, 3\]"):
        corrupt_triples([[0, 0]], 4)
    assert corrupt_triples([], 4)[0].shape == (0, 1, 3)
    assert corrupt_edges(store, [], [], 2)[0].shape == (0, 2)


# ---- walks


@pytest.fixture(params=["c", "numpy"])
def kernels(request, monkeypatch):
    if request.param == "numpy":
        monkeypatch.setenv("MONOGRAPH_NATIVE", "0")
    elif native.kernels() is native.plain:
        pytest.skip("there is no compiler")


@pytest.mark.parametrize(("p", "q"), [(1, 1), (0.25, 4), (4, 0.5)])
def test_walks_follow_edges_and_end_at_dead_ends(kernels, rng, p, q):
    store = store_of(rng, 30, 60)
    walks = random_walks(store, np.arange(30), 12, p=p, q=q, rng=2)
    assert walks.shape == (30, 13) and walks.dtype == "int32"
    assert walks[:, 0].tolist() == [*range(30)]
    edges, degrees = edges_of(store), np.diff(store.offsets)
    for walk in walks.tolist():
        for a, b in itertools.pairwise(walk):
            assert (b, a) in edges if b >= 0 else a < 0 or degrees[a] == 0
    assert (walks < 0).any() and (walks[:, -1] >= 0).any()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from([0.2, 1.0, 3.0]), st.sampled_from([0.5, 1.0, 7.0]))
def test_c_walks_as_numpy_does(seed, p, q):
    if native.kernels() is native.plain:
        pytest.skip("there is no compiler")
    rng = np.random.default_rng(seed)
    store = store_of(rng, 15, int(rng.integers(0, 80)))
    starts = rng.integers(0, 15, 9)
    walks = random_walks(store, starts, 6, p=p, q=q, rng=seed)
    with pytest.MonkeyPatch.context() as m:
        m.setenv("MONOGRAPH_NATIVE", "0")
        np.testing.assert_array_equal(walks, random_walks(store, starts, 6, p=p, q=q, rng=seed))


@pytest.mark.parametrize(("p", "q"), [(1.0, 1.0), (0.5, 2.0), (4.0, 0.25)])
def test_steps_are_as_likely_as_node2vec_says(p, q):
    # 0 - 1, and from 1 on: back to 0, to 2 (a neighbour of 0), to 3 and 4 (not)
    pairs = [(0, 1), (1, 2), (0, 2), (1, 3), (1, 4)]
    senders, receivers = zip(*pairs, *[(b, a) for a, b in pairs])
    store = GraphStore.from_edges(senders, receivers, 5)
    walks = random_walks(store, np.zeros(30_000, int), 2, p=p, q=q, rng=1)
    first = np.bincount(walks[:, 1], minlength=5)
    fits(first[[1, 2]], [15_000] * 2)
    second = np.bincount(walks[walks[:, 1] == 1, 2], minlength=5)
    weights = np.asarray([1 / p, 1, 1 / q, 1 / q])
    fits(second[[0, 2, 3, 4]], first[1] * weights / weights.sum())


def test_what_cannot_be_walked(rng):
    with pytest.raises(ArgumentError, match="one set of nodes.*length is.*p is a finite"):
        random_walks(store_of(rng, 5, 9, 7), [0], -1, p=0)
    with pytest.raises(ArgumentError, match="starts: 20 is no node"):
        random_walks(store_of(rng), [20], 3)
    assert random_walks(store_of(rng), [], 3).shape == (0, 4)
    assert random_walks(store_of(rng), [4], 0).tolist() == [[4]]


# ---- links


def checked(sampler, store, edges, senders, receivers, negatives):
    """What a batch of a link sampler must hold; of nodes of two kinds or of one."""
    (sampled, pairs), labels, weight = sampler(edges, 4)
    most, n = sampler.batch_size, len(edges)
    assert pairs.shape == (most * (1 + negatives), 2)
    assert labels.dtype == weight.dtype == "float32"
    assert labels.tolist() == [1] * n + [0] * (most - n + most * negatives)
    real = weight > 0
    assert real[:n].all() and real.sum() == n * (1 + negatives)
    ids = sampled.node_ids
    s = (ids if senders is None else ids[senders])[pairs[:, 0]]
    r = (ids if receivers is None else ids[receivers])[pairs[:, 1]]
    assert [*zip(s[:n], r[:n])] == [*map(tuple, edges)]
    assert not store.has_edge(s[most:][real[most:]], r[most:][real[most:]]).any()
    # the negatives of an edge keep one of its ends
    kept = np.repeat(edges, negatives, axis=0)
    assert ((s[most:][real[most:]] == kept[:, 0]) | (r[most:][real[most:]] == kept[:, 1])).all()
    return sampled, pairs


@pytest.mark.parametrize("end", ["sender", "receiver", "both"])
@pytest.mark.parametrize("negatives", [1, 3])
def test_links(rng, end, negatives):
    store = store_of(rng, 40, 120)
    edges = np.asarray(sorted(edges_of(store)))[:7]
    x = rng.normal(size=(40, 2))
    sampler = LinkSampler(store, (3, 2), 8, negatives=negatives, end=end, nodes=x)
    sampled, pairs = checked(sampler, store, edges, None, None, negatives)
    assert pairs.max() < sampled.hop_nodes[0]
    again = sampler(edges, 4)[0]
    np.testing.assert_array_equal(again[1], pairs)


def test_links_of_one_relation(rng):
    relation = ("user", "buys", "item")
    stores = {
        relation: store_of(rng, 12, 30, 20),
        ("item", "bought", "user"): store_of(rng, 20, 30, 12),
        ("user", "knows", "user"): store_of(rng, 20, 40),
    }
    edges = np.asarray(sorted(edges_of(stores[relation])))[:5]
    sampler = LinkSampler(stores, (2, 2), 5, relation=relation, negatives=2)
    checked(sampler, stores[relation], edges, "user", "item", 2)
    knows = ("user", "knows", "user")
    edges = np.asarray(sorted(edges_of(stores[knows])))[:5]
    checked(LinkSampler(stores, (2,), 6, relation=knows), stores[knows], edges, "user", "user", 1)


def test_what_cannot_be_linked(rng):
    store = store_of(rng)
    with pytest.raises(ArgumentError, match="relation="):
        LinkSampler(store, (2,), 2, relation=("a", "b", "c"))
    with pytest.raises(ArgumentError, match="end is one of"):
        LinkSampler(store, (2,), 2, end="head")
    with pytest.raises(ShapeError, match=r"\[at most 2, 2\]"):
        LinkSampler(store, (2,), 2)([[0, 1]] * 3)


def test_of_a_graph_with_nearly_all_edges_the_few_others_are_found_at_once():
    n = 400
    pairs = np.arange(n * n)
    free = np.array([5, 401, 80_005])  # no loops
    s, r = np.divmod(np.delete(pairs, free), n)
    found = np.stack(negative_edges(GraphStore.from_edges(s, r, num_nodes=n), 300), 1)
    want, counts = np.unique(found[:, 0] * n + found[:, 1], return_counts=True)
    loops = np.flatnonzero(free // n == free % n)
    assert want.tolist() == np.delete(free, loops).tolist() and counts.min() > 60

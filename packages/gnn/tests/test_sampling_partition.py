"""Partitions that are balanced and cut little, and samples of merged parts."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, ShapeError
from monograph_gnn.sampling import ClusterSampler, GraphStore, Loader, edge_cut, partition


def grid(side):
    at = np.arange(side * side).reshape(side, side)
    pairs = [(at[:, :-1], at[:, 1:]), (at[:-1], at[1:])]
    a, b = (np.concatenate([p[i].ravel() for p in pairs]) for i in (0, 1))
    return GraphStore.from_edges(a, b, side * side)


def groups(rng, n, k, edges, inside):
    """``k`` groups; so large a share of the edges is within one."""
    of = rng.permutation(np.arange(n) % k)
    members = np.argsort(of, kind="stable").reshape(k, -1)
    senders = rng.integers(0, n, edges)
    within = members[of[senders], rng.integers(0, n // k, edges)]
    receivers = np.where(rng.random(edges) < inside, within, rng.integers(0, n, edges))
    return GraphStore.from_edges(senders, receivers, n), of


def balanced(of, parts, n, imbalance=0.05):
    sizes = np.bincount(of, minlength=parts)
    mean = n / parts
    assert len(sizes) == parts
    assert sizes.max() <= max(np.ceil(mean), mean * (1 + imbalance))
    assert sizes.min() >= min(np.floor(mean), mean * (1 - imbalance))


# equal squares, were they whole, would cut 0.0102, 0.061, 0.124; chance cuts 1 - 1/parts
@pytest.mark.parametrize(("parts", "most"), [(2, 0.02), (16, 0.1), (50, 0.2)])
def test_a_grid(parts, most):
    store = grid(50)
    of = partition(store, parts, rng=1)
    assert of.dtype == "int32"
    balanced(of, parts, 2500)
    assert edge_cut(store, of) < most
    shuffled = np.random.default_rng(0).permutation(of)
    assert edge_cut(store, of) < 0.2 * edge_cut(store, shuffled)


def test_groups_are_found(rng):
    store, of = groups(rng, 2000, 10, 20_000, inside=0.9)
    found = partition(store, 10, rng=0)
    balanced(found, 10, 2000)
    assert edge_cut(store, found) < 1.5 * edge_cut(store, of)


def test_it_follows_from_the_random_numbers(rng):
    store, _ = groups(rng, 300, 6, 3000, inside=0.7)
    np.testing.assert_array_equal(partition(store, 6, rng=5), partition(store, 6, rng=5))
    assert (partition(store, 6, rng=5) != partition(store, 6, rng=6)).any()


@pytest.mark.parametrize("parts", [1, 3, 7, 10, 12])
def test_graphs_without_edges_and_with_few_nodes(parts):
    empty = GraphStore.from_edges([], [], 10)
    balanced(partition(empty, parts), parts, 10)
    loops = GraphStore.from_edges([0, 1, 2, 2], [0, 1, 2, 1], 10)
    balanced(partition(loops, parts), parts, 10)
    assert partition(GraphStore.from_edges([], [], 0), parts).shape == (0,)


def test_a_star_cannot_be_cut_well_but_is_balanced(rng):
    store = GraphStore.from_edges(np.arange(1, 501), np.zeros(500, int), 501)
    balanced(partition(store, 5), 5, 501)


def test_what_cannot_be_cut(rng):
    with pytest.raises(ArgumentError, match="one set of nodes.*parts is an integer"):
        partition(GraphStore.from_edges([0], [0], 3, 2), 0)


# ---- samples of parts


def test_parts_with_all_their_edges(rng):
    store, _ = groups(rng, 200, 8, 1500, inside=0.8)
    of = partition(store, 8)
    x, w = rng.normal(size=(200, 3)), np.arange(1500)
    sampler = ClusterSampler(store, of, 3, nodes=x, edges=w)
    receivers = np.repeat(np.arange(200), np.diff(store.offsets))
    shapes = set()
    for parts in ([1], [6, 0], [2, 5, 7], []):
        sampled = sampler.sample(parts)
        ids = sampled.node_ids[: sampled.hop_nodes[-1]]
        assert sorted(ids) == np.flatnonzero(np.isin(of, parts)).tolist()
        index = sampled.graph.index
        real = index.offsets[-1]
        places = sampled.edge_ids[:real]
        assert (
            sorted(places)
            == np.flatnonzero(
                np.isin(of[store.senders], parts) & np.isin(of[receivers], parts)
            ).tolist()
        )
        np.testing.assert_array_equal(ids[index.senders[:real]], store.senders[places])
        np.testing.assert_array_equal(ids[index.receivers[:real]], receivers[places])
        np.testing.assert_array_equal(sampled.graph.nodes[: len(ids)], x[ids])
        np.testing.assert_array_equal(sampled.graph.edges[:real], places)
        shapes.add(tuple(a.shape for a in mg.tree.leaves(sampled)))
    assert len(shapes) == 1


def test_parts_are_loaded(rng):
    store, _ = groups(rng, 200, 8, 1500, inside=0.8)
    sampler = ClusterSampler(store, partition(store, 8), 3)
    seen = [b.node_ids[: b.hop_nodes[0]] for b in Loader(sampler, np.arange(8), workers=1)]
    assert len(seen) == 3 and sorted(np.concatenate(seen)) == [*range(200)]


def test_what_cannot_be_merged(rng):
    store = grid(4)
    of = np.arange(16) % 4
    with pytest.raises(ShapeError, match=r"parts must be \[nodes\]"):
        ClusterSampler(store, of[:-1], 1)
    with pytest.raises(ArgumentError, match="batch_size=5 parts, of 4"):
        ClusterSampler(store, of, 5)
    sampler = ClusterSampler(store, of, 2, num_nodes=7)
    with pytest.raises(ArgumentError, match="twice"):
        sampler.sample([1, 1])
    with pytest.raises(ArgumentError, match="8 nodes do not fit num_nodes=7"):
        sampler.sample([1, 2])

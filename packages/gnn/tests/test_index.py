"""Sorting edges and giving them loops: known arrays and traced ones, against lists of pairs."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st


@st.composite
def edge_lists(draw, low=0):
    """Senders, receivers and how many nodes; with ``low=-2`` ids may be out of range."""
    nodes = draw(st.integers(1, 6))
    ids = st.integers(low, nodes - 1 - low)
    pairs = draw(st.lists(st.tuples(ids, ids), max_size=14))
    ends = np.asarray(pairs, "int64").reshape(-1, 2)
    return ends[:, 0], ends[:, 1], nodes


def sound(index):
    """The edges of an index as pairs in its order, after a look at all six arrays."""
    s, r, offsets, targets, order, by_sender = (np.asarray(a) for a in index.arrays)
    assert all(a.dtype == np.int32 for a in (s, r, offsets, targets, order, by_sender))
    n, real = index.num_receivers, offsets[-1]
    assert offsets[0] == by_sender[0] == 0 and by_sender[-1] == real
    assert (np.diff(offsets) >= 0).all() and (np.diff(by_sender) >= 0).all()
    assert (s[real:] >= index.num_senders).all() and (r[real:] >= n).all()
    for i in range(n):
        assert (r[offsets[i] : offsets[i + 1]] == i).all()
    for i in range(index.num_senders):
        mine = order[by_sender[i] : by_sender[i + 1]]
        assert (s[mine] == i).all() and (targets[by_sender[i] : by_sender[i + 1]] == r[mine]).all()
    assert sorted(order[:real]) == list(range(real))
    np.testing.assert_array_equal(index.edge_mask.numpy(), np.arange(len(s)) < real)
    np.testing.assert_array_equal(index.in_degrees.numpy(), np.bincount(r[:real], minlength=n))
    np.testing.assert_array_equal(
        index.out_degrees.numpy(), np.bincount(s[:real], minlength=index.num_senders)
    )
    return list(zip(s[:real].tolist(), r[:real].tolist()))


def traced(fn, *arrays):
    return mg.tree.map(lambda x: x.numpy(), mg.jit(fn).on("numpy")(*arrays))


@given(edge_lists())
@settings(max_examples=60, deadline=None)
def test_edges_are_sorted_and_their_places_told(edges):
    senders, receivers, n = edges
    index, places = gnn.edge_index(senders, receivers, n)
    pairs = sound(index)
    assert pairs == [(senders[p], receivers[p]) for p in places]
    assert sorted(places) == list(range(len(senders)))
    assert [r for _, r in pairs] == sorted(receivers)
    again, found = traced(lambda s, r: gnn.edge_index(s, r, n), senders, receivers)
    assert sound(again) == pairs and found.tolist() == places.tolist()


@given(edge_lists(low=-2))
@settings(max_examples=60, deadline=None)
def test_traced_edges_out_of_range_become_padding(edges):
    senders, receivers, n = edges
    index, places = traced(lambda s, r: gnn.edge_index(s, r, n), senders, receivers)
    within = [(s, r) for s, r in zip(senders, receivers) if 0 <= s < n and 0 <= r < n]
    pairs = sound(index)
    assert sorted(pairs) == sorted(within) and index.num_edges == len(senders)
    assert pairs == [(senders[p], receivers[p]) for p in places[: len(pairs)]]


@given(edge_lists(), st.booleans(), st.integers(0, 2))
@settings(max_examples=80, deadline=None)
def test_every_node_gets_one_loop(edges, keep, padding):
    senders, receivers, n = edges
    index, _ = gnn.edge_index(senders, receivers, n)
    index = gnn.batches.padded_index(index, index.num_edges + padding)
    before = sound(index)
    inside = traced(lambda i: gnn.add_self_loops(i, keep=keep), index)
    for looped, places in (gnn.add_self_loops(index, keep=keep), inside):
        pairs = sound(looped)
        others = [p for p in before if p[0] != p[1]]
        assert sorted(pairs) == sorted([*others, *[(i, i) for i in range(n)]])
        last = {p[0]: e for e, p in enumerate(before) if p[0] == p[1]} if keep else {}
        for pair, place in zip(pairs, places):
            assert place == last.get(pair[0], -1) if pair[0] == pair[1] else before[place] == pair
        assert looped.loops and gnn.add_self_loops(looped)[0] is looped


def test_loops_of_one_set_of_nodes_only():
    index, _ = gnn.edge_index([0], [0], 2, 3)
    with pytest.raises(mg.errors.ShapeError, match="3 senders and 2 receivers are different"):
        gnn.add_self_loops(index)


@pytest.mark.parametrize(
    "senders, receivers, error, messages",
    [
        ([0, 7, 9], [0, -1, 1], mg.errors.ArgumentError,
         ["senders[1] is 7, of 4 nodes (2 senders are out of range)", "receivers[1] is -1"]),
        ([0.5], [1], mg.errors.DTypeError, ["senders must be integers, got float64"]),
        ([0, 1], [1], mg.errors.ShapeError, ["both be [edges], got (2,) and (1,)"]),
        ([[0]], [[1]], mg.errors.ShapeError, ["both be [edges]"]),
    ],
)  # fmt: skip
def test_edges_that_are_none_are_errors_that_say_all_of_it(senders, receivers, error, messages):
    with pytest.raises(error) as e:
        gnn.edge_index(senders, receivers, 4)
    assert all(m in str(e.value) for m in messages) and "test_index.py" in str(e.value)


def test_an_index_is_an_argument_of_any_function(engine):
    index, _ = gnn.edge_index([0, 1], [1, 1], 3)
    assert repr(index) == "EdgeIndex(2 edges, 3 nodes)"
    degrees = mg.jit(lambda i: i.in_degrees).on(engine)
    assert degrees(index).tolist() == [0, 2, 0]
    looped, _ = gnn.add_self_loops(index)
    assert degrees(looped).tolist() == [1, 2, 1]
    assert mg.jit(lambda i: 1.0 if i.loops else 0.0).on(engine)(looped).item() == 1

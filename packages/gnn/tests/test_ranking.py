"""Filtered ranks against brute force; their metrics; errors."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, ShapeError


def by_sorting(row, target, others):
    """The mean of the best and the worst place that the target may have in order."""
    rivals = [s for i, s in enumerate(row) if i != target and not others[i]]
    best = 1 + sum(s > row[target] for s in rivals)
    return (best + best + sum(s == row[target] for s in rivals)) / 2


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_ranks_are_those_of_sorting(seed, n, batch):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (batch, n)).astype("float32")  # many are equal
    scores[rng.random((batch, n)) < 0.1] = rng.choice([-np.inf, np.inf])
    targets, others = rng.integers(0, n, batch), rng.random((batch, n)) < 0.3
    want = [by_sorting(*x) for x in zip(scores, targets, others)]
    np.testing.assert_array_equal(gnn.ranks(scores, targets, others), want)
    none = np.zeros_like(others)
    want = [by_sorting(*x) for x in zip(scores, targets, none)]
    np.testing.assert_array_equal(gnn.ranks(scores, targets), want)


def test_ranks_on_every_engine(engine, rng):
    scores = rng.integers(0, 9, (5, 12)).astype("float32")
    targets, others = rng.integers(0, 12, 5), rng.random((5, 12)) < 0.3
    want = [by_sorting(*x) for x in zip(scores, targets, others)]
    np.testing.assert_array_equal(mg.jit(gnn.ranks, engine=engine)(scores, targets, others), want)


def test_ranks_are_scikit_learns(rng):
    metrics = pytest.importorskip("sklearn.metrics", reason="the reference")
    scores, targets = rng.normal(size=(30, 20)).astype("float32"), rng.integers(0, 20, 30)
    found = gnn.ranks(scores, targets).numpy()
    got = gnn.rank_metrics(found, (1, 5))
    truth = np.eye(20)[targets]
    want = metrics.label_ranking_average_precision_score(truth, scores)  # of one label: MRR
    assert got["mrr"] == pytest.approx(want)
    for k in (1, 5):
        hits = metrics.top_k_accuracy_score(targets, scores, k=k, labels=range(20))
        assert got[f"hits@{k}"] == pytest.approx(hits)
    assert got["mean_rank"] == pytest.approx(metrics.coverage_error(truth, scores))


def test_nan_is_no_rank():
    scores = np.float32([[1, np.nan, 0], [1, np.nan, 0], [np.nan, 1, 0]])
    others = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
    found = gnn.ranks(scores, [0, 0, 0], others).numpy()
    np.testing.assert_array_equal(found, [np.nan, 1, np.nan])
    with pytest.raises(ArgumentError, match="test_ranking.*2 of 3 ranks are NaN"):
        gnn.rank_metrics(found)
    with pytest.raises(ArgumentError, match="no ranks"):
        gnn.rank_metrics([])


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4), st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_the_filter_knows_what_is_true(seed, entities, relations, count):
    rng = np.random.default_rng(seed)
    highs = (entities, relations, entities)
    triples = np.stack([rng.integers(0, n, count) for n in highs], 1)
    true = {tuple(t) for t in triples.tolist()}
    known = gnn.TripleFilter(triples, entities)
    h, r, t = (rng.integers(0, n + (i == 1), 7) for i, n in enumerate(highs))  # a new relation, too
    tails, heads = known.tails(h, r), known.heads(r, t)
    for i in range(7):
        for e in range(entities):
            assert tails[i, e] == ((h[i], r[i], e) in true)
            assert heads[i, e] == ((e, r[i], t[i]) in true)


def test_ranks_of_triples_against_loops(rng):
    entities, relations = 8, 3
    train, test = (
        np.stack([rng.integers(0, n, size) for n in (entities, relations, entities)], 1)
        for size in (40, 11)
    )
    table = rng.integers(0, 6, (entities, relations, entities)).astype("float32")
    true = {tuple(t) for t in np.concatenate([train, test]).tolist()}
    known = gnn.TripleFilter([*true], entities)
    got = gnn.link_ranks(
        test, lambda h, r: table[h, r], lambda r, t: table[:, r, t].T, known, batch_size=4
    )
    for i, (h, r, t) in enumerate(test.tolist()):
        others = [(h, r, e) in true for e in range(entities)]
        assert got["tail"][i] == by_sorting(table[h, r], t, others)
        others = [(e, r, t) in true for e in range(entities)]
        assert got["head"][i] == by_sorting(table[:, r, t], h, others)
    none = gnn.link_ranks([], lambda h, r: 1 / 0, lambda r, t: 1 / 0, known)
    assert none["tail"].shape == none["head"].shape == (0,)


def test_bad_input_is_named():
    with pytest.raises(ShapeError, match=r"test_ranking.*got \(2, 3\), \(3,\) and None"):
        gnn.ranks(np.zeros((2, 3)), np.zeros(3, int))
    with pytest.raises(ArgumentError, match=r"targets are in 0 .. 2; one is 3"):
        gnn.ranks(np.zeros((2, 3)), np.array([0, 3]))
    with pytest.raises(ShapeError, match=r"integers \[triples, 3\], got float64\[1, 3\]"):
        gnn.TripleFilter([[0.0, 1.0, 2.0]], 3)
    with pytest.raises(ArgumentError, match="the tail of triple 1 is 3, of 3 entities"):
        gnn.TripleFilter([[0, 0, 1], [0, 0, 3]], 3)
    with pytest.raises(ArgumentError, match="the relation of triple 0 is -1"):
        gnn.TripleFilter([[0, -1, 1]], 3)

"""Buckets and batches for training: little padding, few compilations, every graph once an epoch."""

from functools import partial

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, ShapeError
from monograph_gnn import loading
from monograph_gnn.loading import Buckets, GraphLoader, Size


def drawn(count, seed=0, largest=30):
    """Graphs of very different sizes, whose label is in their features."""
    rng = np.random.default_rng(seed)
    out = []
    for k in range(count):
        n = int(rng.integers(1, largest))
        e = int(rng.integers(0, 3 * n))
        x = rng.normal(size=(n, 3)).astype("float32")
        x[:, 0] = k % 2
        out.append(gnn.graph(x, rng.integers(0, n, e), rng.integers(0, n, e)))
    return out


GRAPHS = drawn(100)
LABELS = np.arange(100, dtype="int32") % 2


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 90)), min_size=1, max_size=30), st.integers(1, 12), st.integers(1, 5))  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_any_batch_fits_a_bucket(sizes, batch_size, most):
    made = [gnn.graph(None, [0] * (e if n else 0), [0] * (e if n else 0), num_nodes=n) for n, e in sizes]  # fmt: skip
    buckets = Buckets.of(made, batch_size, most=most)
    assert 1 <= len(buckets.sizes) <= most
    for seed in range(3):  # also orders that were not drawn to make them
        waste = buckets.waste(made, batch_size, epochs=2, seed=seed + 100)
        assert sum(waste.batches.values()) == 2 * -(-len(made) // batch_size)
        assert set(waste.batches) <= set(buckets.sizes)
        assert all(0 <= part <= 1 for part in (waste.nodes, waste.edges, waste.graphs))
    largest = sorted(made, key=lambda g: g.num_nodes)[-batch_size:]
    buckets.fit(sum(g.num_nodes for g in largest), 0, len(largest))


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_other_sizes_leave_less_padding(most):
    """The cuts found are the best of all, by trying them all."""
    import itertools

    seen = np.random.default_rng(0).integers(1, 50, (9, 2))
    ordered = seen[np.argsort(seen.sum(axis=1), kind="stable")]
    tops = np.maximum.accumulate(ordered, axis=0)

    def room(ends):
        return sum(int(tops[b - 1].sum()) * (b - a) for a, b in zip((0, *ends), ends))

    best = min(room((*c, 9)) for k in range(most) for c in itertools.combinations(range(1, 9), k))
    found = loading._least_padding(seen, most)
    ends = [int(np.flatnonzero((tops == s).all(axis=1))[-1]) + 1 for s in found]
    assert len(found) <= most and room(ends) == best


def test_more_buckets_waste_less():
    one, few = (Buckets.of(GRAPHS, 16, most=n) for n in (1, 4))
    a, b = (x.waste(GRAPHS, 16, epochs=20, seed=7) for x in (one, few))
    assert b.nodes < 0.25 < a.nodes and b.edges < a.edges
    assert len(b.batches) <= 4 and "batches of" in str(b)


def test_a_batch_has_its_graphs_labels_and_weights():
    loader = GraphLoader(GRAPHS, {"class": LABELS, "pair": np.ones((100, 2))}, buckets=Buckets.of(GRAPHS, 8))  # fmt: skip
    assert len(loader) == 100
    g, labels, weights = loader(np.asarray([5, 93, 0]))
    assert weights.tolist() == [1, 1, 1, 0] and weights.dtype == np.float32
    assert labels["class"].tolist() == [1, 1, 0, 0] and labels["pair"].shape == (4, 2)
    assert loader(np.arange(8))[2].tolist() == [1] * 8
    want = gnn.batch([GRAPHS[k] for k in (5, 93, 0)])
    np.testing.assert_array_equal(gnn.batch([g]).nodes, want.nodes)
    assert (g.num_nodes, g.index.num_edges, g.num_graphs) in loader.buckets.sizes
    assert GraphLoader(GRAPHS)([5]).num_nodes == GRAPHS[5].num_nodes
    same = GraphLoader(gnn.batch(GRAPHS, num_nodes=5000), LABELS, buckets=loader.buckets)
    assert mg.tree.flatten(same([3, 4]))[1] == mg.tree.flatten(GraphLoader(GRAPHS, LABELS, buckets=loader.buckets)([3, 4]))[1]  # fmt: skip


def test_what_does_not_fit_is_named():
    small = Buckets([Size(16, 20, 4)])
    with pytest.raises(ArgumentError) as e:
        GraphLoader(GRAPHS[:20], LABELS[:7], buckets=small)
    big = [k for k, g in enumerate(GRAPHS[:20]) if g.num_nodes > 16 or g.index.num_edges > 20]
    first = GRAPHS[big[0]]
    for part in (
        "labels: 20 rows are needed, an array has shape (7,)", f"so for {len(big) - 5} more",
        f"graph {big[0]} has {first.num_nodes} nodes and {first.index.num_edges} edges",
        "the largest bucket is Size(nodes=16, edges=20, graphs=4)",
    ):  # fmt: skip
        assert part in str(e.value)
    fits = [g for k, g in enumerate(GRAPHS[:20]) if k not in big]
    with pytest.raises(
        ArgumentError, match=r"5 graphs are more than the largest bucket .* fewer graphs"
    ):
        GraphLoader(fits, buckets=small)([0, 1, 2, 3, 4])
    with pytest.raises(ArgumentError, match="there is no graph 100"):
        GraphLoader(GRAPHS, buckets=Buckets.of(GRAPHS, 8))([0, 100])
    with pytest.raises(ShapeError, match="nodes of graph 1"):
        GraphLoader([GRAPHS[0], gnn.graph(np.zeros((2, 5)), [0], [1])])
    for sizes in ([], [Size(8, -1, 1)]):
        with pytest.raises(ArgumentError, match="buckets are sizes"):
            Buckets(sizes)
    with pytest.raises(ArgumentError, match="graphs=0, most=0: at least 1"):
        Buckets.of([], 3, most=0)


# ---- with monograph-train


def datasets():
    return pytest.importorskip("monograph_train", reason="walks through the graphs").Dataset


def test_every_graph_once_an_epoch_also_after_a_stop():
    loader = GraphLoader(GRAPHS, np.arange(100), buckets=Buckets.of(GRAPHS, 8))
    data = datasets().from_arrays(np.arange(100)).shuffle(seed=1).batch(8).map(loader)
    seen = lambda items: [int(y) for _, labels, w in items for y, real in zip(labels, w) if real]
    whole = [seen(data.iterate(epoch)) for epoch in range(2)]
    assert all(sorted(order) == [*range(100)] for order in whole) and whole[0] != whole[1]
    walk = data.iterate(epoch=1)
    before = seen([next(walk) for _ in range(5)])
    state = walk.state()
    again = datasets().from_arrays(np.arange(100)).shuffle(seed=1).batch(8).map(loader, workers=2)
    assert before + seen(again.prefetch().iterate(state=state)) == whole[1]


def model(scope, g):
    import monograph_layers as nn

    x = nn.dense(scope / "first", mg.asarray(g.nodes), 8)
    x = mg.tanh(gnn.gcn_conv(scope / "gcn", g.index, x, 8, add_self_loops=False) + x)
    return nn.dense(scope / "logits", gnn.aggregate(g.membership, x, "mean"), 2)


def test_training_compiles_a_few_times_and_ignores_padding(engine):
    train = pytest.importorskip("monograph_train")
    traced = []

    def counted(scope, g):
        traced.append((g.num_nodes, g.index.num_edges))
        return model(scope, g)

    buckets = Buckets.of(GRAPHS, 16, most=3)
    loader = GraphLoader(GRAPHS, LABELS, buckets=buckets)
    data = train.Dataset.from_arrays(np.arange(100)).shuffle(0).batch(16).map(loader)
    trainer = train.Trainer(
        counted,
        partial(train.sparse_categorical_crossentropy, from_logits=True),
        train.adam(0.05),
        engine=engine,
    )
    history = trainer.fit(data, epochs=4, progress=False)
    assert len({*traced}) <= len(buckets.sizes)
    assert history[-1].metrics["loss"] < history[0].metrics["loss"]
    # the mean loss over all graphs does not depend on how they are batched or padded: 4 remain
    assert {s.graphs for s in buckets.sizes} == {4, 16}
    plain = GraphLoader(GRAPHS, LABELS)([*range(100)])
    padded = train.Dataset.from_arrays(np.arange(100)).batch(16).map(loader)
    a = trainer.evaluate([plain])["loss"]
    b = trainer.evaluate(padded)["loss"]
    np.testing.assert_allclose(a, b, rtol=1e-5)

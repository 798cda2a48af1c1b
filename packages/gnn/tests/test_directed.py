"""D-MPNN against loops over edges in NumPy's float64, and the places of reverse edges."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st


def molecule(rng):
    """Bonds both ways between 9 atoms, of which one has none; two atoms are bound twice."""
    bonds = [(0, 1), (1, 2), (2, 3), (3, 0), (2, 4), (4, 5), (4, 6), (6, 7), (0, 1)]
    ends = np.asarray(bonds + [(b, a) for a, b in bonds])
    return ends[rng.permutation(len(ends))].T


def d_mpnn(senders, receivers, reverse, x, edges, p, depth):
    """As the paper says it, edge by edge; `p` holds the parameters."""
    count = len(senders)
    first = [np.concatenate([x[v], e]) @ p["input/kernel"] for v, e in zip(senders, edges)]
    h = [np.tanh(i) for i in first]
    for _ in range(depth - 1):
        new = []
        for e in range(count):
            into = [h[k] for k in range(count) if receivers[k] == senders[e] and k != reverse[e]]
            new.append(np.tanh(first[e] + sum(into, np.zeros(5)) @ p["message/kernel"]))
        h = new
    out = []
    for v in range(len(x)):
        arrived = sum((h[k] for k in range(count) if receivers[k] == v), np.zeros(5))
        out.append(np.tanh(np.concatenate([x[v], arrived]) @ p["output/kernel"] + p["output/bias"]))
    return np.stack(out)


@pytest.mark.parametrize("beforehand", [True, False])
def test_d_mpnn_is_the_papers_loop(engine, rng, beforehand):
    index, places = gnn.edge_index(*molecule(rng), 9)
    x, features = rng.normal(size=(9, 4)), rng.normal(size=(18, 3))[places]
    reverse = gnn.reverse_edges(index)

    def model(scope, index, x, features):
        return gnn.d_mpnn(
            scope, index, x, 5, edges=features, depth=4, activation="tanh",
            reverse=reverse if beforehand else None,
        )  # fmt: skip

    store = mg.Store(seed=0)
    got = store.bind(model, engine)(index, x, features)
    p = {path: value.astype("float64") for path, value in store.numpy().items()}
    want = d_mpnn(index.senders, index.receivers, reverse, x, features, p, 4)
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-9, atol=1e-12)


def test_gradients_of_d_mpnn_are_slopes(engine, rng):
    index, places = gnn.edge_index(*molecule(rng), 9)
    x, features = rng.normal(size=(9, 4)), rng.normal(size=(18, 3))[places]
    towards = rng.normal(size=x.shape), rng.normal(size=features.shape)
    store = mg.Store(seed=0)

    def loss(scope, x, features):
        return mg.sum(mg.sin(gnn.d_mpnn(scope, index, x, 5, edges=features, activation="tanh")))

    slopes = store.bind(
        lambda scope, *xs: mg.grad(lambda *xs: loss(scope, *xs), (0, 1))(*xs), engine
    )
    got = sum((g.numpy() * d).sum() for g, d in zip(slopes(x, features), towards))
    at = lambda h: store.bind(loss, "numpy")(*(v + h * d for v, d in zip((x, features), towards)))
    want = (at(1e-5).item() - at(-1e-5).item()) / 2e-5
    assert got == pytest.approx(want, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    ends=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=25),
    padding=st.integers(0, 4), traced=st.booleans(),
)  # fmt: skip
def test_reverse_edges(ends, padding, traced):
    senders, receivers = np.asarray(ends, "int32").reshape(-1, 2).T
    index = gnn.batch(
        [gnn.graph(None, senders, receivers, num_nodes=5)], num_edges=len(ends) + padding
    ).index
    found = gnn.reverse_edges(index)
    if traced:
        found = mg.jit(gnn.reverse_edges).on("numpy")(index).numpy()
    pairs = [*zip(index.senders.tolist(), index.receivers.tolist())]
    for e, back in enumerate(found.tolist()):
        if back >= 0:
            assert pairs[back] == pairs[e][::-1] and found[back] == e
    real = pairs[: len(ends)]
    for a, b in set(real):  # as many are matched as can be
        matched = sum(found[e] >= 0 for e, p in enumerate(real) if p == (a, b))
        assert matched == min(real.count((a, b)), real.count((b, a)))
    assert set(found[len(ends) :].tolist()) <= {-1}


def test_edges_between_two_kinds_of_nodes_do_not_lead_back():
    index, _ = gnn.edge_index([0], [1], 2, 3)
    with pytest.raises(mg.errors.ShapeError, match="leads back"):
        gnn.reverse_edges(index)

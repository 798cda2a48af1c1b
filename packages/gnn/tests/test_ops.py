"""Operations over edges: the conformance kit, a NumPy oracle on random graphs, and what C must not do."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.engine import get_engine
from monograph.testing import assert_conforms
from monograph_gnn import ops

OPS = ["neighbor_sum", "edge_dot", "edge_take", "edge_sum", "edge_max", "edge_softmax"]

in_c_and_not = pytest.mark.parametrize("native", ["1", "0"], ids=["C", "body"])


@in_c_and_not
def test_they_conform(engine, native, monkeypatch):
    monkeypatch.setenv("MONOGRAPH_NATIVE", native)
    assert_conforms(engine, ops=OPS)


def test_the_c_functions_are_what_runs_on_a_cpu(engine):
    index, _ = gnn.edge_index([0, 1], [1, 0], 2)
    graph = mg.trace(
        lambda x, i: gnn.neighbor_sum(i, x), mg.Spec((2, 3)), mg.tree.map(mg.Spec.of, index)
    )
    prepared = get_engine(engine).prepare(graph)
    assert "neighbor_sum_in_c" in {n.op.name for n in prepared.nodes}
    assert "neighbor_sum" in {n.op.name for n in graph.nodes}


@st.composite
def graphs(draw):
    """Edges among two sets of nodes, some of padding; both directions sorted."""
    senders, receivers = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    n = draw(st.integers(0, 12))
    ends = [
        draw(st.lists(st.integers(0, k - 1), min_size=n, max_size=n)) for k in (senders, receivers)
    ]
    index, _ = gnn.edge_index(*ends, receivers, senders)
    return gnn.batches.padded_index(index, n + draw(st.integers(0, 3)))


def oracle(index, x, w, values, logits):
    """What each operation gives, edge by edge in float64."""
    n, m = index.num_receivers, index.num_senders
    edges = [e for e in range(index.num_edges) if index.receivers[e] < n]
    out = {
        "sum": np.zeros((n, *x[0].shape[1:])), "back": np.zeros((m, *x[1].shape[1:])),
        "dot": np.zeros(w.shape), "total": np.zeros((n, *values.shape[1:])),
        "total back": np.zeros((m, *values.shape[1:])), "softmax": np.zeros(logits.shape),
        "largest": np.full((n, *values.shape[1:]), -np.inf),
    }  # fmt: skip
    sums = np.zeros((n, *logits.shape[1:]))
    for e in edges:
        s, r = index.senders[e], index.receivers[e]
        out["sum"][r] += w[e][:, None] * x[0][s]
        out["back"][s] += w[e][:, None] * x[1][r]
        out["dot"][e] = (x[1][r] * x[0][s]).sum(-1)
        out["total"][r] += values[e]
        out["total back"][s] += values[e]
        out["largest"][r] = np.maximum(out["largest"][r], values[e])
        sums[r] += np.exp(logits[e])
    for e in edges:
        out["softmax"][e] = np.exp(logits[e]) / sums[index.receivers[e]]
    out["largest"][np.isinf(out["largest"])] = 0
    return out


def ours(index, x, w, values, logits):
    a, b = x
    return {
        "sum": ops.neighbor_sum(a, w, *index.arrays),
        "back": ops.neighbor_sum(b, w, *index.arrays, transpose=True),
        "dot": ops.edge_dot(b, a, *index.arrays),
        "total": ops.edge_sum(values, *index.arrays),
        "total back": ops.edge_sum(values, *index.arrays, transpose=True),
        "largest": ops.edge_max(values, *index.arrays),
        "softmax": ops.edge_softmax(logits, *index.arrays),
    }


def numbers(rng, *shape):
    return rng.normal(size=shape).astype("float32")


@in_c_and_not
@given(index=graphs(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_random_graphs_give_what_loops_over_edges_give(native, index, seed):
    rng, n = np.random.default_rng(seed), index.num_edges
    x = numbers(rng, index.num_senders, 2, 9), numbers(rng, index.num_receivers, 2, 9)
    args = (x, numbers(rng, n, 2), numbers(rng, n, 3), numbers(rng, n, 2))
    want = oracle(index, *mg.tree.map(lambda a: a.astype("float64"), args))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONOGRAPH_NATIVE", native)
        got = mg.jit(ours).on("numpy")(index, *args)
    for name, y in want.items():
        np.testing.assert_allclose(got[name].numpy(), y, rtol=1e-5, atol=1e-5, err_msg=name)


@in_c_and_not
def test_many_edges_on_any_number_of_threads_give_the_same_bits(engine, native, rng, monkeypatch):
    nodes, edges = 500, 40_000
    monkeypatch.setenv("MONOGRAPH_NATIVE", native)
    index, _ = gnn.edge_index(
        rng.integers(0, nodes, edges) // 7, rng.integers(0, nodes, edges), nodes
    )
    args = ((numbers(rng, nodes, 2, 32),) * 2, numbers(rng, edges, 2), numbers(rng, edges, 64),
            numbers(rng, edges, 64))  # fmt: skip
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        found.append(mg.jit(ours).on(engine)(index, *args))
    wide = mg.jit(ours).on("numpy")(index, *mg.tree.map(lambda a: a.astype("float64"), args))
    for name, y in wide.items():
        assert found[0][name].numpy().tobytes() == found[1][name].numpy().tobytes(), name
        np.testing.assert_allclose(
            found[0][name].numpy(), y.numpy(), rtol=2e-5, atol=1e-4, err_msg=name
        )


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_an_index_that_holds_nonsense_reads_nothing_out_of_bounds(data):
    ids = st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 12)
    column = lambda n: np.asarray(data.draw(st.lists(ids, min_size=n, max_size=n)), "int32")
    index = gnn.EdgeIndex(column(8), column(8), column(5), column(8), column(8), column(6))
    x = np.ones((5, 2, 3), "float32"), np.ones((4, 2, 3), "float32")
    args = x, np.ones((8, 2), "float32"), np.ones((8, 3), "float32"), np.ones((8, 2), "float32")
    got = mg.jit(ours).on("numpy")(index, *args)
    assert got["sum"].shape == (4, 2, 3)  # and the process is alive


def test_nan_and_infinity_show():
    index, _ = gnn.edge_index([0, 1, 2, 0], [1, 1, 2, 0], 3)
    logits = np.float32([[-np.inf], [0], [np.nan], [-np.inf]])[
        np.argsort([1, 1, 2, 0], kind="stable")
    ]
    got = gnn.edge_softmax(index, logits).numpy()[:, 0]
    assert got[0] == 0 and got[1] == 0 and got[2] == 1 and np.isnan(got[3])
    top = gnn.aggregate(index, np.float32([[1], [np.nan], [2], [-np.inf]]), "max").numpy()[:, 0]
    assert top[0] == 1 and np.isnan(top[1]) and top[2] == -np.inf


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda i, x: gnn.neighbor_sum(i, x[:3]), "4 rows, as the index says"),
        (lambda i, x: gnn.neighbor_sum(i, x, np.ones(5, "float32")), r"weights \[3 edges"),
        (lambda i, x: gnn.neighbor_sum(i, x, np.ones((3, 7), "float32")), "heads"),
        (lambda i, x: gnn.neighbor_sum(i, x.astype("int32")), "must be floats"),
        (lambda i, x: gnn.edge_dot(i, x, x[:, :1]), "both ends"),
        (lambda i, x: gnn.aggregate(i, x[:3], "median"), "known are sum, mean"),
        (lambda i, x: gnn.aggregate(i, x, "sum"), "3 rows"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_an_error_at_the_users_line(call, message):
    index, _ = gnn.edge_index([0, 1, 2], [1, 2, 3], 4)
    with pytest.raises(mg.errors.MonographError, match=message) as e:
        call(index, np.ones((4, 2), "float32"))
    assert "test_ops.py" in str(e.value)

"""What core does with any function, done with messages: vmap, jvp, files, the NaN guard, splitting."""

import subprocess
import sys

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest

X = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32")
INDEX, _ = gnn.edge_index([0, 1, 2, 3, 3], [1, 2, 0, 0, 3], 4)


def smooth(x):
    logits = gnn.edge_dot(INDEX, x, x)
    return gnn.neighbor_sum(INDEX, x, gnn.edge_softmax(INDEX, logits))


def test_vmap_is_a_loop(engine):
    got = mg.jit(mg.vmap(smooth)).on(engine)(X)
    want = np.stack([mg.jit(smooth).on(engine)(x).numpy() for x in X])
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6, atol=1e-6)


def test_vmap_over_graphs_of_one_size(engine):
    others = [gnn.edge_index(s, [1, 2, 0, 0, 3], 4)[0] for s in ([0, 1, 2, 3, 3], [3, 3, 3, 0, 1])]
    stacked = mg.tree.map(lambda *a: np.stack(a), *others)
    got = mg.jit(mg.vmap(gnn.neighbor_sum)).on(engine)(stacked, X[:2])
    want = np.stack([gnn.neighbor_sum(i, x).numpy() for i, x in zip(others, X)])
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6, atol=1e-6)


def test_forward_mode_is_the_slope(engine):
    x, v = X[0].astype("float64"), X[1].astype("float64")
    _, slope = mg.jit(lambda x, v: mg.jvp(smooth, (x,), (v,))).on(engine)(x, v)
    h = 1e-6
    want = (mg.jit(smooth)(x + h * v).numpy() - mg.jit(smooth)(x - h * v).numpy()) / (2 * h)
    np.testing.assert_allclose(slope.numpy(), want, rtol=1e-6, atol=1e-8)


def test_the_hessian_is_symmetric(engine):
    h = mg.jit(mg.hessian(lambda x: mg.sum(mg.sin(smooth(x))))).on(engine)(X[0].astype("float64"))
    flat = h.numpy().reshape(12, 12)
    np.testing.assert_allclose(flat, flat.T, rtol=1e-9, atol=1e-12)
    assert np.abs(flat).max() > 0.1


def test_a_graph_in_a_file_is_read_where_nobody_imported_the_package(tmp_path):
    mg.trace(smooth, mg.Spec((4, 3))).save(tmp_path / "smooth.graph")
    np.save(tmp_path / "x.npy", X[0])
    code = (
        "import monograph as mg, numpy as np, sys; "
        "g = mg.Graph.load(sys.argv[1] + '/smooth.graph'); "
        "np.save(sys.argv[1] + '/y.npy', g.compile('numpy')(np.load(sys.argv[1] + '/x.npy')).numpy())"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), mg.jit(smooth)(X[0]).numpy())


def test_the_guard_names_the_line_that_made_the_first_nan(engine):
    def model(x):
        y = gnn.neighbor_sum(INDEX, x)
        return smooth(mg.log(y))  # of negative numbers

    with (
        mg.nan_guard(),
        pytest.raises(mg.errors.NonFinite, match=r"test_with_core\.py:\d+.*log"),
    ):
        mg.jit(model).on(engine)(X[0])


def test_engines_agree_node_by_node():
    found = mg.compare(smooth, (X[0],), engines=["numpy", "xla"])
    assert found.first is None, str(found)


def test_checkpointed_and_microbatched(engine):
    loss = lambda x: mg.sum(mg.sin(smooth(x)))
    plain = mg.jit(mg.grad(loss)).on(engine)(X[0]).numpy()
    again = mg.jit(mg.grad(lambda x: mg.checkpoint(loss)(x))).on(engine)(X[0]).numpy()
    np.testing.assert_allclose(again, plain, rtol=1e-6, atol=1e-7)

"""Sparse features: products, gradients, and layers that begin with one."""

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import numpy as np
import pytest
from monograph.errors import ShapeError


@pytest.fixture
def dense(rng):
    """Rows and columns of which some are empty."""
    x = rng.normal(size=(20, 7)).astype("float32")
    x[rng.random(x.shape) < 0.7] = 0
    x[3], x[:, 5] = 0, 0
    return x


@pytest.mark.parametrize("shape", [(7, 1), (7, 8), (7, 21), (7, 64), (7, 8, 8), (7, 3, 5)])
def test_products_and_their_gradients_are_numpy_s(engine, dense, rng, shape):
    kernel, weights = (rng.normal(size=s).astype("float32") for s in (shape, (20, *shape[1:])))

    def product(kernel):
        return gnn.sparse(dense) @ kernel

    got = mg.jit(product).on(engine)(kernel).numpy()
    np.testing.assert_allclose(got, np.tensordot(dense, kernel, 1), rtol=1e-5, atol=1e-5)
    grad = mg.grad(lambda k: mg.sum(product(k) * weights)).on(engine)(kernel).numpy()
    np.testing.assert_allclose(grad, np.tensordot(dense.T, weights, 1), rtol=1e-5, atol=1e-5)


def test_what_scipy_stores_is_what_is_there(dense):
    scipy = pytest.importorskip("scipy.sparse", reason="whose matrices are taken")
    for kind in (scipy.csr_matrix, scipy.csc_matrix, scipy.coo_array):
        made = gnn.sparse(kind(dense))
        assert made.shape == dense.shape and made.index.num_edges == np.count_nonzero(dense)
        np.testing.assert_array_equal((made @ np.eye(7, dtype="float32")).numpy(), dense)


LAYERS = {
    "dense": lambda scope, index, x: nn.dense(scope, x, 5),
    "gcn_conv": lambda scope, index, x: gnn.gcn_conv(scope, index, x, 5),
    "gat_conv": lambda scope, index, x: gnn.gat_conv(scope, index, x, 5, heads=2),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_it_in_the_place_of_an_array(engine, dense, rng, name):
    index, _ = gnn.edge_index(rng.integers(0, 20, 50), rng.integers(0, 20, 50), 20)
    layer, store = LAYERS[name], mg.Store(seed=0)
    call = store.bind(lambda scope, x: layer(scope.shared("layer"), index, x), engine)
    want = call(dense).numpy()
    np.testing.assert_allclose(call(gnn.sparse(dense)).numpy(), want, rtol=1e-5, atol=1e-5)


def test_heads_may_have_a_matrix_each(engine, dense, rng):
    x = gnn.sparse(dense)
    factors = rng.normal(size=(x.index.num_edges, 3)).astype("float32")
    kernel = rng.normal(size=(7, 3 * 4)).astype("float32")
    got = mg.jit(lambda k: x.per_head(3).map(lambda v: v * factors) @ k).on(engine)(kernel).numpy()
    for head in range(3):
        part = np.zeros_like(dense)
        part[x.index.receivers, x.index.senders] = x.values * factors[:, head]
        columns = slice(4 * head, 4 * head + 4)
        np.testing.assert_allclose(got[:, columns], part @ kernel[:, columns], rtol=1e-5, atol=1e-5)
    with pytest.raises(ShapeError, match=r"\[7, n \* 3\], got float32\[7,4\]"):
        x.per_head(3) @ mg.zeros((7, 4))


def test_a_function_of_the_entries_leaves_zeros_alone(dense):
    doubled = gnn.sparse(dense).map(lambda v: 2 * v)
    np.testing.assert_array_equal((doubled @ np.eye(7, dtype="float32")).numpy(), 2 * dense)


def test_what_does_not_fit_is_refused(dense):
    with pytest.raises(
        ShapeError, match=r"SparseMatrix\(\[20, 7\], .*\[7, n\], got float32\[6,2\]"
    ):
        gnn.sparse(dense) @ mg.zeros((6, 2))
    with pytest.raises(ShapeError, match=r"\[rows, columns\], got shape \(3,\)"):
        gnn.sparse(np.zeros(3))


def test_an_empty_matrix_gives_zeros(engine):
    empty = gnn.sparse(np.zeros((3, 4), "float32"))
    product = mg.jit(lambda k: empty @ k).on(engine)(np.ones((4, 2), "float32"))
    assert product.tolist() == [[0, 0]] * 3

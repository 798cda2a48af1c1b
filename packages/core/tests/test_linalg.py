"""mg.linalg on the NumPy engine against NumPy and SciPy: values, conventions, errors, edge cases."""

import math

import monograph as mg
import numpy as np
import pytest
import scipy.linalg
from monograph import ops
from monograph.engine import get_engine
from monograph.errors import ArgumentError, DTypeError, NotDifferentiable, ShapeError

la = mg.linalg
DTYPES = ("float64", "complex128")
both = pytest.mark.parametrize("dtype", DTYPES)


def draw(dtype, *shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape)
    return (x + 1j * rng.normal(size=shape)).astype(dtype) if dtype == "complex128" else x


def hermitian(dtype, *shape):
    x = draw(dtype, *shape)
    return x + np.conj(x.mT)


def close(got, want, **kw):
    want = np.asarray(want)
    assert got.shape == want.shape
    np.testing.assert_allclose(got.numpy(), want, **{"rtol": 1e-10, "atol": 1e-12, **kw})


SQUARES = ((3, 3), (2, 1, 4, 4), (0, 2, 2), (0, 0), (1, 1))
RECTANGLES = (*SQUARES, (2, 5), (3, 4, 2), (3, 0), (0, 3), (2, 0, 3))


@both
@pytest.mark.parametrize("shape", SQUARES)
def test_square_functions_agree_with_numpy(dtype, shape):
    x = draw(dtype, *shape)
    close(la.det(x), np.linalg.det(x))
    close(la.inv(x), np.linalg.inv(x))
    close(la.eigvalsh(hermitian(dtype, *shape)), np.linalg.eigvalsh(hermitian(dtype, *shape)))
    for got, want in zip(la.slogdet(x), np.linalg.slogdet(x)):
        close(got, want)
    for n in (-2, -1, 0, 1, 5):
        close(la.matrix_power(x, n), np.linalg.matrix_power(x, n), rtol=1e-8)
    positive = x @ np.conj(x.mT) + np.eye(shape[-1])
    close(la.cholesky(positive), np.linalg.cholesky(positive))
    close(la.cholesky(positive, upper=True), np.linalg.cholesky(positive, upper=True))


@both
@pytest.mark.parametrize("shape", RECTANGLES)
def test_rectangular_functions_agree_with_numpy(dtype, shape):
    x = draw(dtype, *shape)
    close(la.svdvals(x), np.linalg.svdvals(x))
    close(la.pinv(x), np.linalg.pinv(x))
    close(la.matrix_rank(x), np.linalg.matrix_rank(x))
    for offset in (-4, -1, 0, 2, 9):
        close(la.diagonal(x, offset=offset), np.linalg.diagonal(x, offset=offset))
        close(la.trace(x, offset=offset), np.linalg.trace(x, offset=offset))


@both
@pytest.mark.parametrize("ord", (2, 1, 0, 3, -1, -2, 0.5, -2.5, math.inf, -math.inf))
@pytest.mark.parametrize("axis", (None, 1, (0, 2)))
def test_vector_norm_agrees_with_numpy(dtype, ord, axis):
    x = draw(dtype, 2, 3, 4)
    for keepdims in (False, True):
        kw = {"axis": axis, "keepdims": keepdims, "ord": ord}
        close(la.vector_norm(x, **kw), np.linalg.vector_norm(x, **kw))


@both
@pytest.mark.parametrize("ord", ("fro", "nuc", 2, -2, 1, -1, math.inf, -math.inf))
def test_matrix_norm_agrees_with_numpy(dtype, ord):
    x = draw(dtype, 2, 3, 4)
    for keepdims in (False, True):
        kw = {"keepdims": keepdims, "ord": ord}
        close(la.matrix_norm(x, **kw), np.linalg.matrix_norm(x, **kw))


@both
@pytest.mark.parametrize("shape", [s for s in RECTANGLES if 0 not in s])
def test_lu_agrees_with_scipy(dtype, shape):
    x = draw(dtype, *shape)
    packed, order = ops.lu(x)
    for at in np.ndindex(shape[:-2]):
        p, low, up = scipy.linalg.lu(x[at])
        k = min(shape[-2:])
        np.testing.assert_array_equal(p.argmax(0), order.numpy()[at])
        np.testing.assert_allclose(np.triu(packed.numpy()[at][:k]), up, rtol=1e-10)
        got = np.tril(packed.numpy()[at][:, :k], -1) + np.eye(shape[-2], k)
        np.testing.assert_allclose(got, low, rtol=1e-10)


@both
@pytest.mark.parametrize("lower", (False, True))
@pytest.mark.parametrize("unit", (False, True))
@pytest.mark.parametrize("left", (False, True))
def test_triangular_solve_agrees_with_scipy(dtype, lower, unit, left):
    a, b = draw(dtype, 4, 4) + 4 * np.eye(4), draw(dtype, 4, 4, seed=1)
    for name, trans in (("NO_TRANSPOSE", "N"), ("TRANSPOSE", "T"), ("ADJOINT", "C")):
        got = ops.triangular_solve(
            a, b, left_side=left, lower=lower, unit_diagonal=unit, transpose_a=name
        )
        if left:
            want = scipy.linalg.solve_triangular(a, b, trans=trans, lower=lower, unit_diagonal=unit)
        else:  # the transpose of a system from the left
            op = {"N": a, "T": a.T, "C": np.conj(a.T)}[trans]
            want = scipy.linalg.solve_triangular(
                op.T, b.T, lower=lower == (trans != "N"), unit_diagonal=unit
            ).T
        close(got, want)


@both
@pytest.mark.parametrize(
    "a, b",
    (
        ((3, 3), (3,)), ((3, 3), (3, 2)), ((3, 3), (5, 3, 2)), ((5, 3, 3), (3, 2)),
        ((2, 1, 3, 3), (4, 3, 2)), ((2, 3, 3), (3,)), ((0, 0), (0, 2)), ((0, 2, 2), (0, 2, 3)),
        ((2, 2), (3, 2, 0)), ((0, 0), (3, 0, 2)),
    ),
)  # fmt: skip
def test_solve_broadcasts_as_numpy(dtype, a, b):
    a, b = draw(dtype, *a), draw(dtype, *b, seed=1)
    close(la.solve(a, b), np.linalg.solve(a, b))


# ---- conventions


def unit_phased(v):
    """Whether each column's first element near its largest is real and positive."""
    size = np.abs(v)
    at = (size >= 0.9 * size.max(-2, keepdims=True)).argmax(-2)[..., None, :]
    first = np.take_along_axis(v, at, -2)
    return np.allclose(np.imag(first), 0) and (np.real(first) > 0).all()


@both
@pytest.mark.parametrize("shape", ((3, 3), (2, 4, 4), (5, 2), (2, 2, 5)))
def test_factors_multiply_to_the_matrix_and_have_the_promised_signs(dtype, shape):
    x = draw(dtype, *shape)
    for mode in ("reduced", "complete"):
        q, r = la.qr(x, mode=mode)
        diagonal = np.linalg.diagonal(r.numpy())
        close(q @ r, x)
        close(
            q.mT @ mg.conj(q),
            np.broadcast_to(np.eye(q.shape[-1]), (*shape[:-2], *q.shape[-1:] * 2)),
        )
        assert (np.real(diagonal) >= 0).all() and np.allclose(np.imag(diagonal), 0)
        assert (np.tril(r.numpy(), -1) == 0).all()
    for full in (False, True):
        u, s, vh = la.svd(x, full_matrices=full)
        k = min(shape[-2:])
        close((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], x)
        for v in (u, vh.mT):
            n = v.shape[-1]
            close(v.mT @ mg.conj(v), np.broadcast_to(np.eye(n), (*shape[:-2], n, n)))
        assert unit_phased(u.numpy()[..., :k])
        assert (np.diff(s.numpy()) <= 0).all()


@both
def test_eigenvectors_have_the_promised_phase_also_where_elements_are_equal(dtype):
    x = hermitian(dtype, 3, 4, 4)
    w, v = la.eigh(x)
    close(x @ v, v * w[..., None, :])
    assert unit_phased(v.numpy())
    for turned in ([[2, 1], [1, 2]], [[2, -1], [-1, 2]]):
        vectors = la.eigh(np.array(turned, dtype)).eigenvectors.numpy()
        assert (vectors[0].real > 0.7).all()


def test_the_hermitian_part_is_what_is_read():
    x = draw("complex128", 3, 3)
    part = (x + np.conj(x.T)) / 2
    close(la.eigh(x).eigenvalues, np.linalg.eigvalsh(part))
    close(la.cholesky(x + 6 * np.eye(3)), np.linalg.cholesky(part + 6 * np.eye(3)))


def test_results_are_named_tuples_also_out_of_jit():
    x = np.eye(3)
    eig, q, s, u = mg.jit(lambda x: (la.eigh(x), la.qr(x), la.slogdet(x), la.svd(x)))(x)
    assert eig._fields == ("eigenvalues", "eigenvectors") and q._fields == ("Q", "R")
    assert s._fields == ("sign", "logabsdet") and u._fields == ("U", "S", "Vh")


def test_numpys_own_functions_are_recorded():
    x = draw("float64", 3, 3)
    close(mg.grad(lambda x: np.linalg.det(x))(x), np.linalg.det(x) * np.linalg.inv(x).T)


def test_float32_stays_float32_and_lists_become_it():
    x = draw("float64", 3, 3).astype("float32")
    for got in (la.inv(x), la.svd(x).U, la.eigh(x).eigenvalues, la.det(x), la.pinv(x)):
        assert got.dtype is mg.float32
    assert la.inv([[2.0]]).dtype is mg.float32
    assert la.svdvals(x.astype("complex64")).dtype is mg.float32


# ---- products


def test_products_agree_with_numpy():
    a, b = draw("complex128", 2, 3, 4), draw("complex128", 3, 4, seed=1)
    close(la.vecdot(a, b), np.vecdot(a, b))
    close(
        la.vecdot(a, b[..., :1] * np.ones(4), axis=-2),
        np.linalg.vecdot(a, b[..., :1] * np.ones(4), axis=-2),
    )
    close(la.outer(b[0], a[0, 0]), np.outer(b[0], a[0, 0]))
    x, y = draw("float64", 2, 3, 4), draw("float64", 3, 1, seed=1)
    close(
        la.cross(x, y * np.ones(4), axis=-2),
        np.linalg.cross(x, np.broadcast_to(y, (2, 3, 4)), axis=-2),
    )
    close(la.tensordot(a, b, axes=((2, 1), (1, 0))), np.tensordot(a, b, axes=((2, 1), (1, 0))))
    close(la.tensordot(b, a, axes=0), np.tensordot(b, a, axes=0))
    assert la.trace(np.eye(3, dtype="int32")).dtype is mg.int64
    assert la.matmul is mg.matmul and la.matrix_transpose is mg.matrix_transpose


# ---- where there is no answer


def test_what_has_no_value_is_nan_or_infinite_and_raises_nothing():
    good, bad = np.eye(2), -np.eye(2)
    low = la.cholesky(np.stack([good, bad])).numpy()
    np.testing.assert_array_equal(low[0], good)
    assert np.isnan(low[1][np.tril_indices(2)]).all()
    singular = np.array([[1.0, 2.0], [2.0, 4.0]])
    assert not np.isfinite(la.inv(singular).numpy()).any()
    assert la.det(singular).item() == 0
    assert [v.item() for v in la.slogdet(singular)] == [0, -math.inf]
    for part in (*la.svd(singular * np.nan), *la.eigh(singular * np.nan)):
        assert np.isnan(part.numpy()).all()


# ---- gradients


def test_gradient_of_det_at_singular_matrices_is_the_cofactor_matrix():
    grad = mg.grad(la.det)
    for singular, want in (
        ([[1, 2], [2, 4]], [[4, -2], [-2, 1]]),
        ([[0, 1], [0, 0]], [[0, 0], [-1, 0]]),
        ([[0, 0], [0, 0]], [[0, 0], [0, 0]]),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], [[-3, 6, -3], [6, -12, 6], [-3, 6, -3]]),
        ([[1, 0, 0], [0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0], [0, 0, 0]]),
    ):
        close(grad(np.array(singular, "float64")), np.array(want, "float64"), atol=1e-11)


def test_equal_singular_values_disturb_only_who_reads_their_vectors():
    one = np.eye(3)
    close(mg.grad(lambda x: la.matrix_norm(x, ord="nuc"))(one), one)
    close(mg.grad(lambda x: mg.sum(la.eigvalsh(x)))(one), one)
    # what projects on the whole space of a double value has a gradient, one vector has none
    weights = np.diag([1.0, 2.0, 3.0])
    spread = np.diag([1.0, 1.0, 2.0])

    def projected(x):
        v = la.eigh(x).eigenvectors[:, 2:]
        return mg.sum(weights * (v @ v.mT))

    assert np.isfinite(mg.grad(projected)(spread).numpy()).all()
    one_of_two = mg.grad(lambda x: mg.sum(weights @ la.eigh(x).eigenvectors[:, 0]))
    assert not np.isfinite(one_of_two(spread + 0.0).numpy()).all()


def test_gradient_of_pinv_at_equal_singular_values_and_of_low_rank():
    g = mg.grad(lambda x: la.pinv(x)[0, 1])
    close(g(np.eye(2)), [[0, -1], [0, 0]])
    low = np.array([[2.0, 0.0], [0.0, 0.0]])
    close(g(low), [[0, 0], [0.25, 0]])


def test_gradient_of_norms_at_zero_is_zero():
    for fn in (la.vector_norm, la.matrix_norm, lambda x: la.vector_norm(x, ord=3)):
        close(mg.grad(fn)(np.zeros((2, 2))), np.zeros((2, 2)))


def test_what_completes_a_basis_has_no_gradient_and_says_so_at_the_users_line():
    x = draw("float64", 4, 2)
    for fn in (
        lambda x: mg.sum(la.qr(x, mode="complete").Q),
        lambda x: mg.sum(la.svd(x).U),
    ):
        with pytest.raises(NotDifferentiable, match=r"^\S*test_linalg\.py:\d+: qr.*mode='reduced'"):
            mg.grad(fn)(x)
    mg.grad(lambda x: mg.sum(la.qr(x.mT, mode="complete").R))(x)
    mg.grad(lambda x: mg.sum(la.svd(x).S))(x)


def test_a_gradient_factorises_once_and_values_alone_need_no_vectors():
    def ops_of(fn, *specs):
        nodes = get_engine("numpy").prepare(mg.trace(fn, *specs)).nodes
        return [(n.op.name, n.attrs.get("vectors")) for n in nodes]

    m, b = mg.Spec((3, 3)), mg.Spec((3, 2))
    both = ops_of(mg.grad(lambda a, b: mg.sum(la.solve(a, b)) * la.det(a), (0, 1)).fn, m, b)
    assert both.count(("lu", None)) == 1
    assert ("svd", False) in ops_of(lambda x: mg.sum(la.svd(x).S), m)
    spectral = ops_of(mg.grad(lambda x: mg.sum(la.svdvals(x))).fn, m)
    assert [v for name, v in spectral if name == "svd"] == [True]


def test_jacobian_and_forward_mode_pass_through_factorisations():
    x, t = draw("float64", 3, 3), draw("float64", 3, 3, seed=1)
    _, push = mg.jvp(la.inv, (mg.tensor(x),), (mg.tensor(t),))
    inv = np.linalg.inv(x)
    close(push, -inv @ t @ inv)
    hessian = mg.hessian(lambda x: la.slogdet(x).logabsdet)(x).numpy()
    np.testing.assert_allclose(hessian, -np.einsum("li,jk->ijkl", inv, inv), rtol=1e-9)


# ---- errors


SQUARE_ONLY = ("cholesky", "det", "eigh", "eigvalsh", "inv", "slogdet")
MATRICES = (*SQUARE_ONLY, "matrix_norm", "matrix_rank", "pinv", "qr", "svd", "svdvals")


@pytest.mark.parametrize("name", MATRICES)
def test_integers_and_vectors_are_refused_at_the_users_line(name):
    fn = getattr(la, name)
    with pytest.raises(DTypeError, match=rf"^\S*test_linalg\.py:\d+: {name}: .*int64.*astype"):
        fn(np.eye(2, dtype="int64"))
    with pytest.raises(ShapeError, match=rf"^\S*test_linalg\.py:\d+: {name}\b.*matrix"):
        fn(np.ones(3))


@pytest.mark.parametrize("name", SQUARE_ONLY)
def test_matrices_that_are_not_square_are_refused_also_while_tracing(name):
    fn = getattr(la, name)
    with pytest.raises(ShapeError, match=rf"^\S*test_linalg\.py:\d+: {name}: .*2 and 3.*square"):
        fn(np.ones((2, 3)))
    with pytest.raises(ShapeError, match=rf"^\S*test_linalg\.py:\d+: {name}: .*2 and 3.*square"):
        mg.trace(lambda x: fn(x), mg.Spec((2, 3)))


@pytest.mark.parametrize(
    "fn, error, words",
    (
        (lambda: la.solve(np.ones((2, 3)), np.ones(2)), ShapeError, "solve: .*square"),
        (lambda: la.solve(np.eye(3), np.ones((2, 1))), ShapeError, "solve: .*3 rows.*has 2"),
        (lambda: la.solve(np.ones((2, 3, 3)), np.ones((5, 3, 1))), ShapeError, "2 in one and 5"),
        (lambda: la.qr(np.eye(2), mode="full"), ArgumentError, "mode='full'"),
        (lambda: la.matrix_norm(np.eye(2), ord=3), ArgumentError, "ord=3"),
        (lambda: la.cross(np.ones(2), np.ones(2)), ShapeError, "cross: axis -1.*2, needs 3"),
        (lambda: la.vecdot(np.ones(2), np.ones(1)), ShapeError, "vecdot: axis -1.*is 2.*1"),
        (lambda: la.vecdot(np.ones((2, 2)), np.ones(2), axis=0), ShapeError, "vecdot: axis=0"),
        (lambda: la.outer(np.eye(2), np.ones(2)), ShapeError, "outer needs two vectors"),
        (lambda: la.tensordot(np.eye(2), np.ones(3), axes=1), ShapeError, "tensordot: axes"),
        (lambda: la.tensordot(np.eye(2), np.ones(3), axes=2), ShapeError, "tensordot: axes=2"),
        (lambda: la.diagonal(np.ones(3)), ShapeError, "diagonal needs a matrix"),
        (lambda: la.pinv(np.eye(2), rtol=np.ones(3)), ShapeError, "rtol"),
        (lambda: ops.triangular_solve(np.eye(2), np.eye(2), transpose_a="T"), ArgumentError, "'T'"),
        (lambda: ops.solve(np.eye(2), np.ones((3, 1))), ShapeError, "solve.*axis -2 of b"),
    ),
)  # fmt: skip
def test_wrong_arguments_are_named_at_the_users_line(fn, error, words):
    with pytest.raises(error, match=rf"^\S*test_linalg\.py:\d+: .*{words}"):
        fn()

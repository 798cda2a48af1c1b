"""Matrix factorisations, of the last two axes of a batch ``[..., m, n]``.

A factorisation is unique only up to signs or phases. Each record fixes them, so that engines agree
and gradients are those of a function (docs/decisions/0005-linalg.md). Where LAPACK gives up the
result is NaN: a graph cannot raise.
"""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import int64
from ..errors import ArgumentError, NotDifferentiable
from ..op import Sample, op
from ..spec import Spec
from ._build import added, zeros_like
from ._samples import draw
from .complexes import conj_if_complex as c, imag
from .matrices import (
    DTYPES,
    RECTANGULAR,
    SQUARE,
    ULPS,
    adjoint,
    check_matrix,
    check_system,
    diagonal,
    embed,
    filled,
    general,
    half,
    hermitian,
    hermitian_part,
    imaginary,
    inverse,
    keep,
    or_nan,
    over_gaps,
    positive_diagonal,
    rows,
    square_spec,
    unit_phase,
    without_phase,
)
from .shape import concatenate
from .structural import convert

# ---- triangular systems


_TRANSPOSES = {
    "NO_TRANSPOSE": lambda a: a,
    "TRANSPOSE": lambda a: a.mT,
    "ADJOINT": lambda a: np.conj(a.mT),
}


def _triangular_spec(a, b, *, left_side, lower, unit_diagonal, transpose_a):
    if transpose_a not in _TRANSPOSES:
        raise ArgumentError(f"transpose_a={transpose_a!r} is none of {', '.join(_TRANSPOSES)}")
    check_system(a, b, left_side)
    return b


def _triangular_vjp(g, y, a, b, *, left_side, lower, unit_diagonal, transpose_a):
    plain = transpose_a == "NO_TRANSPOSE"
    # the transposed system's adjoint is the conjugate matrix itself
    matrix = c(a) if transpose_a == "TRANSPOSE" else a
    gb = triangular_solve(
        matrix, g, left_side=left_side, lower=lower, unit_diagonal=unit_diagonal,
        transpose_a="ADJOINT" if plain else "NO_TRANSPOSE",
    )  # fmt: skip
    ga = -(gb @ adjoint(y)) if left_side else -(adjoint(y) @ gb)
    ga = {"NO_TRANSPOSE": ga, "TRANSPOSE": ga.mT, "ADJOINT": adjoint(ga)}[transpose_a]
    return keep(ga, ("G" if lower else "L") + ("T" if unit_diagonal else "E")), gb


def _triangular_samples(d, rng):
    for i, (shape, width) in enumerate((((3, 3), 2), ((2, 2, 2), 1), ((0, 0), 2), ((2, 2), 0))):
        for j, transpose_a in enumerate(_TRANSPOSES):
            left_side, lower = (i + j) % 2 == 0, j != 1
            a = draw(d, rng, shape) / 4
            a = a + np.eye(shape[-1], dtype=d.numpy) * np.sign(np.real(a) + 0.1)
            b = (*shape[:-1], width) if left_side else (*shape[:-2], width, shape[-1])
            attrs = {"left_side": left_side, "lower": lower, "unit_diagonal": j == 2}
            yield Sample(
                (a.astype(d.numpy), draw(d, rng, b)), {**attrs, "transpose_a": transpose_a}
            )
    singular = np.array([[1, 0], [1, 0]], d.numpy)
    yield Sample((singular, np.eye(2, dtype=d.numpy)), {"lower": False}, grad=False)


@op(
    infer=_triangular_spec,
    vjp=_triangular_vjp,
    samples=_triangular_samples,
    dtypes=DTYPES,
    ulps=ULPS,
)
def triangular_solve(
    a, b, *, left_side=True, lower=True, unit_diagonal=False, transpose_a="NO_TRANSPOSE"
):
    """``x`` with ``op(a) x = b``, or ``x op(a) = b`` unless ``left_side`` (StableHLO).

    ``a [..., n, n]``, of which one triangle is read, and not its diagonal if that is ``unit``;
    ``b [..., n, k]`` or ``[..., k, n]``; ``op`` by ``transpose_a``: NO_TRANSPOSE, TRANSPOSE, ADJOINT.
    """
    a, lower = _TRANSPOSES[transpose_a](a), lower == (transpose_a == "NO_TRANSPOSE")
    if not left_side:
        a, b, lower = a.mT, b.mT, not lower
    x, n = np.array(b), a.shape[-1]
    for i in range(n) if lower else reversed(range(n)):
        done = slice(i) if lower else slice(i + 1, n)
        x[..., i, :] -= (a[..., i, None, done] @ x[..., done, :])[..., 0, :]
        if not unit_diagonal:
            x[..., i, :] /= a[..., i, i, None]
    return x if left_side else x.mT


# ---- factorisations


def _cholesky_vjp(g, y, x):
    inner = half(adjoint(y) @ g)
    left = triangular_solve(y, inner, transpose_a="ADJOINT")
    return (hermitian_part(triangular_solve(y, left, left_side=False)),)


def _cholesky_samples(d, rng):
    for shape in SQUARE:
        yield Sample((hermitian(d, rng, 1, *shape),))
    one = np.eye(2, dtype=d.numpy)
    yield Sample((np.stack([one, -one]),), grad=False)


@op(
    infer=square_spec, vjp=_cholesky_vjp, samples=_cholesky_samples, dtypes=DTYPES, ulps=ULPS
)  # fmt: skip
def cholesky(x):
    """Lower triangular ``l`` with positive diagonal and ``l @ adjoint(l)`` the Hermitian part of ``x``.

    NaN in the lower triangle where ``x`` is not positive definite (StableHLO leaves that open).
    """
    part = (x + np.conj(x.mT)) / 2
    return np.tril(or_nan(lambda m: (np.linalg.cholesky(m),), part)[0])


def _lu_spec(x):
    check_matrix(x)
    return x, Spec(x.shape[:-1], int64)


def _lu_vjp(g, y, x):
    packed, order = y
    m, n = x.shape[-2:]
    k = min(m, n)
    head, below, right = (packed[..., :k, :k], packed[..., k:, :k], packed[..., :k, k:])
    g_head, g_below, g_right = (g[0][..., :k, :k], g[0][..., k:, :k], g[0][..., :k, k:])
    low, up = keep(head, "GT"), keep(head, "LE")
    # with M = inv(L) dA inv(U) of the leading block: dL = L tril(M, -1), dU = triu(M) U
    left = adjoint(low) @ g_head + g_head - g_right @ adjoint(right)
    inner = keep(left, "GT") + keep(g_head @ adjoint(up) - adjoint(below) @ g_below, "LE")

    def over_l(z):  # inv(L)^H z
        return triangular_solve(head, z, unit_diagonal=True, transpose_a="ADJOINT")

    def over_u(z):  # z inv(U)^H
        return triangular_solve(head, z, left_side=False, lower=False, transpose_a="ADJOINT")

    top = concatenate(over_l(over_u(inner)), over_l(g_right), axis=x.ndim - 1)
    gx = top if m == k else concatenate(top, over_u(g_below), axis=x.ndim - 2)
    return (rows(gx, inverse(order)),)


def _lu_samples(d, rng):
    for shape in RECTANGULAR:
        yield Sample((general(d, rng, *shape),))
    yield Sample((np.array([[0, 2, 1], [0, 0, 3], [0, 4, 1]], d.numpy),), grad=False)


@op(infer=_lu_spec, vjp=_lu_vjp, samples=_lu_samples, dtypes=DTYPES, ulps=ULPS, multi=True)
def lu(x):
    """``(packed, order)`` with rows ``x[order] == L @ U``, by partial pivoting.

    ``packed [..., m, n]`` holds ``U`` in its upper triangle and the unit lower triangular ``L``
    below; ``order [..., m]`` is int64. The pivot is the first with the largest ``|re| + |im|``, as
    in LAPACK's getrf; a zero pivot is left, and nothing is divided by it.
    """
    *batch, m, n = x.shape
    a = np.array(x.reshape(math.prod(batch), m, n))
    order, each = np.tile(np.arange(m), (len(a), 1)), np.arange(len(a))
    for i in range(min(m, n)):
        column = a[:, i:, i]
        pivot = i + np.argmax(np.abs(column.real) + np.abs(column.imag), axis=1)
        for y in (a, order):
            y[each, i], y[each, pivot] = y[each, pivot], y[each, i]
        head = np.where(a[:, i, i] == 0, 1, a[:, i, i])
        a[:, i + 1 :, i] /= head[:, None]
        a[:, i + 1 :, i + 1 :] -= a[:, i + 1 :, i, None] * a[:, i, None, i + 1 :]
    return a.reshape(x.shape), order.reshape(*batch, m)


def _qr_spec(x, *, full):
    check_matrix(x)
    *batch, m, n = x.shape
    k = m if full else min(m, n)
    return x.with_((*batch, m, k)), x.with_((*batch, k, n))


def _qr_vjp(g, y, x, *, full):
    (gq, gr), (q, r) = filled(g, y), y
    m, n = x.shape[-2:]
    if full and m > n:
        raise NotDifferentiable(
            f"qr: the {m - n} columns of Q that complete the {n} of {x.shape} are no smooth function "
            f"of the matrix. Use mode='reduced' (or full_matrices=False of svd)."
        )
    # the columns after the m-th are read by r alone: r = adjoint(q) @ x there
    g_rest, rest, gr, r = gr[..., m:], x[..., m:], gr[..., :m], r[..., :m]
    gq = gq + rest @ adjoint(g_rest)
    w = adjoint(q) @ gq - gr @ adjoint(r)
    inner = gq + q @ (half(w - adjoint(w)) - w)
    gx = triangular_solve(r, inner, left_side=False, lower=False, transpose_a="ADJOINT")
    return (concatenate(gx, q @ g_rest, axis=x.ndim - 1) if n > m else gx,)


def _qr_samples(d, rng):
    for shape in RECTANGULAR:
        for full in (False, True):
            tall = shape[-2] > shape[-1]
            yield Sample((general(d, rng, *shape),), {"full": full}, grad=not (full and tall))


@op(infer=_qr_spec, vjp=_qr_vjp, samples=_qr_samples, dtypes=DTYPES, ulps=ULPS, multi=True)
def qr(x, *, full=False):
    """``(q, r)``: orthonormal columns, and upper triangular with a diagonal real and not negative.

    ``q [..., m, k]`` and ``r [..., k, n]`` with ``k = min(m, n)``, or ``k = m`` if ``full``; the
    columns of ``q`` that no column of ``x`` stands for are those of Householder's method.

    Raises:
        NotDifferentiable: a gradient is asked of ``full`` where ``m > n``.
    """
    return positive_diagonal(*np.linalg.qr(x, "complete" if full else "reduced"), np)


def _eigh_spec(x, *, vectors):
    check_matrix(x, square=True)
    values = Spec(x.shape[:-1], x.dtype.real)
    return (values, x) if vectors else (values,)


def _eigh_vjp(g, y, x, *, vectors):
    w, v = y if vectors else eigh(x)
    gw, gv = g if vectors else (*g, None)
    inner = None if gw is None else embed(convert(gw, dtype=x.dtype))
    if gv is not None:
        if x.dtype.is_complex:
            gv = without_phase(gv, v, imag(diagonal(adjoint(v) @ gv)))
        inner = added(inner, over_gaps(adjoint(v) @ gv, w[..., None, :] - w[..., :, None]))
    return (hermitian_part(v @ inner @ adjoint(v)),)


def _values_alone(at):
    """What drops the vectors that nobody reads; the values are output ``at``."""

    def prune(node, xs, live):
        if any(keep != (i == at) for i, keep in enumerate(live)):
            return None
        (values,) = node.op(*xs, vectors=False)
        return [values if i == at else zeros_like(v) for i, v in enumerate(node.outputs)]

    return prune


def _eigh_samples(d, rng):
    for shape in SQUARE:
        for vectors in (True, False):
            yield Sample((hermitian(d, rng, -1, *shape),), {"vectors": vectors})
    even = np.array([[2, 1], [1, 2]], d.numpy)  # eigenvectors with elements of one size
    yield Sample((np.stack([even, even * np.nan]),), grad=False)


@op(
    infer=_eigh_spec,
    vjp=_eigh_vjp,
    samples=_eigh_samples,
    dtypes=DTYPES,
    ulps=ULPS,
    multi=True,
    prune=_values_alone(0),
)
def eigh(x, *, vectors=True):
    """``(values, vectors)`` of the Hermitian part of ``x``: ascending ``[..., n]``, and columns.

    Each column has unit length and the phase that `unit_phase` says. ``vectors=False`` gives
    ``(values,)``.
    """
    part = (x + np.conj(x.mT)) / 2
    if not vectors:
        return or_nan(lambda m: (np.linalg.eigvalsh(m),), part)
    w, v = or_nan(lambda m: tuple(np.linalg.eigh(m)), part)
    return w, v / unit_phase(v, np)


def _svd_spec(x, *, vectors):
    check_matrix(x)
    *batch, m, n = x.shape
    k = min(m, n)
    values = Spec((*batch, k), x.dtype.real)
    return (x.with_((*batch, m, k)), values, x.with_((*batch, k, n))) if vectors else (values,)


def _svd_vjp(g, y, x, *, vectors):
    u, s, vh = y if vectors else svd(x)
    gu, gs, gvh = g if vectors else (None, *g, None)
    down, along = (
        convert(s, dtype=x.dtype)[at] for at in (np.s_[..., :, None], np.s_[..., None, :])
    )
    inner = None if gs is None else embed(convert(gs, dtype=x.dtype))
    if gu is None and gvh is None:
        return (u @ inner @ vh,)
    gu, gvh = filled((gu, gvh), (u, vh))
    vv = gvh @ adjoint(vh)
    if x.dtype.is_complex:
        gu = without_phase(gu, u, imag(diagonal(adjoint(u) @ gu)) - imag(diagonal(vv)))
        inner = added(inner, embed(imaginary(imag(diagonal(adjoint(u) @ gu)) / s)))
    uu = adjoint(u) @ gu
    turned = (uu - adjoint(uu)) * along + down * (adjoint(vv) - vv)
    gx = u @ added(inner, over_gaps(turned, along * along - down * down)) @ vh
    m, n = x.shape[-2:]
    if m > n:
        gx = gx + ((gu - u @ uu) / along) @ vh
    if n > m:
        gx = gx + u @ ((gvh - vv @ vh) / down)
    return (gx,)


def _svd_samples(d, rng):
    for shape in RECTANGULAR:
        for vectors in (True, False):
            yield Sample((general(d, rng, *shape),), {"vectors": vectors})
    yield Sample((np.stack([np.eye(2), np.full((2, 2), np.nan)]).astype(d.numpy),), grad=False)


@op(
    infer=_svd_spec,
    vjp=_svd_vjp,
    samples=_svd_samples,
    dtypes=DTYPES,
    ulps=ULPS,
    multi=True,
    prune=_values_alone(1),
)
def svd(x, *, vectors=True):
    """``(u, s, vh)`` with ``x == u @ diag(s) @ vh``: ``[..., m, k]``, ``[..., k]``, ``[..., k, n]``.

    ``k = min(m, n)``; ``s`` descends; the columns of ``u`` have the phase that `unit_phase` says.
    ``vectors=False`` gives ``(s,)``.
    """
    if not vectors:
        return or_nan(lambda m: (np.linalg.svd(m, compute_uv=False),), x)
    u, s, vh = or_nan(lambda m: tuple(np.linalg.svd(m, full_matrices=False)), x)
    phase = unit_phase(u, np)
    return u / phase, s, vh * phase.mT

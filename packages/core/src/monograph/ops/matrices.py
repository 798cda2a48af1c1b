"""What the records of `linalg` share: checks, samples, small algebra, and the fixing of signs.

Everything is of the last two axes of a batch ``[..., m, n]``.
"""

from __future__ import annotations

import numpy as np

from ..dtypes import int64
from ..errors import DTypeError, ShapeError
from ._build import full, ones_like, zeros_like
from ._infer import check_kind
from ._samples import draw
from .complexes import complex_, conj_if_complex as c, real
from .indexing import gather
from .logic import compare, select
from .reductions import cumsum, reduce_max, reduce_sum
from .shape import iota
from .sorting import sort
from .structural import broadcast_in_dim, convert, reshape

DTYPES = ("float32", "float64", "complex")
# LAPACKs differ by a few ulp times the condition of the matrix, which is up to 3 in the samples
ULPS = 16


# ---- shape rules


def check_matrix(x, square=False, what="the operand"):
    """Raise unless ``x`` is a batch of matrices of 32 or 64-bit numbers."""
    check_kind(x, "inexact", what)
    if x.dtype.real.bits < 32:
        raise DTypeError(
            f"{what} has dtype {x.dtype}; factorisations need 32 bits or more. Convert it with "
            f".astype('float32')"
        )
    if x.ndim < 2:
        raise ShapeError(f"{what} has shape {x.shape}; needs a matrix in its last two axes")
    if square and x.shape[-2] != x.shape[-1]:
        raise ShapeError(
            f"{what} has shape {x.shape}; its last two axes are {x.shape[-2]} and {x.shape[-1]}, "
            f"but a square matrix is needed"
        )


def square_spec(x):
    """The shape rule of a square matrix that stays one."""
    check_matrix(x, square=True)
    return x


def check_system(a, b, left_side=True):
    """Raise unless ``a`` is square and ``b`` a right-hand side of the same batch and dtype."""
    check_matrix(a, square=True, what="a")
    check_matrix(b, what="b")
    if a.dtype is not b.dtype:
        raise DTypeError(f"a and b have dtypes {a.dtype} and {b.dtype}")
    axis = -2 if left_side else -1
    if a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[axis]:
        raise ShapeError(
            f"a has shape {a.shape} and b {b.shape}: leading axes must agree, and axis {axis} of b "
            f"must be {a.shape[-1]}"
        )


# ---- samples


def _orthonormal(d, rng, shape):
    return np.linalg.qr(draw(d, rng, shape))[0]


def general(d, rng, *shape):
    """A matrix with the singular values 1.5, 2.5 ..."""
    k = min(shape[-2:])
    u = _orthonormal(d, rng, (*shape[:-1], k))
    v = _orthonormal(d, rng, (*shape[:-2], shape[-1], k))
    return (u * (np.arange(k) + 1.5) @ np.conj(v).mT).astype(d.numpy)


def hermitian(d, rng, low, *shape):
    """The eigenvalues low, low + 1 ...; the skew part, which no op may read, is not 0."""
    q, skew = _orthonormal(d, rng, shape), draw(d, rng, shape)
    part = q * np.arange(low, low + shape[-1]) @ np.conj(q).mT
    return (part + skew - np.conj(skew).mT).astype(d.numpy)


SQUARE = ((3, 3), (2, 2, 2), (1, 1), (0, 0), (0, 2, 2))
RECTANGULAR = ((3, 3), (3, 2), (2, 3), (2, 3, 1), (3, 0), (0, 2), (0, 2, 3))


# ---- small algebra, in graph ops


def adjoint(x):
    """The conjugate transpose."""
    return c(x.mT)


def keep(x, direction):
    """The elements whose row number is ``direction`` their column's (GE: lower triangle), else 0."""
    row, column = (iota(shape=x.shape[-2:], dtype="int32", axis=i) for i in (0, 1))
    mask = compare(row, column, direction=direction)
    mask = broadcast_in_dim(mask, shape=x.shape, dims=(x.ndim - 2, x.ndim - 1))
    return select(mask, x, zeros_like(x))


def diagonal(x):
    """The diagonal ``[..., n]`` of square matrices."""
    return reduce_sum(keep(x, "EQ"), axes=(x.ndim - 2,))


def embed(v):
    """The diagonal matrices ``[..., n, n]`` of vectors."""
    shape = (*v.shape, v.shape[-1])
    return keep(broadcast_in_dim(v, shape=shape, dims=tuple(range(v.ndim))), "EQ")


def identity(x):
    """Identity matrices of the shape of ``x [..., n, n]``."""
    return embed(full(1, x.spec.with_(x.shape[:-1])))


def rows(x, order):
    """The rows of ``x [..., n, k]`` in that order ``[..., n]``."""
    batch, axis = tuple(range(x.ndim - 2)), x.ndim - 2
    if not x.size:
        return x
    return gather(
        x, reshape(order, shape=(*order.shape, 1)), offset_dims=(x.ndim - 1,),
        collapsed_slice_dims=(axis,), operand_batching_dims=batch,
        start_indices_batching_dims=batch, start_index_map=(axis,), index_vector_dim=x.ndim - 1,
        slice_sizes=(1,) * (x.ndim - 1) + x.shape[-1:],
    )  # fmt: skip


def inverse(order):
    """The permutation that undoes another."""
    place = iota(shape=order.shape, dtype=int64, axis=order.ndim - 1)
    return sort(order, place, axis=order.ndim - 1)[1]


def hermitian_part(x):
    """``(x + adjoint(x)) / 2``."""
    return (x + adjoint(x)) * 0.5


def half(x):
    """The lower triangle with half of the diagonal: the inverse of ``x + adjoint(x)``."""
    return keep(x, "GT") + keep(x, "EQ") * 0.5


def filled(gs, ys):
    """Cotangents with zeros for None."""
    return tuple(zeros_like(y) if g is None else g for g, y in zip(gs, ys))


def imaginary(x):
    """``i x`` of a real ``x``."""
    return complex_(zeros_like(x), x)


def over_gaps(x, e):
    """``x / e`` off the diagonal, 0 where nothing flows: equal eigenvalues hurt only who reads them."""
    x, e = keep(x, "NE"), convert(e, dtype=x.dtype)
    idle = (x == 0) & (e == 0)
    return select(idle, zeros_like(x), x / select(idle, ones_like(e), e))


# ---- signs and phases


def positive_diagonal(q, r, xp):
    """The QR factors with the diagonal of ``r`` real and not negative.

    Args:
        q, r: arrays of ``xp``, which is ``numpy``, ``jax.numpy`` or ``torch``.
    """
    d = xp.real(xp.diagonal(r, 0, -2, -1))
    sign, k = xp.where(d < 0, -1.0, 1.0), d.shape[-1]
    q = xp.concatenate((q[..., :k] * sign[..., None, :], q[..., k:]), -1)
    r = xp.concatenate((r[..., :k, :] * sign[..., :, None], r[..., k:, :]), -2)
    return q, xp.triu(r)  # no -0 below


def unit_phase(v, xp):
    """What to divide each column of ``v`` by: the phase of its first element that is within a tenth
    of its largest (the largest alone would change with rounding where several are equal).

    Args:
        v: array ``[..., n, k]`` of ``xp``, which is ``numpy``, ``jax.numpy`` or ``torch``.

    Returns:
        ``[..., 1, k]``.
    """
    size = xp.abs(v)
    if 0 in v.shape[-2:]:
        return xp.sum(size, -2, keepdims=True)
    near = size >= 0.9 * xp.amax(size, -2, keepdims=True)
    first = xp.sum(v * (near & (xp.cumsum(near, -2) == 1)), -2, keepdims=True)
    return first / xp.abs(first)


def without_phase(g, v, turn):
    """The cotangent of vectors before `unit_phase` was divided out; ``turn`` is the cotangent of
    their phases."""
    size = real(v * c(v))
    high = reduce_max(size, axes=(v.ndim - 2,))[..., None, :]
    near = convert(size >= 0.81 * high, dtype="int32")
    first = (near == 1) & (cumsum(near, axis=v.ndim - 2) == 1)
    turn = turn / reduce_sum(select(first, real(v), zeros_like(size)), axes=(v.ndim - 2,))
    turn = broadcast_in_dim(turn[..., None, :], shape=v.shape, dims=tuple(range(v.ndim)))
    return g - imaginary(select(first, turn, zeros_like(turn)))


def or_nan(fn, x):
    """``fn(x)``, a tuple; NaN for each matrix on which LAPACK gives up."""
    try:
        return fn(x)
    except np.linalg.LinAlgError:
        if x.ndim == 2:
            return tuple(np.full_like(y, np.nan) for y in fn(np.eye(*x.shape, dtype=x.dtype)))
        return tuple(np.stack(ys) for ys in zip(*[or_nan(fn, m) for m in x]))

"""The array API's extension ``linalg`` (2024.12): matrices in the last two axes, batches before.

Every function works eagerly and in traces, and has gradients (of complex arrays: the conjugate one).
Factorisations have definite signs, the same on every engine; what has no value is NaN or infinite,
not an exception. They need float32, float64 or complex numbers.
"""

from __future__ import annotations

import builtins
import math
import operator
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..array import Array
from ..dtypes import default_int
from ..errors import ArgumentError, MonographError, ShapeError
from ..graph import Value
from ..ops._infer import check_kind
from ..ops.matrices import adjoint, check_matrix, identity
from ..tracing import at_user_line
from ._common import asarray, axes_of, broadcast_shape, broadcast_to, cast, promote
from .elementwise import abs
from .linear import common_axis, matmul, matrix_transpose, tensordot, vecdot
from .manipulation import concat, moveaxis, reshape, roll
from .statistical import max, min, root, sum

__all__ = [
    "EighResult", "QRResult", "SVDResult", "SlogdetResult", "cholesky", "cross", "det", "diagonal",
    "eigh", "eigvalsh", "inv", "matmul", "matrix_norm", "matrix_power", "matrix_rank",
    "matrix_transpose", "outer", "pinv", "qr", "slogdet", "solve", "svd", "svdvals", "tensordot",
    "trace", "vecdot", "vector_norm",
]  # fmt: skip


class EighResult(NamedTuple):
    """What `eigh` returns: ``[..., n]`` ascending, and the columns of ``[..., n, n]``."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """What `qr` returns."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """What `slogdet` returns, each ``[...]``."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """What `svd` returns; the rows of ``Vh`` are the right singular vectors."""

    U: Array
    S: Array
    Vh: Array


def _matrix(name: str, x: Any, square: bool = False) -> Array:
    x = asarray(x)
    try:
        check_matrix(x.spec, square, f"{name}: the operand")
    except MonographError as e:
        raise at_user_line(e) from None
    return x


def _stack(name: str, x: Any) -> Array:
    x = asarray(x)
    if x.ndim < 2:
        raise at_user_line(ShapeError(f"{name} needs a matrix in the last two axes, got {x.spec}"))
    return x


def _floating(name: str, x: Any) -> Array:
    x = asarray(x)
    try:
        check_kind(x.spec, "inexact", f"{name}: the operand")
    except MonographError as e:
        raise at_user_line(e) from None
    return x


# ---- factorisations


def cholesky(x: Any, /, *, upper: bool = False) -> Array:
    """The lower triangular ``L`` with ``L @ adjoint(L) == x``, or ``adjoint(L)`` if ``upper``.

    Args:
        x: positive definite ``[..., n, n]``; its Hermitian part is read.

    Returns:
        A triangle with positive diagonal; of NaN where ``x`` is not positive definite.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: integers or 16-bit floats.

    >>> cholesky([[4.0, 2.0], [2.0, 5.0]]).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    low = ops.cholesky(_matrix("cholesky", x, square=True))
    return adjoint(low) if upper else low


def eigh(x: Any, /) -> EighResult:
    """Eigenvalues, ascending, and eigenvectors of the Hermitian part of ``x [..., n, n]``.

    Each eigenvector, a column, has length 1; its first element that comes within a tenth of its
    largest is real and positive. The gradient of a vector is infinite where its eigenvalue is double.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: integers or 16-bit floats.

    >>> eigh([[2.0, 0.0], [0.0, 1.0]]).eigenvalues.tolist()
    [1.0, 2.0]
    """
    return EighResult(*ops.eigh(_matrix("eigh", x, square=True)))


def eigvalsh(x: Any, /) -> Array:
    """The eigenvalues of `eigh` alone: ``[..., n]``, ascending."""
    return _values(ops.eigh, _matrix("eigvalsh", x, square=True), 0)


def qr(x: Any, /, *, mode: str = "reduced") -> QRResult:
    """``x == Q @ R``: orthonormal columns, and upper triangular with a diagonal >= 0.

    Args:
        x: ``[..., m, n]``.
        mode: "reduced": ``Q [..., m, k]`` and ``R [..., k, n]`` with ``k = min(m, n)``; "complete":
            ``k = m``, without gradient where ``m > n``.

    Raises:
        ArgumentError: another mode.
        DTypeError: integers or 16-bit floats.

    >>> qr([[3.0, 1.0], [4.0, 1.0]]).R.shape
    (2, 2)
    """
    if mode not in ("reduced", "complete"):
        raise at_user_line(ArgumentError(f"qr: mode={mode!r} is neither 'reduced' nor 'complete'"))
    return QRResult(*ops.qr(_matrix("qr", x), full=mode == "complete"))


def svd(x: Any, /, *, full_matrices: bool = True) -> SVDResult:
    """``x == U @ diag(S) @ Vh``, the singular values ``S`` descending.

    The columns of ``U`` have the phase that `eigh` gives eigenvectors.

    Args:
        x: ``[..., m, n]``; ``k = min(m, n)``.
        full_matrices: ``U [..., m, m]`` and ``Vh [..., n, n]``, of which what goes beyond ``k`` has
            no gradient; otherwise ``[..., m, k]`` and ``[..., k, n]``.

    Raises:
        DTypeError: integers or 16-bit floats.

    >>> svd([[0.0, 2.0], [1.0, 0.0]]).S.tolist()
    [2.0, 1.0]
    """
    u, s, vh = ops.svd(_matrix("svd", x))
    if full_matrices:
        u, vh = _completed(u), adjoint(_completed(adjoint(vh)))
    return SVDResult(u, s, vh)


def _completed(u: Array) -> Array:
    m, k = u.shape[-2:]
    return u if m == k else concat([u, ops.qr(u, full=True)[0][..., k:]], axis=-1)


def svdvals(x: Any, /) -> Array:
    """The singular values of `svd` alone: ``[..., k]``, descending."""
    return _values(ops.svd, _matrix("svdvals", x), 1)


def _values(op: Any, x: Array, at: int) -> Array:
    # a trace drops the vectors by itself, unless a gradient reads them
    return op(x)[at] if isinstance(x, Value) else op(x, vectors=False)[0]


# ---- systems, inverses, determinants


def solve(x1: Any, x2: Any, /) -> Array:
    """The ``x`` with ``x1 @ x == x2``, by LU with partial pivoting; not finite where singular.

    Args:
        x1: ``[..., n, n]``.
        x2: one vector ``[n]``, or matrices ``[..., n, k]``; leading axes broadcast.

    Raises:
        ShapeError: ``x1`` is not square, or its axes and those of ``x2`` do not fit.
        DTypeError: integers or 16-bit floats.

    >>> solve([[2.0, 0.0], [0.0, 4.0]], [2.0, 2.0]).tolist()
    [1.0, 0.5]
    """
    a, b = promote(x1, x2)
    a = _matrix("solve", a, square=True)
    n = a.shape[-1]
    vector = b.ndim == 1
    b = b[:, None] if vector else _stack("solve", b)
    if b.shape[-2] != n:
        raise at_user_line(
            ShapeError(
                f"solve: matrices {a.shape} need {n} rows on the right, but {b.shape} has "
                f"{b.shape[-2]}"
            )
        )
    if a.ndim == 2 and b.ndim > 2:  # one matrix for all: factorise it once
        columns = moveaxis(b, -2, 0)
        out = ops.solve(a, reshape(columns, (n, columns.size // builtins.max(n, 1))))
        return moveaxis(reshape(out, columns.shape), 0, -2)
    lead = broadcast_shape(a.shape[:-2], b.shape[:-2])
    out = ops.solve(broadcast_to(a, (*lead, n, n)), broadcast_to(b, (*lead, *b.shape[-2:])))
    return out[..., 0] if vector else out


def inv(x: Any, /) -> Array:
    """The inverse of ``x [..., n, n]``; not finite where ``x`` is singular.

    Raises:
        ShapeError: the matrices are not square.
        DTypeError: integers or 16-bit floats.

    >>> inv([[2.0, 0.0], [0.0, 4.0]]).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    x = _matrix("inv", x, square=True)
    return ops.solve(x, identity(x))


def det(x: Any, /) -> Array:
    """The determinant ``[...]`` of ``x [..., n, n]``, by LU. Its gradient is right at singular ``x``.

    >>> det([[2.0, 0.0], [1.0, 3.0]]).item()
    6.0
    """
    return ops.det(_matrix("det", x, square=True))


def slogdet(x: Any, /) -> SlogdetResult:
    """Sign (of complex ``x``: phase) and log of the modulus of the determinant, safe from overflow.

    ``(0, -inf)`` where ``x [..., n, n]`` is singular.

    >>> slogdet([[0.0, 1.0], [1.0, 0.0]]).sign.item()
    -1.0
    """
    return SlogdetResult(*ops.slogdet(_matrix("slogdet", x, square=True)))


def _tolerance(x: Array, rtol: Any) -> Array:
    if rtol is None:
        rtol = float(np.finfo(x.dtype.numpy).eps) * builtins.max(*x.shape[-2:])
    rtol = cast(asarray(rtol), x.dtype.real)
    lead = x.shape[:-2]
    if broadcast_shape(rtol.shape, lead) != lead:
        raise at_user_line(ShapeError(f"rtol {rtol.shape} does not broadcast to the batch {lead}"))
    return broadcast_to(rtol, lead)


def pinv(x: Any, /, *, rtol: Any = None) -> Array:
    """The pseudo-inverse ``[..., n, m]`` of ``x [..., m, n]``, by `svd`.

    Args:
        rtol: singular values of at most ``rtol`` times the largest count as 0: a number or
            ``[...]``; None means ``max(m, n)`` eps. The gradient is that at constant rank.

    >>> pinv([[2.0, 0.0], [0.0, 0.0]]).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    x = _matrix("pinv", x)
    return ops.pinv(x, _tolerance(x, rtol))


def matrix_rank(x: Any, /, *, rtol: Any = None) -> Array:
    """How many singular values exceed ``rtol`` times the largest: int64 ``[...]``; see `pinv`.

    >>> matrix_rank([[1.0, 2.0], [2.0, 4.0]]).item()
    1
    """
    x = _matrix("matrix_rank", x)
    s = svdvals(x)
    return sum(cast(s > _tolerance(x, rtol)[..., None] * s[..., :1], default_int), axis=-1)


def matrix_power(x: Any, n: int, /) -> Array:
    """``x [..., n, n]`` multiplied ``n`` times, of its inverse where ``n`` is negative.

    >>> matrix_power([[1.0, 1.0], [0.0, 1.0]], 5).tolist()
    [[1.0, 5.0], [0.0, 1.0]]
    """
    x, n = _matrix("matrix_power", x, square=True), operator.index(n)
    if n < 0:
        x, n = inv(x), -n
    out = None
    while n:
        if n & 1:
            out = x if out is None else matmul(out, x)
        n >>= 1
        x = matmul(x, x) if n else x
    return identity(x) if out is None else out


# ---- norms


def vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: float = 2) -> Array:
    """``sum(abs(x) ** ord) ** (1 / ord)`` over ``axis`` (None: all), real; the gradient at 0 is 0.

    Args:
        x: floating-point or complex.
        ord: a number; inf and -inf mean the largest and smallest modulus, 0 the nonzero elements.

    >>> vector_norm([3.0, 4.0]).item()
    5.0
    """
    x = _floating("vector_norm", x)
    axes = axes_of(axis, x.ndim)
    kept: dict[str, Any] = {"axis": axes, "keepdims": keepdims}
    if ord == 2:
        square = x * x if x.dtype.is_float else ops.real(x * ops.conj(x))
        return root(sum(square, **kept), ops.sqrt)
    size = abs(x)
    if ord == 0:
        return sum(cast(size != 0, size.dtype), **kept)
    if ord in (math.inf, -math.inf):
        return (max if ord > 0 else min)(size, **kept)
    if ord == 1:
        return sum(size, **kept)
    total = sum(size**ord, **kept)
    return root(total, lambda s: s ** (1 / ord)) if ord > 0 else total ** (1 / ord)


_SINGULAR = {
    "nuc": lambda s: sum(s, axis=-1), 2: lambda s: max(s, axis=-1), -2: lambda s: min(s, axis=-1),
}  # fmt: skip
_SUMS = {1: (-2, max), -1: (-2, min), math.inf: (-1, max), -math.inf: (-1, min)}


def matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Array:
    """A norm of each matrix ``x [..., m, n]``, real ``[...]``.

    Args:
        ord: "fro" (root of the sum of squares), "nuc" (sum of singular values), 2 and -2 (largest
            and smallest singular value), 1 and -1 (of the column sums), inf and -inf (row sums).

    Raises:
        ArgumentError: another ``ord``.
        ShapeError: an extreme of nothing is asked, of empty matrices.

    >>> matrix_norm([[1.0, -2.0], [3.0, 4.0]], ord=1).item()
    6.0
    """
    x = _stack("matrix_norm", _floating("matrix_norm", x))
    if ord == "fro":
        return vector_norm(x, axis=(-2, -1), keepdims=keepdims)
    if ord in _SINGULAR:
        out = _SINGULAR[ord](svdvals(x))
    elif ord in _SUMS:
        axis, extreme = _SUMS[ord]
        out = extreme(sum(abs(x), axis=axis), axis=-1)
    else:
        raise at_user_line(
            ArgumentError(f"matrix_norm: ord={ord!r} is none of fro, nuc, 1, -1, 2, -2, inf, -inf")
        )
    return reshape(out, (*out.shape, 1, 1)) if keepdims else out


# ---- products and diagonals


def cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """The cross product of vectors of 3 along ``axis``; the other axes broadcast.

    >>> cross([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]).tolist()
    [0.0, 0.0, 1.0]
    """
    a, b = promote(x1, x2)
    axis = common_axis("cross", a, b, axis)
    if a.shape[axis] != 3:
        raise at_user_line(
            ShapeError(f"cross: axis {axis} of {a.shape} has length {a.shape[axis]}, needs 3")
        )
    # element i is a[i + 1] * b[i + 2] - a[i + 2] * b[i + 1], counted round
    (a1, a2), (b1, b2) = ([roll(x, -i, axis=axis) for i in (1, 2)] for x in (a, b))
    return a1 * b2 - a2 * b1


def outer(x1: Any, x2: Any, /) -> Array:
    """All products of two vectors: ``[n]`` and ``[m]`` give ``[n, m]``.

    >>> outer([1.0, 2.0], [3.0, 4.0]).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    a, b = promote(x1, x2)
    if a.ndim != 1 or b.ndim != 1:
        raise at_user_line(ShapeError(f"outer needs two vectors, got {a.shape} and {b.shape}"))
    return a[:, None] * b[None, :]


def diagonal(x: Any, /, *, offset: int = 0) -> Array:
    """Diagonal ``offset`` of ``x [..., m, n]``; a positive one lies above, one outside is empty.

    >>> diagonal([[1, 2], [3, 4]], offset=1).tolist()
    [2]
    """
    x = _stack("diagonal", x)
    m, n = x.shape[-2:]
    count = builtins.max(0, builtins.min(m, n, m + offset, n - offset))
    first = offset if offset > 0 else -offset * n
    flat = ops.reshape(x, shape=(*x.shape[:-2], m * n))
    return flat[..., first : first + count * (n + 1) : n + 1]


def trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Array:
    """The sum ``[...]`` of diagonal ``offset`` of ``x [..., m, n]``; integers in 64 bits.

    >>> trace([[1, 2], [3, 4]]).item()
    5
    """
    return sum(diagonal(_stack("trace", x), offset=offset), axis=-1, dtype=dtype)

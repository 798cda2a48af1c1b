"""Products of matrices and tensors."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..array import Array
from ..errors import ShapeError
from ..tracing import at_user_line
from ._common import broadcast_shape, broadcast_to, promote
from .manipulation import matrix_transpose


def matmul(x1: Any, x2: Any, /) -> Array:
    """Matrix product over the last two axes; leading axes broadcast.

    Raises:
        ShapeError: a 0-d operand, or inner axes that differ.

    >>> matmul([[1.0, 2.0]], [[3.0], [4.0]]).tolist()
    [[11.0]]
    """
    a, b = promote(x1, x2)
    if not a.ndim or not b.ndim:
        raise at_user_line(
            ShapeError("matmul needs at least one axis in each operand; multiply scalars with *")
        )
    left, right = a.shape[-1], b.shape[max(b.ndim - 2, 0)]
    if left != right:
        raise at_user_line(
            ShapeError(
                f"matmul: the last axis of {a.shape} is {left}, axis {max(b.ndim - 2, 0)} of {b.shape} is "
                f"{right}; they must be equal"
            )
        )
    if b.ndim <= 2:
        return ops.dot_general(
            a, b, lhs_contracting=(a.ndim - 1,), rhs_contracting=(max(b.ndim - 2, 0),)
        )
    if a.ndim == 1:
        return ops.reshape(
            matmul(ops.reshape(a, shape=(1, left)), b), shape=(*b.shape[:-2], b.shape[-1])
        )
    lead = broadcast_shape(a.shape[:-2], b.shape[:-2])
    a, b = broadcast_to(a, (*lead, *a.shape[-2:])), broadcast_to(b, (*lead, *b.shape[-2:]))
    n = len(lead)
    batch = tuple(range(n))
    return ops.dot_general(
        a, b, lhs_batching=batch, rhs_batching=batch, lhs_contracting=(n + 1,), rhs_contracting=(n,)
    )


def tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Array:
    """Products summed over pairs of axes: the last ``axes`` of one, the first of the other."""
    a, b = promote(x1, x2)
    if isinstance(axes, int):
        left, right = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    else:
        left = tuple(i % a.ndim for i in axes[0])
        right = tuple(i % b.ndim for i in axes[1])
    return ops.dot_general(a, b, lhs_contracting=left, rhs_contracting=right)


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """Dot products of vectors along ``axis``; the first is conjugated."""
    from .elementwise import conj, multiply
    from .statistical import sum

    a, b = promote(x1, x2)
    return sum(multiply(conj(a) if a.dtype.is_complex else a, b), axis=axis, dtype=a.dtype)


__all__ = ["matmul", "matrix_transpose", "tensordot", "vecdot"]

"""Products of matrices and tensors."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..array import Array
from ..errors import ShapeError
from ..tracing import at_user_line
from ._common import axes_of, broadcast_shape, broadcast_to, one_axis, promote
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
    """Products summed over pairs of axes: the last ``axes`` of one with the first of the other, or
    ``axes[0]`` with ``axes[1]``.

    Raises:
        ShapeError: an axis is out of range, or paired axes differ in length.

    >>> tensordot([[1.0, 2.0]], [3.0, 4.0], axes=1).tolist()
    [11.0]
    """
    a, b = promote(x1, x2)
    if isinstance(axes, int):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise at_user_line(
                ShapeError(f"tensordot: axes={axes} of shapes {a.shape} and {b.shape}")
            )
        left, right = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    else:
        left, right = (
            axes_of(tuple(axes[0]), a.ndim, "axes[0]"),
            axes_of(tuple(axes[1]), b.ndim, "axes[1]"),
        )
    lengths = tuple(a.shape[i] for i in left), tuple(b.shape[i] for i in right)
    if lengths[0] != lengths[1]:
        raise at_user_line(
            ShapeError(
                f"tensordot: axes {left} of {a.shape} have lengths {lengths[0]}, axes {right} of "
                f"{b.shape} {lengths[1]}; they must be equal"
            )
        )
    return ops.dot_general(a, b, lhs_contracting=left, rhs_contracting=right)


def common_axis(name: str, a: Array, b: Array, axis: int) -> int:
    """``axis`` counted from the end, of the same length in both.

    Raises:
        ShapeError: it is out of range, another axis of one than of the other, or of another length.
    """
    places = [one_axis(axis, x.ndim) - x.ndim for x in (a, b)]
    if places[0] != places[1]:
        raise at_user_line(
            ShapeError(
                f"{name}: axis={axis} of {a.shape} and {b.shape} is not one axis; count from the end"
            )
        )
    n, m = a.shape[places[0]], b.shape[places[0]]
    if n != m:
        raise at_user_line(
            ShapeError(
                f"{name}: axis {places[0]} of {a.shape} is {n}, of {b.shape} {m}; they must be equal"
            )
        )
    return places[0]


def vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Array:
    """Dot products of vectors along ``axis``; the first is conjugated, the other axes broadcast.

    Raises:
        ShapeError: ``axis`` differs in length.

    >>> vecdot([1.0, 2.0], [3.0, 4.0]).item()
    11.0
    """
    from .elementwise import conj
    from .statistical import sum

    a, b = promote(x1, x2)
    axis = common_axis("vecdot", a, b, axis)
    return sum(conj(a) * b, axis=axis, dtype=a.dtype)


__all__ = ["matmul", "matrix_transpose", "tensordot", "vecdot"]

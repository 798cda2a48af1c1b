"""Searching and sorting."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..dtypes import int64
from ..errors import ArgumentError, ShapeError
from ..tracing import at_user_line
from ._common import asarray, beside, concrete, one_axis, promote
from .elementwise import isnan, less, logical_and, logical_not, logical_or, where
from .indexing import take
from .manipulation import expand_dims, reshape


def _arg(op: Any, x: Any, axis: int | None, keepdims: bool) -> Array:
    x = asarray(x)
    if axis is None:
        out = op(reshape(x, -1), axis=0)
        return reshape(out, (1,) * x.ndim) if keepdims else out
    a = one_axis(axis, x.ndim)
    out = op(x, axis=a)
    return expand_dims(out, a) if keepdims else out


def argmax(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index of the largest; the first of equals."""
    return _arg(ops.argmax, x, axis, keepdims)


def argmin(x: Any, /, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Index of the smallest; the first of equals."""
    return _arg(ops.argmin, x, axis, keepdims)


def sort(x: Any, /, axis: int = -1, *, descending: bool = False, stable: bool = True) -> Array:
    """Sorted along ``axis``."""
    x = asarray(x)
    return ops.sort(x, axis=one_axis(axis, x.ndim), descending=descending)[0]


def argsort(x: Any, /, axis: int = -1, *, descending: bool = False, stable: bool = True) -> Array:
    """The order that sorts ``x`` along ``axis``."""
    x = asarray(x)
    a = one_axis(axis, x.ndim)
    place = ops.iota(shape=x.shape, dtype=int64, axis=a)
    return ops.sort(x, place, axis=a, descending=descending)[1]


def top_k(x: Any, k: int, /) -> tuple[Array, Array]:
    """The ``k`` largest of the last axis and their indices."""
    return ops.top_k(asarray(x), k=k)


def nonzero(x: Any, /) -> tuple[Array, ...]:
    """The indices of elements that are not zero, one array per axis, in row-major order.

    Raises:
        DataDependentShape: ``x`` is being traced, and their number unknown.
        ShapeError: ``x`` has no axes.

    >>> import monograph as mg
    >>> [i.tolist() for i in mg.nonzero(mg.tensor([[0, 1], [2, 0]]))]
    [[0, 1], [1, 0]]
    """
    numbers = concrete(x, "nonzero", "Use mg.where with three arguments")
    if not numbers.ndim:
        raise at_user_line(ShapeError("nonzero needs at least one axis; compare with != 0"))
    return tuple(beside(x, i) for i in np.nonzero(numbers))


def searchsorted(x1: Any, x2: Any, /, *, side: str = "left", sorter: Any = None) -> Array:
    """Where each element of ``x2`` belongs in the sorted ``x1 [n]``, int64 in ``0 .. n``.

    Args:
        side: before (``"left"``) or after (``"right"``) the elements equal to it.
        sorter: the order that sorts ``x1``, as from `argsort`.

    NaN is the largest, as in `sort`.

    Raises:
        ShapeError: ``x1`` has not one axis.

    >>> import monograph as mg
    >>> mg.searchsorted(mg.tensor([1.0, 3.0, 3.0]), mg.tensor([0.0, 3.0, 9.0])).tolist()
    [0, 1, 3]
    """
    if side not in ("left", "right"):
        raise at_user_line(ArgumentError(f"side={side!r} is neither 'left' nor 'right'"))
    line, x = promote(asarray(x1), asarray(x2))
    if line.ndim != 1:
        raise at_user_line(ShapeError(f"searchsorted: x1 has shape {line.shape}; needs one axis"))
    if sorter is not None:
        line = take(line, sorter)
    n = line.size
    at = ops.full(0, x.spec.with_(dtype=int64))
    # how many elements stand before x: from the highest bit of that number to the lowest
    for bit in reversed(range(n.bit_length())):
        more = at + (1 << bit)
        seen = take(line, ops.minimum(more - 1, ops.full(n - 1, at.spec)))
        before = _less(seen, x) if side == "left" else logical_not(_less(x, seen))
        at = where(logical_and(before, more <= n), more, at)
    return at


def _less(a: Array, b: Array) -> Array:
    """``a < b`` in the order of `sort`: NaN above all."""
    return logical_or(less(a, b), logical_and(isnan(b), logical_not(isnan(a))))

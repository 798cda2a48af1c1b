"""Searching and sorting."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..array import Array
from ..dtypes import int64
from ._common import asarray, concrete, one_axis
from .manipulation import expand_dims, reshape


def _arg(op: Any, x: Any, axis: int | None, keepdims: bool) -> Array:
    x = asarray(x)
    if axis is None:
        out = op(reshape(x, -1), axis=0)
        return reshape(out, (1,) * x.ndim) if keepdims else out
    a = one_axis(axis, x.ndim)
    out = op(x, axis=a)
    return expand_dims(out, axis=a) if keepdims else out


def argmax(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the largest; the first of equals."""
    return _arg(ops.argmax, x, axis, keepdims)


def argmin(x: Any, /, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """Index of the smallest; the first of equals."""
    return _arg(ops.argmin, x, axis, keepdims)


def sort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """Sorted along ``axis``."""
    x = asarray(x)
    return ops.sort(x, axis=one_axis(axis, x.ndim), descending=descending)[0]


def argsort(x: Any, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The order that sorts ``x`` along ``axis``."""
    x = asarray(x)
    a = one_axis(axis, x.ndim)
    place = ops.iota(shape=x.shape, dtype=int64, axis=a)
    return ops.sort(x, place, axis=a, descending=descending)[1]


def top_k(x: Any, k: int, /) -> tuple[Array, Array]:
    """The ``k`` largest of the last axis and their indices."""
    return ops.top_k(asarray(x), k=k)


def nonzero(x: Any, /) -> tuple[Array, ...]:
    """Indices of non-zero elements; eager only, since their number depends on data."""
    import numpy as np

    from ..tensor import Tensor

    found = np.nonzero(concrete(x, "nonzero", "Use mg.where with three arguments"))
    return tuple(Tensor.of(i) for i in found)

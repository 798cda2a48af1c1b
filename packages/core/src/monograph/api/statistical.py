"""Reductions and cumulative functions of the array API, and log-sum-exp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..array import Array
from ..dtypes import DType, bool_, default_int, dtype as as_dtype, uint64
from ..errors import ShapeError
from ..tracing import at_user_line
from ._common import asarray, axes_of, cast, one_axis
from .elementwise import abs as _abs, floating, where

Axis = int | Sequence[int] | None

__all__ = [
    "all", "any", "count_nonzero", "cumulative_prod", "cumulative_sum", "diff", "logsumexp",
    "max", "mean", "min", "prod", "std", "sum", "var",
]  # fmt: skip


def _reduce(op: Callable, x: Array, axis: Axis, keepdims: bool) -> Array:
    axes = axes_of(axis, x.ndim)
    out = op(x, axes=axes)
    if keepdims:
        out = ops.reshape(out, shape=tuple(1 if i in axes else n for i, n in enumerate(x.shape)))
    return out


def _accumulator(x: Array, dtype: Any) -> DType:
    """The dtype sums and products are taken in: integers widen to 64 bits, floats stay."""
    if dtype is not None:
        return as_dtype(dtype)
    return {"uint": uint64, "int": default_int, "bool": default_int}.get(x.dtype.kind, x.dtype)


def sum(x: Any, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Array:
    """Sum over ``axis`` (None: all axes); integers are summed in 64 bits.

    >>> import monograph as mg
    >>> mg.sum(mg.tensor([[1, 2], [3, 4]]), axis=0).tolist()
    [4, 6]
    """
    x = asarray(x)
    return _reduce(ops.reduce_sum, cast(x, _accumulator(x, dtype)), axis, keepdims)


def prod(x: Any, /, axis: Axis = None, *, dtype: Any = None, keepdims: bool = False) -> Array:
    """Product over ``axis`` (None: all axes); integers are multiplied in 64 bits."""
    x = asarray(x)
    return _reduce(ops.reduce_prod, cast(x, _accumulator(x, dtype)), axis, keepdims)


def _extreme(op: Callable, logic: Callable, name: str, x: Any, axis: Axis, keepdims: bool) -> Array:
    x = asarray(x)
    empty = [a for a in axes_of(axis, x.ndim) if x.shape[a] == 0]
    if empty:
        raise at_user_line(
            ShapeError(
                f"{name} over axis {empty[0]} of {x.spec}: the axis is empty and has no {name}"
            )
        )
    return _reduce(logic if x.dtype is bool_ else op, x, axis, keepdims)


def max(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The largest element over ``axis``; NaN where there is one.

    Raises:
        ShapeError: a reduced axis is empty.
    """
    return _extreme(ops.reduce_max, ops.reduce_or, "max", x, axis, keepdims)


def min(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """The smallest element over ``axis``; NaN where there is one.

    Raises:
        ShapeError: a reduced axis is empty.
    """
    return _extreme(ops.reduce_min, ops.reduce_and, "min", x, axis, keepdims)


def _count(x: Array, axis: Axis) -> int:
    n = 1
    for a in axes_of(axis, x.ndim):
        n *= x.shape[a]
    return n


def mean(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Arithmetic mean over ``axis``; integers become float32.

    >>> import monograph as mg
    >>> mg.mean(mg.tensor([1.0, 2.0, 6.0])).item()
    3.0
    """
    x = floating(x)
    total = _reduce(ops.reduce_sum, x, axis, keepdims)
    return ops.divide(total, ops.full(_count(x, axis), total.spec))


def var(x: Any, /, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Variance over ``axis``: squared distances from the mean over ``n - correction``."""
    x = floating(x)
    far = _abs(x - mean(x, axis=axis, keepdims=True))
    total = _reduce(ops.reduce_sum, far * far, axis, keepdims)
    left = _count(x, axis) - correction
    return ops.divide(total, ops.full(left if left > 0 else 0, total.spec))


def std(x: Any, /, axis: Axis = None, *, correction: float = 0.0, keepdims: bool = False) -> Array:
    """Standard deviation over ``axis``: the root of `var`; the gradient at 0 is 0."""
    return root(var(x, axis=axis, correction=correction, keepdims=keepdims), ops.sqrt)


def root(s: Array, fn: Callable) -> Array:
    """``fn(s)`` where ``s`` is not 0, else 0 with a gradient of 0: no pole is formed there."""
    return where(s == 0, 0.0, fn(where(s == 0, 1.0, s)))


def all(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Whether every element over ``axis`` is true (nonzero); of nothing: True."""
    return _reduce(ops.reduce_and, cast(asarray(x), bool_), axis, keepdims)


def any(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """Whether some element over ``axis`` is true (nonzero); of nothing: False."""
    return _reduce(ops.reduce_or, cast(asarray(x), bool_), axis, keepdims)


def count_nonzero(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """How many elements over ``axis`` are not zero, int64."""
    return sum(cast(cast(asarray(x), bool_), default_int), axis=axis, keepdims=keepdims)


def _cumulative(
    op: Callable, start: int, x: Any, axis: int | None, dtype: Any, initial: bool
) -> Array:
    x = asarray(x)
    if axis is None:
        if x.ndim != 1:
            raise at_user_line(ShapeError(f"axis= is needed: {x.spec} has {x.ndim} axes, not 1"))
        axis = 0
    axis = one_axis(axis, x.ndim)
    x = cast(x, _accumulator(x, dtype))
    out = op(x, axis=axis)
    if initial:
        first = ops.full(start, x.spec.with_((*x.shape[:axis], 1, *x.shape[axis + 1 :])))
        out = ops.concatenate(first, out, axis=axis)
    return out


def cumulative_sum(
    x: Any, /, axis: int | None = None, *, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Running sum along ``axis`` (needed unless 1-d); ``include_initial`` puts a 0 in front."""
    return _cumulative(ops.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Any, /, axis: int | None = None, *, dtype: Any = None, include_initial: bool = False
) -> Array:
    """Running product along ``axis`` (needed unless 1-d); ``include_initial`` puts a 1 in front."""
    return _cumulative(ops.cumprod, 1, x, axis, dtype, include_initial)


def diff(
    x: Any, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None
) -> Array:
    """Differences of neighbours along ``axis``, taken ``n`` times."""
    from .manipulation import concat

    x = asarray(x)
    axis = one_axis(axis, x.ndim)
    parts = [v for v in (prepend, x, append) if v is not None]
    x = concat(parts, axis=axis) if len(parts) > 1 else x
    for _ in range(n):
        front = (slice(None),) * axis
        high, low = x[(*front, slice(1, None))], x[(*front, slice(None, -1))]
        x = high != low if x.dtype is bool_ else ops.subtract(high, low)
    return x


def logsumexp(x: Any, /, axis: Axis = None, *, keepdims: bool = False) -> Array:
    """``log(sum(exp(x)))`` over ``axis``, without overflow; of nothing: -inf.

    >>> import monograph as mg
    >>> mg.logsumexp(mg.tensor([1000.0, 1000.0])).item() > 1000
    True
    """
    from .elementwise import isfinite, where

    x = floating(x)
    high = ops.stop_gradient(_reduce(ops.reduce_max, x, axis, True))
    high = where(isfinite(high), high, 0.0)
    total = _reduce(ops.reduce_sum, ops.exponential(x - high), axis, keepdims)
    shift = high if keepdims else ops.reshape(high, shape=total.shape)
    return ops.log(total) + shift

"""Reshaping, joining and reordering."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from .. import ops
from ..array import Array
from ..dtypes import dtype as as_dtype
from ..errors import ArgumentError, ShapeError
from ..tracing import at_user_line
from ._common import (
    asarray,
    axes_of,
    broadcast_shape,
    broadcast_to as _broadcast_to,
    cast,
    one_axis,
    promote,
)


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array:
    """``x`` with another dtype."""
    return cast(asarray(x), as_dtype(dtype))


def reshape(x: Any, /, shape: Any, *, copy: bool | None = None) -> Array:
    """The elements in row-major order under another shape; one length may be -1."""
    x = asarray(x)
    shape = (shape,) if isinstance(shape, int) else tuple(operator.index(n) for n in shape)
    if shape.count(-1) > 1:
        raise at_user_line(ShapeError(f"reshape to {shape}: only one axis may be -1"))
    if -1 in shape:
        rest = math.prod(n for n in shape if n != -1)
        if not rest or x.size % rest:
            raise at_user_line(
                ShapeError(f"reshape: {x.size} elements of {x.shape} do not divide into {shape}")
            )
        shape = tuple(x.size // rest if n == -1 else n for n in shape)
    return x if shape == x.shape else ops.reshape(x, shape=shape)


def permute_dims(x: Any, /, axes: Sequence[int]) -> Array:
    """Axis ``i`` of the result is axis ``axes[i]`` of ``x``."""
    x = asarray(x)
    return ops.transpose(x, permutation=axes_of(tuple(axes), x.ndim, "axes"))


def matrix_transpose(x: Any, /) -> Array:
    """The last two axes swapped."""
    return swapaxes(x, -1, -2)


def swapaxes(x: Any, axis1: int, axis2: int, /) -> Array:
    """Two axes swapped."""
    x = asarray(x)
    a, b = one_axis(axis1, x.ndim), one_axis(axis2, x.ndim)
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return ops.transpose(x, permutation=order)


def moveaxis(x: Any, source: Any, destination: Any, /) -> Array:
    """Axes ``source`` moved to ``destination``; the others keep their order."""
    x = asarray(x)
    src, dst = axes_of(source, x.ndim), axes_of(destination, x.ndim)
    order = [i for i in range(x.ndim) if i not in src]
    for d, s in sorted(zip(dst, src)):
        order.insert(d, s)
    return ops.transpose(x, permutation=order)


def expand_dims(x: Any, /, *, axis: Any = 0) -> Array:
    """New axes of length 1 at ``axis``."""
    x = asarray(x)
    n = x.ndim + (len(axis) if isinstance(axis, tuple) else 1)
    new, old = axes_of(axis, n), iter(x.shape)
    return ops.reshape(x, shape=tuple(1 if i in new else next(old) for i in range(n)))


def squeeze(x: Any, /, axis: Any) -> Array:
    """Axes of length 1 dropped."""
    x = asarray(x)
    gone = axes_of(axis, x.ndim)
    for a in gone:
        if x.shape[a] != 1:
            raise at_user_line(
                ShapeError(f"squeeze: axis {a} of {x.shape} has length {x.shape[a]}, not 1")
            )
    return ops.reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if i not in gone))


def broadcast_to(x: Any, /, shape: Any) -> Array:
    """``x`` repeated to ``shape``."""
    x, shape = asarray(x), tuple(shape)
    if broadcast_shape(x.shape, shape) != shape:
        raise at_user_line(ShapeError(f"{x.shape} does not broadcast to {shape}"))
    return _broadcast_to(x, shape)


def broadcast_arrays(*arrays: Any) -> list[Array]:
    """All with their common shape."""
    xs = [asarray(a) for a in arrays]
    shape = broadcast_shape(*[x.shape for x in xs])
    return [_broadcast_to(x, shape) for x in xs]


def concat(arrays: Sequence[Any], /, *, axis: int | None = 0) -> Array:
    """Arrays one after another along ``axis``; None flattens first."""
    xs = promote(*arrays)
    if axis is None:
        return ops.concatenate(*[reshape(x, -1) for x in xs], axis=0)
    return ops.concatenate(*xs, axis=one_axis(axis, xs[0].ndim))


def stack(arrays: Sequence[Any], /, *, axis: int = 0) -> Array:
    """Arrays along a new axis."""
    xs = promote(*arrays)
    a = one_axis(axis, xs[0].ndim + 1)
    return concat([expand_dims(x, axis=a) for x in xs], axis=a)


def unstack(x: Any, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices along ``axis``."""
    x = moveaxis(x, axis, 0)
    return tuple(x[i] for i in range(x.shape[0]))


def split(x: Any, sections: int, /, *, axis: int = 0) -> list[Array]:
    """``sections`` equal parts along ``axis``."""
    x = asarray(x)
    a = one_axis(axis, x.ndim)
    if sections < 1 or x.shape[a] % sections:
        raise at_user_line(
            ShapeError(f"split: axis {a} of {x.shape} does not divide into {sections}")
        )
    step, out = x.shape[a] // sections, []
    for i in range(sections):
        start, limit = [0] * x.ndim, list(x.shape)
        start[a], limit[a] = i * step, (i + 1) * step
        out.append(ops.slice_(x, start=start, limit=limit, strides=[1] * x.ndim))
    return out


def flip(x: Any, /, *, axis: Any = None) -> Array:
    """The elements in opposite order along ``axis``."""
    x = asarray(x)
    return ops.reverse(x, axes=axes_of(axis, x.ndim))


def roll(x: Any, /, shift: Any, *, axis: Any = None) -> Array:
    """Elements moved along ``axis``, the last ones coming in first."""
    x = asarray(x)
    if axis is None:
        return reshape(roll(reshape(x, -1), shift, axis=0), x.shape)
    axes = axes_of(axis, x.ndim)
    shifts = shift if isinstance(shift, (tuple, list)) else (shift,) * len(axes)
    if len(shifts) != len(axes):
        raise at_user_line(ArgumentError(f"roll: {len(shifts)} shifts for {len(axes)} axes"))
    for a, s in zip(axes, shifts):
        n = x.shape[a]
        if not n or not s % n:
            continue
        ones, start, limit = [1] * x.ndim, [0] * x.ndim, list(x.shape)
        start[a] = limit[a] = n - s % n
        front = ops.slice_(x, start=start, limit=x.shape, strides=ones)
        x = ops.concatenate(
            front, ops.slice_(x, start=[0] * x.ndim, limit=limit, strides=ones), axis=a
        )
    return x


def tile(x: Any, repetitions: Sequence[int], /) -> Array:
    """``x`` repeated whole along each axis."""
    x = asarray(x)
    reps = (1,) * (x.ndim - len(repetitions)) + tuple(repetitions)
    shape = (1,) * (len(reps) - x.ndim) + x.shape
    inner = tuple(v for n in shape for v in (1, n))
    wide = tuple(v for r, n in zip(reps, shape) for v in (r, n))
    out = _broadcast_to(ops.reshape(x, shape=inner), wide)
    return ops.reshape(out, shape=tuple(r * n for r, n in zip(reps, shape)))


def repeat(x: Any, repeats: int, /, *, axis: int | None = None) -> Array:
    """Each element ``repeats`` times along ``axis``."""
    x = reshape(x, -1) if axis is None else asarray(x)
    a = one_axis(0 if axis is None else axis, x.ndim)
    if not isinstance(repeats, int):
        raise at_user_line(
            ArgumentError("repeat needs one static integer: a graph's shapes are fixed")
        )
    inner = (*x.shape[: a + 1], 1, *x.shape[a + 1 :])
    wide = (*x.shape[: a + 1], repeats, *x.shape[a + 1 :])
    out = _broadcast_to(ops.reshape(x, shape=inner), wide)
    return ops.reshape(out, shape=(*x.shape[:a], x.shape[a] * repeats, *x.shape[a + 1 :]))

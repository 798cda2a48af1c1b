"""Reshaping, joining and reordering."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..errors import ArgumentError, ShapeError
from ..tracing import at_user_line
from ._common import (
    asarray,
    axes_of,
    broadcast_shape,
    broadcast_to as _broadcast_to,
    cast,
    concrete,
    one_axis,
    promote,
)
from .indexing import getitem, take


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
    if len(src) != len(dst):
        raise at_user_line(ArgumentError(f"moveaxis: {source} and {destination} differ in length"))
    order = [i for i in range(x.ndim) if i not in src]
    for d, s in sorted(zip(dst, src)):
        order.insert(d, s)
    return ops.transpose(x, permutation=order)


def expand_dims(x: Any, /, axis: Any = 0) -> Array:
    """New axes of length 1 at ``axis``."""
    x = asarray(x)
    n = x.ndim + (len(axis) if isinstance(axis, tuple) else 1)
    new, old = axes_of(axis, n), iter(x.shape)
    return ops.reshape(x, shape=tuple(1 if i in new else next(old) for i in range(n)))


def squeeze(x: Any, /, axis: Any = None) -> Array:
    """Axes of length 1 dropped: those named, or all of them."""
    x = asarray(x)
    if axis is None:
        axis = tuple(i for i, n in enumerate(x.shape) if n == 1)
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


def concat(arrays: Sequence[Any], /, axis: int | None = 0) -> Array:
    """Arrays one after another along ``axis``; None flattens first."""
    if not arrays:
        raise at_user_line(ArgumentError("concat needs at least one array"))
    xs = promote(*arrays)
    if axis is None:
        return ops.concatenate(*[reshape(x, -1) for x in xs], axis=0)
    return ops.concatenate(*xs, axis=one_axis(axis, xs[0].ndim))


def stack(arrays: Sequence[Any], /, axis: int = 0) -> Array:
    """Arrays along a new axis."""
    if not arrays:
        raise at_user_line(ArgumentError("stack needs at least one array"))
    xs = promote(*arrays)
    a = one_axis(axis, xs[0].ndim + 1)
    return concat([expand_dims(x, a) for x in xs], axis=a)


def unstack(x: Any, /, axis: int = 0) -> tuple[Array, ...]:
    """The slices along ``axis``."""
    x = moveaxis(x, axis, 0)
    return tuple(x[i] for i in range(x.shape[0]))


def split(x: Any, sections: int | Sequence[int], /, axis: int = 0) -> list[Array]:
    """``sections`` equal parts along ``axis``, or the parts between the given places.

    >>> [p.tolist() for p in split([1, 2, 3, 4, 5], [1, 3])]
    [[1], [2, 3], [4, 5]]
    """
    x = asarray(x)
    a = one_axis(axis, x.ndim)
    n = x.shape[a]
    if not isinstance(sections, int):
        places = [0, *(operator.index(s) for s in sections), n]
    elif sections < 1 or n % sections:
        raise at_user_line(
            ShapeError(f"split: axis {a} of {x.shape} does not divide into {sections}")
        )
    else:
        places = list(range(0, n + 1, n // sections)) if n else [0] * (sections + 1)
    ranges = [slice(i, j).indices(n) for i, j in itertools.pairwise(places)]
    sizes = [max(j - i, 0) for i, j, _ in ranges]
    if [i for i, _, _ in ranges] == [sum(sizes[:k]) for k in range(len(sizes))]:
        return list(ops.split(x, sizes=sizes, axis=a))
    front = (slice(None),) * a  # places out of order: parts overlap, as in NumPy
    return [getitem(x, (*front, slice(i, j))) for i, j, _ in ranges]


def flip(x: Any, /, axis: Any = None) -> Array:
    """The elements in opposite order along ``axis``."""
    x = asarray(x)
    return ops.reverse(x, axes=axes_of(axis, x.ndim))


def roll(x: Any, /, shift: Any, axis: Any = None) -> Array:
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


def repeat(x: Any, repeats: Any, /, axis: int | None = None) -> Array:
    """Each element ``repeats`` times along ``axis`` (None flattens first).

    Args:
        repeats: a number, or a number per element of the axis, known while tracing.

    Raises:
        DataDependentShape: ``repeats`` is being traced, and the length unknown.

    >>> repeat([1, 2], 2).tolist(), repeat([1, 2], [0, 3]).tolist()
    ([1, 1, 2, 2], [2, 2, 2])
    """
    x = reshape(x, -1) if axis is None else asarray(x)
    a = one_axis(0 if axis is None else axis, x.ndim)
    counts = concrete(repeats, "repeat", "Use one static number of repeats")
    if counts.dtype.kind not in "iu" or (counts < 0).any():
        raise at_user_line(ArgumentError(f"repeats={repeats!r}: needs integers, at least 0"))
    if counts.size != 1:
        if counts.shape != x.shape[a : a + 1]:
            raise at_user_line(
                ShapeError(f"repeat: {counts.shape} repeats for axis {a} of {x.shape}")
            )
        return take(x, np.repeat(np.arange(x.shape[a]), counts), axis=a)
    n = int(counts.reshape(()))
    inner = (*x.shape[: a + 1], 1, *x.shape[a + 1 :])
    wide = (*x.shape[: a + 1], n, *x.shape[a + 1 :])
    out = _broadcast_to(ops.reshape(x, shape=inner), wide)
    return ops.reshape(out, shape=(*x.shape[:a], x.shape[a] * n, *x.shape[a + 1 :]))


_INDEXED = ("edge", "reflect", "symmetric", "wrap")


def pad(x: Any, pad_width: Any, /, *, mode: str = "constant", constant_values: Any = 0) -> Array:
    """``x`` with elements put before and after, as `numpy.pad`.

    Args:
        pad_width: a number, ``(before, after)``, or such a pair per axis.
        mode: ``"constant"``, or copies of ``x``: its last element (``"edge"``), its mirror image
            without (``"reflect"``) or with (``"symmetric"``) that element, or itself (``"wrap"``).

    >>> pad([1, 2, 3], (2, 1)).tolist(), pad([1, 2, 3], 2, mode="reflect").tolist()
    ([0, 0, 1, 2, 3, 0], [3, 2, 1, 2, 3, 2, 1])
    """
    x = asarray(x)
    widths = np.broadcast_to(np.asarray(pad_width, np.int64), (x.ndim, 2))
    if (widths < 0).any():
        raise at_user_line(ArgumentError(f"pad_width={pad_width}: slice to make an array smaller"))
    if mode == "constant":
        low, high = widths.T.tolist()
        value = promote(x, constant_values)[1]
        return ops.pad(x, cast(value, x.dtype), low=low, high=high, interior=[0] * x.ndim)
    if mode not in _INDEXED:
        raise at_user_line(
            ArgumentError(f"mode={mode!r} is none of constant, {', '.join(_INDEXED)}")
        )
    how: Any = mode
    for a, width in enumerate(widths.tolist()):
        if any(width):
            if not x.shape[a]:
                raise at_user_line(ShapeError(f"pad: axis {a} of {x.shape} has nothing to copy"))
            x = take(x, np.pad(np.arange(x.shape[a]), width, how), axis=a)
    return x

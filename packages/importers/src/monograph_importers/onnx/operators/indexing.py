"""Operators that pick elements, put them, order them, or accumulate along an axis."""

from __future__ import annotations

from typing import Any

import monograph as mg
import numpy as np
from monograph import ops

from ..rules import rule
from .shapes import ints

_PUT = {"none": "set", "add": "add", "mul": "multiply", "min": "min", "max": "max"}


@rule("Slice", since=10, known=(1, 2, 3, 4))
def slice_(x: Any, starts: Any, ends: Any, axes: Any = None, steps: Any = None) -> Any:
    """From ``starts`` to before ``ends``, by ``steps``."""
    x = mg.asarray(x)
    first, last = ints(starts), ints(ends)
    chosen = ints(axes) if axes is not None else list(range(len(first)))
    by = ints(steps) if steps is not None else [1] * len(first)
    key = [slice(None)] * x.ndim
    for a, start, end, step in zip(chosen, first, last, by):
        key[a] = _clamped(start, end, step, x.shape[a])
    return x[tuple(key)]


def _clamped(start: int, end: int, step: int, n: int) -> slice:
    """Both ends moved into the axis; backwards, unlike in Python, a start before it is its first element."""
    low, high = (0, n) if step > 0 else (-1, n - 1)
    start, end = (i + n if i < 0 else i for i in (start, end))
    start, end = min(max(start, 0), high), min(max(end, low), high)
    return slice(start, None if end < 0 else end, step) if n else slice(0)


@rule("Slice")
def slice_1(x: Any, *, starts: Any, ends: Any, axes: Any = None) -> Any:
    """As above, with attributes."""
    return slice_(
        x, np.asarray(starts), np.asarray(ends), None if axes is None else np.asarray(axes)
    )


@rule("Gather")
def gather(x: Any, indices: Any, *, axis: int = 0) -> Any:
    """The elements of an axis at the indices, which may be negative."""
    return mg.take(x, indices, axis=axis)


@rule("GatherElements")
def gather_elements(x: Any, indices: Any, *, axis: int = 0) -> Any:
    """For each index the element at its place, but along ``axis`` at the index."""
    x, indices = mg.asarray(x), indices if isinstance(indices, np.ndarray) else mg.asarray(indices)
    a = axis % x.ndim
    cut = tuple(slice(None) if i == a else slice(n) for i, n in enumerate(indices.shape))
    return mg.take_along_axis(x[cut], indices, axis=a)


def _columns(indices: Any) -> tuple[Any, ...]:
    return tuple(indices[..., i] for i in range(indices.shape[-1]))


def _grid(shape: Any, axes: Any) -> list[np.ndarray]:
    """Every position along some axes, shaped to broadcast with ``shape``."""
    return [
        np.arange(shape[a]).reshape([-1 if i == a else 1 for i in range(len(shape))]) for a in axes
    ]


@rule("GatherND")
def gather_nd(x: Any, indices: Any, *, batch_dims: int = 0) -> Any:
    """The slices of ``x`` at index vectors."""
    x = mg.asarray(x)
    batch = _grid(indices.shape[:-1], range(batch_dims))
    return x[(*batch, *_columns(indices))]


@rule("ScatterND", reduction=_PUT)
def scatter_nd(x: Any, indices: Any, updates: Any, *, reduction: str = "none") -> Any:
    """``x`` with slices put, or combined, at index vectors."""
    return getattr(mg.asarray(x).at[_columns(indices)], _PUT[reduction])(updates)


@rule("Scatter", "ScatterElements", reduction=_PUT)
def scatter_elements(
    x: Any, indices: Any, updates: Any, *, axis: int = 0, reduction: str = "none"
) -> Any:
    """``x`` with each update put, or combined, at its place, but along ``axis`` at the index."""
    x, shape = mg.asarray(x), indices.shape
    key: list[Any] = _grid(shape, range(x.ndim))
    key[axis] = indices
    return getattr(x.at[tuple(key)], _PUT[reduction])(updates)


@rule("TensorScatter", mode=("linear", "circular"))
def tensor_scatter(
    past: Any, update: Any, starts: Any = None, *, axis: int = -2, mode: str = "linear"
) -> Any:
    """A cache with new entries along ``axis``, from each row's start on; around the end if ``circular``."""
    past = mg.asarray(past)
    a, n = axis % past.ndim, update.shape[axis]
    rows, length = past.shape[0], past.shape[a]
    first = mg.zeros((rows,), dtype="int64") if starts is None else mg.astype(starts, "int64")
    places = mg.reshape(first, (rows, 1)) + np.arange(n)
    if mode == "circular":
        places = mg.remainder(places, length)
    there = mg.reshape(places, [rows if i == 0 else n if i == a else 1 for i in range(past.ndim)])
    key: list[Any] = _grid(update.shape, range(past.ndim))
    key[a] = there
    return past.at[tuple(key)].set(update)


@rule("TopK", since=10, known=(1,))
def top_k(x: Any, k: Any, *, axis: int = -1, largest: int = 1, sorted: int = 1) -> Any:
    """The ``k`` largest or smallest along an axis and their indices, the first of equals first."""
    x, n = mg.asarray(x), ints(k)[0]
    wide = mg.moveaxis(x, axis, -1)
    if largest:
        out = mg.top_k(wide, n)
    else:
        order = mg.argsort(wide, axis=-1)[..., :n]
        out = mg.take_along_axis(wide, order, axis=-1), order
    return tuple(mg.moveaxis(y, -1, axis) for y in out)


@rule("TopK")
def top_k_1(x: Any, *, k: int, axis: int = -1) -> Any:
    """As above, with an attribute."""
    return top_k(x, np.asarray(k), axis=axis)


def _extreme(fn: Any) -> Any:
    def arg(x: Any, *, axis: int = 0, keepdims: int = 1, select_last_index: int = 0) -> Any:
        x = mg.asarray(x)
        if select_last_index:
            found = (
                x.shape[axis] - 1 - fn(mg.flip(x, axis=axis), axis=axis, keepdims=bool(keepdims))
            )
        else:
            found = fn(x, axis=axis, keepdims=bool(keepdims))
        return mg.astype(found, "int64")

    return arg


rule("ArgMax")(_extreme(mg.argmax))
rule("ArgMin")(_extreme(mg.argmin))


def _running(op: Any, start: int) -> Any:
    def cumulate(x: Any, axis: Any, *, exclusive: int = 0, reverse: int = 0) -> Any:
        x = mg.asarray(x)
        a = ints(axis)[0] % x.ndim
        if exclusive:  # one step later: shifted, with the empty sum or product first
            keep = slice(1, None) if reverse else slice(None, -1)
            cut = x[(slice(None),) * a + (keep,)]
            low, high = [0] * x.ndim, [0] * x.ndim
            (high if reverse else low)[a] = 1
            x = ops.pad(
                cut, mg.full((), start, dtype=x.dtype), low=low, high=high, interior=[0] * x.ndim
            )
        return op(x, axis=a, reverse=bool(reverse))

    return cumulate


rule("CumSum", known=(1,))(_running(ops.cumsum, 0))
rule("CumProd", known=(1,))(_running(ops.cumprod, 1))


@rule("ReverseSequence")
def reverse_sequence(x: Any, lengths: Any, *, batch_axis: int = 1, time_axis: int = 0) -> Any:
    """Each row's first ``lengths`` entries backwards, the rest as they are."""
    x = mg.asarray(x)
    n = x.shape[time_axis]
    line = lambda v, a: mg.reshape(v, [-1 if i == a else 1 for i in range(x.ndim)])  # noqa: E731
    time, length = line(np.arange(n), time_axis), line(mg.astype(lengths, "int64"), batch_axis)
    places = mg.where(time < length, length - 1 - time, time)
    return mg.take_along_axis(x, mg.broadcast_to(places, x.shape), axis=time_axis)


# ---- results whose shape depends on data: only of what is known


@rule("NonZero", known=(0,))
def non_zero(x: Any) -> np.ndarray:
    """The positions ``[axes, n]`` of what is not zero."""
    return np.asarray(np.nonzero(np.asarray(x).reshape(x.shape or (1,))), np.int64)


@rule("Compress", known=(1,))
def compress(x: Any, condition: Any, *, axis: int | None = None) -> Any:
    """The elements of an axis, or of all, where the condition holds."""
    x = mg.asarray(x)
    where = np.flatnonzero(np.asarray(condition))
    return mg.take(mg.reshape(x, (-1,)) if axis is None else x, where, axis=axis or 0)


@rule("Unique", known=(0,))
def unique(x: Any, *, axis: int | None = None, sorted: int = 1) -> Any:
    """Different elements or slices, where each occurs first, which it is, and how often."""
    x = np.asarray(x)
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not sorted:  # in the order of occurrence
        order = np.argsort(first)
        values = np.take(values, order, axis=axis or 0)
        first, counts, inverse = first[order], counts[order], np.argsort(order)[inverse]
    return values, first, inverse, counts

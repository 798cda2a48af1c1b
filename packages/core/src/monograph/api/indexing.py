"""Reading parts of arrays: ``x[...]``, `take`, `take_along_axis`."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..errors import ArgumentError, DataDependentShape, DTypeError, ShapeError
from ..graph import Value
from ..ops.sorting import along
from ..tensor import Tensor
from ..tracing import at_user_line
from ._common import asarray, broadcast_shape, broadcast_to, one_axis


def getitem(x: Array, key: Any) -> Array:
    """``x[key]`` with integers, slices, None, ``...`` and integer arrays; a bool mask eagerly only."""
    keys = key if isinstance(key, tuple) else (key,)
    if any(_is_mask(k) for k in keys):
        return _masked(x, keys)
    keys = _expand(x, keys)
    start, limit, strides, flips, shape, arrays = [], [], [], [], [], []
    axis = 0
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        n = x.shape[axis]
        if isinstance(k, slice):
            a, b, s = k.indices(n)
            count = len(range(a, b, s))
            if s < 0:
                flips.append(axis)
                a, s = a + (count - 1) * s if count else 0, -s
            start.append(a if count else 0)
            limit.append(start[-1] + (count - 1) * s + 1 if count else start[-1])
            strides.append(s)
            shape.append(count)
        elif isinstance(k, (Array, np.ndarray, list)):
            arrays.append((axis, len(shape), asarray(k)))
            start.append(0)
            limit.append(n)
            strides.append(1)
            shape.append(n)
        else:
            i = operator.index(k)
            if not -n <= i < n:
                raise at_user_line(
                    IndexedOut(f"index {i} is out of range for axis {axis} with length {n}")
                )
            start.append(i % n)
            limit.append(i % n + 1)
            strides.append(1)
        axis += 1
    if start != [0] * x.ndim or limit != list(x.shape) or any(s != 1 for s in strides):
        x = ops.slice_(x, start=start, limit=limit, strides=strides)
    if flips:
        x = ops.reverse(x, axes=flips)
    if x.shape != tuple(shape):
        x = ops.reshape(x, shape=shape)
    return _by_arrays(x, [(place, index) for _, place, index in arrays]) if arrays else x


class IndexedOut(ShapeError, IndexError):
    """A constant index outside its axis."""


def _is_mask(k: Any) -> bool:
    if isinstance(k, (Array, np.ndarray)):
        return str(k.dtype).rpartition(".")[2] == "bool"
    return isinstance(k, (bool, np.bool_))


def _masked(x: Array, keys: tuple) -> Array:
    if isinstance(x, Value) or any(isinstance(k, Value) for k in keys):
        raise at_user_line(
            DataDependentShape(
                f"a bool mask on {x.spec} selects a number of elements that depends on data, which a graph "
                f"cannot hold. Use mg.where(mask, x, 0), or index outside the traced function."
            )
        )
    plain = tuple(k.numpy() if isinstance(k, Tensor) else k for k in keys)
    assert isinstance(x, Tensor)
    return Tensor.of(x.numpy()[plain], device=x.device)


def _expand(x: Array, keys: tuple) -> list[Any]:
    used = sum(k is not None and k is not Ellipsis for k in keys)
    dots = [i for i, k in enumerate(keys) if k is Ellipsis]
    if used > x.ndim or len(dots) > 1:
        raise at_user_line(
            IndexedOut(f"{len(keys)} indices for an array with {x.ndim} axes: {x.shape}")
        )
    fill = [slice(None)] * (x.ndim - used)
    at = dots[0] if dots else len(keys)
    return [*keys[:at], *fill, *keys[at + 1 :]]


def _by_arrays(x: Array, picks: list[tuple[int, Array]]) -> Array:
    """Integer arrays at some axes, broadcast together; negative indices count from the end."""
    for _, index in picks:
        if not index.dtype.is_integer:
            raise at_user_line(
                DTypeError(f"an index array has dtype {index.dtype}; needs integers")
            )
    shape = broadcast_shape(*[i.shape for _, i in picks])
    axes = [a for a, _ in picks]
    columns = []
    for a, index in picks:
        i = ops.convert(broadcast_to(index, shape), dtype="int64")
        i = ops.select(ops.compare(i, ops.zeros_like(i), direction="LT"), i + x.shape[a], i)
        columns.append(ops.reshape(i, shape=(*shape, 1)))
    n = len(shape)
    together = axes == list(range(axes[0], axes[0] + len(axes)))
    first = axes[0] if together else 0
    rest = x.ndim - len(axes)
    offset = [i if i < first else i + n for i in range(rest)]
    return ops.gather(
        x, ops.concatenate(*columns, axis=n), offset_dims=offset, collapsed_slice_dims=axes,
        start_index_map=axes, index_vector_dim=n,
        slice_sizes=[1 if i in axes else s for i, s in enumerate(x.shape)],
    )  # fmt: skip


def take(x: Any, indices: Any, /, *, axis: int | None = None) -> Array:
    """``x`` at integer ``indices`` along ``axis``; indices are clamped to the axis."""
    x, indices = asarray(x), asarray(indices)
    if axis is None:
        if x.ndim != 1:
            raise at_user_line(ArgumentError(f"take needs axis= for an array with {x.ndim} axes"))
        axis = 0
    return _by_arrays(x, [(one_axis(axis, x.ndim), indices)])


def take_along_axis(x: Any, indices: Any, /, *, axis: int = -1) -> Array:
    """``x`` at ``indices`` along ``axis``, other positions paired."""
    x, indices = asarray(x), asarray(indices)
    a = one_axis(axis, x.ndim)
    index = ops.convert(indices, dtype="int64")
    index = ops.select(
        ops.compare(index, ops.zeros_like(index), direction="LT"), index + x.shape[a], index
    )
    return along(x, index, a)


__all__ = ["getitem", "take", "take_along_axis"]

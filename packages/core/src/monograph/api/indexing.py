"""Reading parts of arrays: ``x[...]``, `take`, `take_along_axis`. NumPy's rules.

A key is taken apart once (`plan`): a strided block of ``x`` with axes dropped and put in, then integer
arrays at some axes of the block. `api.updates` writes through the same plan.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..array import Array
from ..errors import ArgumentError, DataDependentShape, IndexTypeError, OutOfBounds, ShapeError
from ..graph import Value
from ..ops.sorting import along
from ..tensor import Tensor
from ..tracing import at_user_line
from ._common import asarray, broadcast_shape, broadcast_to, one_axis

Index = np.ndarray | Value  # known now, or only when the graph runs


class Plan(NamedTuple):
    """A key taken apart.

    Attributes:
        start, limit, strides: the block, per axis of ``x``; strides are positive.
        flips: axes of ``x`` read backwards.
        shape: the block's, without the axes an integer dropped and with those None put in.
        picks: axes of the block, each with the index array that reads it.
        place: where the axes of the index arrays stand in the result.
    """

    start: list[int]
    limit: list[int]
    strides: list[int]
    flips: list[int]
    shape: list[int]
    picks: list[tuple[int, Index]]
    place: int


class _Pick(NamedTuple):
    """An index array, and what it expects of its axis: a length, None for any, -1 for a new one."""

    array: Index
    length: int | None


def getitem(x: Array, key: Any) -> Array:
    """``x[key]``: integers, slices, None, ``...``, integer arrays and bool masks, as in NumPy.

    The values of a mask must be known: while tracing it is a NumPy array or a tensor, not an input.
    So are out-of-range indices found, and raised, where the index is known; others are clamped.

    Raises:
        IndexError: an index is out of range, there are too many, or one has no integer dtype.
        DataDependentShape: a mask that depends on the traced function's inputs.

    >>> import monograph as mg
    >>> x = mg.reshape(mg.arange(6), (2, 3))
    >>> x[:, ::-1].tolist(), x[1, [0, 2]].tolist(), x[x > 3].tolist()
    ([[2, 1, 0], [5, 4, 3]], [3, 5], [4, 5])
    """
    p = plan(x, key)
    cut = block(x, p)
    return pick(cut, p) if p.picks else cut


def plan(x: Array, key: Any) -> Plan:
    """The key taken apart for ``x``; raises what is wrong with it."""
    keys = [part for k in (key if isinstance(key, tuple) else (key,)) for part in _parts(k)]
    used = sum(k is not None and k is not Ellipsis and not _is_new(k) for k in keys)
    dots = sum(k is Ellipsis for k in keys)
    if used > x.ndim or dots > 1:
        what = "two ellipses" if dots > 1 else f"{used} indices"
        raise at_user_line(OutOfBounds(f"{what} for an array with {x.ndim} axes: {x.shape}"))
    if not dots:
        keys.append(Ellipsis)
    fancy = any(isinstance(k, _Pick) for k in keys)
    p = Plan([], [], [], [], [], [], 0)
    runs, inside = 0, False  # runs of neighbouring index arrays; integers beside arrays count
    for k in keys:
        if fancy and isinstance(k, int):
            k = _Pick(np.asarray(k), None)
        runs += isinstance(k, _Pick) and not inside
        inside = isinstance(k, _Pick)
        if k is Ellipsis:
            for _ in range(x.ndim - used):
                _block_axis(p, x.shape, slice(None))
        elif k is None:
            p.shape.append(1)
        elif isinstance(k, _Pick):
            n = 1 if _is_new(k) else x.shape[len(p.start)]
            p.picks.append((len(p.shape), _checked(k, len(p.start), n)))
            if _is_new(k):
                p.shape.append(1)
            else:
                _block_axis(p, x.shape, slice(None))
        else:
            _block_axis(p, x.shape, k)
    return p._replace(place=p.picks[0][0] if runs == 1 else 0)


def _parts(k: Any) -> Iterator[Any]:
    """One key as None, ``...``, slice, int or `_Pick`; a mask yields one pick per axis."""
    if k is None or k is Ellipsis or isinstance(k, slice):
        yield k
    elif isinstance(k, (list, tuple, bool)) or hasattr(k, "__array__"):
        if not isinstance(k, Value):
            k = asarray_index(k)
        kind = np.dtype(k.dtype.numpy if isinstance(k, Value) else k.dtype).kind
        if kind not in "biu":
            raise at_user_line(
                IndexTypeError(f"an index array has dtype {k.dtype}; needs integers or bool")
            )
        if kind != "b":
            yield int(k) if not isinstance(k, Value) and not k.ndim else _Pick(k, None)
        elif isinstance(k, Value):
            raise at_user_line(
                DataDependentShape(
                    f"the mask {k.spec} selects a number of elements that depends on data, which a "
                    f"graph cannot hold. Use mg.where(mask, x, 0), or index outside the traced "
                    f"function."
                )
            )
        elif not k.ndim:
            yield _Pick(np.zeros(int(k), np.int64), -1)
        else:
            yield from (_Pick(i, n) for i, n in zip(np.nonzero(k), k.shape))
    else:
        try:
            yield operator.index(k)
        except TypeError:
            raise at_user_line(
                IndexTypeError(
                    f"{type(k).__name__} is no index; integers, slices, None, ..., integer arrays "
                    f"and bool masks are"
                )
            ) from None


def asarray_index(k: Any) -> np.ndarray:
    """An index with known values as NumPy; an empty list selects nothing."""
    k = np.asarray(k)
    return k if k.size or k.dtype.kind in "biu" else k.astype(np.int64)


def _is_new(k: Any) -> bool:
    return isinstance(k, _Pick) and k.length == -1


def _checked(k: _Pick, axis: int, n: int) -> Index:
    """The index array with negative entries counted from the end of an axis of length ``n``."""
    if k.length not in (None, -1, 0, n):  # 0 selects nothing, of an axis of any length
        raise at_user_line(
            OutOfBounds(f"a mask has length {k.length} where axis {axis} has length {n}")
        )
    if isinstance(k.array, Value):
        return k.array
    array = k.array.astype(np.int64)  # a narrow dtype could not count to the end
    outside = (array < -n) | (array >= n)
    if outside.any():
        worst = array[outside].ravel()[0]
        raise at_user_line(
            OutOfBounds(f"index {worst} is out of range for axis {axis} with length {n}")
        )
    return np.where(array < 0, array + n, array)


def _block_axis(p: Plan, lengths: tuple[int, ...], k: slice | int) -> None:
    """Add the next axis of ``x`` to the block."""
    axis = len(p.start)
    n = lengths[axis]
    if isinstance(k, int):
        if not -n <= k < n:
            raise at_user_line(
                OutOfBounds(f"index {k} is out of range for axis {axis} with length {n}")
            )
        p.start.append(k % n)
        p.limit.append(k % n + 1)
        p.strides.append(1)
        return
    try:
        a, b, s = k.indices(n)
    except (TypeError, ValueError) as e:
        raise at_user_line(IndexTypeError(f"{k!r}: {e}")) from None
    count = len(range(a, b, s))
    if s < 0:
        p.flips.append(axis)
        a, s = a + (count - 1) * s, -s
    p.start.append(a if count else 0)
    p.limit.append(a + (count - 1) * s + 1 if count else 0)
    p.strides.append(s if count > 1 else 1)
    p.shape.append(count)


def block(x: Array, p: Plan) -> Array:
    """The strided block of ``x``, with the axes of the plan's shape."""
    whole = tuple(p.limit) == x.shape and not any(p.start)
    if isinstance(x, Tensor) and not whole and all(s == 1 for s in p.strides):
        # one compilation for every place: a loop over x[i] would need one per i
        sizes = [b - a for a, b in zip(p.start, p.limit)]
        x = ops.dynamic_slice(x, *[np.asarray(a) for a in p.start], sizes=sizes)
    elif not whole or any(s != 1 for s in p.strides):
        x = ops.slice_(x, start=p.start, limit=p.limit, strides=p.strides)
    if p.flips:
        x = ops.reverse(x, axes=p.flips)
    return x if x.shape == tuple(p.shape) else ops.reshape(x, shape=p.shape)


def picked_shape(p: Plan) -> tuple[int, ...]:
    """The result's shape: the block's other axes, with those of the index arrays among them."""
    axes = [a for a, _ in p.picks]
    rest = [n for a, n in enumerate(p.shape) if a not in axes]
    lead = broadcast_shape(*[i.shape for _, i in p.picks])
    return (*rest[: p.place], *lead, *rest[p.place :])


def pick(x: Array, p: Plan) -> Array:
    """The block read at the plan's index arrays."""
    shape = picked_shape(p)
    if 0 in shape:
        return ops.full(0, x.spec.with_(shape))
    for axis, _ in p.picks:
        if not x.shape[axis]:
            raise at_user_line(OutOfBounds(f"an array indexes an axis with length 0 of {x.shape}"))
    return ops.gather(x, vectors(x, p), **gather_dims(x, p))


def vectors(x: Array, p: Plan) -> Array:
    """The index arrays broadcast together, as vectors ``[..., picks]`` of int64."""
    arrays = [i for _, i in p.picks]
    if not any(isinstance(i, Value) for i in arrays):
        return asarray(np.stack(np.broadcast_arrays(*arrays), -1))
    shape = broadcast_shape(*[i.shape for i in arrays])
    columns = []
    for axis, index in p.picks:
        i = ops.convert(asarray(index), dtype="int64")
        if isinstance(index, Value) and index.dtype.kind == "int":
            i = from_front(i, x.shape[axis])
        columns.append(ops.reshape(broadcast_to(i, shape), shape=(*shape, 1)))
    return ops.concatenate(*columns, axis=len(shape)) if len(columns) > 1 else columns[0]


def from_front(index: Array, n: int) -> Array:
    """Negative indices counted from the end of an axis of length ``n``."""
    return ops.select(ops.compare(index, ops.zeros_like(index), direction="LT"), index + n, index)


def gather_dims(x: Array, p: Plan) -> dict[str, Any]:
    """The attributes of `ops.gather` that read the block at `vectors`."""
    axes = [a for a, _ in p.picks]
    n = max(i.ndim for _, i in p.picks)
    return {
        "offset_dims": [i if i < p.place else i + n for i in range(x.ndim - len(axes))],
        "collapsed_slice_dims": axes, "start_index_map": axes, "index_vector_dim": n,
        "slice_sizes": [1 if i in axes else s for i, s in enumerate(x.shape)],
        "operand_batching_dims": (), "start_indices_batching_dims": (), "indices_are_sorted": False,
    }  # fmt: skip


def take(x: Any, indices: Any, /, axis: int | None = None) -> Array:
    """``x`` at integer ``indices`` along ``axis`` (needed unless 1-d).

    Negative indices count from the end. Known ones out of range raise, others are clamped.

    Raises:
        IndexError: an index is out of range, or no integer.

    >>> import monograph as mg
    >>> mg.take(mg.tensor([[1, 2, 3]]), [2, 0], axis=1).tolist()
    [[3, 1]]
    """
    x = asarray(x)
    if axis is None:
        if x.ndim != 1:
            raise at_user_line(ArgumentError(f"take needs axis= for an array with {x.ndim} axes"))
        axis = 0
    if not isinstance(indices, Value):
        indices = asarray_index(indices)
    return getitem(x, (*[slice(None)] * one_axis(axis, x.ndim), indices))


def take_along_axis(x: Any, indices: Any, /, axis: int = -1) -> Array:
    """``x`` at ``indices`` along ``axis``; the other axes are paired, length 1 repeats.

    Raises:
        IndexError: a known index is out of range, or no integer.

    >>> import monograph as mg
    >>> x = mg.tensor([[3, 1, 2]])
    >>> mg.take_along_axis(x, mg.argsort(x)).tolist()
    [[1, 2, 3]]
    """
    x = asarray(x)
    a = one_axis(axis, x.ndim)
    known = indices if isinstance(indices, Value) else asarray_index(indices)
    if known.ndim != x.ndim:
        raise at_user_line(
            ShapeError(f"take_along_axis: indices {known.shape} and {x.shape} differ in axes")
        )
    (found,) = _parts(known) if known.ndim else (known,)
    if not isinstance(found, _Pick) or found.length is not None:
        raise at_user_line(IndexTypeError("take_along_axis needs integer indices, not a mask"))
    index = _checked(found, a, x.shape[a])
    i = ops.convert(asarray(index), dtype="int64")
    if isinstance(index, Value):
        i = from_front(i, x.shape[a])
    rest = broadcast_shape(*[(*s[:a], 1, *s[a + 1 :]) for s in (x.shape, i.shape)])
    x = broadcast_to(x, (*rest[:a], x.shape[a], *rest[a + 1 :]))
    i = broadcast_to(i, (*rest[:a], i.shape[a], *rest[a + 1 :]))
    return along(x, i, a) if i.size else ops.full(0, x.spec.with_(i.shape))


__all__ = ["getitem", "take", "take_along_axis"]

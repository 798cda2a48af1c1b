"""Slices, gathers and scatters at positions known at run time, sorting; entries as in `shapes`.

A gather or scatter of any dimension numbers is one along a flat axis: where each window begins is computed
from the indices, where its numbers lie from there is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monograph import ops
from monograph.dtypes import float32, int32, int64
from monograph.op import Op

from .builder import Builder, Ref, carrier
from .shapes import Entry, Specs


def _start(b: Builder, start: Ref, last: int) -> str:
    """A start as a vector of one int64, moved so that the block fits."""
    at = b("Clip", b.cast(start.name, int64), _at(b, 0), _at(b, last))
    return b.reshape(at, [1])


def _dynamic_slice(b: Builder, out: Specs, x: Ref, *starts: Ref, sizes: Any) -> list:
    name = x.name
    for axis, (start, n, m) in enumerate(zip(starts, x.spec.shape, sizes)):
        if m < n:
            at = _start(b, start, n - m)
            name = b("Slice", name, at, b("Add", at, b.ints([m])), b.ints([axis]))
    return [b.reshape(name, out[0].shape)] if name != x.name else [name]


def _dynamic_update_slice(b: Builder, out: Specs, x: Ref, update: Ref, *starts: Ref) -> list:
    """The parts before, within and after the block, axis by axis."""
    return [_updated(b, x.name, x.spec.shape, update.name, update.spec.shape, list(starts), 0)]


def _updated(
    b: Builder, x: str, shape: Sequence[int], update: str, sizes: Sequence[int], starts: list[Ref],
    axis: int,
) -> str:  # fmt: skip
    if axis == len(shape):
        return update
    n, m = shape[axis], sizes[axis]
    if m == n:
        return _updated(b, x, shape, update, sizes, starts, axis + 1)
    if not m:
        return x
    line, first = b.ints([axis]), _start(b, starts[axis], n - m)
    after = b("Add", first, b.ints([m]))
    middle, cut = b("Slice", x, first, after, line), [*shape[:axis], m, *shape[axis + 1 :]]
    middle = _updated(b, middle, cut, update, sizes, starts, axis + 1)
    before = b("Slice", x, b.ints([0]), first, line)
    rest = b("Slice", x, after, b.ints([n]), line)
    return b.reshape(b("Concat", before, middle, rest, axis=axis), shape)


# ---- gather and scatter


def _at(b: Builder, n: int) -> str:
    return b.number(n, int64)


def _strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


class _Windows:
    """Where windows of ``sizes`` lie in a flat array.

    Attributes:
        starts: names of the positions ``[*batch]`` that each of the mapped axes begins at.
        offsets: of every number of a window from its beginning, ``[*batch of ones, *sizes]``.
    """

    def __init__(
        self, b: Builder, shape: Sequence[int], indices: Ref, sizes: Sequence[int],
        mapped: Sequence[int], vector: int, batching: Sequence[int], index_batching: Sequence[int],
    ):  # fmt: skip
        self.b, self.shape, self.sizes, self.mapped = b, shape, sizes, mapped
        self.strides = _strides(shape)
        self.batch = [n for i, n in enumerate(indices.spec.shape) if i != vector]
        name = b.cast(indices.name, int64)
        if vector == len(indices.spec.shape):
            self.starts = [name]
        elif not mapped:
            self.starts = []
        else:
            parts = b("Split", name, b.ints([1] * len(mapped)), axis=vector, outputs=len(mapped))
            parts = [parts] if len(mapped) == 1 else parts
            self.starts = [b.reshape(p, self.batch) for p in parts]
        flat = np.zeros((*[1] * len(self.batch), *sizes), np.int64)
        for axis, (m, stride) in enumerate(zip(sizes, self.strides)):
            line = np.arange(m) * stride
            flat = flat + line.reshape([-1 if i == axis else 1 for i in range(len(sizes))])
        self.offsets = flat
        for axis, i in zip(batching, index_batching):
            at = i - (i > vector)
            line = np.arange(shape[axis]) * self.strides[axis]
            self.offsets = self.offsets + line.reshape(
                [-1 if k == at else 1 for k in range(len(self.batch) + len(sizes))]
            )

    def positions(self, starts: Sequence[str]) -> str:
        """Flat positions ``[*batch, *sizes]``, of windows that begin at ``starts``."""
        b, total = self.b, _at(self.b, 0)
        for name, axis in zip(starts, self.mapped):
            total = b("Add", total, b("Mul", name, _at(b, self.strides[axis])))
        total = b.reshape(total, [*self.batch, *[1] * len(self.sizes)]) if starts else total
        total = b("Add", total, b.constant(self.offsets))
        return total if starts else b("Expand", total, b.ints([*self.batch, *self.sizes]))


def _gather(
    b: Builder, out: Specs, x: Ref, indices: Ref, *, offset_dims: Any, collapsed_slice_dims: Any,
    operand_batching_dims: Any, start_indices_batching_dims: Any, start_index_map: Any,
    index_vector_dim: int, slice_sizes: Any, indices_are_sorted: bool,
) -> list:  # fmt: skip
    shape, n = x.spec.shape, len(x.spec.shape)
    windows = _Windows(
        b, shape, indices, slice_sizes, start_index_map, index_vector_dim, operand_batching_dims,
        start_indices_batching_dims,
    )  # fmt: skip
    batch = windows.batch
    starts = [
        b("Clip", at, _at(b, 0), _at(b, shape[axis] - slice_sizes[axis]))
        for at, axis in zip(windows.starts, start_index_map)
    ]
    axis = start_index_map[0] if len(start_index_map) == 1 else -1
    others = [m for i, m in enumerate(slice_sizes) if i != axis]
    if tuple(collapsed_slice_dims) == (axis,) and others == [
        s for i, s in enumerate(shape) if i != axis
    ]:
        got = b("Gather", x.name, starts[0], axis=axis)
        kept = [i for i in range(n) if i != axis]
        held = [*kept[:axis], *["batch"] * len(batch), *kept[axis:]]
        order = [i for i, h in enumerate(held) if h == "batch"]
        got = b.transpose(got, [*order, *[i for i in range(len(held)) if i not in order]])
    else:
        got = b("Gather", b.reshape(x.name, [-1]), windows.positions(starts), axis=0)
        dropped = {*collapsed_slice_dims, *operand_batching_dims}
        got = b.reshape(got, [*batch, *[m for i, m in enumerate(slice_sizes) if i not in dropped]])
    rank = len(out[0].shape)
    places = [*[i for i in range(rank) if i not in offset_dims], *offset_dims]
    return [b.transpose(got, [int(i) for i in np.argsort(places)])]


_REDUCTION = {"update": "none", "add": "add", "multiply": "mul", "minimum": "min", "maximum": "max"}


def _scatter(
    b: Builder, out: Specs, x: Ref, indices: Ref, updates: Ref, *, update_window_dims: Any,
    inserted_window_dims: Any, input_batching_dims: Any, scatter_indices_batching_dims: Any,
    scatter_dims_to_operand_dims: Any, index_vector_dim: int, kind: str, indices_are_sorted: bool,
    unique_indices: bool,
) -> list:  # fmt: skip
    d, shape = x.spec.dtype, x.spec.shape
    if not updates.spec.size:
        return [x.name]
    gone = {*inserted_window_dims, *input_batching_dims}
    window = [i for i in range(len(shape)) if i not in gone]
    sizes = [1] * len(shape)
    for axis, u in zip(window, update_window_dims):
        sizes[axis] = updates.spec.shape[u]
    windows = _Windows(
        b, shape, indices, sizes, scatter_dims_to_operand_dims, index_vector_dim,
        input_batching_dims, scatter_indices_batching_dims,
    )  # fmt: skip
    at = windows.positions(windows.starts)
    # a window that does not lie within the array is left out: it goes to a place behind the last
    outside = ""
    for name, axis in zip(windows.starts, scatter_dims_to_operand_dims):
        last = _at(b, shape[axis] - sizes[axis])
        beyond = b("Or", b("Less", name, _at(b, 0)), b("Greater", name, last))
        outside = b("Or", outside, beyond) if outside else beyond
    total = math.prod(shape)
    if outside:
        outside = b.reshape(outside, [*windows.batch, *[1] * len(sizes)])
        at = b("Where", outside, _at(b, total), at)
    rank = len(updates.spec.shape)
    order = [*[i for i in range(rank) if i not in update_window_dims], *update_window_dims]
    new = b.reshape(b.transpose(b.wide(updates.name, d), order), [-1])
    flat = b.reshape(b.wide(x.name, d), [-1])
    flat = b("Concat", flat, b.constant(np.zeros(1, carrier(d).numpy)), axis=0)
    at = b.reshape(at, [-1])
    got = b("ScatterElements", flat, at, new, axis=0, reduction=_REDUCTION[kind])
    if d.is_float and kind in ("minimum", "maximum"):  # which may pass NaN over
        missing = [b.cast(b("IsNaN", v), float32) for v in (flat, new)]
        some = b("ScatterElements", missing[0], at, missing[1], axis=0, reduction="max")
        none = b("Equal", some, b.number(0, float32))
        got = b("Where", none, got, b.number(np.nan, float32))
    got = b("Slice", got, b.ints([0]), b.ints([total]), b.ints([0]))
    return [b.narrow(b.reshape(got, shape), d)]


# ---- sorting


def _order(b: Builder, key: Ref, name: str, axis: int, k: int, descending: bool) -> str:
    """Positions of the ``k`` first; equals stay in order, NaN is the largest."""
    d = key.spec.dtype
    name = b.cast(name, int32) if d.kind == "bool" else b.wide(name, d)
    n = b.ints([k])
    if not d.is_float:
        return b("TopK", name, n, axis=axis, largest=int(descending), outputs=2)[1]
    # NaN has no place of its own in TopK: by value first, infinity for NaN, then NaN behind infinity
    missing = b("IsNaN", name)
    filled = b("Where", missing, b.number(np.inf, float32), name)
    whole = b.ints([key.spec.shape[axis]])
    first = b("TopK", filled, whole, axis=axis, largest=int(descending), outputs=2)[1]
    behind = b("GatherElements", b.cast(missing, float32), first, axis=axis)
    second = b("TopK", behind, n, axis=axis, largest=int(descending), outputs=2)[1]
    return b("GatherElements", first, second, axis=axis)


def _sort(b: Builder, out: Specs, *xs: Ref, axis: int, num_keys: int, descending: bool) -> list:
    order, n = "", xs[0].spec.shape[axis]
    for key in xs[:num_keys][::-1]:
        name = b("GatherElements", key.name, order, axis=axis) if order else key.name
        step = _order(b, key, name, axis, n, descending)
        order = b("GatherElements", order, step, axis=axis) if order else step
    return [b("GatherElements", x.name, order, axis=axis) for x in xs]


def _top_k(b: Builder, out: Specs, x: Ref, *, k: int) -> list:
    axis = len(x.spec.shape) - 1
    order = _order(b, x, x.name, axis, k, True)
    return [b("GatherElements", x.name, order, axis=axis), order]


INDEXING: Mapping[Op, Entry] = {
    ops.dynamic_slice: _dynamic_slice, ops.dynamic_update_slice: _dynamic_update_slice,
    ops.gather: _gather, ops.scatter: _scatter, ops.sort: _sort, ops.top_k: _top_k,
}  # fmt: skip

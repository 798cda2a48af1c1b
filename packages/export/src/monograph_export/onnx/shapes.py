"""Shapes, reductions and windows.

An entry is ``(builder, specs, *refs, **attributes) -> names``: the specs and names of the results. Operands
hold all of their numbers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from monograph import Spec, ops
from monograph.dtypes import float32, int32, int64
from monograph.op import Op

from .builder import Builder, Ref, carrier

Specs = tuple[Spec, ...]
Entry = Callable[..., Sequence[str]]
LEAST = np.iinfo(np.int64).min


def cut(
    b: Builder, x: str, start: Sequence[int], limit: Sequence[int], strides: Sequence[int]
) -> str:
    """A slice of every axis; a negative stride ends before ``limit``."""
    axes = range(len(start))
    if not axes:
        return x
    return b("Slice", x, b.ints(start), b.ints(limit), b.ints(axes), b.ints(strides))


def padded(
    b: Builder, x: Ref, low: Sequence[int], high: Sequence[int], interior: Sequence[int],
    value: str = "",
) -> str:  # fmt: skip
    """``x`` with ``value`` (or 0) around and between its numbers; negative edges cut."""
    d, shape = x.spec.dtype, list(x.spec.shape)
    name = b.wide(x.name, d)
    value = b.wide(value, d) if value else b.number(0, carrier(d))
    if d.kind == "bool":
        name, value = b.cast(name, int32), b.cast(value, int32)
    for axis, between in enumerate(interior):
        if between and shape[axis] > 1:  # each number in a row of its own, padded to its right
            rows = [*shape[: axis + 1], 1, *shape[axis + 1 :]]
            ends = [0] * len(rows) + [between if i == axis + 1 else 0 for i in range(len(rows))]
            name = b("Pad", b.reshape(name, rows), b.ints(ends), value)
            shape[axis] *= between + 1
            name = b.reshape(name, shape)
            shape[axis] -= between
            name = b("Slice", name, b.ints([0]), b.ints([shape[axis]]), b.ints([axis]))
    grown = [[max(n, 0) for n in edges] for edges in (low, high)]
    if any(grown[0]) or any(grown[1]):
        name = b("Pad", name, b.ints([*grown[0], *grown[1]]), value)
    if any(n < 0 for n in (*low, *high)):
        whole = [n + p + q for n, p, q in zip(shape, *grown)]
        ends = [n - max(-h, 0) for n, h in zip(whole, high)]
        name = cut(b, name, [max(-n, 0) for n in low], ends, [1] * len(shape))
    return b.cast(name, d) if d.kind == "bool" else b.narrow(name, d)


def _pad(b: Builder, out: Specs, x: Ref, value: Ref, *, low: Any, high: Any, interior: Any) -> list:
    return [padded(b, x, low, high, interior, value.name)]


def _slice(b: Builder, out: Specs, x: Ref, *, start: Any, limit: Any, strides: Any) -> list:
    return [cut(b, x.name, start, limit, strides)]


def _reverse(b: Builder, out: Specs, x: Ref, *, axes: Any) -> list:
    n = len(axes)
    ends = b.ints([-1] * n), b.ints([LEAST] * n), b.ints(axes), b.ints([-1] * n)
    return [b("Slice", x.name, *ends) if axes else x.name]


def _split(b: Builder, out: Specs, x: Ref, *, sizes: Any, axis: int) -> list:
    got = b("Split", x.name, b.ints(sizes), outputs=len(sizes), axis=axis)
    return [got] if len(sizes) == 1 else got


def _iota(b: Builder, out: Specs, *, shape: Any, dtype: Any, axis: int) -> list:
    line = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return [b.constant(np.broadcast_to(line, shape).astype(dtype.numpy))]


# ---- reductions


def _reduce(op: str, nothing: Callable[[Any], Any]) -> Entry:
    """ONNX's reduction; ``nothing(dtype)`` is that of no numbers."""

    def lower(b: Builder, out: Specs, x: Ref, *, axes: Any) -> list:
        if not axes:
            return [x.name]
        d = carrier(x.spec.dtype)
        if not x.spec.size:
            return [
                b.constant(np.full(out[0].shape, nothing(out[0].dtype.numpy), out[0].dtype.numpy))
            ]
        name = b.wide(x.name, x.spec.dtype)
        y = b(op, name, b.ints(axes), keepdims=0)
        if d.is_float and op in ("ReduceMax", "ReduceMin"):  # which may pass NaN over
            missing = b("ReduceMax", b.cast(b("IsNaN", name), float32), b.ints(axes), keepdims=0)
            none = b("Equal", missing, b.number(0, float32))
            y = b("Where", none, y, b.number(np.nan, float32))
        return [b.narrow(y, out[0].dtype) if d is carrier(out[0].dtype) else y]

    return lower


def _sum(b: Builder, out: Specs, x: Ref, *, axes: Any) -> Sequence[str]:
    d, shape = x.spec.dtype, x.spec.shape
    if carrier(d) is int64 and axes and x.spec.size:
        # onnxruntime adds int64 up in float64; its products of matrices are exact
        rows, n = _in_rows(b, x, axes)
        total = b("MatMul", rows, b.constant(np.ones((n, 1), np.int64)))
        return [b.narrow(b.reshape(total, out[0].shape), d)]
    (total,) = _SUM(b, out, x, axes=axes)
    if d.name == "float32" and len(shape) == 4 and tuple(axes) == (1, 2) and x.spec.size:
        # should a mean be made of it: over an image, in the order in which convolutions hold it
        mean = b("GlobalAveragePool", b.transpose(x.name, (0, 3, 1, 2)))
        b.sums[total] = b.reshape(mean, out[0].shape), shape[1] * shape[2]
    return [total]


def _in_rows(b: Builder, x: Ref, axes: Any) -> tuple[str, int]:
    """What is reduced as rows ``[-1, n]``, and ``n``."""
    shape = x.spec.shape
    kept = [i for i in range(len(shape)) if i not in axes]
    n = math.prod(shape[i] for i in axes)
    return b.reshape(b.transpose(b.wide(x.name, x.spec.dtype), [*kept, *axes]), [-1, n]), n


def _product(b: Builder, out: Specs, x: Ref, *, axes: Any) -> Sequence[str]:
    d = x.spec.dtype
    if carrier(d) is not int64 or not axes or not x.spec.size:
        return _PRODUCT(b, out, x, axes=axes)
    rows, n = _in_rows(b, x, axes)  # again in float64, and exact one by one
    while n > 1:
        half = n // 2
        y = b("Mul", _columns(b, rows, 0, half), _columns(b, rows, half, 2 * half))
        rows = b("Concat", y, _columns(b, rows, 2 * half, n), axis=1) if n % 2 else y
        n -= half
    return [b.narrow(b.reshape(rows, out[0].shape), d)]


def _columns(b: Builder, rows: str, start: int, stop: int) -> str:
    return b("Slice", rows, b.ints([start]), b.ints([stop]), b.ints([1]))


_SUM = _reduce("ReduceSum", lambda d: 0)
_PRODUCT = _reduce("ReduceProd", lambda d: 1)


def _least(d: Any) -> Any:
    return np.iinfo(d).min if np.issubdtype(d, np.integer) else -np.inf


def _greatest(d: Any) -> Any:
    return np.iinfo(d).max if np.issubdtype(d, np.integer) else np.inf


def _of_bools(op: str, nothing: bool) -> Entry:
    """All or any, as the least or greatest of 0 and 1."""

    def lower(b: Builder, out: Specs, x: Ref, *, axes: Any) -> list:
        if not axes:
            return [x.name]
        if not x.spec.size:
            return [b.constant(np.full(out[0].shape, nothing))]
        y = b(op, b.cast(x.name, int32), b.ints(axes), keepdims=0)
        return [b.cast(y, out[0].dtype)]

    return lower


def _arg(op: str) -> Entry:
    """The first of the greatest or least; NaN is both."""

    def lower(b: Builder, out: Specs, x: Ref, *, axis: int) -> list:
        d, name = carrier(x.spec.dtype), b.wide(x.name, x.spec.dtype)
        plain = b(op, name, axis=axis, keepdims=0)
        if not d.is_float:
            return [plain]
        missing = b.cast(b("IsNaN", name), float32)
        where = b("ArgMax", missing, axis=axis, keepdims=0)
        none = b("ReduceMax", missing, b.ints([axis]), keepdims=0)
        return [b("Where", b("Equal", none, b.number(0, float32)), plain, where)]

    return lower


def _cumulative(b: Builder, out: Specs, x: Ref, *, axis: int, reverse: bool) -> list:
    d = x.spec.dtype
    at = b.number(axis, int64)
    return [b.narrow(b("CumSum", b.wide(x.name, d), at, reverse=int(reverse)), d)]


# ---- windows

_FOLD = {"max": "Max", "min": "Min", "sum": "Add"}
_NOTHING: Mapping[str, Callable[[Any], Any]] = {"max": _least, "min": _greatest, "sum": lambda d: 0}


def _window(kind: str) -> Entry:
    """Pooling of floats over up to three axes; else the window's places, folded one by one."""

    def lower(
        b: Builder, out: Specs, x: Ref, *, window: Any, strides: Any, padding: Any,
        base_dilation: Any, window_dilation: Any,
    ) -> list:  # fmt: skip
        d, n = x.spec.dtype, len(window)
        moving = [i for i in range(n) if window[i] > 1 or strides[i] > 1 or any(padding[i])]
        pools = d.is_float and 0 < len(moving) <= 3
        inside = all(0 <= p < w for ends, w in zip(padding, window) for p in ends)
        name, sizes = x.name, list(x.spec.shape)
        if not (pools and inside and max(base_dilation) == 1):
            low, high = ([p[i] for p in padding] for i in (0, 1))
            nothing = b.number(_NOTHING[kind](d.numpy), d)
            name = padded(b, x, low, high, [k - 1 for k in base_dilation], nothing)
            spread = [(s - 1) * k + 1 if s else 0 for s, k in zip(sizes, base_dilation)]
            sizes = [s + p + q for s, p, q in zip(spread, low, high)]
            padding = ((0, 0),) * n
        name = b.wide(name, d)
        if not pools:
            return [
                b.narrow(_folded(b, kind, name, out[0].shape, window, strides, window_dilation), d)
            ]
        attrs = {
            "kernel_shape": [window[i] for i in moving],
            "strides": [strides[i] for i in moving],
            "dilations": [window_dilation[i] for i in moving],
            "pads": [padding[i][side] for side in (0, 1) for i in moving],
        }
        return [b.narrow(_pooled(b, kind, name, sizes, out[0].shape, moving, attrs), d)]

    return lower


def _pooled(
    b: Builder, kind: str, x: str, sizes: Sequence[int], shape: Sequence[int], moving: Sequence[int],
    attrs: dict[str, Any],
) -> str:  # fmt: skip
    rest = [i for i in range(len(sizes)) if i not in moving]
    order = [*rest, *moving]
    x = b.transpose(x, order)
    if len(rest) != 2:  # any axes may stand for batch and channels, once there are two
        x = b.reshape(x, [1, math.prod(sizes[i] for i in rest), *[sizes[i] for i in moving]])
    x = b("Neg", x) if kind == "min" else x
    if kind == "sum":
        y = b("AveragePool", x, count_include_pad=1, **attrs)
        y = b("Mul", y, b.number(math.prod(attrs["kernel_shape"]), float32))
    else:
        y = b("MaxPool", x, **attrs)
    y = b("Neg", y) if kind == "min" else y
    if len(rest) != 2:
        y = b.reshape(y, [shape[i] for i in order])
    return b.transpose(y, [order.index(i) for i in range(len(order))])


def _folded(
    b: Builder, kind: str, x: str, shape: Sequence[int], window: Sequence[int],
    strides: Sequence[int], dilation: Sequence[int],
) -> str:  # fmt: skip
    y = ""
    for at in itertools.product(*[range(w) for w in window]):
        start = [i * r for i, r in zip(at, dilation)]
        ends = [i + (n - 1) * s + 1 for i, n, s in zip(start, shape, strides)]
        part = cut(b, x, start, ends, strides)
        y = b(_FOLD[kind], y, part) if y else part
    return y


SHAPES: Mapping[Op, Entry] = {
    ops.slice_: _slice, ops.pad: _pad, ops.reverse: _reverse, ops.split: _split, ops.iota: _iota,
    ops.concatenate: lambda b, out, *xs, axis: [b("Concat", *[x.name for x in xs], axis=axis)],
    ops.reduce_sum: _sum, ops.reduce_prod: _product,
    ops.reduce_max: _reduce("ReduceMax", _least), ops.reduce_min: _reduce("ReduceMin", _greatest),
    ops.reduce_and: _of_bools("ReduceMin", True), ops.reduce_or: _of_bools("ReduceMax", False),
    ops.argmax: _arg("ArgMax"), ops.argmin: _arg("ArgMin"), ops.cumsum: _cumulative,
    ops.reduce_window_sum: _window("sum"), ops.reduce_window_max: _window("max"),
    ops.reduce_window_min: _window("min"),
}  # fmt: skip

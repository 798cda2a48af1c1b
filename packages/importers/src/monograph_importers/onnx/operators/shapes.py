"""Operators that ask for shapes, make arrays of them, and move elements about."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops
from monograph.errors import ShapeError

from ..interpret import sized
from ..rules import rule
from ..tensors import computable, element_type


def ints(x: Any) -> list[int]:
    """A known input of integers as a list."""
    return [int(n) for n in np.asarray(x).reshape(-1)]


@rule("Shape", shape_only=True)
def shape(x: Any, *, start: int = 0, end: int | None = None) -> np.ndarray:
    """The axis lengths, or those of ``start`` to ``end``."""
    return np.asarray(x.shape[start:end], np.int64)


@rule("Size", shape_only=True)
def size(x: Any) -> np.ndarray:
    """The number of elements."""
    return np.asarray(math.prod(x.shape), np.int64)


@rule("Constant")
def constant(
    *, value: Any = None, value_float: Any = None, value_floats: Any = None, value_int: Any = None,
    value_ints: Any = None,
) -> Any:  # fmt: skip
    """An array in a function that is given it."""
    if value is not None:
        return value
    for given, kind in (
        (value_float, "float32"), (value_floats, "float32"), (value_int, "int64"), (value_ints, "int64"),
    ):  # fmt: skip
        if given is not None:
            return np.asarray(given, kind)
    raise ShapeError("a Constant without a value")


@rule("ConstantOfShape", known=(0,))
def constant_of_shape(n: Any, *, value: Any = None) -> Any:
    """One number, in a shape that was computed."""
    number = np.zeros(1, np.float32) if value is None else value
    return mg.broadcast_to(np.reshape(number, ()), sized(ints(n)))


@rule("Range", known=(0, 1, 2))
def range_(start: Any, limit: Any, delta: Any, *, stash_type: int = 1) -> Any:
    """From ``start`` by ``delta`` to before ``limit``."""
    a, b, d = (np.asarray(v).item() for v in (start, limit, delta))
    dtype = np.asarray(start).dtype
    n = max(math.ceil((b - a) / d), 0)
    steps = ops.iota(shape=sized([n]), dtype=mg.int64, axis=0)
    if dtype.kind in "iu":
        return mg.astype(steps * np.int64(d) + np.int64(a), dtype)
    wide = mg.astype(steps, mg.float64 if dtype == np.float64 else mg.float32)
    return mg.astype(wide * d + a, dtype)


@rule("EyeLike", shape_only=True, dtype=computable)
def eye_like(x: Any, *, dtype: int | None = None, k: int = 0) -> Any:
    """Ones on a diagonal."""
    kind = mg.Spec.of(x).dtype if dtype is None else element_type(dtype)
    rows, columns = (ops.iota(shape=sized(x.shape), dtype=mg.int64, axis=a) for a in (0, 1))
    return mg.astype(columns - rows == k, kind)


@rule("OneHot", known=(1,))
def one_hot(indices: Any, depth: Any, values: Any, *, axis: int = -1) -> Any:
    """``values[1]`` at each index along a new axis, else ``values[0]``."""
    n = int(np.asarray(depth).item())
    indices, values = mg.asarray(indices), mg.asarray(values)
    at = axis % (indices.ndim + 1)
    full = sized([*indices.shape[:at], n, *indices.shape[at:]])
    places = ops.iota(shape=full, dtype=mg.int64, axis=at)
    wanted = mg.expand_dims(mg.astype(indices, mg.int64), axis=at)
    hit = places == mg.where(wanted < 0, wanted + n, wanted)
    return mg.where(hit, values[1], values[0])


# ---- the same elements in another shape


@rule("Reshape", since=5, known=(1,))
def reshape(x: Any, shape: Any, *, allowzero: int = 0) -> Any:
    """Another shape; 0 keeps an axis, -1 is what is left."""
    x = mg.asarray(x)
    want = ints(shape)
    if not allowzero:
        want = [x.shape[i] if n == 0 else n for i, n in enumerate(want)]
    if -1 in want:
        rest = -math.prod(want)
        if rest <= 0 or x.size % rest:
            raise ShapeError(f"{x.shape} cannot take the shape {tuple(want)}")
        want[want.index(-1)] = x.size // rest
    return mg.reshape(x, sized(want))


@rule("Flatten")
def flatten(x: Any, *, axis: int = 1) -> Any:
    """Two axes: those before ``axis``, and the rest."""
    x = mg.asarray(x)
    at = axis + x.ndim if axis < 0 else axis
    return mg.reshape(x, (math.prod(x.shape[:at]), math.prod(x.shape[at:])))


@rule("Squeeze", known=(1,))
def squeeze(x: Any, at: Any = None, *, axes: Any = None) -> Any:
    """Without axes of length 1."""
    x = mg.asarray(x)
    chosen = axes if at is None else ints(at)
    if chosen is None:
        chosen = [a for a, n in enumerate(x.shape) if n == 1]
    return mg.squeeze(x, axis=tuple(chosen)) if chosen else x


@rule("Unsqueeze", known=(1,))
def unsqueeze(x: Any, at: Any = None, *, axes: Any = None) -> Any:
    """With new axes of length 1."""
    x = mg.asarray(x)
    chosen = axes if at is None else ints(at)
    ndim = x.ndim + len(chosen)
    new = {a % ndim for a in chosen}
    if len(new) != len(chosen):
        raise ShapeError(f"axes {chosen} name one axis twice")
    rest = iter(x.shape)
    return mg.reshape(x, [1 if a in new else next(rest) for a in range(ndim)])


@rule("Transpose")
def transpose(x: Any, *, perm: Any = None) -> Any:
    """Axes in another order, else the opposite one."""
    x = mg.asarray(x)
    return mg.permute_dims(x, tuple(range(x.ndim))[::-1] if perm is None else tuple(perm))


@rule("Expand", known=(1,))
def expand(x: Any, shape: Any) -> Any:
    """Broadcast with a shape."""
    x = mg.asarray(x)
    return mg.broadcast_to(x, sized(np.broadcast_shapes(x.shape, tuple(ints(shape)))))


@rule("Tile", known=(1,))
def tile(x: Any, repeats: Any) -> Any:
    """Repeated along each axis."""
    x = mg.asarray(x)
    sized([n * r for n, r in zip(x.shape, ints(repeats))])
    return mg.tile(x, ints(repeats))


@rule("Concat")
def concat(*xs: Any, axis: int = 1) -> Any:
    """One after another along an axis."""
    return mg.concat([mg.asarray(x) for x in xs], axis=axis)


@rule("Split", known=(1,))
def split(
    x: Any, sizes: Any = None, *, axis: int = 0, split: Any = None, num_outputs: int | None = None,
    outputs: int = 1,
) -> Any:  # fmt: skip
    """Parts along an axis; without sizes, equal ones, the last perhaps smaller."""
    x = mg.asarray(x)
    n, parts = x.shape[axis], split if sizes is None else ints(sizes)
    if parts is None:
        count = num_outputs or outputs
        each = -(-n // count)
        parts = [max(min(each, n - i * each), 0) for i in range(count)]
    if sum(parts) != n or any(p < 0 for p in parts):
        raise ShapeError(f"parts {parts} of an axis of length {n}")
    ends = np.cumsum([0, *parts]).tolist()
    before = (slice(None),) * (axis % x.ndim)
    return tuple(x[(*before, slice(a, b))] for a, b in pairwise(ends))


_PAD = ("constant", "reflect", "edge", "wrap")  # as `mg.pad` calls them


@rule("Pad", since=11, known=(1, 3), mode=_PAD)
def pad(x: Any, pads: Any, value: Any = None, axes: Any = None, *, mode: str = "constant") -> Any:
    """Elements put before and after, or taken away where a number is negative."""
    x = mg.asarray(x)
    n = ints(pads)
    chosen = [a % x.ndim for a in ints(axes)] if axes is not None else list(range(x.ndim))
    low, high = [0] * x.ndim, [0] * x.ndim
    for i, a in enumerate(chosen):
        low[a], high[a] = n[i], n[i + len(chosen)]
    sized([max(s + a + b, 0) for s, a, b in zip(x.shape, low, high)])
    if mode == "constant":
        fill = mg.zeros((), dtype=x.dtype) if value is None else mg.reshape(mg.asarray(value), ())
        return ops.pad(x, mg.astype(fill, x.dtype), low=low, high=high, interior=[0] * x.ndim)
    more = [(max(a, 0), max(b, 0)) for a, b in zip(low, high)]
    wide = mg.pad(x, more, mode=mode)
    return wide[tuple(slice(max(-a, 0), m - max(-b, 0)) for a, b, m in zip(low, high, wide.shape))]


@rule("Pad", since=2, mode=_PAD)
def pad_2(x: Any, *, pads: Any, mode: str = "constant", value: float = 0.0) -> Any:
    """As above, with attributes."""
    return pad(x, np.asarray(pads), np.asarray(value, np.float32), mode=mode)


@rule("Trilu", known=(1,))
def trilu(x: Any, k: Any = None, *, upper: int = 1) -> Any:
    """The upper or lower triangle of matrices, else 0."""
    x = mg.asarray(x)
    shift = 0 if k is None else int(np.asarray(k).item())
    rows, columns = (ops.iota(shape=x.shape[-2:], dtype=mg.int64, axis=a) for a in (0, 1))
    gap = columns - rows
    return mg.where(gap >= shift if upper else gap <= shift, x, mg.zeros((), dtype=x.dtype))


@rule("DepthToSpace", mode=("DCR", "CRD"))
def depth_to_space(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """Channels laid out as blocks of pixels."""
    x, b = mg.asarray(x), blocksize
    n, c, h, w = x.shape
    if mode == "DCR":
        x = mg.permute_dims(mg.reshape(x, (n, b, b, c // b**2, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        x = mg.permute_dims(mg.reshape(x, (n, c // b**2, b, b, h, w)), (0, 1, 4, 2, 5, 3))
    return mg.reshape(x, (n, c // b**2, h * b, w * b))


@rule("SpaceToDepth", mode=("DCR", "CRD"))
def space_to_depth(x: Any, *, blocksize: int, mode: str = "DCR") -> Any:
    """Blocks of pixels laid out as channels."""
    x, b = mg.asarray(x), blocksize
    n, c, h, w = x.shape
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    x = mg.permute_dims(mg.reshape(x, (n, c, h // b, b, w // b, b)), order)
    return mg.reshape(x, (n, c * b * b, h // b, w // b))


rule("CenterCropPad", known=(1,))(None)  # by its body


__all__ = ["ints"]

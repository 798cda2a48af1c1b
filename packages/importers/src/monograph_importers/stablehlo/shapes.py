"""Operations that move elements: shapes, slices, gathers, tuples and what depends on lengths."""

from __future__ import annotations

from typing import Any

import monograph as mg
import numpy as np
from monograph import ops
from monograph.errors import ArgumentError

from .constants import dtype, integers, shape_of
from .interpret import RULES, Step, concrete, rule


def shape(x: Any) -> tuple[int, ...]:
    """The shape of a value."""
    return mg.Spec.of(x).shape


@rule("stablehlo.reshape", fold=True)
def _reshape(step: Step, x: Any) -> Any:
    return ops.reshape(x, shape=shape_of(step.type))


@rule("stablehlo.dynamic_reshape", fold=True)
def _dynamic_reshape(step: Step, x: Any, to: Any) -> Any:
    return ops.reshape(x, shape=integers(concrete(to, "a shape")))


@rule("stablehlo.broadcast_in_dim", "chlo.broadcast_in_dim", fold=True)
def _broadcast_in_dim(step: Step, x: Any) -> Any:
    return _spread(x, shape_of(step.type), step)


@rule("stablehlo.dynamic_broadcast_in_dim", fold=True)
def _dynamic_broadcast_in_dim(step: Step, x: Any, to: Any) -> Any:
    return _spread(x, integers(concrete(to, "a shape")), step)


def _spread(x: Any, to: Any, step: Step) -> Any:
    return ops.broadcast_in_dim(x, shape=to, dims=integers(step.get("broadcast_dimensions", [])))


@rule("stablehlo.broadcast")
def _broadcast(step: Step, x: Any) -> Any:
    sizes, old = integers(step.get("broadcast_sizes")), shape(x)
    dims = range(len(sizes), len(sizes) + len(old))
    return ops.broadcast_in_dim(x, shape=(*sizes, *old), dims=tuple(dims))


@rule("stablehlo.iota", fold=True)
def _iota(step: Step) -> Any:
    return _count(step, shape_of(step.type))


@rule("stablehlo.dynamic_iota", fold=True)
def _dynamic_iota(step: Step, to: Any) -> Any:
    return _count(step, integers(concrete(to, "a shape")))


def _count(step: Step, to: Any) -> Any:
    return ops.iota(shape=to, dtype=dtype(step.type.element), axis=int(step.get("iota_dimension")))


@rule("stablehlo.transpose", fold=True)
def _transpose(step: Step, x: Any) -> Any:
    return ops.transpose(x, permutation=integers(step.get("permutation")))


@rule("stablehlo.reverse", fold=True)
def _reverse(step: Step, x: Any) -> Any:
    return ops.reverse(x, axes=integers(step.get("dimensions")))


@rule("stablehlo.concatenate", fold=True)
def _concatenate(step: Step, *xs: Any) -> Any:
    return ops.concatenate(*xs, axis=int(step.get("dimension")))


@rule("stablehlo.slice", fold=True)
def _slice(step: Step, x: Any) -> Any:
    start, limit, strides = (
        integers(step.get(k)) for k in ("start_indices", "limit_indices", "strides")
    )
    return ops.slice_(x, start=start, limit=limit, strides=strides)


@rule("stablehlo.real_dynamic_slice", fold=True)
def _real_dynamic_slice(step: Step, x: Any, *where: Any) -> Any:
    start, limit, strides = (integers(concrete(w, "a slice")) for w in where)
    return ops.slice_(x, start=start, limit=limit, strides=strides)


@rule("stablehlo.dynamic_slice", fold=True)
def _dynamic_slice(step: Step, x: Any, *starts: Any) -> Any:
    return ops.dynamic_slice(x, *starts, sizes=integers(step.get("slice_sizes")))


@rule("stablehlo.dynamic_update_slice")
def _dynamic_update_slice(step: Step, x: Any, update: Any, *starts: Any) -> Any:
    return ops.dynamic_update_slice(x, update, *starts)


@rule("stablehlo.pad", fold=True)
def _pad(step: Step, x: Any, value: Any) -> Any:
    low, high, interior = (
        integers(step.get(k)) for k in ("edge_padding_low", "edge_padding_high", "interior_padding")
    )
    return ops.pad(x, value, low=low, high=high, interior=interior)


@rule("stablehlo.dynamic_pad", fold=True)
def _dynamic_pad(step: Step, x: Any, value: Any, *padding: Any) -> Any:
    low, high, interior = (integers(concrete(p, "a padding")) for p in padding)
    return ops.pad(x, value, low=low, high=high, interior=interior)


@rule("stablehlo.gather", "stablehlo.dynamic_gather")
def _gather(step: Step, x: Any, indices: Any, *sizes: Any) -> Any:
    d = step.get("dimension_numbers")
    slice_sizes = integers(
        concrete(sizes[0], "the sizes of slices") if sizes else step.get("slice_sizes")
    )
    return ops.gather(
        x, indices, slice_sizes=slice_sizes,
        offset_dims=d.get("offset_dims", []),
        collapsed_slice_dims=d.get("collapsed_slice_dims", []),
        operand_batching_dims=d.get("operand_batching_dims", []),
        start_indices_batching_dims=d.get("start_indices_batching_dims", []),
        start_index_map=d.get("start_index_map", []),
        index_vector_dim=d.get("index_vector_dim", 0),
        indices_are_sorted=bool(step.get("indices_are_sorted", False)),
    )  # fmt: skip


@rule("stablehlo.torch_index_select")
def _torch_index_select(step: Step, x: Any, index: Any) -> Any:
    axis, batch = int(step.get("dim")), int(step.get("batch_dims"))
    if not batch:
        return mg.take(x, index, axis=axis)
    take = lambda x, i: mg.take(x, i, axis=axis - batch)  # noqa: E731
    for _ in range(batch):
        take = mg.vmap(take)
    return take(x, index)


@rule("stablehlo.get_dimension_size")
def _get_dimension_size(step: Step, x: Any) -> Any:
    n = shape(x)[int(step.get("dimension"))]
    if n >= 2**31:
        raise ArgumentError(f"an axis of length {n:,} is longer than the program can count")
    return np.asarray(n, np.int32)


@rule("stablehlo.set_dimension_size")
def _set_dimension_size(step: Step, x: Any, size: Any) -> Any:
    axis, n = int(step.get("dimension")), int(concrete(size, "a length"))
    old = shape(x)
    limit = [n if i == axis else m for i, m in enumerate(old)]
    return ops.slice_(x, start=[0] * len(old), limit=limit, strides=[1] * len(old))


@rule("stablehlo.tuple")
def _tuple(step: Step, *xs: Any) -> Any:
    return xs


@rule("stablehlo.get_tuple_element")
def _get_tuple_element(step: Step, x: Any) -> Any:
    return x[int(step.get("index"))]


@rule("stablehlo.optimization_barrier")
def _optimization_barrier(step: Step, *xs: Any) -> Any:
    out = ops.optimization_barrier(*xs)
    return list(out) if isinstance(out, tuple) else out


RULES["mhlo.copy"] = lambda step, x: x  # TensorFlow's compiler writes it into loops


# the shape dialect, and arithmetic on indices around it


def _index(fn: Any) -> Any:
    return lambda step, *xs: np.asarray(
        fn(*(np.asarray(concrete(x, "a shape")) for x in xs)), np.int64
    )


RULES |= {
    "shape.shape_of": lambda step, x: np.asarray(shape(x), np.int64),
    "shape.num_elements": _index(np.prod),
    "shape.broadcast": _index(lambda *s: np.broadcast_shapes(*map(tuple, s))),
    "shape.concat": _index(lambda *s: np.concatenate(s)),
    "arith.index_cast": lambda step, x: x,
    "tensor.from_elements": lambda step, *xs: mg.stack(xs),
    "tensor.dim": lambda step, x, i: np.asarray(shape(x)[int(concrete(i, "an axis"))], np.int64),
    "arith.constant": lambda step: RULES["stablehlo.constant"](step),
}  # fmt: skip

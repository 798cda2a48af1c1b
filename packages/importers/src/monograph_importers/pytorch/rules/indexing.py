"""Reading by index."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ._types import axis, cast, is_array, made


def key_of(indices: Any) -> tuple:
    """torch's index lists: None is a whole axis; known indices as NumPy, whose bounds are checked."""
    return tuple(slice(None) if i is None else known(i) for i in indices)


def known(x: Any) -> Any:
    """NumPy's array where the numbers are there already."""
    return x.numpy() if isinstance(x, mg.Tensor) else x


def _index(x: Any, indices: Any) -> Any:
    return x[key_of(indices)]


def _index_select(x: Any, dim: int, index: Any) -> Any:
    if not x.ndim:
        return x
    return mg.take(x, mg.reshape(index, (-1,)), axis=axis(dim, x.ndim))


def _gather(x: Any, dim: int, index: Any, *, sparse_grad: bool = False) -> Any:
    if not x.ndim or not index.ndim:
        return mg.reshape(
            mg.take(mg.reshape(x, (-1,)), mg.reshape(index, (-1,)), axis=0), index.shape
        )
    d = axis(dim, x.ndim)
    # the index may be shorter than the tensor along the other axes
    x = x[tuple(slice(None) if i == d else slice(n) for i, n in enumerate(index.shape))]
    return mg.take_along_axis(x, index, axis=d)


def _take_along_dim(x: Any, indices: Any, dim: int | None = None) -> Any:
    if dim is None:
        return mg.take(mg.reshape(x, (-1,)), mg.reshape(indices, (-1,)), axis=0)
    return mg.take_along_axis(x, indices, axis=axis(dim, x.ndim))


def _take(x: Any, index: Any) -> Any:
    return mg.take(mg.reshape(x, (-1,)), index, axis=0)


def _embedding(
    weight: Any,
    indices: Any,
    padding_idx: int = -1,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    rows = mg.take(weight, indices, axis=0)
    if padding_idx < 0:
        return rows
    # no gradient for the padding's row
    padding = mg.expand_dims(indices == padding_idx, axis=-1)
    return mg.where(padding, mg.stop_gradient(rows), rows)


def _embedding_bag(
    weight: Any, indices: Any, offsets: Any, scale_grad_by_freq: bool = False, mode: int = 0,
    sparse: bool = False, per_sample_weights: Any = None, include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Any, ...]:  # fmt: skip
    bags = offsets.shape[0] - int(include_last_offset)
    place = mg.arange(*made(indices.shape[0]))
    starts = offsets[:bags]
    bag = mg.sum(cast(mg.expand_dims(place, axis=1) >= starts, "int64"), axis=1) - 1
    used = indices != padding_idx
    count = mg.segment_sum(cast(used, "int64"), bag, bags)
    rows = mg.take(weight, indices, axis=0)
    if per_sample_weights is not None:
        rows = rows * mg.expand_dims(per_sample_weights, axis=1)
    column = mg.expand_dims(used, axis=1)
    full = mg.expand_dims(count > 0, axis=1)
    if mode == 2:
        lowest = mg.where(column, rows, -mg.inf)
        out = mg.where(full, mg.segment_max(lowest, bag, bags), 0.0)
        first = mg.where(
            lowest == mg.take(out, bag, axis=0), mg.expand_dims(place, axis=1), place.size
        )
        at = mg.take(
            indices, mg.minimum(mg.segment_min(first, bag, bags), max(place.size - 1, 0)), axis=0
        )
        largest = mg.where(full, at, -1)
    else:
        out = mg.segment_sum(mg.where(column, rows, 0.0), bag, bags)
        if mode == 1:
            out = out / mg.expand_dims(mg.maximum(count, 1), axis=1)
        largest = mg.zeros((0,), dtype="int64")
    return out, bag, count, largest


def _nonzero(x: Any) -> Any:
    return mg.stack(list(mg.nonzero(known(x))), axis=-1)


def _masked_select(x: Any, mask: Any) -> Any:
    shape, mask = np.broadcast_shapes(x.shape, mask.shape), known(mask)
    wide = np.broadcast_to(mask, made(*shape)) if isinstance(mask, np.ndarray) else mask
    return mg.broadcast_to(x, shape)[wide]


def _one_hot(x: Any, num_classes: int = -1) -> Any:
    return mg.one_hot(x, num_classes, dtype="int64")


def _bucketize(x: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False) -> Any:
    return _searchsorted(boundaries, x, out_int32=out_int32, right=right)


def _searchsorted(
    sorted_sequence: Any, x: Any, *, out_int32: bool = False, right: bool = False, side: Any = None, sorter: Any = None
) -> Any:  # fmt: skip
    x = x if is_array(x) else mg.asarray(x, dtype=sorted_sequence.dtype)
    right = right or side == "right"
    edge, value = mg.expand_dims(sorted_sequence, axis=-2), mg.expand_dims(x, axis=-1)
    if sorted_sequence.ndim == 1:
        edge = sorted_sequence
    below = edge <= value if right else edge < value
    return mg.sum(
        cast(below, "int32" if out_int32 else "int64"),
        axis=-1,
        dtype="int32" if out_int32 else "int64",
    )


def _cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: Any = None) -> Any:
    from .reductions import _norm

    return _norm(mg.expand_dims(x1, axis=-2) - mg.expand_dims(x2, axis=-3), p, -1)


def _pdist(x: Any, p: float = 2.0) -> Any:
    from .reductions import _norm

    made(x.shape[0], x.shape[0])
    a, b = np.triu_indices(x.shape[0], 1)
    return _norm(mg.take(x, a, axis=0) - mg.take(x, b, axis=0), p, -1)


RULES: dict[str, Callable] = {
    "_cdist_forward": _cdist, "cdist": _cdist, "_embedding_bag": _embedding_bag,
    "_embedding_bag_forward_only": _embedding_bag, "_pdist_forward": _pdist,
    "_unsafe_index": _index, "bucketize": _bucketize, "embedding": _embedding, "gather": _gather,
    "index.Tensor": _index, "index_select": _index_select, "masked_select": _masked_select,
    "nonzero": _nonzero, "one_hot": _one_hot, "searchsorted": _searchsorted, "take": _take,
    "take_along_dim": _take_along_dim,
}  # fmt: skip

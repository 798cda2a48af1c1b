"""Writing by index: a new tensor, of which a part is changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ._types import axis, cast, is_array, made
from .indexing import key_of, known


def _index_put(x: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    values, key = cast(values, x.dtype), key_of(indices)
    masks = [k for k in key if is_array(k) and k.dtype.kind == "bool"]
    if len(masks) == 1 and values.size == 1:  # a mask that is not known: elementwise, not by place
        mask, before = masks[0], next(i for i, k in enumerate(key) if k is masks[0])
        if all(isinstance(k, slice) for k in key if k is not mask):
            shape = (1,) * before + mask.shape + (1,) * (x.ndim - before - mask.ndim)
            value = mg.reshape(values, ())
            return mg.where(mg.reshape(mask, shape), x + value if accumulate else value, x)
    return x.at[key].add(values) if accumulate else x.at[key].set(values)


def _places(x: Any, dim: int, index: Any) -> tuple:
    """The key of an element per entry of ``index``: its own place, but along ``dim``."""
    d = axis(dim, x.ndim)
    own = np.ogrid[tuple(slice(*made(n)) for n in index.shape)]
    return tuple(known(index) if i == d else own[i] for i in range(x.ndim))


def _scattered(put: Callable) -> Callable:
    """A rule from ``put(place, values)``; the source may be larger than the index."""

    def rule(x: Any, dim: int, index: Any, src: Any, **options: Any) -> Any:
        if not index.size:
            return x
        shape = x.shape
        if not x.ndim:
            x, index = mg.reshape(x, (1,)), mg.reshape(index, (1,))
            src = mg.reshape(src, (1,)) if is_array(src) else src
        if index.ndim == 0:
            index = mg.reshape(index, (1,))
        if is_array(src):
            src = (
                mg.reshape(src, (1,)) if not src.ndim else src[tuple(slice(n) for n in index.shape)]
            )
            src = cast(src, x.dtype)
        else:
            src = mg.full(index.shape, src, dtype=x.dtype)
        return mg.reshape(put(x, _places(x, dim, index), src, **options), shape)

    return rule


def _neutral(reduce: str, dtype: Any) -> Any:
    """What changes nothing: an infinity, or the last integer."""
    if reduce not in ("amax", "amin"):
        return int(reduce == "prod")
    if dtype.is_float:
        return -mg.inf if reduce == "amax" else mg.inf
    return getattr(np.iinfo(dtype.numpy), "min" if reduce == "amax" else "max")


def _reduce(x: Any, key: tuple, src: Any, *, reduce: str, include_self: bool = True) -> Any:
    start = (
        x
        if include_self
        else x.at[key].set(mg.full(src.shape, _neutral(reduce, x.dtype), dtype=x.dtype))
    )
    name = {"sum": "add", "mean": "add", "prod": "multiply", "amax": "max", "amin": "min"}
    total = getattr(start.at[key], name[reduce])(src)
    if reduce != "mean":
        return total
    one = mg.full(x.shape, int(include_self), dtype=x.dtype).at[key].add(mg.ones_like(src))
    count = mg.maximum(one, 1)
    return total / count if x.dtype.is_inexact else mg.floor_divide(total, count)


def _old_reduce(x: Any, key: tuple, src: Any, *, reduce: str | None = None) -> Any:
    if reduce is None:
        return x.at[key].set(src)
    return x.at[key].add(src) if reduce == "add" else x.at[key].multiply(src)


_scatter = _scattered(_old_reduce)
_scatter_reduce = _scattered(_reduce)


def _along(x: Any, dim: int, index: Any) -> tuple:
    return (*[slice(None)] * axis(dim, x.ndim), known(mg.reshape(index, (-1,))))


def _index_add(x: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    return x.at[_along(x, dim, index)].add(cast(source if alpha == 1 else source * alpha, x.dtype))


def _index_copy(x: Any, dim: int, index: Any, source: Any) -> Any:
    return x.at[_along(x, dim, index)].set(cast(source, x.dtype))


def _index_fill(x: Any, dim: int, index: Any, value: Any) -> Any:
    return x.at[_along(x, dim, index)].set(cast(value, x.dtype) if is_array(value) else value)


def _masked_scatter(x: Any, mask: Any, source: Any) -> Any:
    # the n-th true of the mask takes the n-th of the source
    mask = mg.broadcast_to(mask, x.shape)
    order = mg.cumulative_sum(cast(mg.reshape(mask, (-1,)), "int64"), axis=0) - 1
    flat = mg.take(mg.reshape(source, (-1,)), mg.clip(order, 0, source.size - 1), axis=0)
    return mg.where(mask, mg.reshape(cast(flat, x.dtype), x.shape), x)


def _embedding_dense_backward(
    grad: Any, indices: Any, num_weights: int, padding_idx: int, scale_grad_by_freq: bool
) -> Any:
    ids, rows = mg.reshape(indices, (-1,)), mg.reshape(grad, (-1, grad.shape[-1]))
    if scale_grad_by_freq:
        count = mg.segment_sum(mg.ones_like(ids), ids, num_weights)
        rows = rows / mg.expand_dims(cast(mg.take(count, ids, axis=0), rows.dtype), axis=1)
    kept = mg.expand_dims(ids != padding_idx, axis=1)
    return mg.segment_sum(mg.where(kept, rows, 0.0), ids, num_weights)


RULES: dict[str, Callable] = {
    "_index_put_impl": lambda x, indices, values, accumulate=False, unsafe=False: _index_put(
        x, indices, values, accumulate),
    "_unsafe_index_put": _index_put, "embedding_dense_backward": _embedding_dense_backward,
    "index_add": _index_add, "index_copy": _index_copy, "index_fill": _index_fill,
    "index_put": _index_put, "masked_scatter": _masked_scatter, "scatter": _scatter,
    "scatter_add": lambda x, dim, index, src: _scatter(x, dim, index, src, reduce="add"),
    "scatter_reduce": lambda x, dim, index, src, reduce, *, include_self=True: _scatter_reduce(
        x, dim, index, src, reduce=reduce, include_self=include_self),
}  # fmt: skip

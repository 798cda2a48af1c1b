"""Sorting and selection."""

from __future__ import annotations

import numpy as np

from ..dtypes import int64
from ..errors import ArgumentError, ShapeError
from ..op import Sample, op
from ..spec import Spec
from ._build import zeros_like
from ._infer import check_axes, check_kind
from ._samples import special


def _sort(*xs, axis, num_keys, descending):
    check_axes((axis,), xs[0].ndim, "axis")
    if not 1 <= num_keys <= len(xs):
        raise ArgumentError(f"num_keys={num_keys} with {len(xs)} operands")
    for i, x in enumerate(xs):
        if x.shape != xs[0].shape:
            raise ShapeError(f"operands 0 and {i} have shapes {xs[0].shape} and {x.shape}")
    for x in xs:
        check_kind(x, "computed")
    return xs


def along(x, index, axis):
    """``x`` at ``index`` along ``axis``, all other positions paired."""
    from .indexing import gather
    from .structural import reshape

    batch = tuple(i for i in range(x.ndim) if i != axis)
    return gather(
        x, reshape(index, shape=(*index.shape, 1)), offset_dims=(), collapsed_slice_dims=(axis,),
        operand_batching_dims=batch, start_indices_batching_dims=batch, start_index_map=(axis,),
        index_vector_dim=x.ndim, slice_sizes=(1,) * x.ndim,
    )  # fmt: skip


def put_along(x, index, updates, axis):
    """``x`` plus ``updates`` at ``index`` along ``axis``: the transpose of `along`."""
    from .indexing import scatter
    from .structural import reshape

    batch = tuple(i for i in range(x.ndim) if i != axis)
    return scatter(
        x, reshape(index, shape=(*index.shape, 1)), updates, update_window_dims=(),
        inserted_window_dims=(axis,), input_batching_dims=batch, scatter_indices_batching_dims=batch,
        scatter_dims_to_operand_dims=(axis,), index_vector_dim=x.ndim, kind="add",
    )  # fmt: skip


def _sort_vjp(g, y, *xs, axis, num_keys, descending):
    from .shape import iota

    place = iota(shape=xs[0].shape, dtype=int64, axis=axis)
    *_, order = sort(*xs[:num_keys], place, axis=axis, num_keys=num_keys, descending=descending)
    return tuple(
        None if c is None or not x.dtype.is_inexact else put_along(zeros_like(c), order, c, axis)
        for c, x in zip(g, xs)
    )


def _sort_samples(d, rng):
    for shape, axis, descending in (
        ((5,), 0, False),
        ((3, 4), 1, True),
        ((3, 4), 0, False),
        ((0,), 0, False),
    ):
        x = rng.permutation(int(np.prod(shape))).reshape(shape).astype(d.numpy)
        yield Sample((x, -x if d.kind != "uint" else x), {"axis": axis, "descending": descending})
    if d.is_float:
        for descending in (False, True):
            x = special(d)
            yield Sample(
                (x, np.arange(len(x), dtype=d.numpy)),
                {"axis": 0, "descending": descending},
                grad=False,
            )
    ties = np.array([1, 0, 1, 0, 1], d.numpy)
    yield Sample((ties, np.arange(5, dtype=d.numpy)), {"axis": 0, "descending": True}, grad=False)
    yield Sample((ties, np.array([3, 1, 2, 0, 1], d.numpy)), {"axis": 0, "num_keys": 2}, grad=False)


@op(infer=_sort, vjp=_sort_vjp, samples=_sort_samples, dtypes=("float", "int", "uint"), multi=True)
def sort(*xs, axis, num_keys=1, descending=False):
    """The operands reordered together along ``axis`` by the first ``num_keys`` of them.

    Stable. NaN is the largest: last ascending, first descending; -0 and 0 are equal.
    """
    order = None
    for key in xs[:num_keys][::-1]:
        key = key if order is None else np.take_along_axis(key, order, axis)
        if descending:  # stable from the other end, then turned round
            step = np.flip(np.argsort(np.flip(key, axis), axis=axis, kind="stable"), axis)
            step = key.shape[axis] - 1 - step
        else:
            step = np.argsort(key, axis=axis, kind="stable")
        order = step if order is None else np.take_along_axis(order, step, axis)
    assert order is not None
    return tuple(np.take_along_axis(x, order, axis) for x in xs)


def _top_k(x, *, k):
    check_kind(x, "real")
    if not x.ndim or not 0 <= k <= x.shape[-1]:
        raise ShapeError(f"k={k} of the last axis of shape {x.shape}")
    shape = (*x.shape[:-1], k)
    return Spec(shape, x.dtype), Spec(shape, int64)


def _top_k_samples(d, rng):
    for shape, k in (((6,), 2), ((3, 4), 4), ((2, 3), 0)):
        yield Sample(
            (rng.permutation(int(np.prod(shape))).reshape(shape).astype(d.numpy),), {"k": k}
        )
    yield Sample((np.array([1, 2, 2, 0], d.numpy),), {"k": 3}, grad=False)
    yield Sample((np.zeros((0, 3), d.numpy),), {"k": 2}, grad=False)
    if d.is_float:
        yield Sample((special(d),), {"k": 4}, grad=False)


@op(
    infer=_top_k,
    vjp=lambda g, y, x, *, k: (put_along(zeros_like(x), y[1], g[0], x.ndim - 1),),
    samples=_top_k_samples,
    dtypes=("float", "int", "uint"),
    multi=True,
)
def top_k(x, *, k):
    """The ``k`` largest of the last axis, largest first, and their indices as int64.

    The first of equals comes first; NaN is the largest.
    """
    place = np.broadcast_to(np.arange(x.shape[-1]), x.shape)
    values, order = sort.reference(x, place, axis=x.ndim - 1, num_keys=1, descending=True)
    return values[..., :k], order[..., :k]

"""Rules of ops whose attributes name axes or have one entry per axis: those attributes change."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..op import Op
from ..ops.indexing import clamp_indices
from .lanes import Lanes, fold, leading, unfold

Change = Callable[[Any, int], Any]  # an attribute and the number of lanes -> the attribute to use


def axes(a: Any, n: int) -> Any:
    """Axes that an attribute names, one further back each."""
    return tuple([i + 1 for i in a]) if isinstance(a, tuple) else a + 1


def lanes_and_axes(a: Any, n: int) -> Any:
    """Axes that an attribute names, and the lanes before them."""
    return (0, *axes(a, n))


def sized(a: Any, n: int) -> Any:
    """A length per axis."""
    return (n, *a)


def first(entry: Any) -> Change:
    """An entry per axis; this one for the lanes."""
    return lambda a, n: (entry, *a)


def changed(**changes: Change) -> Callable:
    """The rule of an op that is itself once these attributes are changed."""

    def rule(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
        return op(*lanes.all(xs, batched), **_apply(changes, attrs, lanes))

    return rule


def _apply(changes: dict[str, Change], attrs: dict[str, Any], lanes: Lanes) -> dict[str, Any]:
    return {k: changes[k](a, lanes.size) if k in changes else a for k, a in attrs.items()}


# ---- windows

# attribute -> the entry of an axis that windows do not span
_PLAIN: dict[str, Any] = {
    "window": 1, "strides": 1, "padding": (0, 0), "base_dilation": 1, "window_dilation": 1,
}  # fmt: skip
_WINDOW = {name: first(entry) for name, entry in _PLAIN.items()}


def windowed(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """The lanes become part of the first axis where no window spans it: pooling stays pooling."""
    given = {name: attrs[name] for name in _PLAIN if name in attrs}
    xs = lanes.all(xs, batched)
    if all(a and a[0] == _PLAIN[name] for name, a in given.items()):
        return unfold(op(*[fold(x, 0) for x in xs], **attrs), 0, lanes)
    return op(*xs, **_apply(_WINDOW, attrs, lanes))


def padded(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """A padding value of each lane's own is put where the padding of a mask went."""
    x, value = lanes.of(xs[0], batched[0]), xs[1]
    attrs = _apply(dict.fromkeys(attrs, first(0)), attrs, lanes)
    if not batched[1]:
        return op(x, value, **attrs)
    inside = op(ops.full(True, x.spec.with_(dtype="bool")), ops.literal(False), **attrs)
    out = op(x, ops.full(0, value.spec.with_(())), **attrs)
    return ops.select(inside, out, ops.broadcast_in_dim(value, shape=out.shape, dims=(0,)))


# ---- gather and scatter

# which of operand and indices are batched -> what changes
_GATHER: dict[tuple[bool, ...], dict[str, Change]] = {
    (True, True): {
        "offset_dims": axes, "collapsed_slice_dims": axes, "operand_batching_dims": lanes_and_axes,
        "start_indices_batching_dims": lanes_and_axes, "start_index_map": axes,
        "index_vector_dim": axes, "slice_sizes": first(1),
    },
    (True, False): {  # the lanes are one more axis of the window
        "offset_dims": lanes_and_axes, "collapsed_slice_dims": axes, "operand_batching_dims": axes,
        "start_index_map": axes, "slice_sizes": sized,
    },
    (False, True): {  # the lanes are one more axis of the indices
        "offset_dims": axes, "start_indices_batching_dims": axes, "index_vector_dim": axes,
        "indices_are_sorted": lambda a, n: False,
    },
}  # fmt: skip

# whether the indices are batched -> what changes
_SCATTER: dict[bool, dict[str, Change]] = {
    True: {
        "update_window_dims": axes, "inserted_window_dims": axes,
        "input_batching_dims": lanes_and_axes, "scatter_indices_batching_dims": lanes_and_axes,
        "scatter_dims_to_operand_dims": axes, "index_vector_dim": axes,
    },
    False: {
        "update_window_dims": lanes_and_axes, "inserted_window_dims": axes,
        "input_batching_dims": axes, "scatter_dims_to_operand_dims": axes,
    },
}  # fmt: skip


def gathered(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """Indices of each lane's own are batch axes, or more indices into one array."""
    return op(*xs, **_apply(_GATHER[tuple(batched)], attrs, lanes))


def scattered(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """Every lane has an operand of its own to scatter into."""
    x, updates = lanes.of(xs[0], batched[0]), lanes.of(xs[2], batched[2])
    indices = lanes.of(xs[1], batched[1]) if batched[1] else xs[1]
    return op(x, indices, updates, **_apply(_SCATTER[batched[1]], attrs, lanes))


def _index_vector(starts: Sequence, batched: Sequence[bool], lanes: Lanes) -> Any:
    """Starts ``[lanes]`` each as ``[lanes, axes]``."""
    dtypes = {s.dtype for s in starts}
    one = dtypes.pop() if len(dtypes) == 1 else ops.literal(0).dtype
    columns = [ops.convert(s, dtype=one) for s in lanes.all(starts, batched)]
    return ops.concatenate(*[ops.reshape(s, shape=(lanes.size, 1)) for s in columns], axis=1)


def _zero(starts: Sequence) -> Any:
    return ops.full(0, starts[0].spec) if starts else ops.literal(0)


def _block(x: Any, batched: bool) -> tuple[int, ...]:
    return tuple(range(x.ndim - batched))


def sliced_at(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, *, sizes: Any) -> Any:
    """Where each lane starts elsewhere, a gather of one window per lane."""
    x, *starts = xs
    if not any(batched[1:]):
        return op(x, _zero(starts), *starts, sizes=(lanes.size, *sizes))
    dims = _block(x, batched[0])
    return gathered(
        ops.gather, [x, _index_vector(starts, batched[1:], lanes)], [batched[0], True], lanes,
        offset_dims=dims, collapsed_slice_dims=(), operand_batching_dims=(),
        start_indices_batching_dims=(), start_index_map=dims, index_vector_dim=0,
        slice_sizes=sizes, indices_are_sorted=False,
    )  # fmt: skip


def updated_at(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /) -> Any:
    """Where each lane starts elsewhere, a scatter of one window per lane."""
    x, update = lanes.all(xs[:2], batched[:2])
    starts = xs[2:]
    if not any(batched[2:]):
        return op(x, update, _zero(starts), *starts)
    dims = _block(x, True)
    at = _index_vector(starts, batched[2:], lanes)
    at = clamp_indices(at, dims, 1, x.shape[1:], update.shape[1:])  # scatter skips, this clamps
    return scattered(
        ops.scatter, [x, at, update], [True] * 3, lanes, update_window_dims=dims,
        inserted_window_dims=(), input_batching_dims=(), scatter_indices_batching_dims=(),
        scatter_dims_to_operand_dims=dims, index_vector_dim=0, kind="update",
        indices_are_sorted=False, unique_indices=True,
    )  # fmt: skip


RULES: dict[Op, Callable] = {
    **dict.fromkeys(
        (ops.convert, ops.bitcast_convert, ops.compare, ops.select, ops.polygamma, ops.top_k,
         ops.all_reduce, ops.collective_broadcast),
        leading,
    ),
    **dict.fromkeys(
        (ops.reduce_sum, ops.reduce_prod, ops.reduce_max, ops.reduce_min, ops.reduce_and,
         ops.reduce_or, ops.reverse),
        changed(axes=axes),
    ),
    **dict.fromkeys(
        (ops.argmax, ops.argmin, ops.cumsum, ops.cumprod, ops.cummax, ops.cummin, ops.sort,
         ops.concatenate, ops.split, ops.all_gather, ops.reduce_scatter, ops.softmax,
         ops.softmax_backward, ops.log_softmax, ops.log_softmax_backward),
        changed(axis=axes),
    ),
    **dict.fromkeys(
        (ops.reduce_window_sum, ops.reduce_window_max, ops.reduce_window_min,
         ops.select_and_scatter, ops.select_and_gather),
        windowed,
    ),
    ops.all_to_all: changed(split_axis=axes, concat_axis=axes),
    ops.broadcast_in_dim: changed(shape=sized, dims=lanes_and_axes),
    ops.dynamic_slice: sliced_at,
    ops.dynamic_update_slice: updated_at,
    ops.gather: gathered,
    ops.pad: padded,
    ops.reshape: changed(shape=sized),
    ops.scatter: scattered,
    ops.slice_: changed(start=first(0), limit=sized, strides=first(1)),
    ops.transpose: changed(permutation=lanes_and_axes),
}  # fmt: skip

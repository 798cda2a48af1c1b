"""Reading and writing at computed places."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from monograph import ops

from .common import Writer, call
from .integers import LACKING, ordered, signed, wide_unsigned


def _clamped(starts: Any, shape: Any, sizes: Any) -> list[int]:
    return [min(max(int(s), 0), n - m) for s, n, m in zip(starts, shape, sizes)]


def _dynamic_slice(x: torch.Tensor, *starts: Any, sizes: Any) -> torch.Tensor:
    at = _clamped(starts, x.shape, sizes)
    return x[tuple(slice(a, a + m) for a, m in zip(at, sizes))]


def _dynamic_update_slice(node: Any, device: Any) -> Writer:
    shape, sizes = node.inputs[0].shape, node.inputs[1].shape

    def write(free: tuple[int, ...]) -> Callable:
        def run(x: torch.Tensor, update: torch.Tensor, *starts: Any) -> torch.Tensor:
            out, at = x if free else x.clone(), _clamped(starts, shape, sizes)
            out[tuple(slice(a, a + m) for a, m in zip(at, sizes))] = update
            return out

        return run

    return Writer((0,), write)


def _without(n: int, *drop: Any) -> list[int]:
    gone = {a for axes in drop for a in axes}
    return [i for i in range(n) if i not in gone]


def _starts(
    x: Any, indices: torch.Tensor, index_map: Any, ivd: int, batching: Any, index_batching: Any
) -> list[Any]:
    vectors = indices[..., None] if ivd == indices.ndim else indices.movedim(ivd, -1)
    vectors = signed(vectors).to(torch.int64)
    shape = vectors.shape[:-1]
    out: list[Any] = [torch.zeros(shape, dtype=torch.int64, device=x.device) for _ in range(x.ndim)]
    for k, axis in enumerate(index_map):
        out[axis] = vectors[..., k]
    for a, b in zip(batching, index_batching):
        b = b - (b > ivd)
        line = torch.arange(shape[b], device=x.device)
        out[a] = line.reshape([-1 if i == b else 1 for i in range(len(shape))]).expand(shape)
    return out


def _positions(starts: list[Any], sizes: Any) -> list[torch.Tensor]:
    n, out = len(sizes), []
    for axis, (s, m) in enumerate(zip(starts, sizes)):
        offset = torch.arange(m, device=s.device).reshape(
            [-1 if i == axis else 1 for i in range(n)]
        )
        out.append(s.reshape((*s.shape, *[1] * n)) + offset)
    return out


def _vectors(indices: torch.Tensor, ivd: int) -> torch.Tensor:
    """Index vectors of length 1 as one flat row of int64."""
    flat = indices if ivd == indices.ndim else indices.select(ivd, 0)
    return signed(flat).long().reshape(-1)


# ---- gather


def _gather(node: Any, device: Any) -> Callable:
    a, x, indices = node.attrs, node.inputs[0], node.inputs[1]
    axes, ivd, n = a["collapsed_slice_dims"], a["index_vector_dim"], x.ndim
    general = wide_unsigned(_gather_anything)(node, device)
    if len(axes) != 1 or a["start_index_map"] != axes or x.dtype.name in LACKING:
        return general
    others = tuple(i for i in range(n) if i not in axes)
    if not a["operand_batching_dims"]:
        whole = all(a["slice_sizes"][i] == x.shape[i] for i in others)
        return _select_rows(node) if whole else general
    paired = a["operand_batching_dims"] == a["start_indices_batching_dims"] == others
    aligned = ivd == n and indices.ndim == n + 1
    return _gather_along(axes[0], x.shape[axes[0]]) if paired and aligned else general


def _select_rows(node: Any) -> Callable:
    """Whole slices along one axis: index_select is many times faster than fancy indexing."""
    (x, indices), a = node.inputs, node.attrs
    (axis,), ivd = a["collapsed_slice_dims"], a["index_vector_dim"]
    batch = [n for i, n in enumerate(indices.shape) if i != ivd]
    last, n = x.shape[axis] - 1, len(batch)
    shape = (*x.shape[:axis], *batch, *x.shape[axis + 1 :])
    # the axes stand as in ``shape``; where the result wants each
    places = [*_without(len(shape), a["offset_dims"]), *a["offset_dims"]]
    now = [*range(axis, axis + n), *range(axis), *range(axis + n, len(shape))]
    moved = [now[places.index(i)] for i in range(len(shape))]

    def run(x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        got = x.index_select(axis, _vectors(indices, ivd).clamp_(0, last)).view(shape)
        return got if moved == sorted(moved) else got.permute(moved)

    return run


def _gather_along(axis: int, n: int) -> Callable:
    """All other positions paired: torch's own gather."""
    return lambda x, indices: x.gather(axis, signed(indices[..., 0]).long().clamp(0, n - 1))


def _gather_anything(x: torch.Tensor, indices: torch.Tensor, **a: Any) -> torch.Tensor:
    sizes, dropped = a["slice_sizes"], (*a["collapsed_slice_dims"], *a["operand_batching_dims"])
    starts = _starts(
        x, indices, a["start_index_map"], a["index_vector_dim"], a["operand_batching_dims"],
        a["start_indices_batching_dims"],
    )  # fmt: skip
    if not starts:  # nothing to index in a 0-d array, only to repeat
        batch = [n for i, n in enumerate(indices.shape) if i != a["index_vector_dim"]]
        return x.expand(batch).clone()
    starts = [s.clamp(0, n - m) for s, n, m in zip(starts, x.shape, sizes)]
    batch = starts[0].ndim
    got = x[tuple(_positions(starts, sizes))]
    kept = [sizes[i] for i in _without(x.ndim, dropped)]
    got = got.reshape((*got.shape[:batch], *kept))
    places = [*_without(got.ndim, a["offset_dims"]), *a["offset_dims"]]
    return got.permute([places.index(i) for i in range(got.ndim)])


# ---- scatter


def _scatter(node: Any, device: Any) -> Any:
    a, x, updates = node.attrs, node.inputs[0], node.inputs[2]
    axes, window = a["inserted_window_dims"], a["update_window_dims"]
    if x.dtype.name in LACKING:
        by_order = a["kind"] in ("minimum", "maximum")
        return (ordered if by_order else wide_unsigned)(_scatter_copied)(node, device)
    whole = [n for i, n in enumerate(x.shape) if i not in axes]
    rows = len(axes) == 1 and a["scatter_dims_to_operand_dims"] == axes
    rows = rows and not a["input_batching_dims"] and [updates.shape[i] for i in window] == whole
    if rows and a["kind"] in ("add", "update"):
        return Writer((0,), lambda free: _scatter_rows(node, bool(free)))
    return Writer((0,), lambda free: partial(_scatter_anything, owned=bool(free), **a))


def _scatter_rows(node: Any, owned: bool) -> Callable:
    """Whole slices along one axis."""
    a, x, updates = node.attrs, node.inputs[0], node.inputs[2]
    (axis,), window, ivd = a["inserted_window_dims"], a["update_window_dims"], a["index_vector_dim"]
    n, before = x.shape[axis], window[:axis]
    order = (*before, *_without(updates.ndim, window), *window[axis:])
    shape = (*x.shape[:axis], -1, *x.shape[axis + 1 :])
    put = torch.Tensor.index_add_ if a["kind"] == "add" else torch.Tensor.index_copy_

    def run(x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
        out, at = x if owned else x.clone(), _vectors(indices, ivd)
        if not updates.numel():
            return out
        values = updates.permute(order).reshape(shape)
        low, high = torch.aminmax(at)
        if low < 0 or high >= n:
            inside = ((at >= 0) & (at < n)).nonzero()[:, 0]
            at, values = at[inside], values.index_select(axis, inside)
        return put(out, axis, at, values)

    return run


_REDUCE = {"multiply": "prod", "minimum": "amin", "maximum": "amax"}


def _scatter_copied(x: torch.Tensor, *rest: torch.Tensor, **a: Any) -> torch.Tensor:
    return _scatter_anything(x, *rest, owned=False, **a)


def _scatter_anything(
    x: torch.Tensor,
    indices: torch.Tensor,
    updates: torch.Tensor,
    *,
    kind: str,
    owned: bool,
    **a: Any,
) -> torch.Tensor:
    sizes = [1] * x.ndim
    window = _without(x.ndim, a["inserted_window_dims"], a["input_batching_dims"])
    for axis, u in zip(window, a["update_window_dims"]):
        sizes[axis] = updates.shape[u]
    starts = _starts(
        x, indices, a["scatter_dims_to_operand_dims"], a["index_vector_dim"], a["input_batching_dims"],
        a["scatter_indices_batching_dims"],
    )  # fmt: skip
    batch = starts[0].shape if starts else ()
    order = [*_without(updates.ndim, a["update_window_dims"]), *a["update_window_dims"]]
    values = updates.permute(order).reshape((*batch, *sizes))
    fits = torch.ones(batch, dtype=torch.bool, device=x.device)
    for s, n, m in zip(starts, x.shape, sizes):
        fits = fits & (s >= 0) & (s + m <= n)
    flat = torch.zeros((1,) * values.ndim, dtype=torch.int64, device=x.device)
    for p, n in zip(_positions(starts, sizes), x.shape):
        flat = flat * n + p
    keep = fits.reshape((*batch, *[1] * x.ndim)).expand(values.shape).reshape(-1)
    at, values = flat.expand(values.shape).reshape(-1)[keep], values.reshape(-1)[keep]
    out = x.contiguous().view(-1) if owned else x.reshape(-1).clone()
    if kind == "update":
        out[at] = values
    elif kind == "add":
        out.index_add_(0, at, values)
    else:
        out.scatter_reduce_(0, at, values, _REDUCE[kind])
    return out.view(x.shape)


TABLE: dict[Any, Any] = {
    ops.dynamic_slice: call(_dynamic_slice), ops.dynamic_update_slice: _dynamic_update_slice,
    ops.gather: _gather, ops.scatter: _scatter,
}  # fmt: skip

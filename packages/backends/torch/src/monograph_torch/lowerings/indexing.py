"""Reading and writing at computed places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monograph import ops

from .common import call
from .integers import ordered, signed, wide_unsigned


def _clamped(starts: Any, shape: Any, sizes: Any) -> list[int]:
    return [min(max(int(s), 0), n - m) for s, n, m in zip(starts, shape, sizes)]


def _dynamic_slice(x: torch.Tensor, *starts: Any, sizes: Any) -> torch.Tensor:
    at = _clamped(starts, x.shape, sizes)
    return x[tuple(slice(a, a + m) for a, m in zip(at, sizes))]


def _dynamic_update_slice(x: torch.Tensor, update: torch.Tensor, *starts: Any) -> torch.Tensor:
    out, at = x.clone(), _clamped(starts, x.shape, update.shape)
    out[tuple(slice(a, a + m) for a, m in zip(at, update.shape))] = update
    return out


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


def _gather(x: torch.Tensor, indices: torch.Tensor, **a: Any) -> torch.Tensor:
    sizes, dropped = a["slice_sizes"], (*a["collapsed_slice_dims"], *a["operand_batching_dims"])
    starts = _starts(
        x, indices, a["start_index_map"], a["index_vector_dim"], a["operand_batching_dims"],
        a["start_indices_batching_dims"],
    )  # fmt: skip
    starts = [s.clamp(0, n - m) for s, n, m in zip(starts, x.shape, sizes)]
    batch = starts[0].ndim if starts else 0
    rows = (
        a["collapsed_slice_dims"] == a["start_index_map"] == (0,) and not a["operand_batching_dims"]
        and tuple(sizes[1:]) == tuple(x.shape[1:])
    )  # fmt: skip
    if rows:  # whole rows: index_select is many times faster than fancy indexing
        got = x.index_select(0, starts[0].reshape(-1)).reshape((*starts[0].shape, *x.shape[1:]))
    else:
        got = x[tuple(_positions(starts, sizes))]
        kept = [sizes[i] for i in _without(x.ndim, dropped)]
        got = got.reshape((*got.shape[:batch], *kept))
    places = [*_without(got.ndim, a["offset_dims"]), *a["offset_dims"]]
    return got.permute(*[int(i) for i in np.argsort(places)]) if got.ndim else got


_REDUCE = {"multiply": "prod", "minimum": "amin", "maximum": "amax"}


def _scatter(
    x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor, *, kind: str, **a: Any
) -> torch.Tensor:
    sizes = [1] * x.ndim
    window = _without(x.ndim, a["inserted_window_dims"], a["input_batching_dims"])
    for axis, u in zip(window, a["update_window_dims"]):
        sizes[axis] = updates.shape[u]
    starts = _starts(
        x, indices, a["scatter_dims_to_operand_dims"], a["index_vector_dim"], a["input_batching_dims"],
        a["scatter_indices_batching_dims"],
    )  # fmt: skip
    batch = starts[0].shape
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
    out = x.reshape(-1).clone()
    if kind == "update":
        out[at] = values
    elif kind == "add":
        out.index_add_(0, at, values)
    else:
        out.scatter_reduce_(0, at, values, _REDUCE[kind])
    return out.reshape(x.shape)


def _scatter_by_kind(node: Any, device: Any) -> Callable:
    by_order = node.attrs["kind"] in ("minimum", "maximum")
    return (ordered if by_order else wide_unsigned)(_scatter)(node, device)


TABLE: dict[Any, Any] = {
    ops.dynamic_slice: call(_dynamic_slice),
    ops.dynamic_update_slice: wide_unsigned(_dynamic_update_slice),
    ops.gather: wide_unsigned(_gather), ops.scatter: _scatter_by_kind,
}  # fmt: skip

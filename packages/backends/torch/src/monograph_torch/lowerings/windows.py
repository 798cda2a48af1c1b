"""Reductions over sliding windows, and their gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from monograph import ops

from .common import call
from .integers import ordered, wide_unsigned
from .reductions import identity
from .shape import pad


def _parts(
    x: torch.Tensor, fill: Any, window: Any, strides: Any, padding: Any, base: Any, dilation: Any
) -> torch.Tensor:
    """Every window's elements as a last axis ``[*windows, window size]``; a view of padded ``x``."""
    value = torch.full((), fill, dtype=x.dtype, device=x.device)
    padded = (
        pad(
            x,
            value,
            low=[p[0] for p in padding],
            high=[p[1] for p in padding],
            interior=[b - 1 for b in base],
        )
        if x.ndim
        else x
    )
    for axis, (w, s, r) in enumerate(zip(window, strides, dilation)):
        reach = (w - 1) * r + 1
        if padded.shape[axis] < reach:
            empty = [*padded.shape, w]
            empty[axis] = 0
            padded = padded.new_empty(empty)
        else:
            padded = padded.unfold(axis, reach, s)[..., ::r]
    return padded.flatten(x.ndim)


def _window(kind: str, otherwise: Callable) -> Callable:
    """Windows of ``kind`` by torch's own pooling where that fits, ``otherwise`` elsewhere."""

    def lower(node: Any, device: Any) -> str | Callable:
        pool = _image_pool(node)
        if pool is None or kind == "min":
            return otherwise(node, device)
        window, strides, before, up = pool
        if kind == "max":
            options = f"{window}, {strides}, {before}, 1, {up}"
            return f"torch.max_pool2d({{0}}.permute{_FIRST}, {options}).permute{_LAST}"

        def run(x: torch.Tensor) -> torch.Tensor:  # a sum, as it divides by 1 here
            y = F.avg_pool2d(x.permute(_FIRST), window, strides, before, up, True, 1)
            return y.permute(_LAST)

        return run

    return lower


_FIRST, _LAST = (0, 3, 1, 2), (0, 2, 3, 1)  # channels to the front and back again; views


def _image_pool(node: Any) -> tuple[Any, Any, Any, bool] | None:
    """Window, strides, padding before, and whether counts are rounded up, if torch pools images so.

    Rounded up, the last windows may reach beyond the image: "same" padding, where it is uneven.
    """
    x, a = node.inputs[0], node.attrs
    window, strides, padding = a["window"], a["strides"], a["padding"]
    fits = (
        x.ndim == 4 and x.dtype.is_float and x.size and node.outputs[0].size
        and window[0] == window[3] == strides[0] == strides[3] == 1
        and set(a.get("base_dilation", ())) | set(a.get("window_dilation", ())) <= {1}
        and padding[0] == padding[3] == (0, 0)
        and all(0 <= 2 * lo <= w for (lo, _), w in zip(padding[1:3], window[1:3]))
    )  # fmt: skip
    if not fits:
        return None
    pool = window[1:3], strides[1:3], tuple(lo for lo, _ in padding[1:3])
    counts = node.inputs[1].shape if node.op is ops.select_and_scatter else node.outputs[0].shape
    for up in (False, True):
        if counts[1:3] == tuple(map(_count, x.shape[1:3], *pool, (up, up))):
            return *pool, up
    return None


def _count(size: int, window: int, stride: int, before: int, up: bool) -> int:
    """torch's number of windows, which all begin in the image or the padding before it."""
    room = size + 2 * before - window
    if not up:
        return room // stride + 1
    n = -(-room // stride) + 1
    return n - 1 if (n - 1) * stride >= size + before else n


def _by_parts(kind: str) -> Callable:
    def lower(
        x: torch.Tensor, *, window: Any, strides: Any, padding: Any, base_dilation: Any,
        window_dilation: Any,
    ) -> torch.Tensor:  # fmt: skip
        fill = 0 if kind == "sum" else identity(x.dtype, kind)
        parts = _parts(x, fill, window, strides, padding, base_dilation, window_dilation)
        if kind == "sum":
            return parts.sum(-1, dtype=x.dtype)
        return parts.amax(-1) if kind == "max" else parts.amin(-1)

    return lower


def _chosen(x: torch.Tensor, window: Any, strides: Any, padding: Any, kind: str) -> torch.Tensor:
    """Flat index into ``x`` of each window's first extreme; -1 where it is padding."""
    ones = (1,) * x.ndim
    parts = _parts(x, identity(x.dtype, kind), window, strides, padding, ones, ones)
    places = torch.arange(x.numel(), device=x.device).reshape(x.shape)
    where = _parts(places, -1, window, strides, padding, ones, ones)
    best = parts.argmax(-1, keepdim=True) if kind == "max" else parts.argmin(-1, keepdim=True)
    return where.gather(-1, best)[..., 0]


def _select_and_scatter(node: Any, device: Any) -> Callable:
    pool = _image_pool(node)
    if pool is None or node.attrs["kind"] == "min":
        return call(_scatter_chosen)(node, device)
    *sizes, up = pool
    forward = torch.ops.aten.max_pool2d_with_indices.default
    backward = torch.ops.aten.max_pool2d_with_indices_backward.default

    def run(x: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        x = x.permute(_FIRST)
        # choosing anew is cheap, and keeps no int64 index of each window from the forward pass
        _, index = forward(x, *sizes, (1, 1), up)
        return backward(source.permute(_FIRST), x, *sizes, (1, 1), up, index).permute(_LAST)

    return run


def _scatter_chosen(
    x: torch.Tensor, source: torch.Tensor, *, window: Any, strides: Any, padding: Any, kind: str
) -> torch.Tensor:
    at = _chosen(x, window, strides, padding, kind).reshape(-1)
    values = torch.where(at >= 0, source.reshape(-1), 0)
    out = torch.zeros(x.numel(), dtype=source.dtype, device=x.device)
    return out.index_add_(0, at.clamp(min=0), values).reshape(x.shape)


def _select_and_gather(
    x: torch.Tensor, t: torch.Tensor, *, window: Any, strides: Any, padding: Any, kind: str
) -> torch.Tensor:
    at = _chosen(x, window, strides, padding, kind)
    return torch.where(at >= 0, t.reshape(-1)[at.clamp(min=0)], 0)


TABLE: dict[Any, Any] = {
    ops.reduce_window_sum: _window("sum", wide_unsigned(_by_parts("sum"))),
    ops.reduce_window_max: _window("max", ordered(_by_parts("max"))),
    ops.reduce_window_min: _window("min", ordered(_by_parts("min"))),
    ops.select_and_scatter: _select_and_scatter, ops.select_and_gather: call(_select_and_gather),
}  # fmt: skip

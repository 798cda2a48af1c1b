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


def _window(kind: str) -> Callable:
    def lower(
        x: torch.Tensor,
        *,
        window: Any,
        strides: Any,
        padding: Any,
        base_dilation: Any,
        window_dilation: Any,
    ) -> torch.Tensor:
        pooled = _pool2d(kind, x, window, strides, padding, base_dilation, window_dilation)
        if pooled is not None:
            return pooled
        fill = 0 if kind == "sum" else identity(x.dtype, kind)
        parts = _parts(x, fill, window, strides, padding, base_dilation, window_dilation)
        if kind == "sum":
            return parts.sum(-1, dtype=x.dtype)
        return parts.amax(-1) if kind == "max" else parts.amin(-1)

    return lower


def _pool2d(
    kind: str, x: torch.Tensor, window: Any, strides: Any, padding: Any, base: Any, dilation: Any
) -> Any:
    """torch's own pooling where it fits: images, windows over height and width."""
    fits = (
        kind == "max" and x.ndim == 4 and x.is_floating_point() and x.numel() > 0
        and window[0] == window[3] == strides[0] == strides[3] == 1
        and all(b == 1 for b in (*base, *dilation))
        and all(p == (0, 0) for p in (padding[0], padding[3]))
        and all(lo == hi and 2 * lo <= w for (lo, hi), w in zip(padding[1:3], window[1:3]))
    )  # fmt: skip
    if not fits:
        return None
    return F.max_pool2d(
        x.movedim(-1, 1), window[1:3], strides[1:3], [p[0] for p in padding[1:3]]
    ).movedim(1, -1)


def _chosen(x: torch.Tensor, window: Any, strides: Any, padding: Any, kind: str) -> torch.Tensor:
    """Flat index into ``x`` of each window's first extreme; -1 where it is padding."""
    ones = (1,) * x.ndim
    parts = _parts(x, identity(x.dtype, kind), window, strides, padding, ones, ones)
    places = torch.arange(x.numel(), device=x.device).reshape(x.shape)
    where = _parts(places, -1, window, strides, padding, ones, ones)
    best = parts.argmax(-1, keepdim=True) if kind == "max" else parts.argmin(-1, keepdim=True)
    return where.gather(-1, best)[..., 0]


def _select_and_scatter(
    x: torch.Tensor, source: torch.Tensor, *, window: Any, strides: Any, padding: Any, kind: str
) -> torch.Tensor:
    at = _chosen(x, window, strides, padding, kind).reshape(-1)
    ok = at >= 0
    out = torch.zeros(x.numel(), dtype=source.dtype, device=x.device)
    return out.index_add_(0, at.clamp(min=0), torch.where(ok, source.reshape(-1), 0)).reshape(
        x.shape
    )


def _select_and_gather(
    x: torch.Tensor, t: torch.Tensor, *, window: Any, strides: Any, padding: Any, kind: str
) -> torch.Tensor:
    at = _chosen(x, window, strides, padding, kind)
    return torch.where(at >= 0, t.reshape(-1)[at.clamp(min=0)], 0)


TABLE: dict[Any, Any] = {
    ops.reduce_window_sum: wide_unsigned(_window("sum")),
    ops.reduce_window_max: ordered(_window("max")), ops.reduce_window_min: ordered(_window("min")),
    ops.select_and_scatter: call(_select_and_scatter), ops.select_and_gather: call(_select_and_gather),
}  # fmt: skip

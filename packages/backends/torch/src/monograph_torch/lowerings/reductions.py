"""Reductions, cumulative operations and sorting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import ops

from .common import HALF, call
from .integers import ordered, wide_unsigned


def _simple(name: str, otherwise: Callable) -> Callable:
    """``torch.<name>`` over the axes where its own rules are ours, ``otherwise`` elsewhere."""

    def lower(node: Any, device: Any) -> Any:
        x, axes = node.inputs[0], node.attrs["axes"]
        plain = x.dtype.is_inexact and axes and all(x.shape[a] for a in axes)
        return f"torch.{name}({{0}}, {axes})" if plain else otherwise(node, device)

    return lower


def _reduce(fn: Callable) -> Callable:
    def lower(x: torch.Tensor, *, axes: tuple[int, ...]) -> torch.Tensor:
        return fn(x, axes) if axes else x.clone()

    return lower


def _prod(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    # of many 16-bit factors torch rounds every partial product
    y = x.float() if x.dtype in HALF else x
    for a in sorted(axes, reverse=True):
        y = torch.prod(y, a, dtype=y.dtype)
    return y.to(x.dtype)


def _extreme(fn: Callable, kind: str) -> Callable:
    def reduce(x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        if any(x.shape[a] == 0 for a in axes):
            shape = [n for i, n in enumerate(x.shape) if i not in axes]
            return torch.full(shape, identity(x.dtype, kind), dtype=x.dtype, device=x.device)
        return fn(x, axes)

    return _reduce(reduce)


def identity(d: torch.dtype, kind: str) -> Any:
    """What a maximum or minimum over nothing is."""
    if d.is_floating_point:
        return float("-inf") if kind == "max" else float("inf")
    info = torch.iinfo(d)
    return info.min if kind == "max" else info.max


def _cum(fn: Callable) -> Callable:
    def lower(x: torch.Tensor, *, axis: int, reverse: bool) -> torch.Tensor:
        y = fn(x.flip(axis) if reverse else x, axis)
        return y.flip(axis) if reverse else y

    return lower


def _sort_key(x: torch.Tensor) -> torch.Tensor:
    return x + 0.0 if x.is_floating_point() else x  # -0 and 0 are equal


def _sort(
    *xs: torch.Tensor, axis: int, num_keys: int, descending: bool
) -> tuple[torch.Tensor, ...]:
    order = None
    for key in xs[:num_keys][::-1]:
        key = _sort_key(key)
        key = key if order is None else key.gather(axis, order)
        step = torch.sort(key, dim=axis, stable=True, descending=descending)[1]
        order = step if order is None else order.gather(axis, step)
    assert order is not None
    return tuple(x.gather(axis, order) for x in xs)


def _top_k(x: torch.Tensor, *, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    order = torch.sort(_sort_key(x), dim=-1, stable=True, descending=True)[1][..., :k]
    return x.gather(-1, order), order


TABLE: dict[Any, Any] = {
    ops.reduce_sum: _simple(
        "sum", wide_unsigned(_reduce(lambda x, axes: torch.sum(x, axes, dtype=x.dtype)))
    ),
    ops.reduce_prod: wide_unsigned(_reduce(_prod)),
    ops.reduce_max: _simple("amax", ordered(_extreme(torch.amax, "max"))),
    ops.reduce_min: _simple("amin", ordered(_extreme(torch.amin, "min"))),
    ops.reduce_and: call(_reduce(torch.all)), ops.reduce_or: call(_reduce(torch.any)),
    ops.argmax: ordered(lambda x, *, axis: torch.argmax(x, axis)),
    ops.argmin: ordered(lambda x, *, axis: torch.argmin(x, axis)),
    ops.cumsum: wide_unsigned(_cum(lambda x, axis: torch.cumsum(x, axis, dtype=x.dtype))),
    ops.cumprod: wide_unsigned(_cum(lambda x, axis: torch.cumprod(x, axis, dtype=x.dtype))),
    ops.cummax: ordered(_cum(lambda x, axis: torch.cummax(x, axis)[0])),
    ops.cummin: ordered(_cum(lambda x, axis: torch.cummin(x, axis)[0])),
    ops.sort: ordered(_sort), ops.top_k: ordered(_top_k),
}  # fmt: skip

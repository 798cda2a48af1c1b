"""Reading an image at places between its pixels (Jaderberg et al. 2015, "Spatial transformer networks")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg

from ._types import cast


def _grid_sample(
    x: Any,
    grid: Any,
    interpolation_mode: int = 0,
    padding_mode: int = 0,
    align_corners: bool = False,
) -> Any:
    """Values of ``x [batch, channels, h, w]`` at ``grid [batch, *out, (x, y)]`` from -1 to 1."""
    sizes = x.shape[:1:-1]  # w, h: in the order of the grid's coordinates
    at = [_unscaled(grid[..., i], n, align_corners) for i, n in enumerate(sizes)]
    if interpolation_mode != 2:  # cubic goes inside with each of its sixteen
        at = [_inside(p, n, padding_mode, align_corners) for p, n in zip(at, sizes)]
    if interpolation_mode == 1:
        return _looked_up(x, mg.round(at[0]), mg.round(at[1]), padding_mode, align_corners)
    low = [mg.floor(p) for p in at]
    steps, kernel = ((0, 1), _hat_of) if interpolation_mode == 0 else ((-1, 0, 1, 2), _cubic_of)
    total = None
    for dy in steps:
        for dx in steps:
            weight = kernel(at[0] - low[0] - dx) * kernel(at[1] - low[1] - dy)
            value = _looked_up(x, low[0] + dx, low[1] + dy, padding_mode, align_corners)
            term = value * mg.expand_dims(weight, axis=1)
            total = term if total is None else total + term
    return total


def _hat_of(t: Any) -> Any:
    return 1 - mg.abs(t)


def _cubic_of(t: Any, a: float = -0.75) -> Any:
    t = mg.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    return mg.where(t <= 1, near, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a)


def _unscaled(p: Any, n: int, align: bool) -> Any:
    return (p + 1) / 2 * (n - 1) if align else ((p + 1) * n - 1) / 2


def _inside(p: Any, n: int, mode: int, align: bool) -> Any:
    """A place outside, at the edge (1) or mirrored (2); 0 leaves it."""
    if mode == 2:
        low, span = (0.0, n - 1) if align else (-0.5, n)
        if not span:
            return mg.zeros_like(p)
        far = mg.abs(p - low)
        turns, rest = mg.floor(far / span), mg.ops.remainder(far, mg.full_like(far, span))
        p = mg.where(mg.remainder(turns, 2.0) == 0, rest + low, span - rest + low)
    return mg.clip(p, 0.0, n - 1.0) if mode else p


def _looked_up(x: Any, px: Any, py: Any, mode: int, align: bool) -> Any:
    batch, channels, h, w = x.shape
    px, py = _inside(px, w, mode, align), _inside(py, h, mode, align)
    valid = mg.logical_and(
        mg.logical_and(px >= 0, px <= w - 1), mg.logical_and(py >= 0, py <= h - 1)
    )
    ix, iy = (cast(mg.where(valid, p, 0.0), "int64") for p in (px, py))
    rows = mg.reshape(iy * w + ix, (batch, 1, -1))
    flat = mg.take_along_axis(mg.reshape(x, (batch, channels, h * w)), rows, axis=2)
    out = mg.reshape(flat, (batch, channels, *px.shape[1:]))
    return mg.where(mg.expand_dims(valid, axis=1), out, 0.0)


RULES: dict[str, Callable] = {"grid_sampler_2d": _grid_sample, "grid_sampler": _grid_sample}

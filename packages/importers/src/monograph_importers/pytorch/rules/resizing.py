"""Interpolation. Where a result looks is known from the sizes: resizing is a product with a matrix per axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ._types import cast


def _sizes(x: Any, n: int, output_size: Any, scale_factors: Any) -> tuple[list[int], list[float | None]]:
    given = list(scale_factors) if scale_factors else [None] * n
    if output_size is not None:
        return list(output_size), [None] * n
    return [int(np.floor(s * f)) for s, f in zip(x.shape[-n:], given)], given


def _source(size: int, count: int, factor: float | None, align: bool) -> np.ndarray:
    """The place in the source of each of ``count`` results, halves of pixels at their middle."""
    i = np.arange(count, dtype=np.float32)
    if align:
        return i * np.float32((size - 1) / (count - 1) if count > 1 else 0)
    scale = np.float32(1 / factor if factor else size / count)
    return (i + np.float32(0.5)) * scale - np.float32(0.5)


def _nearest(n: int, exact: bool = False) -> Callable:
    def rule(x: Any, output_size: Any, scale_factors: Any = None, *scales: Any) -> Any:
        if not isinstance(scale_factors, list):
            scale_factors = [scale_factors, *scales] if scale_factors else None
            counts, factors = list(output_size), scale_factors or [None] * n
        else:
            counts, factors = _sizes(x, n, output_size, scale_factors)
        for i, (count, f) in enumerate(zip(counts, factors)):
            a = x.ndim - n + i
            size, step = x.shape[a], np.arange(count, dtype=np.float32) + np.float32(exact / 2)
            place = np.floor(step * np.float32(1 / f if f else size / count)).astype(np.int64)
            x = mg.take(x, np.minimum(place, size - 1), axis=a)
        return x

    return rule


def _hat(t: np.ndarray) -> np.ndarray:
    return np.maximum(0, 1 - np.abs(t))


def _cubic(t: np.ndarray, a: float = -0.75) -> np.ndarray:
    t = np.abs(t)
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return np.where(t <= 1, near, np.where(t < 2, far, 0))


def _weights(size: int, place: np.ndarray, kernel: Callable, reach: int) -> np.ndarray:
    """``[count, size]``: how much each source counts; beyond the edge stands the edge."""
    out = np.zeros((len(place), size))
    first = np.floor(place).astype(int) - reach + 1
    for k in range(2 * reach):
        at = np.clip(first + k, 0, size - 1)
        np.add.at(out, (np.arange(len(place)), at), kernel(place - (first + k)))
    return out


def _smooth(n: int, kernel: Callable, reach: int) -> Callable:
    def rule(x: Any, output_size: Any, align_corners: bool, *scales: Any) -> Any:
        listed = scales and isinstance(scales[0], list)
        factors = scales[0] if listed else list(scales) if any(scales) else None
        counts, found = _sizes(x, n, output_size, factors)
        if output_size is not None and factors and not listed:
            found = factors
        for i, (count, f) in enumerate(zip(counts, found)):
            a = x.ndim - n + i
            place = _source(x.shape[a], count, f, align_corners)
            if reach == 1 and not align_corners:
                place = np.maximum(place, 0)
            w = _weights(x.shape[a], place, kernel, reach).astype(x.dtype.compute.numpy)
            x = mg.moveaxis(mg.tensordot(x, cast(mg.asarray(w), x.dtype), axes=((a,), (1,))), -1, a)
        return x

    return rule


def _grid_sample(
    x: Any, grid: Any, interpolation_mode: int = 0, padding_mode: int = 0, align_corners: bool = False
) -> Any:
    """Values of ``x [batch, channels, h, w]`` at ``grid [batch, *out, (x, y)]`` from -1 to 1."""
    sizes = x.shape[:1:-1]  # w, h: in the order of the grid's coordinates
    at = [_unscaled(grid[..., i], n, align_corners) for i, n in enumerate(sizes)]
    if padding_mode or interpolation_mode == 2:
        if interpolation_mode != 2:
            at = [_inside(p, n, padding_mode, align_corners) for p, n in zip(at, sizes)]
    if interpolation_mode == 1:
        return _looked_up(x, *[mg.round(p) for p in at], padding_mode, align_corners)
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


RULES: dict[str, Callable] = {
    **{f"upsample_nearest{n}d": _nearest(n) for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": _nearest(n, True) for n in (1, 2, 3)},
    "upsample_linear1d": _smooth(1, _hat, 1), "upsample_bilinear2d": _smooth(2, _hat, 1),
    "upsample_trilinear3d": _smooth(3, _hat, 1), "upsample_bicubic2d": _smooth(2, _cubic, 2),
    "grid_sampler_2d": _grid_sample, "grid_sampler": _grid_sample,
}  # fmt: skip

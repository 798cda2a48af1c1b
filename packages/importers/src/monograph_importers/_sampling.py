"""Reading arrays at places between their elements: linear and cubic interpolation, grids of places."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import monograph as mg
import numpy as np

Taps = list[tuple[Any, Any]]  # indices along an axis, and their weights


def linear(at: Any) -> Taps:
    """The two next to each place."""
    low = mg.floor(at)
    part = at - low
    return [(low, 1 - part), (low + 1, part)]


def cubic_weight(distance: Any, a: float) -> Any:
    """Keys' cubic convolution kernel (1981), as NumPy or ours."""
    xp = np if isinstance(distance, np.ndarray) else mg
    d = xp.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return xp.where(d <= 1, near, xp.where(d < 2, far, 0 * d))


def _cubic(at: Any) -> Taps:
    low = mg.floor(at)
    return [(low + i, cubic_weight(at - (low + i), -0.75)) for i in (-1, 0, 1, 2)]


def _nearest(at: Any) -> Taps:
    there = mg.round(at)
    return [(there, mg.ones_like(there))]


def _reflected(at: Any, low: float, high: float) -> Any:
    """Mirrored at both ends until it is between them."""
    span = high - low
    if span <= 0:
        return mg.zeros_like(at)
    gone = mg.remainder(at - low, 2 * span)
    return low + mg.where(gone > span, 2 * span - gone, gone)


def parts(x: Any, taps: Sequence[Taps]) -> Iterator[tuple[Any, Any]]:
    """What each combination of taps sees ``[batch, channels, *places]``, and its weight."""
    wide = mg.moveaxis(x, 1, -1)
    for combination in itertools.product(*taps):
        shape = np.broadcast_shapes(*[mg.Spec.of(i).shape for i, _ in combination])
        rows = np.arange(x.shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        seen = wide[(rows, *[mg.astype(i, mg.int64) for i, _ in combination])]
        weight = functools.reduce(lambda a, b: a * b, [w for _, w in combination])
        yield mg.moveaxis(seen, -1, 1), mg.expand_dims(weight, axis=1)


def inside(taps: Taps, length: int) -> Taps:
    """Taps beyond the ends count nothing."""
    return [
        (mg.clip(i, 0, length - 1), mg.where(mg.logical_or(i < 0, i > length - 1), 0, w)) for i, w in taps
    ]  # fmt: skip


def total(parts: Iterator[tuple[Any, Any]]) -> Any:
    """What is seen, weighed and added up."""
    return functools.reduce(
        lambda a, b: a + b, [seen * mg.astype(w, seen.dtype) for seen, w in parts]
    )


def bilinear(x: Any, rows: Any, columns: Any) -> Any:
    """``x [batch, channels, height, width]`` at places ``[batch, ...]``; zero outside."""
    taps = [inside(linear(at), n) for at, n in zip((rows, columns), x.shape[2:])]
    return total(parts(x, taps))


MODES = {
    "linear": linear, "bilinear": linear, "nearest": _nearest, "cubic": _cubic, "bicubic": _cubic,
}  # fmt: skip


def grid_sample(
    x: Any, grid: Any, *, align_corners: int = 0, mode: str = "linear", padding_mode: str = "zeros",
    as_pytorch: bool = False,
) -> Any:  # fmt: skip
    """``x [batch, channels, *spatial]`` at places ``grid [batch, *places, axes]`` from -1 to 1, last axis first.

    Jaderberg et al. 2015. A place beyond an edge is brought inside; ONNX rounds to the nearest element
    before that, and brings inside whatever is read. PyTorch (``as_pytorch``) rounds after it, and in cubic
    mode brings inside each of the elements that count, not the place.
    """
    x, grid = mg.asarray(x), mg.asarray(grid)
    spatial, taps = x.shape[2:], []
    for a, n in enumerate(spatial):
        at = grid[..., len(spatial) - 1 - a]
        at = (at + 1) / 2 * (n - 1) if align_corners else ((at + 1) * n - 1) / 2
        low, high = (0.0, n - 1.0) if align_corners else (-0.5, n - 0.5)
        if mode == "nearest" and not as_pytorch:
            at = mg.round(at)
        if not (as_pytorch and mode == "cubic"):
            if padding_mode == "border":
                at = mg.clip(at, 0, n - 1)
            elif padding_mode == "reflection":
                at = _reflected(at, low, high)
        found = MODES[mode](at)
        if padding_mode == "reflection":
            found = [(_reflected(i, low, high), w) for i, w in found]
        elif padding_mode == "border":
            found = [(mg.clip(i, 0, n - 1), w) for i, w in found]
        taps.append(
            inside(found, n)
            if padding_mode == "zeros"
            else [(mg.clip(i, 0, n - 1), w) for i, w in found]
        )
    return total(parts(x, taps))


def matrix(
    at: np.ndarray, n: int, cubic: bool, a: float = -0.75, stretch: float = 1.0,
    within: bool = False,
) -> np.ndarray:  # fmt: skip
    """How much each of ``n`` elements counts at each place ``at``, ``[places, n]``: to be multiplied with.

    Beyond the edge stands the edge. ``stretch`` below 1 widens the kernel, ``within`` leaves out what is
    beyond the ends.
    """
    reach = math.ceil((2 if cubic else 1) / stretch)
    taps = np.floor(at)[:, None] + np.arange(1 - reach, reach + 1)
    distance = (taps - at[:, None]) * stretch
    weights = cubic_weight(distance, a) if cubic else np.clip(1 - np.abs(distance), 0, 1)
    if within:
        weights = np.where((taps < 0) | (taps > n - 1), 0, weights)
    weights = weights / weights.sum(axis=1, keepdims=True)
    out = np.zeros((len(at), n))
    np.add.at(out, (np.arange(len(at))[:, None], np.clip(taps, 0, n - 1).astype(int)), weights)
    return out

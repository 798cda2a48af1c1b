"""Interpolation. Where a result looks is known from the sizes: resizing is a product with a matrix per axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ..._sampling import matrix
from ._types import cast, made


def _sizes(
    x: Any, n: int, output_size: Any, scale_factors: Any
) -> tuple[list[int], list[float | None]]:
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
            size, step = (
                x.shape[a],
                np.arange(*made(count), dtype=np.float32) + np.float32(exact / 2),
            )
            place = np.floor(step * np.float32(1 / f if f else size / count)).astype(np.int64)
            x = mg.take(x, np.minimum(place, size - 1), axis=a)
        return x

    return rule


def _smooth(n: int, cubic: bool = False) -> Callable:
    def rule(x: Any, output_size: Any, align_corners: bool, *scales: Any) -> Any:
        listed = scales and isinstance(scales[0], list)
        factors = scales[0] if listed else list(scales) if any(scales) else None
        counts, found = _sizes(x, n, output_size, factors)
        if output_size is not None and factors and not listed:
            found = factors
        for i, (count, f) in enumerate(zip(counts, found)):
            a = x.ndim - n + i
            made(count, x.shape[a])
            place = _source(x.shape[a], count, f, align_corners)
            if not cubic and not align_corners:
                place = np.maximum(place, 0)
            w = matrix(place, x.shape[a], cubic).astype(x.dtype.compute.numpy)
            x = mg.moveaxis(mg.tensordot(x, cast(mg.asarray(w), x.dtype), axes=((a,), (1,))), -1, a)
        return x

    return rule


RULES: dict[str, Callable] = {
    **{f"upsample_nearest{n}d": _nearest(n) for n in (1, 2, 3)},
    **{f"_upsample_nearest_exact{n}d": _nearest(n, True) for n in (1, 2, 3)},
    "upsample_linear1d": _smooth(1), "upsample_bilinear2d": _smooth(2),
    "upsample_trilinear3d": _smooth(3), "upsample_bicubic2d": _smooth(2, cubic=True),
}  # fmt: skip

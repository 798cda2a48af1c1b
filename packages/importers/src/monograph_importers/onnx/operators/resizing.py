"""Resize: an axis at a time, by a matrix of weights that the lengths decide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import monograph as mg
import numpy as np

from ..._sampling import matrix
from ..interpret import sized
from ..rules import rule
from .shapes import ints


def _places(mode: str, n: int, out: int, scale: float, roi: Sequence[float]) -> np.ndarray:
    """Where each element of the result lies along an axis of length ``n``."""
    i, wide = np.arange(out, dtype=np.float64), scale * n
    if mode == "align_corners":
        return i * 0 if out == 1 else i * (n - 1) / (wide - 1)
    if mode == "asymmetric":
        return i / scale
    if mode == "tf_crop_and_resize":
        first, last = roi
        inner = (
            (last - first) * (n - 1) / 2 + 0 * i
            if out == 1
            else i * (last - first) * (n - 1) / (wide - 1)
        )
        return inner + first * (n - 1)
    if mode == "tf_half_pixel_for_nn":
        return (i + 0.5) / scale
    if mode == "pytorch_half_pixel" and out == 1:
        return i * 0
    shift = n / 2 * (1 - out / wide) if mode == "half_pixel_symmetric" else 0.0
    return shift + (i + 0.5) / scale - 0.5


_MODES = ("nearest", "linear", "cubic")
_TRANSFORMATIONS = (
    "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
    "tf_half_pixel_for_nn", "tf_crop_and_resize",
)  # fmt: skip
_NEAREST: dict[str, Any] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5), "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor, "ceil": np.ceil,
}  # fmt: skip


@rule(
    "Resize", since=11, known=(1, 2, 3), mode=_MODES, nearest_mode=_NEAREST,
    coordinate_transformation_mode=_TRANSFORMATIONS,
    keep_aspect_ratio_policy=("stretch", "not_larger", "not_smaller"),
)  # fmt: skip
def resize(
    x: Any, roi: Any = None, scales: Any = None, sizes: Any = None, *, antialias: int = 0, axes: Any = None,
    coordinate_transformation_mode: str = "half_pixel", cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0, extrapolation_value: float = 0.0, keep_aspect_ratio_policy: str = "stretch",
    mode: str = "nearest", nearest_mode: str = "round_prefer_floor",
) -> Any:  # fmt: skip
    """Images of another size, by the nearest pixel, linear or cubic interpolation."""
    x = mg.asarray(x)
    chosen = [a % x.ndim for a in axes] if axes is not None else list(range(x.ndim))
    lengths = [x.shape[a] for a in chosen]
    if sizes is not None and np.size(sizes):
        out = ints(sizes)
        factors = [m / n for m, n in zip(out, lengths)]
        if keep_aspect_ratio_policy != "stretch":
            one = (min if keep_aspect_ratio_policy == "not_larger" else max)(factors)
            factors, out = [one] * len(out), [int(one * n + 0.5) for n in lengths]
    else:
        factors = [float(s) for s in np.asarray(scales)]
        out = [int(np.float32(s) * np.float32(n)) for s, n in zip(factors, lengths)]
    sized(out)
    whole = np.asarray(roi, np.float64) if roi is not None and np.size(roi) else None
    crop = coordinate_transformation_mode == "tf_crop_and_resize" and whole is not None
    dtype = x.dtype
    if mode != "nearest" and not dtype.is_float:
        x = mg.astype(x, mg.float32)
    for k, (a, n, m, scale) in enumerate(zip(chosen, lengths, out, factors)):
        window = (whole[k], whole[k + len(out)]) if crop and whole is not None else (0.0, 1.0)
        if scale == 1 and n == m and window == (0.0, 1.0):
            continue
        at = _places(coordinate_transformation_mode, n, m, scale, window)
        gone = (at < 0) | (at > n - 1)
        if mode == "nearest":
            x = mg.take(x, np.clip(_NEAREST[nearest_mode](at), 0, n - 1).astype(np.int64), axis=a)
        else:
            stretch = min(scale, 1.0) if antialias else 1.0
            w = matrix(at, n, mode == "cubic", cubic_coeff_a, stretch, bool(exclude_outside))
            x = mg.moveaxis(mg.tensordot(x, w.astype(x.dtype.numpy), axes=([a], [1])), -1, a)
        if crop and gone.any():
            line = gone.reshape([-1 if i == a else 1 for i in range(x.ndim)])
            x = mg.where(line, np.asarray(extrapolation_value, x.dtype.numpy), x)
    if x.dtype is not dtype:
        info = np.iinfo(dtype.numpy)
        x = mg.astype(mg.clip(mg.round(x), info.min, info.max), dtype)
    return x


@rule("Resize", since=10, known=(1,), mode=_MODES)
def resize_10(x: Any, scales: Any, *, mode: str = "nearest") -> Any:
    """As above, before it could say how."""
    return resize(
        x,
        None,
        scales,
        coordinate_transformation_mode="asymmetric",
        mode=mode,
        nearest_mode="floor",
    )


rule("Upsample", since=9, known=(1,), mode=_MODES)(resize_10)


@rule("Upsample", since=7, mode=_MODES)
def upsample_7(x: Any, *, scales: Any, mode: str = "nearest") -> Any:
    """As above, with an attribute."""
    return resize_10(x, np.asarray(scales), mode=mode)

"""Reading images at places between their pixels, and boxes in images."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops

from ..._sampling import MODES, grid_sample, inside, linear, parts, total
from ..interpret import sized
from ..rules import rule

rule("GridSample", mode=MODES, padding_mode=("zeros", "border", "reflection"))(grid_sample)


@rule(
    "RoiAlign", mode=("avg", "max"),
    coordinate_transformation_mode=("half_pixel", "output_half_pixel"),
)  # fmt: skip
def roi_align(
    x: Any, rois: Any, rows: Any, *, coordinate_transformation_mode: str = "half_pixel", mode: str = "avg",
    output_height: int = 1, output_width: int = 1, sampling_ratio: int = 0, spatial_scale: float = 1.0,
) -> Any:  # fmt: skip
    """Boxes ``[n, 4]`` of images ``x`` as arrays of one size (He et al. 2017).

    Without a ``sampling_ratio`` each box has a number of samples of its own, so the boxes must be known.
    """
    x = mg.asarray(x)
    half = coordinate_transformation_mode == "half_pixel"
    edges = mg.asarray(rois) * spatial_scale - (0.5 if half else 0.0)
    first, size = edges[:, :2], edges[:, 2:] - edges[:, :2]
    size = size if half else mg.maximum(size, 1.0)
    picked = mg.take(x, rows, axis=0)
    out = (output_width, output_height)
    if sampling_ratio > 0:
        return _pooled(picked, first, size, out, [sampling_ratio] * 2, mode)
    if not isinstance(rois, np.ndarray):
        raise mg.errors.DataDependentShape(
            "RoiAlign without sampling_ratio needs boxes that are known"
        )
    counts = np.ceil(np.asarray(size) / np.asarray(out, np.float32)).astype(int)
    parts = [
        _pooled(picked[i : i + 1], first[i : i + 1], size[i : i + 1], out, counts[i].tolist(), mode)
        for i in range(len(rois))
    ]  # fmt: skip
    return mg.concat(parts, axis=0)


def _pooled(
    x: Any, first: Any, size: Any, out: Sequence[int], samples: Sequence[int], mode: str
) -> Any:
    """Boxes given by ``(x, y)``, with so many samples per cell."""
    taps = []
    sized([out[0] * samples[0], out[1] * samples[1], x.shape[0]])
    for a, n in ((1, x.shape[2]), (0, x.shape[3])):
        step = (np.arange(out[a] * samples[a]) + 0.5) / samples[a] / out[a]
        at = first[:, a : a + 1] + size[:, a : a + 1] * step.astype(x.dtype.numpy)
        gone = mg.logical_or(at < -1, at > n)
        taps.append(
            [(i, mg.where(gone, 0, w)) for i, w in inside(linear(mg.clip(at, 0, n - 1)), n)]
        )
    rows = [(mg.expand_dims(i, axis=2), mg.expand_dims(w, axis=2)) for i, w in taps[0]]
    columns = [(mg.expand_dims(i, axis=1), mg.expand_dims(w, axis=1)) for i, w in taps[1]]
    if mode == "avg":
        seen = total(parts(x, [rows, columns]))
    else:
        seen = functools.reduce(mg.maximum, [v * w for v, w in parts(x, [rows, columns])])
    seen = mg.reshape(seen, (*x.shape[:2], out[1], samples[1], out[0], samples[0]))
    return (mg.mean if mode == "avg" else mg.max)(seen, axis=(3, 5))


@rule("MaxRoiPool")
def max_roi_pool(
    x: Any, rois: Any, *, pooled_shape: Sequence[int], spatial_scale: float = 1.0
) -> Any:
    """The largest of each cell of boxes ``[n, 5]``, which start with their image's number (Girshick 2015)."""
    x, rois = mg.asarray(x), mg.asarray(rois)
    corners = ops.round_nearest_afz(rois[:, 1:] * spatial_scale)
    out = mg.take(x, mg.astype(rois[:, 0], mg.int64), axis=0)  # [n, channels, height, width]
    lowest = mg.full((), -math.inf, dtype=x.dtype)
    for axis, first, cells in ((2, 1, pooled_shape[0]), (3, 0, pooled_shape[1])):
        start, end = corners[:, first], corners[:, first + 2]
        step = mg.maximum(end - start + 1, 1) / cells
        line = np.arange(x.shape[axis], dtype=x.dtype.numpy)
        parts = []
        for i in range(cells):
            low = mg.expand_dims(mg.floor(step * i) + start, axis=1)
            high = mg.expand_dims(mg.ceil(step * (i + 1)) + start, axis=1)
            inside = mg.logical_and(line >= low, line < high)
            at = mg.reshape(inside, (-1, 1, *[x.shape[a] if a == axis else 1 for a in (2, 3)]))
            parts.append(mg.max(mg.where(at, out, lowest), axis=axis, keepdims=True))
        out = mg.concat(parts, axis=axis)
    return mg.where(out == lowest, 0, out)


@rule("NonMaxSuppression", known=(0, 1, 2, 3, 4))
def non_max_suppression(
    boxes: Any, scores: Any, most: Any = None, overlap: Any = None, least: Any = None, *,
    center_point_box: int = 0,
) -> np.ndarray:  # fmt: skip
    """``[n, 3]`` of batch, class and box: the best boxes that overlap with no better one of their class."""
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores)
    limit = 0 if most is None else int(np.asarray(most).item())
    shared = 0.0 if overlap is None else float(np.asarray(overlap).item())
    bar = -math.inf if least is None else float(np.asarray(least).item())
    if center_point_box:
        middle, half = boxes[..., :2], boxes[..., 2:] / 2
        low, high = middle - half, middle + half
    else:
        low = np.minimum(boxes[..., :2], boxes[..., 2:])
        high = np.maximum(boxes[..., :2], boxes[..., 2:])
    area = np.prod(high - low, axis=-1)
    found: list[tuple[int, int, int]] = []
    for b, c in np.ndindex(scores.shape[:2]):
        kept: list[int] = []
        for i in np.argsort(-scores[b, c], kind="stable"):
            if len(kept) >= limit or not scores[b, c, i] > bar:
                break
            common = np.prod(
                np.maximum(
                    np.minimum(high[b, kept], high[b, i]) - np.maximum(low[b, kept], low[b, i]), 0
                ),
                -1,
            )
            union = area[b, kept] + area[b, i] - common
            if not np.any((common > 0) & (common > shared * union)):
                kept.append(int(i))
        found += [(b, c, i) for i in kept]
    return np.asarray(found, np.int64).reshape(-1, 3)

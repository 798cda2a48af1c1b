"""Pooling over windows; ONNX's own layout, channels second."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph import ops

from ..rules import rule
from .convolutions import AUTO_PADS, edges
from .shapes import ints


class Windows(NamedTuple):
    """Windows over the spatial axes: sizes, steps, dilations, edges; ``extra`` is put after those by ceil_mode."""

    window: list[int]
    strides: list[int]
    dilations: list[int]
    padding: list[tuple[int, int]]
    extra: list[int]

    def whole(self, ceil: bool = True) -> dict[str, Any]:
        """The attributes of `ops.reduce_window_sum` for batch, channels and the spatial axes."""
        more = self.extra if ceil else [0] * len(self.extra)
        return {
            "window": (1, 1, *self.window), "strides": (1, 1, *self.strides),
            "padding": ((0, 0), (0, 0), *[(a, b + e) for (a, b), e in zip(self.padding, more)]),
            "base_dilation": (1,) * (len(self.window) + 2), "window_dilation": (1, 1, *self.dilations),
        }  # fmt: skip


def _windows(
    shape: Sequence[int], kernel_shape: Any, strides: Any, dilations: Any, auto_pad: str, pads: Any,
    ceil_mode: int,
) -> Windows:  # fmt: skip
    n = len(shape)
    strides, dilations = list(strides or [1] * n), list(dilations or [1] * n)
    reach = [(w - 1) * d + 1 for w, d in zip(kernel_shape, dilations)]
    padding = edges(auto_pad, pads, shape, reach, strides)
    extra = [0] * n
    if ceil_mode:
        for a, (m, r, s, (low, high)) in enumerate(zip(shape, reach, strides, padding)):
            room = m + low + high - r
            last = -(-room // s) * s
            if last < m + low:  # a window that starts behind the array is none
                extra[a] = max(last - room, 0)
    return Windows(list(kernel_shape), strides, dilations, padding, extra)


@rule("MaxPool", auto_pad=AUTO_PADS)
def max_pool(
    x: Any, *, kernel_shape: Any, strides: Any = None, dilations: Any = None, auto_pad: str = "NOTSET",
    pads: Any = None, ceil_mode: int = 0, storage_order: int = 0, outputs: int = 1,
) -> Any:  # fmt: skip
    """The largest of each window, and its position in the array."""
    x = mg.asarray(x)
    w = _windows(x.shape[2:], kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    if outputs == 1 and all(d == 1 for d in w.dilations):
        return ops.reduce_window_max(x, **w.whole())
    parts, places = _taps(x, w, storage_order)
    best = mg.argmax(parts, axis=-1, keepdims=True)
    pick = lambda v: mg.squeeze(mg.take_along_axis(v, best, axis=-1), axis=-1)  # noqa: E731
    return pick(parts), pick(mg.broadcast_to(places, parts.shape))


def _taps(x: Any, w: Windows, storage_order: int) -> tuple[Any, Any]:
    """What each place in the window sees, on a new last axis, and its flat position in ``x``."""
    spatial = x.shape[2:]
    whole = w.whole()
    low, high = ([p[i] for p in whole["padding"]] for i in (0, 1))
    lowest = -math.inf if x.dtype.is_float else np.iinfo(x.dtype.numpy).min
    wide = ops.pad(x, mg.full((), lowest, dtype=x.dtype), low=low, high=high, interior=[0] * x.ndim)
    line = np.arange(math.prod(spatial)).reshape(spatial, order="F" if storage_order else "C")
    rows = np.arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], *[1] * len(spatial))
    flat = np.pad(line, list(zip(low[2:], high[2:])))
    counts = [
        (m - (k - 1) * d - 1) // s + 1
        for m, k, d, s in zip(wide.shape[2:], w.window, w.dilations, w.strides)
    ]  # fmt: skip
    seen, places = [], []
    for at in itertools.product(*map(range, w.window)):
        cut = tuple(
            slice(i * d, i * d + (c - 1) * s + 1, s)
            for i, d, c, s in zip(at, w.dilations, counts, w.strides)
        )
        seen.append(wide[(slice(None), slice(None), *cut)])
        places.append(rows * line.size + flat[cut])
    return mg.stack(seen, axis=-1), np.stack(places, -1)


def _share(shape: Sequence[int], w: Windows, count_padding: int) -> Any:
    """How many elements each window counts, ``[1, 1, *windows]``."""
    low, high = ([p[i] if count_padding else 0 for p in w.padding] for i in (0, 1))
    ones = np.pad(np.ones(shape, np.float32), list(zip(low, high)), constant_values=1)
    rest = w if not count_padding else w._replace(padding=[(0, 0)] * len(shape))
    return ops.reduce_window_sum(mg.asarray(ones[None, None]), **rest.whole())


@rule("AveragePool", auto_pad=AUTO_PADS)
def average_pool(
    x: Any, *, kernel_shape: Any, strides: Any = None, dilations: Any = None, auto_pad: str = "NOTSET",
    pads: Any = None, ceil_mode: int = 0, count_include_pad: int = 0,
) -> Any:  # fmt: skip
    """The mean of each window, with or without what was put around."""
    x = mg.asarray(x)
    w = _windows(x.shape[2:], kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    total = ops.reduce_window_sum(x, **w.whole())
    return total / mg.astype(_share(x.shape[2:], w, count_include_pad), x.dtype)


@rule("LpPool", auto_pad=AUTO_PADS)
def lp_pool(
    x: Any, *, kernel_shape: Any, strides: Any = None, dilations: Any = None, auto_pad: str = "NOTSET",
    pads: Any = None, ceil_mode: int = 0, p: int = 2,
) -> Any:  # fmt: skip
    """The p-norm of each window."""
    x = mg.asarray(x)
    w = _windows(x.shape[2:], kernel_shape, strides, dilations, auto_pad, pads, ceil_mode)
    return mg.pow(ops.reduce_window_sum(mg.pow(mg.abs(x), p), **w.whole()), 1 / p)


def _globally(fn: Any) -> Any:
    def pool(x: Any) -> Any:
        x = mg.asarray(x)
        return fn(x, axis=tuple(range(2, x.ndim)), keepdims=True)

    return pool


rule("GlobalAveragePool")(_globally(mg.mean))
rule("GlobalMaxPool")(_globally(mg.max))


@rule("GlobalLpPool")
def global_lp_pool(x: Any, *, p: int = 2) -> Any:
    """The p-norm over all spatial axes."""
    return mg.pow(_globally(mg.sum)(mg.pow(mg.abs(x), p)), 1 / p)


@rule("MaxUnpool", known=(2,))
def max_unpool(
    x: Any,
    places: Any,
    output_shape: Any = None,
    *,
    kernel_shape: Any,
    pads: Any = None,
    strides: Any = None,
) -> Any:
    """Each element put back where `max_pool` found it, zeros elsewhere."""
    x = mg.asarray(x)
    n = x.ndim - 2
    strides, pads = strides or [1] * n, pads or [0] * 2 * n
    small = [
        (m - 1) * s - pads[a] - pads[a + n] + k
        for a, (m, s, k) in enumerate(zip(x.shape[2:], strides, kernel_shape))
    ]  # fmt: skip
    inner = (*x.shape[:2], *small)
    whole = inner if output_shape is None else tuple(ints(output_shape))
    # positions count within the array of the windows' own size, a given shape only adds to it
    flat = mg.reshape(mg.asarray(places), (-1,))
    if whole != inner:
        index = []
        for m in inner[::-1]:
            index.append(mg.remainder(flat, m))
            flat = mg.floor_divide(flat, m)
        return mg.zeros(whole, dtype=x.dtype).at[tuple(index[::-1])].set(mg.reshape(x, (-1,)))
    out = mg.zeros((math.prod(whole),), dtype=x.dtype).at[flat].set(mg.reshape(x, (-1,)))
    return mg.reshape(out, whole)

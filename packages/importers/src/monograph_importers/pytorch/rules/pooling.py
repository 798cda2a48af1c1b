"""Pooling: windows over the last axes, channels first as in torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ._types import made
from .convolution import backward, several


def _geometry(
    sizes: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, ceil: bool
) -> list[tuple]:
    """Per spatial axis: window, stride, padding before and after, dilation, how many windows."""
    out = []
    for n, k, s, p, d in zip(sizes, kernel, stride, padding, dilation):
        reach, rest = d * (k - 1) + 1, n + 2 * p - d * (k - 1) - 1
        count = (-(-rest // s) if ceil else rest // s) + 1
        if ceil and (count - 1) * s >= n + p:  # a window must start inside
            count -= 1
        after = max(0, (count - 1) * s + reach - n - p)
        out.append((k, s, p, after, d, count))
    return out


def _reduce(op: Any, x: Any, geometry: list[tuple]) -> Any:
    lead = x.ndim - len(geometry)
    # what is behind the last window is cut: a window op would start one more there
    x = x[(..., *(slice((c - 1) * s + d * (k - 1) + 1 - p) for k, s, p, _, d, c in geometry))]
    k, s, p, after, d, _ = zip(*geometry)
    ones = (1,) * lead
    return op(
        x, window=ones + k, strides=ones + s, padding=((0, 0),) * lead + tuple(zip(p, after)),
        base_dilation=(1,) * x.ndim, window_dilation=ones + d,
    )  # fmt: skip


def _windows(sizes: Any, geometry: list[tuple]) -> np.ndarray:
    """The position in the plane of each window's elements ``[*windows, elements]``; -1 is padding."""
    place = np.zeros((1,) * (2 * len(sizes)), np.int64)
    outside = np.zeros_like(place, bool)
    made(*(g[0] * g[5] for g in geometry))
    for i, (n, (k, s, p, _, d, count)) in enumerate(zip(sizes, geometry)):
        at = np.arange(count)[:, None] * s - p + np.arange(k) * d
        shape = [1] * (2 * len(sizes))
        shape[i], shape[len(sizes) + i] = at.shape
        at = at.reshape(shape)
        place, outside = place * n + at, outside | (at < 0) | (at >= n)
    counts = [g[-1] for g in geometry]
    return np.where(outside, -1, place).reshape(*counts, -1)


def _max_pool(n: int, indices: bool) -> Callable:
    def rule(
        x: Any,
        kernel_size: Any,
        stride: Any = (),
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> Any:
        k = several(kernel_size, n)
        s = several(stride, n) if stride or isinstance(stride, int) else k
        sizes = x.shape[-n:]
        d = several(dilation, n)
        g = _geometry(sizes, k, s, several(padding, n), d, ceil_mode)
        # of dilated windows the op here has no gradient; indices that nobody uses vanish
        where = _where_largest(x, _windows(sizes, g)) if indices or max(d) > 1 else None
        plain = max(d) == 1
        out = _reduce(mg.ops.reduce_window_max, x, g) if plain else _picked(x, where, n)
        return (out, where) if indices else out

    return rule


def _where_largest(x: Any, place: np.ndarray) -> Any:
    lead, n = x.ndim - place.ndim + 1, math.prod(x.shape[x.ndim - place.ndim + 1 :])
    flat = mg.stop_gradient(mg.reshape(x, (*x.shape[:lead], n)))
    seen = mg.where(place >= 0, mg.take(flat, np.maximum(place, 0), axis=lead), _lowest(x.dtype))
    best = mg.argmax(seen, axis=-1, keepdims=True)
    table = mg.broadcast_to(mg.asarray(place), seen.shape)
    return mg.squeeze(mg.take_along_axis(table, best, axis=-1), -1)


def _picked(x: Any, where: Any, n: int) -> Any:
    """The elements of each plane of ``x`` at these positions."""
    lead = x.shape[: x.ndim - n]
    flat, places = mg.reshape(x, (*lead, -1)), mg.reshape(where, (*lead, -1))
    return mg.reshape(mg.take_along_axis(flat, places, axis=len(lead)), where.shape)


def _lowest(dtype: Any) -> Any:
    return -mg.inf if dtype.is_float else int(np.iinfo(dtype.numpy).min)


def _avg_pool(n: int) -> Callable:
    def rule(
        x: Any, kernel_size: Any, stride: Any = (), padding: Any = 0, ceil_mode: bool = False,
        count_include_pad: bool = True, divisor_override: int | None = None,
    ) -> Any:  # fmt: skip
        k = several(kernel_size, n)
        s = several(stride, n) if stride or isinstance(stride, int) else k
        g = _geometry(x.shape[-n:], k, s, several(padding, n), [1] * n, ceil_mode)
        total = _reduce(mg.ops.reduce_window_sum, x, g)
        if divisor_override:
            return total / divisor_override
        count = np.ones((), np.int64)
        made(*(c for *_, c in g))
        for size, (w, step, p, _, _, c) in zip(x.shape[-n:], g):
            start = np.arange(c) * step - p
            if count_include_pad:
                here = np.minimum(start + w, size + p) - start
            else:
                here = np.minimum(start + w, size) - np.maximum(start, 0)
            count = count[..., None] * here
        return total / mg.asarray(count.astype(x.dtype.numpy))

    return rule


def _cells(size: int, count: int) -> list[range]:
    """What each of ``count`` cells of an adaptive pooling covers."""
    made(count)
    return [range(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def _adaptive_avg(n: int) -> Callable:
    def rule(x: Any, output_size: Any) -> Any:
        sizes = [s if o is None else o for o, s in zip(several(output_size, n), x.shape[-n:])]
        for i, count in enumerate(sizes):
            a = x.ndim - n + i
            size = x.shape[a]
            if size % count == 0:
                x = mg.mean(
                    mg.reshape(x, (*x.shape[:a], count, size // count, *x.shape[a + 1 :])),
                    axis=a + 1,
                )
                continue
            share = np.zeros(made(count, size), x.dtype.numpy)
            for row, cell in zip(share, _cells(size, count)):
                row[cell.start : cell.stop] = 1 / len(cell)
            x = mg.moveaxis(mg.tensordot(x, mg.asarray(share), axes=((a,), (1,))), -1, a)
        return x

    return rule


def _adaptive_max(n: int) -> Callable:
    def rule(x: Any, output_size: Any) -> tuple[Any, Any]:
        sizes, counts = x.shape[-n:], several(output_size, n)
        cells = [_cells(s, c) for s, c in zip(sizes, counts)]
        most = math.prod(max(map(len, axis)) for axis in cells)
        made(*counts, max(most, 256))  # each is looked for by Python
        place = np.full((*counts, most), -1, np.int64)
        for at in np.ndindex(*counts):
            inside = itertools.product(*(cells[i][j] for i, j in enumerate(at)))
            found = [int(np.ravel_multi_index(p, sizes)) for p in inside]
            place[at][: len(found)] = found
        where = _where_largest(x, place)
        return _picked(x, where, n), where

    return rule


def _avg_pool_backward(n: int) -> Callable:
    return lambda g, x, *how: backward(lambda v: _avg_pool(n)(v, *how), g, x)[0]


def _max_pool_backward(n: int) -> Callable:
    def rule(g: Any, x: Any, *how: Any) -> Any:
        indices, lead, sizes = how[-1], x.ndim - n, x.shape[-n:]
        rows = mg.reshape(g, (math.prod(x.shape[:lead]), -1))
        at = mg.reshape(indices, rows.shape)
        blank = mg.zeros((rows.shape[0], math.prod(sizes)), dtype=g.dtype)
        return mg.reshape(blank.at[np.arange(rows.shape[0])[:, None], at].add(rows), x.shape)

    return rule


def _adaptive_avg_backward(n: int) -> Callable:
    return lambda g, x: backward(lambda v: _adaptive_avg(n)(v, list(g.shape[-n:])), g, x)[0]


RULES: dict[str, Callable] = {
    **{f"max_pool{n}d": _max_pool(n, False) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _max_pool(n, True) for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices_backward": _max_pool_backward(n) for n in (2, 3)},
    **{f"avg_pool{n}d": _avg_pool(n) for n in (1, 2, 3)},
    **{f"avg_pool{n}d_backward": _avg_pool_backward(n) for n in (2, 3)},
    **{f"adaptive_avg_pool{n}d": _adaptive_avg(n) for n in (1, 2, 3)},
    **{f"_adaptive_avg_pool{n}d": _adaptive_avg(n) for n in (2, 3)},
    **{f"_adaptive_avg_pool{n}d_backward": _adaptive_avg_backward(n) for n in (2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_max(n) for n in (1, 2, 3)},
}

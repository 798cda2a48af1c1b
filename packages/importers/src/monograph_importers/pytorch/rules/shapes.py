"""Ops that move, repeat or join elements, and conversions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ._types import axis, cast, is_array, made, result_type


def _same(x: Any, *args: Any, **kwargs: Any) -> Any:
    return x


def _reshape(x: Any, size: Any) -> Any:
    return mg.reshape(x, tuple(size))


def _flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    a, b = axis(start_dim, x.ndim), axis(end_dim, x.ndim)
    return mg.reshape(x, (*x.shape[:a], math.prod(x.shape[a : b + 1]), *x.shape[b + 1 :]))


def _unflatten(x: Any, dim: int, sizes: Any) -> Any:
    a = axis(dim, x.ndim)
    known = math.prod(n for n in sizes if n != -1)
    return mg.reshape(
        x,
        (*x.shape[:a], *(x.shape[a] // known if n == -1 else n for n in sizes), *x.shape[a + 1 :]),
    )


def _expand(x: Any, size: Any, *, implicit: bool = False) -> Any:
    have = (1,) * (len(size) - x.ndim) + x.shape
    return mg.broadcast_to(x, tuple(h if n == -1 else n for h, n in zip(have, size)))


def _transpose(x: Any, dim0: int, dim1: int) -> Any:
    return mg.swapaxes(x, axis(dim0, x.ndim), axis(dim1, x.ndim)) if x.ndim else x


def _permute(x: Any, dims: Any) -> Any:
    return mg.permute_dims(x, tuple(axis(d, x.ndim) for d in dims))


def _turned(x: Any) -> Any:
    return mg.permute_dims(x, tuple(reversed(range(x.ndim))))


def _movedim(x: Any, source: Any, destination: Any) -> Any:
    return mg.moveaxis(x, source, destination)


def _squeeze(x: Any, dim: Any = None) -> Any:
    asked = range(x.ndim) if dim is None else [dim] if isinstance(dim, int) else dim
    gone = {axis(d, x.ndim) for d in asked}
    return mg.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in gone or n != 1))


def _unsqueeze(x: Any, dim: int) -> Any:
    return mg.expand_dims(x, axis=dim % (x.ndim + 1))


def part(x: Any, dim: int, start: int | None = None, end: int | None = None, step: int = 1) -> Any:
    """The key of a slice along one axis."""
    return (*[slice(None)] * axis(dim, x.ndim), slice(start, end, step))


def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return x[part(x, dim, start, end, step)]


def _select(x: Any, dim: int, index: int) -> Any:
    return x[(*[slice(None)] * axis(dim, x.ndim), int(index))]


def _narrow(x: Any, dim: int, start: int, length: int) -> Any:
    start = start if start >= 0 else start + x.shape[dim]
    return _slice(x, dim, start, start + length)


_PIECE = 256  # numbers that a tensor of a list counts as: it is a node of the graph


def _pieces(x: Any, sizes: Any, dim: int = 0) -> list[Any]:
    ends = np.cumsum(sizes).tolist()
    return [_slice(x, dim, e - n, e) for n, e in zip(sizes, ends)]


def _split(x: Any, split_size: Any, dim: int = 0) -> list[Any]:
    if isinstance(split_size, list):
        return _pieces(x, split_size, dim)
    n = x.shape[dim]
    if split_size:
        made(n // split_size, _PIECE)
    return _pieces(x, [min(split_size, n - i) for i in range(0, n, split_size)] or [0], dim)


def _chunk(x: Any, chunks: int, dim: int = 0) -> list[Any]:
    return _split(x, max(1, -(-x.shape[dim] // chunks)), dim)


def _unbind(x: Any, dim: int = 0) -> list[Any]:
    made(x.shape[dim], _PIECE)
    return [_select(x, dim, i) for i in range(x.shape[dim])]


def _joined(tensors: Any) -> list[Any]:
    d = result_type(*tensors)
    return [cast(t, d) for t in tensors]


def _cat(tensors: Any, dim: int = 0) -> Any:
    # torch lets an empty 1-d tensor stand beside any shape
    kept = [t for t in tensors if t.shape != (0,)] or tensors[:1]
    kept = [cast(t, result_type(*tensors)) for t in kept]
    return mg.concat(kept, axis=axis(dim, kept[0].ndim))


def _stack(tensors: Any, dim: int = 0) -> Any:
    return mg.stack(_joined(tensors), axis=dim)


def _repeat(x: Any, repeats: Any) -> Any:
    return mg.tile(x, tuple(repeats)) if repeats else x


def _repeat_interleave(
    x: Any, repeats: Any, dim: int | None = None, *, output_size: Any = None
) -> Any:
    return mg.repeat(x if dim is not None else mg.reshape(x, (-1,)), repeats, axis=dim or 0)


def _flip(x: Any, dims: Any) -> Any:
    return mg.flip(x, axis=tuple(axis(d, x.ndim) for d in dims)) if dims else x


def _roll(x: Any, shifts: Any, dims: Any = ()) -> Any:
    return mg.roll(x, tuple(shifts) if dims else shifts[0], axis=tuple(dims) or None)


def _diagonal_places(x: Any, offset: int, dim1: int, dim2: int) -> tuple[Any, tuple]:
    """The two axes last, and the key of the diagonal there."""
    a, b = axis(dim1, x.ndim), axis(dim2, x.ndim)
    n = max(0, min(x.shape[a] + min(offset, 0), x.shape[b] - max(offset, 0)))
    i = np.arange(*made(n))
    return mg.moveaxis(x, (a, b), (-2, -1)), (..., i - min(offset, 0), i + max(offset, 0))


def _diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    x, key = _diagonal_places(x, offset, dim1, dim2)
    return x[key]


def _diagonal_scatter(x: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    moved, key = _diagonal_places(x, offset, dim1, dim2)
    out = moved.at[key].set(cast(src, x.dtype))
    return mg.moveaxis(out, (-2, -1), (axis(dim1, x.ndim), axis(dim2, x.ndim)))


def _as_strided(x: Any, size: Any, stride: Any, storage_offset: Any = None) -> Any:
    # of a tensor that fills its memory in order, as exported programs have them
    place = np.full((), storage_offset or 0)
    made(*size)
    for n, s in zip(size, stride):
        place = place[..., None] + np.arange(n) * s
    return mg.take(mg.reshape(x, (-1,)), place, axis=0)


def _unfold(x: Any, dimension: int, size: int, step: int) -> Any:
    d = axis(dimension, x.ndim)
    made(x.shape[d])
    starts = np.arange(0, x.shape[d] - size + 1, step)
    made(len(starts), size)
    return mg.moveaxis(mg.take(x, starts[:, None] + np.arange(size), axis=d), d + 1, -1)


def _constant_pad(x: Any, pad: Any, value: Any = 0) -> Any:
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)][::-1]
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    low, high = zip(*pairs) if pairs else ((), ())
    fill = mg.asarray(value if value is not None else 0, dtype=x.dtype)
    return mg.ops.pad(x, fill, low=low, high=high, interior=(0,) * x.ndim)


def _indexed_pad(place: Callable) -> Callable:
    """Padding with elements of the tensor: ``place(i, n)`` says which stands at ``i`` outside."""

    def rule(x: Any, padding: Any) -> Any:
        for k in range(len(padding) // 2):
            d = x.ndim - 1 - k
            n = x.shape[d]
            made(padding[2 * k] + n + padding[2 * k + 1])
            where = np.arange(-padding[2 * k], n + padding[2 * k + 1])
            x = mg.take(x, place(where, n), axis=d)
        return x

    return rule


_reflect = _indexed_pad(lambda i, n: n - 1 - np.abs(n - 1 - np.abs(i)))
_replicate = _indexed_pad(lambda i, n: np.clip(i, 0, n - 1))
_circular = _indexed_pad(lambda i, n: i % n)


def _pad(x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    if mode == "constant":
        return _constant_pad(x, pad, value)
    return {"reflect": _reflect, "replicate": _replicate, "circular": _circular}[mode](x, pad)


def _pixel_shuffle(x: Any, upscale_factor: int) -> Any:
    *lead, c, h, w = x.shape
    r, n = upscale_factor, len(lead)
    x = mg.reshape(x, (*lead, c // r**2, r, r, h, w))
    x = mg.permute_dims(x, (*range(n), n, n + 3, n + 1, n + 4, n + 2))
    return mg.reshape(x, (*lead, c // r**2, h * r, w * r))


def _pixel_unshuffle(x: Any, downscale_factor: int) -> Any:
    *lead, c, h, w = x.shape
    r, n = downscale_factor, len(lead)
    x = mg.reshape(x, (*lead, c, h // r, r, w // r, r))
    x = mg.permute_dims(x, (*range(n), n, n + 2, n + 4, n + 1, n + 3))
    return mg.reshape(x, (*lead, c * r**2, h // r, w // r))


def _channel_shuffle(x: Any, groups: int) -> Any:
    n, c, *rest = x.shape
    return mg.reshape(mg.swapaxes(mg.reshape(x, (n, groups, c // groups, *rest)), 1, 2), x.shape)


def _slice_scatter(
    x: Any, src: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    return x.at[part(x, dim, start, end, step)].set(cast(src, x.dtype))


def _select_scatter(x: Any, src: Any, dim: int, index: int) -> Any:
    return x.at[(*[slice(None)] * axis(dim, x.ndim), int(index))].set(cast(src, x.dtype))


def _copy(x: Any, src: Any, non_blocking: bool = False) -> Any:
    return mg.broadcast_to(cast(src, x.dtype), x.shape)


def _to(x: Any, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
    """Every overload of ``to``: of its arguments only a dtype or another tensor's counts."""
    for a in args:
        dtype = a.dtype if is_array(a) else a if isinstance(a, str) else dtype
    return cast(x, dtype)


def _atleast(n: int) -> Callable:
    return lambda x: mg.reshape(x, (1,) * (n - x.ndim) + x.shape)


def _view_as_real(x: Any) -> Any:
    return mg.stack([mg.real(x), mg.imag(x)], axis=-1)


VIEWS: dict[str, Callable] = {
    "alias": _same, "chunk": _chunk, "contiguous": _same, "detach": mg.stop_gradient,
    "diagonal": _diagonal, "expand": _expand, "expand_as": lambda x, y: _expand(x, y.shape),
    "flatten": _flatten, "lift_fresh": _same, "linalg_diagonal": lambda x, *, offset=0, dim1=-2, dim2=-1:
        _diagonal(x, offset, dim1, dim2),
    "mT": lambda x: _transpose(x, -1, -2), "matrix_H": lambda x: mg.conj(_transpose(x, -1, -2)),
    "moveaxis": _movedim, "movedim": _movedim, "narrow": _narrow, "numpy_T": _turned,
    "permute": _permute, "positive": _same, "reshape": _reshape, "select": _select, "slice": _slice,
    "split": _split, "split_with_sizes": _pieces, "squeeze": _squeeze, "swapaxes": _transpose,
    "swapdims": _transpose, "t": _turned, "transpose": _transpose, "unbind": _unbind,
    "unflatten": _unflatten, "unfold": _unfold, "unsqueeze": _unsqueeze, "view": _reshape,
    "view_as": lambda x, y: _reshape(x, y.shape), "reshape_as": lambda x, y: _reshape(x, y.shape),
    "to": _to, "type_as": lambda x, y: cast(x, y.dtype), "as_strided": _as_strided,
}  # fmt: skip

RULES: dict[str, Callable] = {
    **VIEWS,
    **{f"{n}_copy": VIEWS[n] for n in ("alias", "detach", "diagonal", "expand", "permute", "select",
        "slice", "split_with_sizes", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view",
        "as_strided", "unfold")},
    "_to_copy": _to, "_unsafe_view": _reshape, "_reshape_alias": lambda x, size, stride: _reshape(x, size),
    "atleast_1d": _atleast(1), "atleast_2d": _atleast(2), "cat": _cat, "concat": _cat,
    "concatenate": _cat, "channel_shuffle": _channel_shuffle, "clone": _same,
    "constant_pad_nd": _constant_pad, "copy": _copy, "diagonal_scatter": _diagonal_scatter,
    "flip": _flip, "lift_fresh_copy": _same, "pad": _pad, "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle, "reflection_pad1d": _reflect, "reflection_pad2d": _reflect,
    "reflection_pad3d": _reflect, "replication_pad1d": _replicate, "replication_pad2d": _replicate,
    "replication_pad3d": _replicate, "repeat": _repeat, "repeat_interleave": _repeat_interleave,
    "roll": _roll, "select_scatter": _select_scatter, "slice_scatter": _slice_scatter,
    "stack": _stack, "tile": lambda x, dims: mg.tile(x, tuple(dims)),
    "tril": lambda x, diagonal=0: mg.tril(x, k=diagonal),
    "triu": lambda x, diagonal=0: mg.triu(x, k=diagonal), "view_as_real": _view_as_real,
    "view_as_complex": lambda x: mg.ops.complex_(x[..., 0], x[..., 1]),
}  # fmt: skip

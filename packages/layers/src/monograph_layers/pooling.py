"""Pooling over the spatial axes of ``[batch, *spatial, channels]``: windows, all, or a given number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import monograph as mg
import numpy as np

from ._rank import ranks
from .authoring import each, layer
from .convolution import spatial_axes


@layer
def max_pooling(
    scope: mg.Scope, x: Any, pool_size: int | Sequence[int] = 2, *, strides: Any = None,
    padding: Any = "valid",
) -> Any:  # fmt: skip
    """Largest of each window, as Keras's MaxPooling2D.

    Args:
        x: ``[batch, *spatial, channels]``.
        pool_size: window length, one for all axes or one each.
        strides: None: those of the windows, which then do not overlap.
        padding: ``"same"``, ``"valid"``, a number, or ``(low, high)`` per spatial axis.

    Returns:
        ``[batch, *spatial, channels]``.

    >>> call = mg.Store().bind(lambda s, x: max_pooling(s, x), engine="numpy")
    >>> call(mg.reshape(mg.arange(4.0), (1, 4, 1)))[0, :, 0].tolist()
    [1.0, 3.0]
    """
    window = each(
        scope, "max_pooling", "pool_size", pool_size, spatial_axes(scope, "max_pooling", x)
    )
    return mg.max_pool(x, window, strides=strides, padding=padding)


@layer
def average_pooling(
    scope: mg.Scope, x: Any, pool_size: int | Sequence[int] = 2, *, strides: Any = None,
    padding: Any = "valid",
) -> Any:  # fmt: skip
    """Mean of each window, as Keras's AveragePooling2D; what padding adds does not count.

    Args:
        x: ``[batch, *spatial, channels]``.
        pool_size: window length, one for all axes or one each.
        strides: None: those of the windows, which then do not overlap.
        padding: ``"same"``, ``"valid"``, a number, or ``(low, high)`` per spatial axis.

    Returns:
        ``[batch, *spatial, channels]``.

    >>> call = mg.Store().bind(lambda s, x: average_pooling(s, x, padding="same"), engine="numpy")
    >>> call(mg.reshape(mg.arange(5.0), (1, 5, 1)))[0, :, 0].tolist()
    [0.5, 2.5, 4.0]
    """
    n = spatial_axes(scope, "average_pooling", x)
    window = each(scope, "average_pooling", "pool_size", pool_size, n)
    return mg.avg_pool(x, window, strides=strides, padding=padding)


@layer
def global_max_pooling(scope: mg.Scope, x: Any, *, keepdims: bool = False) -> Any:
    """Largest over all spatial axes: ``[batch, *spatial, channels]`` to ``[batch, channels]``.

    Args:
        keepdims: whether the spatial axes stay, with length 1.

    >>> call = mg.Store().bind(global_max_pooling, engine="numpy")
    >>> call(mg.reshape(mg.arange(8.0), (1, 2, 2, 2))).tolist()
    [[6.0, 7.0]]
    """
    n = spatial_axes(scope, "global_max_pooling", x)
    return mg.max(x, axis=tuple(range(1, n + 1)), keepdims=keepdims)


@layer
def global_average_pooling(scope: mg.Scope, x: Any, *, keepdims: bool = False) -> Any:
    """Mean over all spatial axes: ``[batch, *spatial, channels]`` to ``[batch, channels]``.

    Args:
        keepdims: whether the spatial axes stay, with length 1.

    >>> call = mg.Store().bind(global_average_pooling, engine="numpy")
    >>> call(mg.reshape(mg.arange(8.0), (1, 2, 2, 2))).tolist()
    [[3.0, 4.0]]
    """
    n = spatial_axes(scope, "global_average_pooling", x)
    return mg.mean(x, axis=tuple(range(1, n + 1)), keepdims=keepdims)


@layer
def adaptive_max_pooling(scope: mg.Scope, x: Any, output_size: int | Sequence[int]) -> Any:
    """Largest of each of ``output_size`` windows that cover an axis, as PyTorch's AdaptiveMaxPool2d.

    Window ``i`` of ``m`` over ``n`` elements is ``floor(i * n / m) .. ceil((i + 1) * n / m)``.

    Args:
        x: ``[batch, *spatial, channels]``.
        output_size: length of the result, one for all axes or one each.

    >>> call = mg.Store().bind(lambda s, x: adaptive_max_pooling(s, x, 2), engine="numpy")
    >>> call(mg.reshape(mg.arange(5.0), (1, 5, 1)))[0, :, 0].tolist()
    [2.0, 4.0]
    """
    return _adaptive(scope, "adaptive_max_pooling", x, output_size, mg.max)


@layer
def adaptive_average_pooling(scope: mg.Scope, x: Any, output_size: int | Sequence[int]) -> Any:
    """Mean of each of ``output_size`` windows that cover an axis, as PyTorch's AdaptiveAvgPool2d.

    Window ``i`` of ``m`` over ``n`` elements is ``floor(i * n / m) .. ceil((i + 1) * n / m)``.

    Args:
        x: ``[batch, *spatial, channels]``.
        output_size: length of the result, one for all axes or one each.

    >>> call = mg.Store().bind(lambda s, x: adaptive_average_pooling(s, x, 2), engine="numpy")
    >>> call(mg.reshape(mg.arange(5.0), (1, 5, 1)))[0, :, 0].tolist()
    [1.0, 3.0]
    """
    return _adaptive(scope, "adaptive_average_pooling", x, output_size, mg.mean)


def _adaptive(
    scope: mg.Scope, name: str, x: Any, output_size: int | Sequence[int], reduce: Callable
) -> Any:
    """One axis after the other: windows are boxes."""
    n = spatial_axes(scope, name, x)
    for axis, size in enumerate(each(scope, name, "output_size", output_size, n), start=1):
        length, before, after = x.shape[axis], x.shape[:axis], x.shape[axis + 1 :]
        if length % size == 0:
            x = reduce(mg.reshape(x, (*before, size, length // size, *after)), axis=axis + 1)
            continue
        first = np.arange(size) * length // size
        count = -(-(np.arange(size) + 1) * length // size) - first
        place = np.arange(count.max())
        # a shorter window repeats its last element, which changes no maximum; the mean leaves it out
        index = first[:, None] + np.minimum(place, count[:, None] - 1)
        parts = mg.reshape(
            mg.take(x, mg.asarray(index.ravel().astype("int32")), axis=axis),
            (*before, *index.shape, *after),
        )
        if reduce is mg.mean:
            shape = (*index.shape, *(1,) * len(after))
            inside = mg.asarray(np.broadcast_to(place < count[:, None], index.shape).reshape(shape))
            counts = mg.asarray(count.reshape(-1, *(1,) * len(after)), dtype=x.dtype)
            x = mg.sum(mg.where(inside, parts, 0.0), axis=axis + 1) / counts
        else:
            x = reduce(parts, axis=axis + 1)
    return x


max_pooling1d, max_pooling2d, max_pooling3d = ranks(max_pooling, "max_pooling{}d")
average_pooling1d, average_pooling2d, average_pooling3d = ranks(
    average_pooling, "average_pooling{}d"
)
global_max_pooling1d, global_max_pooling2d, global_max_pooling3d = ranks(
    global_max_pooling, "global_max_pooling{}d"
)
global_average_pooling1d, global_average_pooling2d, global_average_pooling3d = ranks(
    global_average_pooling, "global_average_pooling{}d"
)
adaptive_max_pooling1d, adaptive_max_pooling2d, adaptive_max_pooling3d = ranks(
    adaptive_max_pooling, "adaptive_max_pooling{}d"
)
adaptive_average_pooling1d, adaptive_average_pooling2d, adaptive_average_pooling3d = ranks(
    adaptive_average_pooling, "adaptive_average_pooling{}d"
)

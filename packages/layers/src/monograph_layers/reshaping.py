"""Layers that only move elements: padding, cropping, flattening."""

from __future__ import annotations

import math
from typing import Any

import monograph as mg

from ._rank import ranks
from .authoring import layer, refuse
from .convolution import spatial_axes


@layer
def zero_padding(scope: mg.Scope, x: Any, padding: Any = 1) -> Any:
    """Zeros around the spatial axes of ``x [batch, *spatial, channels]``, as Keras's ZeroPadding2D.

    Args:
        padding: a number, or per spatial axis a number or ``(low, high)``; of one axis also
            ``(low, high)`` itself.

    >>> call = mg.Store().bind(lambda s, x: zero_padding(s, x, (1, 2)), engine="numpy")
    >>> call(mg.ones((1, 2, 1)))[0, :, 0].tolist()
    [0.0, 1.0, 1.0, 0.0, 0.0]
    """
    return mg.pad(x, ((0, 0), *_pairs(scope, "zero_padding", "padding", x, padding), (0, 0)))


@layer
def cropping(scope: mg.Scope, x: Any, cropping: Any = 1) -> Any:
    """The spatial axes of ``x [batch, *spatial, channels]`` without their ends, as Keras's Cropping2D.

    Args:
        cropping: a number, or per spatial axis a number or ``(low, high)``; of one axis also
            ``(low, high)`` itself.

    Raises:
        ShapeError: nothing is left of an axis.

    >>> call = mg.Store().bind(lambda s, x: cropping(s, x, (1, 2)), engine="numpy")
    >>> call(mg.reshape(mg.arange(5.0), (1, 5, 1)))[0, :, 0].tolist()
    [1.0, 2.0]
    """
    pairs = _pairs(scope, "cropping", "cropping", x, cropping)
    for axis, (low, high) in enumerate(pairs, start=1):
        if low + high >= x.shape[axis]:
            refuse(scope, "cropping", f"{low} + {high} leave nothing of axis {axis} of {x.shape}")
    cuts = [slice(low, n - high) for (low, high), n in zip(pairs, x.shape[1:])]
    return x[(slice(None), *cuts)]


@layer
def flatten(scope: mg.Scope, x: Any) -> Any:
    """All axes but the first as one: ``[batch, ...]`` to ``[batch, features]``.

    Raises:
        ShapeError: ``x`` is a scalar.

    >>> mg.Store().bind(flatten, engine="numpy")(mg.ones((2, 3, 4))).shape
    (2, 12)
    """
    if not x.ndim:
        refuse(scope, "flatten", f"needs an input with at least one axis, got {x.spec}")
    return mg.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


def _pairs(scope: mg.Scope, name: str, what: str, x: Any, value: Any) -> list[tuple[int, int]]:
    """``(low, high)`` per spatial axis."""
    n = spatial_axes(scope, name, x)
    entries = [value] * n if isinstance(value, int) else list(value)
    if n == 1 and len(entries) == 2:
        entries = [entries]
    out = [(e, e) if isinstance(e, int) else tuple(e) for e in entries]
    if len(out) != n or not all(len(e) == 2 and min(e) >= 0 for e in out):
        refuse(
            scope, name, f"{what}={value!r} must be a number, or a number or (low, high) for each of "
            f"the {n} spatial axes", mg.errors.ArgumentError,
        )  # fmt: skip
    return out


zero_padding1d, zero_padding2d, zero_padding3d = ranks(zero_padding, "zero_padding{}d")
cropping1d, cropping2d, cropping3d = ranks(cropping, "cropping{}d")

"""Images and sequences in another size: repeated, or interpolated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import monograph as mg
import numpy as np

from ._rank import ranks
from .authoring import each, layer, refuse
from .convolution import spatial_axes


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys's cubic with a = -0.5, as jax.image and TensorFlow; PyTorch's has -0.75."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(a: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(x < a, np.sinc(x) * np.sinc(x / a), 0.0)


KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bilinear": lambda x: np.maximum(1 - x, 0.0),
    "bicubic": _cubic,
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
}
"""Weight of an element by its distance, in elements (Keys 1981; Duchon 1979)."""


@layer
def up_sampling(
    scope: mg.Scope, x: Any, size: int | Sequence[int] = 2, *, interpolation: str = "nearest"
) -> Any:
    """The spatial axes ``size`` times as long, as Keras's UpSampling2D.

    Args:
        x: ``[batch, *spatial, channels]``.
        size: one factor for all axes or one each.
        interpolation: as of `resizing`; ``"nearest"`` repeats elements.

    Raises:
        ArgumentError: ``interpolation`` is none that there is.

    >>> call = mg.Store().bind(lambda s, x: up_sampling(s, x), engine="numpy")
    >>> call(mg.reshape(mg.arange(2.0), (1, 2, 1)))[0, :, 0].tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    factors = each(scope, "up_sampling", "size", size, spatial_axes(scope, "up_sampling", x))
    if interpolation == "nearest":
        for axis, factor in enumerate(factors, start=1):
            x = mg.repeat(x, factor, axis=axis)
        return x
    lengths = [n * factor for n, factor in zip(x.shape[1:], factors)]
    return _resized(scope, "up_sampling", x, lengths, interpolation, antialias=False)


@layer
def resizing(
    scope: mg.Scope, x: Any, height: int, width: int, *, interpolation: str = "bilinear",
    antialias: bool = False,
) -> Any:  # fmt: skip
    """Images ``[batch, height, width, channels]`` in another size, as Keras's Resizing.

    An element stands for the middle of its place (half-pixel centres). Interpolation weights add up
    to one at the edges too, as in `jax.image.resize`. Integers are rounded and stay integers.

    Args:
        interpolation: ``"nearest"``, ``"bilinear"``, ``"bicubic"``, ``"lanczos3"``, ``"lanczos5"``.
        antialias: whether to widen the interpolation where an axis shrinks, so that every element
            counts.

    Raises:
        ShapeError: ``x`` is no batch of images, or an axis of none can't be resized.
        ArgumentError: ``interpolation`` is none of these.

    >>> call = mg.Store().bind(lambda s, x: resizing(s, x, 1, 4), engine="numpy")
    >>> call(mg.reshape(mg.arange(2.0), (1, 1, 2, 1)))[0, 0, :, 0].tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    if x.ndim != 4:
        refuse(scope, "resizing", f"needs [batch, height, width, channels], got shape {x.shape}")
    lengths = each(scope, "resizing", "(height, width)", (height, width), 2)
    return _resized(scope, "resizing", x, lengths, interpolation, antialias)


def _resized(
    scope: mg.Scope, name: str, x: Any, lengths: Sequence[int], interpolation: str, antialias: bool
) -> Any:
    """One axis after the other, each by a matrix of weights or, for the nearest, by index."""
    if 0 in x.shape[1:-1]:
        refuse(scope, name, f"cannot resize an axis of length 0; the input is {x.spec}")
    if interpolation != "nearest" and interpolation not in KERNELS:
        refuse(
            scope, name, f"interpolation={interpolation!r} is none of nearest, "
            f"{', '.join(KERNELS)}", mg.errors.ArgumentError,
        )  # fmt: skip
    kept = x.dtype
    if interpolation != "nearest":
        x = mg.astype(x, kept.compute if kept.is_float else mg.float32)
    for axis, size in enumerate(lengths, start=1):
        length = x.shape[axis]
        if size == length:
            continue
        at = (np.arange(size) + 0.5) * length / size  # 0.5 is the middle of element 0
        if interpolation == "nearest":
            x = mg.take(x, mg.asarray(np.floor(at).astype("int32")), axis=axis)
            continue
        spread = max(length / size, 1.0) if antialias else 1.0
        weights = KERNELS[interpolation](np.abs(at[:, None] - np.arange(length) - 0.5) / spread)
        weights /= weights.sum(axis=1, keepdims=True)
        product = mg.tensordot(x, mg.asarray(weights, dtype=x.dtype), axes=([axis], [1]))
        x = mg.moveaxis(product, -1, axis)
    if not kept.is_float and interpolation != "nearest":
        limits = mg.iinfo(kept)
        x = mg.clip(mg.round(x), limits.min, limits.max)
    return mg.astype(x, kept)


up_sampling1d, up_sampling2d, up_sampling3d = ranks(up_sampling, "up_sampling{}d")

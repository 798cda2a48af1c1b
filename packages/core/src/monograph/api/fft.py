"""Fourier transforms: the array API's ``fft`` extension, 2024.12.

``norm`` says where the division by the number of elements goes: ``"backward"`` to the inverse
transform, ``"forward"`` to the forward one, ``"ortho"`` half (its root) to both. ``n`` and ``s`` are the
lengths transformed: axes are cut or padded with zeros at their end to them.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..dtypes import default_float, dtype as as_dtype
from ..errors import ArgumentError, DTypeError, ShapeError
from ..tracing import at_user_line
from ._common import asarray, axes_of, cast
from .creation import asarray as _made
from .elementwise import conj, floating
from .manipulation import moveaxis, roll

Axes = Sequence[int] | None

_NORMS = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}
_MOST = 3  # axes that one `ops.fft` takes


def _scaled(x: Array, norm: str, n: int, inverse: bool) -> Array:
    """The primitive divides in the inverse only; move the division to where ``norm`` wants it."""
    if norm not in _NORMS:
        raise at_user_line(ArgumentError(f"norm={norm!r} is none of {', '.join(_NORMS)}"))
    power = _NORMS[norm]
    if not power:
        return x
    return ops.multiply(x, ops.full(n ** (power if inverse else -power), x.spec))


def _lengths(x: Array, s: Sequence[int | None] | None, axes: Axes) -> tuple[list[int], list[int]]:
    """Axes from the front and the length of each; None for ``s`` means their own."""
    if axes is None:
        axes = range(x.ndim) if s is None else range(x.ndim - len(s), x.ndim)
    places = list(axes_of(tuple(axes), x.ndim, "axes"))
    if s is None:
        s = [None] * len(places)
    if len(s) != len(places):
        raise at_user_line(ArgumentError(f"s={tuple(s)} has {len(s)} lengths for axes {places}"))
    lengths = [x.shape[a] if n is None else operator.index(n) for a, n in zip(places, s)]
    return places, lengths


def _resized(x: Array, axes: Sequence[int], lengths: Sequence[int]) -> Array:
    """Each axis cut or filled up with zeros to its length."""
    high = [0] * x.ndim
    for a, n in zip(axes, lengths):
        if n < 1:
            raise at_user_line(
                ShapeError(f"fft needs at least one element along axis {a}; the length is {n}")
            )
        high[a] = n - x.shape[a]
    if not any(high):
        return x
    none = [0] * x.ndim
    return ops.pad(x, ops.full(0, x.spec.with_(())), low=none, high=high, interior=none)


def _transform(x: Array, kind: str, axes: Sequence[int], lengths: Sequence[int]) -> Array:
    """The primitive over any axes: those moved last, up to three at a time, and moved back."""
    if not axes:
        return x
    now, later = axes[-_MOST:], axes[:-_MOST]
    if kind == "IRFFT":  # the real side comes last
        x = _transform(x, "IFFT", later, lengths[:-_MOST])
    at = list(range(x.ndim - len(now), x.ndim))
    x = ops.fft(moveaxis(x, now, at), fft_type=kind, fft_length=lengths[-_MOST:])
    x = moveaxis(x, at, now)
    if kind == "IRFFT":
        return x
    return _transform(x, "FFT" if kind == "RFFT" else kind, later, lengths[:-_MOST])


def _plain(x: Any, kind: str, s: Any, axes: Axes, norm: str) -> Array:
    x = floating(x)
    x = cast(x, x.dtype.complex)
    places, lengths = _lengths(x, s, axes)
    out = _transform(_resized(x, places, lengths), kind, places, lengths)
    return _scaled(out, norm, math.prod(lengths), kind == "IFFT")


def _to_half(x: Any, s: Any, axes: Axes, norm: str) -> Array:
    x = floating(x)
    if x.dtype.is_complex:
        raise at_user_line(
            DTypeError(f"rfft needs real values, got {x.spec}; use fft for complex ones")
        )
    places, lengths = _lengths(x, s, axes)
    if not places:
        raise at_user_line(ArgumentError("rfftn needs at least one axis"))
    out = _transform(_resized(x, places, lengths), "RFFT", places, lengths)
    return _scaled(out, norm, math.prod(lengths), False)


def _from_half(x: Any, s: Any, axes: Axes, norm: str) -> Array:
    x = floating(x)
    x = cast(x, x.dtype.complex)
    places, lengths = _lengths(x, s, axes)
    if not places:
        raise at_user_line(ArgumentError("irfftn needs at least one axis"))
    if s is None or s[-1] is None:
        lengths[-1] = 2 * (lengths[-1] - 1)
    half = [*lengths[:-1], lengths[-1] // 2 + 1 if lengths[-1] > 0 else 0]
    out = _transform(_resized(x, places, half), "IRFFT", places, lengths)
    return _scaled(out, norm, math.prod(lengths), True)


def fft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
    """Discrete Fourier transform along ``axis``; of real numbers it is complex too.

    Raises:
        ShapeError: nothing to transform: the length is 0.
        ArgumentError: an unknown ``norm``.

    >>> import monograph as mg
    >>> mg.fft.fft(mg.tensor([1.0, 2.0, 3.0, 4.0])).tolist()
    [(10+0j), (-2+2j), (-2+0j), (-2-2j)]
    """
    return _plain(x, "FFT", (n,), (axis,), norm)


def ifft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
    """The inverse of `fft`."""
    return _plain(x, "IFFT", (n,), (axis,), norm)


def fftn(x: Any, /, s: Any = None, axes: Axes = None, norm: str = "backward") -> Array:
    """`fft` over several axes; all of them unless ``axes`` or ``s`` says otherwise."""
    return _plain(x, "FFT", s, axes, norm)


def ifftn(x: Any, /, s: Any = None, axes: Axes = None, norm: str = "backward") -> Array:
    """The inverse of `fftn`."""
    return _plain(x, "IFFT", s, axes, norm)


def rfft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
    """`fft` of real numbers: the ``n // 2 + 1`` bins of non-negative frequency.

    Raises:
        DTypeError: ``x`` is complex.
    """
    return _to_half(x, (n,), (axis,), norm)


def irfft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
    """The inverse of `rfft`; ``n`` (2 * (bins - 1) unless given) tells odd from even lengths."""
    return _from_half(x, (n,), (axis,), norm)


def rfftn(x: Any, /, s: Any = None, axes: Axes = None, norm: str = "backward") -> Array:
    """`rfft` over the last of ``axes``, `fft` over the others."""
    return _to_half(x, s, axes, norm)


def irfftn(x: Any, /, s: Any = None, axes: Axes = None, norm: str = "backward") -> Array:
    """The inverse of `rfftn`."""
    return _from_half(x, s, axes, norm)


_OPPOSITE = {"backward": "forward", "ortho": "ortho", "forward": "backward"}


def hfft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
    """`fft` of a signal with a real spectrum, given by its non-negative half; the result is real."""
    return _from_half(conj(floating(x)), (n,), (axis,), _OPPOSITE.get(norm, norm))


def ihfft(x: Any, /, n: int | None = None, axis: int = -1, norm: str = "backward") -> Array:
    """The inverse of `hfft`."""
    return conj(_to_half(x, (n,), (axis,), _OPPOSITE.get(norm, norm)))


def _frequencies(bins: np.ndarray, n: int, d: float, dtype: Any, device: Any) -> Array:
    wanted = default_float if dtype is None else as_dtype(dtype)
    if not wanted.is_float:
        raise at_user_line(DTypeError(f"frequencies are real floating numbers, not {wanted}"))
    return _made(bins / (n * d), dtype=wanted, device=device)


def fftfreq(n: int, /, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Array:
    """The frequency of each bin of `fft`, in cycles per unit of the sample spacing ``d``.

    >>> import monograph as mg
    >>> mg.fft.fftfreq(4).tolist()
    [0.0, 0.25, -0.5, -0.25]
    """
    _at_least_one(n)
    bins = np.concatenate([np.arange((n + 1) // 2), np.arange(-(n // 2), 0)])
    return _frequencies(bins, n, d, dtype, device)


def rfftfreq(n: int, /, d: float = 1.0, *, dtype: Any = None, device: Any = None) -> Array:
    """The frequency of each bin of `rfft`."""
    _at_least_one(n)
    return _frequencies(np.arange(n // 2 + 1), n, d, dtype, device)


def _at_least_one(n: int) -> None:
    if n < 1:
        raise at_user_line(ArgumentError(f"n={n}: frequencies need at least one bin"))


def fftshift(x: Any, /, axes: Any = None) -> Array:
    """Bins in the order of their frequency: 0 moves to the middle of each of ``axes``."""
    x = asarray(x)
    places = axes_of(axes, x.ndim, "axes")
    return roll(x, [x.shape[a] // 2 for a in places], axis=places)


def ifftshift(x: Any, /, axes: Any = None) -> Array:
    """The inverse of `fftshift`."""
    x = asarray(x)
    places = axes_of(axes, x.ndim, "axes")
    return roll(x, [-(x.shape[a] // 2) for a in places], axis=places)


__all__ = [
    "fft", "fftfreq", "fftn", "fftshift", "hfft", "ifft", "ifftn", "ifftshift", "ihfft", "irfft",
    "irfftn", "rfft", "rfftfreq", "rfftn",
]  # fmt: skip

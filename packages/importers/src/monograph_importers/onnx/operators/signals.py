"""Fourier transforms and what goes with them; complex numbers are a last axis of two."""

from __future__ import annotations

import math
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops

from ..rules import rule
from ..tensors import computable, storage
from .shapes import ints


def _complex(x: Any) -> Any:
    if x.shape[-1] == 1:
        return mg.squeeze(x, axis=-1)
    return ops.complex_(x[..., 0], x[..., 1])


def _pairs(z: Any) -> Any:
    return mg.stack([mg.real(z), mg.imag(z)], axis=-1)


def _dft(x: Any, length: Any, axis: int, inverse: int, onesided: int) -> Any:
    x = mg.asarray(x)
    a = axis % x.ndim
    dtype = x.dtype
    if dtype.bits < 32:
        x = mg.astype(x, mg.float32)
    back = 2 * (x.shape[a] - 1) if inverse and onesided else x.shape[a]
    n = back if length is None else ints(length)[0]
    z = _complex(x)
    if inverse and onesided:
        out = mg.expand_dims(mg.fft.irfft(_as_complex(z), n=n, axis=a), axis=-1)
    elif inverse:
        out = _pairs(mg.fft.ifft(_as_complex(z), n=n, axis=a))
    elif onesided and not z.dtype.is_complex:
        out = _pairs(mg.fft.rfft(z, n=n, axis=a))
    else:
        out = _pairs(mg.fft.fft(_as_complex(z), n=n, axis=a))
        if onesided:
            out = out[(slice(None),) * a + (slice(n // 2 + 1),)]
    return mg.astype(out, dtype)


def _as_complex(z: Any) -> Any:
    return z if z.dtype.is_complex else ops.complex_(z, mg.zeros_like(z))


@rule("DFT", since=20, known=(1, 2))
def dft(
    x: Any, length: Any = None, axis: Any = None, *, inverse: int = 0, onesided: int = 0
) -> Any:
    """The discrete Fourier transform along an axis, real input as a last axis of one."""
    return _dft(x, length, -2 if axis is None else ints(axis)[0], inverse, onesided)


@rule("DFT", since=17, known=(1,))
def dft_17(
    x: Any, length: Any = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0
) -> Any:
    """As above, with the axis as an attribute."""
    return _dft(x, length, axis, inverse, onesided)


@rule("STFT", known=(1, 3))
def stft(x: Any, step: Any, window: Any = None, length: Any = None, *, onesided: int = 1) -> Any:
    """Transforms of overlapping frames: ``[batch, signal, 1 or 2]`` to ``[batch, frames, bins, 2]``."""
    x, hop = mg.asarray(x), ints(step)[0]
    n = (
        ints(length)[0]
        if length is not None
        else mg.Spec.of(window).shape[0]
        if window is not None
        else x.shape[1]
    )
    frames = 1 + (x.shape[1] - n) // hop
    places = np.arange(frames)[:, None] * hop + np.arange(n)
    cut = mg.take(x, places, axis=1)  # [batch, frames, n, 1 or 2]
    if window is not None:
        cut = cut * mg.reshape(window, (n, 1))
    return _dft(cut, None, 2, 0, onesided)


@rule("MelWeightMatrix", known=(0, 1, 2, 3, 4), output_datatype=computable)
def mel_weight_matrix(
    bins: Any, length: Any, rate: Any, low: Any, high: Any, *, output_datatype: int = 1
) -> Any:
    """Triangles over the frequencies of a transform, evenly spaced in mels (as in TensorFlow): ``[frequencies, bins]``."""
    n, size, per = (ints(v)[0] for v in (bins, length, rate))
    if not 0 < n <= 2**16 or not 0 < size <= 2**24:
        raise mg.errors.ShapeError(f"{n} mel bins of a transform of length {size}")
    first, last = (2595 * math.log10(1 + float(np.asarray(v).item()) / 700) for v in (low, high))
    mels = np.arange(n + 2) * ((last - first) / (n + 2)) + first
    at = ((size + 1) * (700 * (10 ** (mels / 2595) - 1)) // per).astype(int)
    out = np.zeros((size // 2 + 1, n))
    for i, (a, b, c) in enumerate(zip(at, at[1:], at[2:])):
        if a == b:
            out[b, i] = 1
        else:
            out[a : b + 1, i] = np.arange(b - a + 1) / (b - a)
        if c > b:
            out[b:c, i] = np.arange(c - b, 0, -1) / (c - b)
    return out.astype(storage(output_datatype))

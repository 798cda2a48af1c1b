"""Discrete Fourier transforms."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import DType, dtype as as_dtype
from ..errors import ArgumentError, DTypeError, ShapeError
from ..op import Sample, op
from ..spec import Spec
from ._build import full, literal
from ._infer import check_kind
from ._samples import draw

_ADJOINT = {"FFT": "IFFT", "IFFT": "FFT", "RFFT": "IRFFT", "IRFFT": "RFFT"}


def _infer(x: Spec, *, fft_type: str, fft_length: tuple[int, ...]) -> Spec:
    if fft_type not in _ADJOINT:
        raise ArgumentError(f"fft_type={fft_type!r} is not one of {', '.join(_ADJOINT)}")
    if not 1 <= len(fft_length) <= 3 or len(fft_length) > x.ndim:
        raise ArgumentError(f"fft_length={fft_length} names {len(fft_length)} axes of {x.shape}")
    check_kind(x, "float" if fft_type == "RFFT" else "complex")
    if x.dtype.bits < 32:
        raise DTypeError(f"{x.dtype} has no complex dtype; convert to float32 with .astype()")
    lead, half = x.shape[: -len(fft_length)], (*fft_length[:-1], fft_length[-1] // 2 + 1)
    want = half if fft_type == "IRFFT" else fft_length
    if x.shape[len(lead) :] != want or min(fft_length) < 1:
        raise ShapeError(
            f"{fft_type} of length {fft_length} needs last axes {want}, at least 1 each; got {x.shape}"
        )
    if fft_type == "RFFT":
        return Spec((*lead, *half), x.dtype.complex)
    return Spec((*lead, *fft_length), x.dtype.real if fft_type == "IRFFT" else x.dtype)


def _half_weights(n: int, inner: float, d: DType) -> np.ndarray:
    """1 for the bins that are their own mirror image (0 and n/2), ``inner`` for the others."""
    w = np.full(n // 2 + 1, inner, d.numpy)
    w[0] = 1
    if n % 2 == 0:
        w[-1] = 1
    return w


def _vjp(g, y, x, *, fft_type, fft_length):
    from .arithmetic import multiply
    from .structural import broadcast_in_dim

    def weighted(v, inner):
        w = literal(_half_weights(fft_length[-1], inner, v.dtype))
        return multiply(v, broadcast_in_dim(w, shape=v.shape, dims=(v.ndim - 1,)))

    # the adjoint is the opposite transform, up to the 1/n and the bins a half spectrum leaves out
    n = math.prod(fft_length)
    if fft_type == "RFFT":
        g = weighted(g, 0.5)
    back = fft(g, fft_type=_ADJOINT[fft_type], fft_length=fft_length)
    if fft_type == "IRFFT":
        back = weighted(back, 2.0)
    scale = n if fft_type in ("FFT", "RFFT") else 1 / n
    return (multiply(back, full(scale, back.spec)),)


def _samples(d, rng):
    for shape, axes in (((5,), 1), ((3, 4), 1), ((2, 3, 4), 2), ((2, 3, 2), 3), ((0, 4), 1)):
        n = shape[-axes:]
        half = (*shape[:-1], shape[-1] // 2 + 1)
        for kind in ("FFT", "IFFT", "IRFFT") if d.is_complex else ("RFFT",):
            x = draw(d, rng, half if kind == "IRFFT" else shape)
            yield Sample((x,), {"fft_type": kind, "fft_length": n})


@op(infer=_infer, vjp=_vjp, samples=_samples, dtypes=("float32", "float64", "complex"), ulps=16)
def fft(x, *, fft_type, fft_length):
    """Discrete Fourier transform over the last ``len(fft_length)`` axes, 1 to 3 (StableHLO fft).

    ``FFT`` and ``IFFT`` map complex to complex, ``RFFT`` real to the non-negative half of the last
    axis' spectrum (``n // 2 + 1``), ``IRFFT`` that back to real. The inverses divide by the number of
    elements. ``IRFFT`` does not read the imaginary part of the bins that must be real.
    """
    if not x.size:
        spec = Spec(x.shape, as_dtype(x.dtype))
        return np.zeros(_infer(spec, fft_type=fft_type, fft_length=fft_length).shape)
    transform = getattr(np.fft, fft_type.lower() + "n")  # numpy.fft is imported when first used
    return transform(x, fft_length, tuple(range(-len(fft_length), 0)))

"""16-bit floats are computed in float32, as every engine's native kernels do."""

from __future__ import annotations

from .structural import convert


def statistics_dtype(x):
    """The dtype of a mean, variance or logarithm of a sum: float32 for 16-bit floats."""
    return x.dtype.compute


def widened(x):
    """``x`` in the dtype to compute in."""
    d = statistics_dtype(x)
    return x if x.dtype is d else convert(x, dtype=d)


def as_like(y, x):
    """``y`` in the dtype of ``x``."""
    return convert(y, dtype=x.dtype) if y.dtype is not x.dtype else y

"""How far a result is from what it should be."""

from __future__ import annotations

import numpy as np

from ..api import finfo
from ..dtypes import DType


def distance(got: np.ndarray, want: np.ndarray, d: DType, floor: float = 1e-6) -> float:
    """Largest error in eps of ``d`` relative to the largest finite magnitude, which counts as
    ``floor`` if it is less; inf where NaNs or infinities disagree. For other kinds: 0 when
    equal, else inf.

    >>> from monograph.dtypes import float32
    >>> distance(np.float32([1, 4 + 2**-20]), np.array([1.0, 4.0]), float32)
    2.0
    """
    if not d.is_inexact:
        return 0.0 if same(got, want) else np.inf
    wide = np.complex128 if d.is_complex else np.float64
    with np.errstate(all="ignore"):
        rounded = want.astype(d.numpy).astype(wide)  # what overflows in d is infinite in d
        g, w = got.astype(wide), want.astype(wide)
        finite = np.isfinite(rounded) & np.isfinite(w)
        if not np.array_equal(np.isnan(g), np.isnan(rounded)):
            return np.inf
        if not d.is_complex and not np.array_equal(g[~finite], rounded[~finite], equal_nan=True):
            return np.inf
        if not finite.any():
            return 0.0
        scale = max(float(np.abs(w[finite]).max()), floor)
        return float(np.abs(g - w)[finite].max() / (finfo(d).eps * scale))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal in shape, dtype and every element, NaN equal to NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return a.tobytes() == b.tobytes() or bool(((a == b) | ((a != a) & (b != b))).all())

"""What an array is like, in numbers a person can read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..spec import Spec

NAN, POSITIVE, NEGATIVE = 1, 2, 4
"""Bits of `kinds`: what is in an array besides finite numbers."""


def kinds(x: np.ndarray) -> int:
    """Which of NaN, +Inf and -Inf are in an array; 0 when all of it is finite.

    >>> kinds(np.array([1.0, -np.inf])) == NEGATIVE
    True
    """
    if x.dtype.kind in "biu" or not x.size:
        return 0
    with np.errstate(all="ignore"):
        finite = np.isfinite(x)
        if finite.all():
            return 0
        odd = x[~finite]
    return (
        NAN * bool(np.isnan(odd).any())
        | POSITIVE * bool((_signs(odd) > 0).any())
        | NEGATIVE * bool((_signs(odd) < 0).any())
    )


def _signs(x: np.ndarray) -> np.ndarray:
    """The sign of each infinity, 0 for other numbers; an infinite complex number is positive."""
    if np.iscomplexobj(x):
        return np.isinf(x).astype(int)
    return np.where(np.isinf(x), np.sign(x.astype("float64")), 0)


@dataclass(frozen=True)
class Statistics:
    """One array in numbers.

    Attributes:
        spec: shape and dtype.
        low, high, mean: of the finite numbers; None where there are none. Of complex numbers, of
            their magnitudes.
        nan, positive, negative: how many NaN, +Inf, -Inf.
        first: index of the first of those, None where all are finite.
    """

    spec: Spec
    low: float | None
    high: float | None
    mean: float | None
    nan: int = 0
    positive: int = 0
    negative: int = 0
    first: tuple[int, ...] | None = None

    @staticmethod
    def of(x: np.ndarray, spec: Spec) -> Statistics:
        """The statistics of an array.

        >>> print(Statistics.of(np.float32([1, np.nan, 3]), Spec((3,), "float32")))
        float32[3]  min 1  max 3  mean 2  NaN 1  +Inf 0  -Inf 0  first at [1]
        """
        with np.errstate(all="ignore"):
            wide = np.abs(x) if spec.dtype.is_complex else x
            bad = ~np.isfinite(x) if x.dtype.kind not in "biu" else np.zeros(x.shape, bool)
            good = wide[~bad].astype("float64")
            signs = _signs(x[bad])
            first = np.unravel_index(int(np.argmax(bad)), x.shape) if bad.any() else None
        low, high, mean = (
            (float(good.min()), float(good.max()), float(good.mean()))
            if good.size
            else (None, None, None)
        )
        return Statistics(
            spec, low, high, mean,
            int(bad.sum() - (signs != 0).sum()), int((signs > 0).sum()), int((signs < 0).sum()),
            None if first is None else tuple(map(int, first)),
        )  # fmt: skip

    @property
    def odd(self) -> str:
        """The numbers that are not finite, in words: ``2 NaN and 1 -Inf``."""
        found = (("NaN", self.nan), ("+Inf", self.positive), ("-Inf", self.negative))
        return " and ".join(f"{n:,} {name}" for name, n in found if n) or "finite numbers only"

    def __str__(self) -> str:
        parts = [repr(self.spec)]
        if self.low is not None:
            parts += [f"min {self.low:.6g}", f"max {self.high:.6g}", f"mean {self.mean:.6g}"]
        if self.spec.dtype.kind not in ("bool", "int", "uint"):
            parts.append(f"NaN {self.nan}  +Inf {self.positive}  -Inf {self.negative}")
        if self.first is not None:
            parts.append(f"first at [{', '.join(map(str, self.first))}]")
        return "  ".join(parts)

"""Rounding and finiteness. Piecewise constant, so their gradients are zero."""

from __future__ import annotations

import numpy as np

from ..op import ZERO_GRADIENT, op
from ._infer import to_bool, unary, unary_float
from ._samples import elementwise

_samples = elementwise(-3.0, 3.0)
_rounds = op(infer=unary_float, vjp=ZERO_GRADIENT, samples=_samples)


@_rounds
def floor(x):
    """The largest integer not above, elementwise."""
    return np.floor(x)


@_rounds
def ceil(x):
    """The smallest integer not below, elementwise."""
    return np.ceil(x)


@_rounds
def trunc(x):
    """The integer part, elementwise."""
    return np.trunc(x)


@_rounds
def round_nearest_even(x):
    """The nearest integer, ties to even, elementwise."""
    return np.round(x)


@_rounds
def round_nearest_afz(x):
    """The nearest integer, ties away from zero, elementwise."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0)


@op(infer=unary("float", to_bool), vjp=ZERO_GRADIENT, samples=_samples)
def is_finite(x):
    """Whether neither infinite nor NaN, elementwise."""
    return np.isfinite(x)

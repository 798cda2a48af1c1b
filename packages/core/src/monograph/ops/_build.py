"""Constants as values: what gradient rules and the array API make arrays of."""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from ..dtypes import DType
from ..graph import Literal
from ..op import constant
from ..spec import Spec
from .structural import broadcast_in_dim, reshape


def literal(x: Any, dtype: DType | None = None) -> Any:
    """A NumPy array or number as a constant of that dtype."""
    return constant(value=Literal(np.asarray(x, dtype=None if dtype is None else dtype.numpy)))


def limit(dtype: np.dtype, which: str) -> Any:
    """The ``"min"`` or ``"max"`` of a dtype, infinities included: where a maximum or minimum starts."""
    if dtype.kind == "b":
        return which == "max"
    if dtype.kind in "iu":
        return getattr(np.iinfo(dtype), which)
    return np.inf if which == "max" else -np.inf


def full(value: Any, spec: Spec) -> Any:
    """``value`` in every element of ``spec``."""
    with np.errstate(all="ignore"):
        scalar = literal(np.asarray(value).astype(spec.dtype.numpy))
    return scalar if not spec.shape else broadcast_in_dim(scalar, shape=spec.shape, dims=())


def zeros_like(x: Any) -> Any:
    return full(0, x.spec)


def ones_like(x: Any) -> Any:
    return full(1, x.spec)


def added(*terms: Any) -> Any:
    """The sum of cotangents of which None is zero; None when all are."""
    found = [t for t in terms if t is not None]
    return functools.reduce(operator.add, found) if found else None


def eye(n: int, dtype: DType) -> Any:
    """The identity matrix ``[n, n]``."""
    return literal(np.eye(n), dtype)


__all__ = ["literal", "full", "zeros_like", "ones_like", "added", "eye", "reshape"]

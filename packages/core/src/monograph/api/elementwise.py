"""Elementwise functions of the array API, over the primitives."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..array import Array
from ._common import asarray, operands


def add(x1: Any, x2: Any, /) -> Array:
    """Sum, elementwise, with broadcasting and promotion."""
    return ops.add(*operands(x1, x2))


def subtract(x1: Any, x2: Any, /) -> Array:
    """Difference, elementwise."""
    return ops.subtract(*operands(x1, x2))


def multiply(x1: Any, x2: Any, /) -> Array:
    """Product, elementwise."""
    return ops.multiply(*operands(x1, x2))


def negative(x: Any, /) -> Array:
    """``-x``, elementwise."""
    return ops.negate(asarray(x))

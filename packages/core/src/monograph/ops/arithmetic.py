"""Elementwise arithmetic on two operands of one spec."""

from __future__ import annotations

import numpy as np

from ..op import op
from ._infer import nary, unary
from ._samples import elementwise, pairs

_numbers = ("float", "complex", "int", "uint")


@op(infer=nary(), vjp=lambda g, y, a, b: (g, g), samples=pairs, dtypes=_numbers)
def add(a, b):
    """Sum, elementwise; integers wrap."""
    return np.add(a, b)


@op(infer=nary(), vjp=lambda g, y, a, b: (g, negate(g)), samples=pairs, dtypes=_numbers)
def subtract(a, b):
    """Difference, elementwise; integers wrap."""
    return np.subtract(a, b)


@op(infer=unary(), vjp=lambda g, y, x: (negate(g),), samples=elementwise(), dtypes=_numbers)
def negate(x):
    """``-x``, elementwise; unsigned integers wrap."""
    return np.negative(x)


def _multiply_vjp(g, y, a, b):
    from .complexes import conj_if_complex as c

    return multiply(g, c(b)), multiply(g, c(a))


@op(infer=nary(), vjp=_multiply_vjp, samples=pairs, dtypes=_numbers)
def multiply(a, b):
    """Product, elementwise; integers wrap."""
    return np.multiply(a, b)

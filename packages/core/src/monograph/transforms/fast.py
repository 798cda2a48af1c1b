"""Simplifications that are right in real numbers and change values a little, or at NaN and infinity.

Never run unasked: hand `FAST_MATH` to `apply` where the last bits do not matter.
"""

from __future__ import annotations

import numpy as np

from .. import ops
from ..graph import Graph
from ..rewrite import simplify
from .constants import LIMIT, uniform
from .exact import EXACT
from .folding import fold_constants
from .rule import Rule, apply, rule


def _number(x):
    """What a constant array is throughout (0-d); None where it varies."""
    one = uniform(x)
    if one is None and 0 < x.size <= LIMIT and (x == x.flat[0]).all():
        return x.flat[0]
    return one


@rule(lambda op, x: op.log(op.exp(x)))
def log_of_exp(x):
    """``x``: overflow and underflow aside."""
    return None if x.dtype.is_complex else x


@rule(lambda op, x: op.exp(op.log(x)))
def exp_of_log(x):
    """``x``: also where it is negative and its logarithm NaN."""
    return x


@rule(lambda op, x: op.any_of(x + op.constant(0), x + op.constant(-0.0)))
def add_any_zero(x):
    """``x``: also -0.0, which ``x + 0.0`` makes 0.0."""
    return x


@rule(lambda op, x: op.any_of(x * op.constant(1), x / op.constant(1)))
def times_one(x):
    """``x``: also of complex numbers."""
    return x


@rule(lambda op, x: op.any_of(x * op.constant(0), x - x))
def to_zero(x):
    """0: also of NaN and infinity."""
    return ops.zeros_like(x)


@rule(lambda op, x: x / x)
def over_itself(x):
    """1: also of 0, NaN and infinity. Not of integers, where ``0 / 0`` is -1."""
    return ops.ones_like(x) if x.dtype.is_inexact else None


@rule(lambda op, x: op.sqrt(x) * op.sqrt(x))
def sqrt_squared(x):
    """``x``: also where it is negative."""
    return x


@rule(lambda op, x: op.sqrt(x * x))
def sqrt_of_square(x):
    """``abs(x)``: overflow and underflow aside."""
    return ops.abs_(x) if x.dtype.is_float else None


@rule(lambda op, x, y: op.exp(x) * op.exp(y))
def exp_of_sum(x, y):
    """``exp(x) * exp(y)`` as ``exp(x + y)``."""
    return ops.exponential(ops.add(x, y))


@rule(lambda op, x, y: op.log(x) + op.log(y))
def log_of_product(x, y):
    """``log(x) + log(y)`` as ``log(x * y)``."""
    return ops.log(ops.multiply(x, y)) if x.dtype.is_float else None


@rule(lambda op, x: op.log(x + 1.0))
def log_of_one_plus(x):
    """``log(1 + x)`` in one, which is right near 0 too."""
    return ops.log_plus_one(x)


@rule(lambda op, x: op.exp(x) - 1.0)
def exp_minus_one(x):
    """``exp(x) - 1`` in one, which is right near 0 too."""
    return ops.exponential_minus_one(x)


@rule(lambda op, x: op.any_of(1.0 / op.sqrt(x), op.power(x, -0.5)))
def one_over_sqrt(x):
    """``rsqrt(x)``."""
    return ops.rsqrt(x)


@rule(lambda op, x: op.power(x, op.constant("n")))
def small_powers(x, n):
    """Powers of 1, 2, 3, 0.5 and -1 as products, a root and a quotient."""
    table = {
        1: lambda: x,
        2: lambda: x * x,
        3: lambda: x * x * x,
        0.5: lambda: ops.sqrt(x),
        -1: lambda: ops.divide(ops.ones_like(x), x),
    }
    made = table.get(_number(n))
    return made() if made else None


@rule(lambda op, x: x * op.constant("a") * op.constant("b"))
def multiply_constants(x, a, b):
    """``x * a * b`` as ``x * (a * b)``."""
    return _regrouped(ops.multiply, np.multiply, x, a, b)


@rule(lambda op, x: x + op.constant("a") + op.constant("b"))
def add_constants(x, a, b):
    """``x + a + b`` as ``x + (a + b)``."""
    return _regrouped(ops.add, np.add, x, a, b)


def _regrouped(op, fn, x, a, b):
    a, b = _number(a), _number(b)
    if a is None or b is None:
        return None
    with np.errstate(all="ignore"):
        return op(x, ops.full(fn(a, b), x.spec))


@rule(lambda op, x: x / op.constant("c"))
def divide_by_constant(x, c):
    """``x / c`` as ``x * (1 / c)``."""
    c = _number(c)
    if c is None or c == 0 or not x.dtype.is_inexact:
        return None
    return ops.multiply(x, ops.full(1 / c, x.spec))


@rule(lambda op, a, x, y: a * x + a * y)
def factored(a, x, y):
    """``a x + a y`` as ``a (x + y)``."""
    return ops.multiply(a, ops.add(x, y)) if x.dtype.is_inexact else None


FAST_MATH: tuple[Rule, ...] = (
    log_of_exp, exp_of_log, add_any_zero, times_one, to_zero, over_itself, sqrt_squared,
    sqrt_of_square, exp_of_sum, log_of_product, log_of_one_plus, exp_minus_one, one_over_sqrt,
    small_powers, multiply_constants, add_constants, divide_by_constant, factored,
)  # fmt: skip
"""Every rule that changes values; not in `DEFAULT`."""


def fast_math(graph: Graph) -> Graph:
    """`DEFAULT` and `FAST_MATH` together.

    >>> import monograph as mg
    >>> len(fast_math(mg.trace(lambda x: mg.log(mg.exp(x)) + 0.0, mg.Spec((3,)))).nodes)
    0
    """
    return apply(graph, (simplify, fold_constants, *EXACT, *FAST_MATH, simplify))

"""Elementwise functions of the array API 2024.12, over the primitives.

What is one primitive is one line of a table; the rest is written out below. Every function
broadcasts and promotes its arguments; Python numbers adapt to the arrays beside them. Integers are
converted to float32 where a function needs floating-point values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .. import ops
from ..array import Array
from ..dtypes import bool_, default_float, dtype as as_dtype
from ..errors import DTypeError
from ..tracing import at_user_line
from ._common import asarray, cast, operands, promote


def floating(x: Any) -> Array:
    """``x`` as an array; bools and integers become float32."""
    x = asarray(x)
    return x if x.dtype.is_inexact else cast(x, default_float)


def _named(fn: Callable, name: str, doc: str) -> Callable:
    fn.__name__ = fn.__qualname__ = name
    fn.__doc__ = f"{doc}, elementwise.\n\n    Raises:\n        DTypeError: the function has no meaning for the dtype.\n"
    fn.__module__ = __name__
    return fn


def _float_unary(name: str, op: Any, doc: str) -> Callable:
    return _named(lambda x, /: op(floating(x)), name, doc)


def _rounding(name: str, op: Any, doc: str) -> Callable:
    def fn(x: Any, /) -> Array:
        x = asarray(x)
        if x.dtype.is_complex:
            return ops.complex_(op(ops.real(x)), op(ops.imag(x)))
        return op(x) if x.dtype.is_float else x

    return _named(fn, name, doc)


def _binary(name: str, op: Any, doc: str, integer: bool = True) -> Callable:
    def fn(x1: Any, x2: Any, /) -> Array:
        a, b = operands(x1, x2)
        return op(a, b) if integer or a.dtype.is_inexact else op(floating(a), floating(b))

    return _named(fn, name, doc)


def _comparison(name: str, direction: str, doc: str) -> Callable:
    return _named(lambda x1, x2, /: ops.compare(*operands(x1, x2), direction=direction), name, doc)


def _logical(name: str, op: Any, doc: str) -> Callable:
    def fn(x1: Any, x2: Any, /) -> Array:
        return op(*operands(*[cast(asarray(x), bool_) for x in (x1, x2)]))

    return _named(fn, name, doc)


# one line per function that is one primitive: its name, the primitive, what it is
acos = _float_unary("acos", ops.acos, "Inverse cosine")
acosh = _float_unary("acosh", ops.acosh, "Inverse hyperbolic cosine")
asin = _float_unary("asin", ops.asin, "Inverse sine")
asinh = _float_unary("asinh", ops.asinh, "Inverse hyperbolic sine")
atan = _float_unary("atan", ops.atan, "Inverse tangent")
atanh = _float_unary("atanh", ops.atanh, "Inverse hyperbolic tangent")
cbrt = _float_unary("cbrt", ops.cbrt, "Cube root")
cos = _float_unary("cos", ops.cosine, "Cosine")
cosh = _float_unary("cosh", ops.cosh, "Hyperbolic cosine")
digamma = _float_unary("digamma", ops.digamma, "Derivative of the log of the gamma function")
erf = _float_unary("erf", ops.erf, "Error function")
erfc = _float_unary("erfc", ops.erfc, "``1 - erf(x)``, accurate for large x")
erf_inv = _float_unary("erf_inv", ops.erf_inv, "Inverse of the error function")
exp = _float_unary("exp", ops.exponential, "Exponential")
expm1 = _float_unary("expm1", ops.exponential_minus_one, "``exp(x) - 1``, accurate near 0")
lgamma = _float_unary("lgamma", ops.lgamma, "Log of the absolute value of the gamma function")
log = _float_unary("log", ops.log, "Natural logarithm")
log1p = _float_unary("log1p", ops.log_plus_one, "``log(1 + x)``, accurate near 0")
rsqrt = _float_unary("rsqrt", ops.rsqrt, "``1 / sqrt(x)``")
sigmoid = _float_unary("sigmoid", ops.logistic, "``1 / (1 + exp(-x))``")
sin = _float_unary("sin", ops.sine, "Sine")
sinh = _float_unary("sinh", ops.sinh, "Hyperbolic sine")
sqrt = _float_unary("sqrt", ops.sqrt, "Square root")
tan = _float_unary("tan", ops.tan, "Tangent")
tanh = _float_unary("tanh", ops.tanh, "Hyperbolic tangent")

ceil = _rounding("ceil", ops.ceil, "Smallest integer not below x")
floor = _rounding("floor", ops.floor, "Largest integer not above x")
round = _rounding("round", ops.round_nearest_even, "Nearest integer, halves to the even one")
trunc = _rounding("trunc", ops.trunc, "Nearest integer toward zero")

add = _binary("add", ops.add, "Sum")
atan2 = _binary(
    "atan2", ops.atan2, "Angle of the point ``(x2, x1)``, in all four quadrants", integer=False
)
bitwise_and = _binary("bitwise_and", ops.and_, "Bitwise and")
bitwise_or = _binary("bitwise_or", ops.or_, "Bitwise or")
bitwise_xor = _binary("bitwise_xor", ops.xor, "Bitwise exclusive or")
bitwise_left_shift = _binary(
    "bitwise_left_shift", ops.shift_left, "``x1`` shifted left by ``x2`` bits"
)
divide = _binary("divide", ops.divide, "True quotient", integer=False)
maximum = _binary("maximum", ops.maximum, "The larger one; NaN where either is")
minimum = _binary("minimum", ops.minimum, "The smaller one; NaN where either is")
multiply = _binary("multiply", ops.multiply, "Product")
nextafter = _binary(
    "nextafter", ops.nextafter, "The float next to ``x1`` toward ``x2``", integer=False
)
subtract = _binary("subtract", ops.subtract, "Difference")

equal = _comparison("equal", "EQ", "``x1 == x2``")
not_equal = _comparison("not_equal", "NE", "``x1 != x2``")
less = _comparison("less", "LT", "``x1 < x2``")
less_equal = _comparison("less_equal", "LE", "``x1 <= x2``")
greater = _comparison("greater", "GT", "``x1 > x2``")
greater_equal = _comparison("greater_equal", "GE", "``x1 >= x2``")

logical_and = _logical("logical_and", ops.and_, "Whether both are true (nonzero)")
logical_or = _logical("logical_or", ops.or_, "Whether one is true (nonzero)")
logical_xor = _logical("logical_xor", ops.xor, "Whether exactly one is true (nonzero)")


def positive(x: Any, /) -> Array:
    """``x`` itself."""
    return asarray(x)


def negative(x: Any, /) -> Array:
    """``-x``, elementwise."""
    return ops.negate(asarray(x))


def abs(x: Any, /) -> Array:
    """Absolute value, elementwise; the modulus of complex numbers."""
    x = asarray(x)
    return x if x.dtype.kind in ("bool", "uint") else ops.abs_(x)


def sign(x: Any, /) -> Array:
    """-1, 0 or 1, elementwise; ``x / abs(x)`` for complex numbers, NaN stays."""
    x = asarray(x)
    return (
        cast(ops.compare(x, ops.zeros_like(x), direction="NE"), x.dtype)
        if x.dtype.kind == "uint"
        else ops.sign(x)
    )


def logical_not(x: Any, /) -> Array:
    """Whether an element is false (zero)."""
    return ops.not_(cast(asarray(x), bool_))


def square(x: Any, /) -> Array:
    """``x * x``, elementwise."""
    x = asarray(x)
    return ops.multiply(x, x)


def reciprocal(x: Any, /) -> Array:
    """``1 / x``, elementwise."""
    x = floating(x)
    return ops.divide(ops.ones_like(x), x)


def log2(x: Any, /) -> Array:
    """Logarithm to base 2, elementwise."""
    return ops.log(floating(x)) * (1 / math.log(2))


def log10(x: Any, /) -> Array:
    """Logarithm to base 10, elementwise."""
    return ops.log(floating(x)) * (1 / math.log(10))


def logaddexp(x1: Any, x2: Any, /) -> Array:
    """``log(exp(x1) + exp(x2))``, elementwise, without overflow."""
    a, b = map(floating, operands(x1, x2))
    high, gap = ops.maximum(a, b), ops.negate(ops.abs_(ops.subtract(a, b)))
    # equal infinities have the gap NaN, and are their own answer
    same = ops.compare(a, b, direction="EQ")
    safe = ops.select(same, ops.zeros_like(gap), gap)
    return ops.add(high, ops.log_plus_one(ops.exponential(safe)))


def hypot(x1: Any, x2: Any, /) -> Array:
    """``sqrt(x1**2 + x2**2)``, elementwise, without overflow; infinite if either is."""
    a, b = map(floating, operands(x1, x2))
    a, b = ops.abs_(a), ops.abs_(b)
    high, low = ops.maximum(a, b), ops.minimum(a, b)
    plain = ops.and_(isfinite(high), high > 0)
    ratio = ops.divide(low, where(plain, high, 1.0))
    out = where(plain, high * ops.sqrt(ratio * ratio + 1.0), high)
    infinite = ops.or_(isinf(a), isinf(b))
    return where(infinite, math.inf, out)


def pow(x1: Any, x2: Any, /) -> Array:
    """``x1`` to the power ``x2``, elementwise; integers stay integers (their exponents >= 0)."""
    if x2 is not True and isinstance(x2, (int, float)) and x2 == 2 and isinstance(x1, Array):
        a = operands(x1, x2)[0]
        return ops.multiply(a, a)
    a, b = operands(x1, x2)
    return ops.power(a, b) if a.dtype.is_inexact else _integer_pow(a, b)


def _integer_pow(a: Array, b: Array) -> Array:
    # square and multiply, one step per bit of the exponent
    out, one = ops.ones_like(a), ops.ones_like(a)
    for _ in range(a.dtype.bits):
        odd = ops.compare(ops.and_(b, one), one, direction="EQ")
        out = ops.select(odd, ops.multiply(out, a), out)
        a, b = ops.multiply(a, a), ops.shift_right_logical(b, one)
    return out


def remainder(x1: Any, x2: Any, /) -> Array:
    """Python's ``x1 % x2``, elementwise: the result has the sign of ``x2``."""
    a, b = operands(x1, x2)
    if a.dtype.kind == "uint":
        return ops.remainder(a, b)
    r = ops.remainder(a, b)
    wrong = ops.and_(r != 0, (r < 0) != (b < 0))
    out = ops.select(wrong, ops.add(r, b), r)
    if a.dtype.is_float:  # a zero takes the divisor's sign, and keeps the slope of 1
        zero = ops.subtract(copysign(0.0, b), ops.subtract(ops.stop_gradient(r), r))
        return where(r == 0, zero, out)
    return out


def floor_divide(x1: Any, x2: Any, /) -> Array:
    """Python's ``x1 // x2``, elementwise: rounds toward minus infinity."""
    a, b = operands(x1, x2)
    if a.dtype.kind == "uint":
        return ops.divide(a, b)
    if a.dtype.is_integer:
        r = ops.remainder(a, b)
        wrong = ops.and_(r != 0, (r < 0) != (b < 0))
        q = ops.divide(a, b)
        return ops.select(wrong, q - 1, q)
    q = ops.divide(a, b)
    # from the exact remainder, so that rounding of a / b cannot carry over an integer
    exact = ops.round_nearest_even(ops.divide(ops.subtract(a, remainder(a, b)), b))
    usable = ops.and_(isfinite(q), isfinite(b))
    return ops.select(usable, where(exact == 0, copysign(0.0, q), exact), ops.floor(q))


def bitwise_right_shift(x1: Any, x2: Any, /) -> Array:
    """``x1`` shifted right by ``x2`` bits, elementwise; the sign stays."""
    a, b = operands(x1, x2)
    return (ops.shift_right_arithmetic if a.dtype.kind == "int" else ops.shift_right_logical)(a, b)


def bitwise_invert(x: Any, /) -> Array:
    """Every bit flipped; logical not for bools."""
    return ops.not_(asarray(x))


def isfinite(x: Any, /) -> Array:
    """Whether an element is neither infinite nor NaN; complex: both parts."""
    x = asarray(x)
    if x.dtype.is_complex:
        return ops.and_(ops.is_finite(ops.real(x)), ops.is_finite(ops.imag(x)))
    return ops.is_finite(x) if x.dtype.is_float else ops.full(True, x.spec.with_(dtype=bool_))


def isnan(x: Any, /) -> Array:
    """Whether an element is NaN; complex: either part."""
    x = asarray(x)
    if x.dtype.is_inexact:
        return ops.compare(x, x, direction="NE")
    return ops.full(False, x.spec.with_(dtype=bool_))


def isinf(x: Any, /) -> Array:
    """Whether an element is infinite; complex: either part."""
    x = asarray(x)
    if x.dtype.is_complex:
        return ops.or_(isinf(ops.real(x)), isinf(ops.imag(x)))
    if not x.dtype.is_float:
        return ops.full(False, x.spec.with_(dtype=bool_))
    return ops.compare(ops.abs_(x), ops.full(math.inf, x.spec), direction="EQ")


def signbit(x: Any, /) -> Array:
    """Whether the sign bit is set, elementwise: true for -0.0."""
    x = asarray(x)
    if not x.dtype.is_float:
        raise at_user_line(DTypeError(f"signbit needs floats, got {x.spec}; use x < 0"))
    return ops.bitcast_convert(x, dtype=as_dtype(f"int{x.dtype.bits}")) < 0


def copysign(x1: Any, x2: Any, /) -> Array:
    """``abs(x1)`` with the sign of ``x2``, elementwise; zeros and NaN have signs too."""
    a, b = map(floating, operands(x1, x2))
    size = ops.abs_(a)
    return ops.select(signbit(b), ops.negate(size), size)


def real(x: Any, /) -> Array:
    """The real part; a real array is its own."""
    x = asarray(x)
    return ops.real(x) if x.dtype.is_complex else x


def imag(x: Any, /) -> Array:
    """The imaginary part; 0 for a real array."""
    x = asarray(x)
    return ops.imag(x) if x.dtype.is_complex else ops.zeros_like(x)


def conj(x: Any, /) -> Array:
    """The complex conjugate; a real array is its own."""
    x = asarray(x)
    return ops.conj(x) if x.dtype.is_complex else x


def clip(x: Any, /, min: Any = None, max: Any = None) -> Array:
    """``x`` held between ``min`` and ``max`` (numbers or arrays; None: no bound); keeps x's dtype.

    >>> import monograph as mg
    >>> mg.clip(mg.tensor([-2.0, 0.5, 3.0]), 0.0, 1.0).tolist()
    [0.0, 0.5, 1.0]
    """
    x = asarray(x)
    out = x
    for bound, pick in ((min, ops.maximum), (max, ops.minimum)):
        if bound is not None:
            out = cast(pick(*operands(out, bound)), x.dtype)
    return out


def where(condition: Any, x1: Any, x2: Any, /) -> Array:
    """``x1`` where ``condition`` is true, ``x2`` elsewhere; all three broadcast.

    >>> import monograph as mg
    >>> mg.where(mg.tensor([True, False]), mg.tensor([1.0, 2.0]), 0.0).tolist()
    [1.0, 0.0]
    """
    from ._common import broadcast_shape, broadcast_to

    a, b = promote(x1, x2)
    pred = cast(asarray(condition), bool_)
    shape = broadcast_shape(pred.shape, a.shape, b.shape)
    return ops.select(*[broadcast_to(v, shape) for v in (pred, a, b)])


def isclose(
    x1: Any, x2: Any, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Array:
    """Whether ``abs(x1 - x2) <= atol + rtol * abs(x2)``, elementwise; equal infinities are close."""
    a, b = map(floating, operands(x1, x2))
    near = ops.and_(isfinite(a), isfinite(b)) & (abs(a - b) <= abs(b) * rtol + atol)
    out = near | (a == b)
    return out | (isnan(a) & isnan(b)) if equal_nan else out


def nan_to_num(
    x: Any, /, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None
) -> Array:
    """``x`` with NaN and infinities replaced; infinities by the largest finite numbers if not told.

    >>> import monograph as mg
    >>> mg.nan_to_num(mg.tensor([math.nan, math.inf, 1.0]), posinf=9.0).tolist()
    [0.0, 9.0, 1.0]
    """
    from .utility import finfo

    x = asarray(x)
    if x.dtype.is_complex:
        parts = (nan_to_num(v, nan=nan, posinf=posinf, neginf=neginf) for v in (real(x), imag(x)))
        return ops.complex_(*parts)
    if not x.dtype.is_float:
        return x
    top = finfo(x.dtype).max
    infinite = isinf(x)
    x = where(infinite & (x > 0), top if posinf is None else posinf, x)
    x = where(infinite & (x < 0), -top if neginf is None else neginf, x)
    return where(isnan(x), nan, x)


def allclose(
    x1: Any, x2: Any, /, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Array:
    """Whether all elements are close, as a 0-d bool; see `isclose`."""
    close = isclose(x1, x2, rtol=rtol, atol=atol, equal_nan=equal_nan)
    return ops.reduce_and(close, axes=tuple(range(close.ndim)))

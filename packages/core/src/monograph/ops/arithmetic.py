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


def _divide_vjp(g, y, a, b):
    from .complexes import conj_if_complex as c

    return divide(g, c(b)), negate(divide(multiply(g, c(y)), c(b)))


@op(infer=nary(), vjp=_divide_vjp, samples=pairs, dtypes=_numbers)
def divide(a, b):
    """Quotient, elementwise.

    Integers truncate toward zero; ``x / 0`` is -1 (all bits set), the lowest divided by -1 is itself.
    """
    if a.dtype.kind not in "iu":
        return np.divide(a, b)
    safe = np.where(b == 0, b.dtype.type(1), b)
    q = a // safe
    inexact = (a - q * safe) != 0
    q = q + (inexact & ((a < 0) != (safe < 0))).astype(a.dtype)
    return np.where(b == 0, np.asarray(-1).astype(a.dtype), q)


def _trunc_quotient(a, b):
    from .rounding import trunc

    return trunc(divide(a, b))


@op(
    infer=nary("real"),
    vjp=lambda g, y, a, b: (g, negate(multiply(g, _trunc_quotient(a, b)))),
    samples=pairs,
    dtypes=("float", "int", "uint"),
)
def remainder(a, b):
    """What `divide` leaves, with the sign of ``a`` (C's fmod); integer ``x % 0`` is ``x``."""
    if a.dtype.kind not in "iu":
        return np.fmod(a, b)
    return np.where(b == 0, a, np.fmod(a, np.where(b == 0, b.dtype.type(1), b)))


def _power_vjp(g, y, a, b):
    from ._build import full, ones_like, zeros_like
    from .complexes import conj_if_complex as c
    from .logic import compare, select
    from .transcendental import log

    one, zero = ones_like(b), zeros_like(b)
    at_zero = compare(b, zero, direction="EQ")
    # d/da at b == 0 is 0, also where a is 0, and so is its own derivative: no a ** -1 is formed there
    less = select(at_zero, one, subtract(b, one))
    da = select(at_zero, zero, multiply(c(b), power(c(a), c(less))))
    # d/db at a == 0 is 0: the values are 0 around it, or infinite with no slope
    base_zero = compare(a, zeros_like(a), direction="EQ")
    safe = select(base_zero, full(1, a.spec), a)
    db = select(base_zero, zero, c(multiply(y, log(safe))))
    return multiply(g, da), multiply(g, db)


def _power_samples(d, rng):
    from ..op import Sample
    from ._samples import draw, special

    for shape in ((3, 4), (), (0, 2)):
        yield Sample((draw(d, rng, shape, 0.2, 2.0), draw(d, rng, shape, -2, 2)))
    if d.is_float:
        values = np.append(special(d), np.asarray([0.5, 2.0, 3.0], d.numpy))
        a, b = np.meshgrid(values, values)
        yield Sample((a.ravel(), b.ravel()), grad=False)
        yield Sample((np.asarray(-np.inf, d.numpy), np.asarray(0.5, d.numpy)), grad=False)


@op(
    infer=nary("inexact"),
    vjp=_power_vjp,
    samples=_power_samples,
    dtypes=("float", "complex"),
    ulps=16,
)
def power(a, b):
    """``a`` to the power ``b``, elementwise (C's pow)."""
    y = np.power(a, b)
    if np.iscomplexobj(a):
        return y
    # NumPy takes the root for a lone 0.5, which is another thing at -inf and -0
    return np.where((b == 0.5) & (np.isinf(a) | (a == 0)), np.abs(a), y)


def _pick_vjp(direction):
    def vjp(g, y, a, b):
        from ._build import zeros_like
        from .logic import compare, select

        # a tie shares the cotangent, so that max(x, x) has derivative 1
        half = multiply(g, literal_like(g, 0.5))
        tie = compare(a, b, direction="EQ")
        first = compare(a, b, direction=direction)
        zero = zeros_like(g)
        return (
            select(tie, half, select(first, g, zero)),
            select(tie, half, select(first, zero, g)),
        )

    return vjp


def literal_like(x, value):
    """``value`` in every element, like ``x``."""
    from ._build import full

    return full(value, x.spec)


@op(infer=nary("real"), vjp=_pick_vjp("GT"), samples=pairs, dtypes=("float", "int", "uint"))
def maximum(a, b):
    """The larger, elementwise; NaN if either is. Which of 0 and -0 it is, is not promised."""
    return np.maximum(a, b)


@op(infer=nary("real"), vjp=_pick_vjp("LT"), samples=pairs, dtypes=("float", "int", "uint"))
def minimum(a, b):
    """The smaller, elementwise; NaN if either is. Which of 0 and -0 it is, is not promised."""
    return np.minimum(a, b)


def _atan2_vjp(g, y, a, b):
    scale = divide(g, add(multiply(a, a), multiply(b, b)))
    return multiply(scale, b), negate(multiply(scale, a))


@op(infer=nary("float"), vjp=_atan2_vjp, samples=pairs)
def atan2(a, b):
    """Angle of the point ``(b, a)``, in radians in ``[-pi, pi]``."""
    return np.arctan2(a, b)


@op(
    infer=nary("float"),
    vjp=lambda g, y, a, b: (g, None),
    samples=pairs,
    bits=True,
    dtypes=("float32", "float64"),
)
def nextafter(a, b):
    """The next number after ``a`` towards ``b`` (CHLO next_after)."""
    return np.nextafter(a, b)


def _abs_vjp(g, y, x):
    from .structural import convert

    return (multiply(convert(g, dtype=x.dtype), sign(x)),)


@op(
    infer=unary("numeric", lambda d: d.real),
    vjp=_abs_vjp,
    samples=elementwise(),
    dtypes=("float", "complex", "int", "uint"),
)
def abs_(x):
    """Magnitude, elementwise; of complex numbers it is real."""
    return np.abs(x)


def _sign_vjp(g, y, x):
    from ._build import full, zeros_like
    from .complexes import real
    from .logic import compare, select
    from .structural import convert

    if not x.dtype.is_complex:
        return (None,)
    from .complexes import conj

    size = abs_(x)
    zero = compare(size, zeros_like(size), direction="EQ")
    safe = convert(select(zero, full(1, size.spec), size), dtype=x.dtype)
    along = convert(real(multiply(conj(y), g)), dtype=x.dtype)
    return (divide(subtract(g, multiply(y, along)), safe),)


@op(
    infer=unary("numeric"),
    vjp=_sign_vjp,
    samples=elementwise(),
    dtypes=("float", "complex", "int", "uint"),
)
def sign(x):
    """-1, 0 or 1, elementwise; NaN of NaN; ``x / |x|`` of a complex number.

    Of -0 it is a zero whose sign is not promised: NumPy drops it, XLA keeps it.
    """
    return np.sign(x)

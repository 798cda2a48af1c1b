"""Elementwise records against Python's own numbers, `math`, `cmath` and `scipy.special`."""

import cmath
import decimal
import math
import operator
import struct

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph import ops
from monograph.dtypes import dtype as as_dtype
from monograph.op import Sample
from monograph.testing.oracles import cases, check, dtypes_of, scalars
from scipy import special


def either(real, imaginary):
    """One function for floats, another for complex numbers."""
    return lambda x: imaginary(x) if isinstance(x, complex) else real(x)


def quotient(a, b):
    if not isinstance(a, int):
        return a / b
    return -1 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def left_over(a, b):
    if not isinstance(a, int):
        return math.fmod(a, b)
    return a if b == 0 else a - quotient(a, b) * b


def raised(a, b):
    y = a**b
    return (
        math.nan if isinstance(y, complex) and not isinstance(a, complex) else y
    )  # C's pow is real


def sign(x):
    if isinstance(x, complex):
        return x / abs(x) if x else 0j
    return math.nan if x != x else (x > 0) - (x < 0)


def larger(a, b):
    return math.nan if a != a or b != b else max(a, b)


def smaller(a, b):
    return math.nan if a != a or b != b else min(a, b)


def away_from_zero(x):
    if not abs(x) < 2**52:  # whole already, or infinite, or NaN
        return x
    return float(decimal.Decimal(x).quantize(0, decimal.ROUND_HALF_UP))


def whole(fn):
    """NaN and infinities stay what they are; Python's rounding makes integers of the others."""
    return scalars(lambda x: math.copysign(fn(x), x) if math.isfinite(x) else x)


def psi(x):
    # SciPy gives NaN at +0 and -0, where the limits are -inf and inf
    at_zero = np.copysign(np.inf, -x)
    return np.where(x == 0, at_zero, special.digamma(x))


def log_gamma(x):
    # C99, torch and jax say inf at -inf, SciPy -inf
    return np.where(x == -np.inf, np.inf, special.gammaln(x))


COMPARE = {
    "EQ": operator.eq, "NE": operator.ne, "LT": operator.lt,
    "LE": operator.le, "GT": operator.gt, "GE": operator.ge,
}  # fmt: skip

ORACLES = {
    ops.add: scalars(operator.add),
    ops.subtract: scalars(operator.sub),
    ops.multiply: scalars(operator.mul),
    ops.negate: scalars(operator.neg),
    ops.divide: scalars(quotient),
    ops.remainder: scalars(left_over),
    ops.power: scalars(raised),
    ops.maximum: scalars(larger),
    ops.minimum: scalars(smaller),
    ops.atan2: scalars(math.atan2),
    ops.nextafter: scalars(math.nextafter),
    ops.abs_: scalars(abs),
    ops.sign: scalars(sign),
    ops.exponential: scalars(either(math.exp, cmath.exp)),
    ops.exponential_minus_one: special.expm1,
    ops.log: scalars(either(math.log, cmath.log)),
    ops.log_plus_one: special.log1p,
    ops.sqrt: scalars(either(math.sqrt, cmath.sqrt)),
    ops.rsqrt: scalars(lambda x: 1 / either(math.sqrt, cmath.sqrt)(x)),
    ops.cbrt: special.cbrt,
    ops.sine: scalars(either(math.sin, cmath.sin)),
    ops.cosine: scalars(either(math.cos, cmath.cos)),
    ops.tan: scalars(either(math.tan, cmath.tan)),
    ops.asin: scalars(either(math.asin, cmath.asin)),
    ops.acos: scalars(either(math.acos, cmath.acos)),
    ops.atan: scalars(either(math.atan, cmath.atan)),
    ops.sinh: scalars(either(math.sinh, cmath.sinh)),
    ops.cosh: scalars(either(math.cosh, cmath.cosh)),
    ops.tanh: scalars(either(math.tanh, cmath.tanh)),
    ops.asinh: scalars(either(math.asinh, cmath.asinh)),
    ops.acosh: scalars(either(math.acosh, cmath.acosh)),
    ops.atanh: scalars(either(math.atanh, cmath.atanh)),
    ops.logistic: scalars(either(special.expit, lambda z: 1 / (1 + cmath.exp(-z)))),
    ops.erf: special.erf,
    ops.erfc: special.erfc,
    ops.erf_inv: special.erfinv,
    ops.lgamma: log_gamma,
    ops.digamma: psi,
    ops.polygamma: lambda x, *, n: special.polygamma(n, x),
    ops.floor: whole(math.floor),
    ops.ceil: whole(math.ceil),
    ops.trunc: whole(math.trunc),
    ops.round_nearest_even: whole(round),
    ops.round_nearest_afz: scalars(away_from_zero),
    ops.is_finite: scalars(math.isfinite),
    ops.real: scalars(lambda z: z.real),
    ops.imag: scalars(lambda z: z.imag),
    ops.conj: scalars(lambda z: complex(z.real, -z.imag)),
    ops.complex_: scalars(complex),
    ops.compare: scalars(lambda a, b, *, direction: COMPARE[direction](a, b)),
    ops.select: scalars(lambda p, a, b: a if p else b),
    ops.clamp: scalars(lambda low, x, high: x if x != x else min(max(x, low), high)),
}

# relative error of the reference in float64, where it is not a few ulp, and why
LOOSE = {
    "lgamma": (1e-14, 1e-15),  # near its roots 1 and 2 the C library keeps absolute digits only
    "digamma": (1e-13, 1e-15),  # absolute near its root 1.46
    "polygamma": (1e-13, 0),
    "power": (1e-14, 0),
    "erfc": (1e-13, 0),  # SciPy rounds x * x before exp: up to x * x ulp in the tail
}


@pytest.mark.parametrize("op", list(ORACLES), ids=lambda op: op.name)
def test_the_records_samples(op):
    found = list(cases(op))
    assert found
    for sample in found:
        check(op, ORACLES[op], sample, *LOOSE.get(op.name, ()))


def floats_within(low, high):
    return st.floats(low, high, allow_subnormal=False)


# where each function is defined and does not overflow
DOMAINS = {
    "log": (1e-300, 1e300), "log_plus_one": (-1 + 1e-16, 1e300), "sqrt": (0, 1e300),
    "rsqrt": (1e-300, 1e300), "asin": (-1, 1), "acos": (-1, 1), "acosh": (1, 1e300),
    "atanh": (-1 + 1e-16, 1 - 1e-16), "exponential": (-700, 700), "sinh": (-700, 700),
    "cosh": (-700, 700), "exponential_minus_one": (-700, 700), "erf_inv": (-1 + 1e-16, 1 - 1e-16),
    "lgamma": (1e-300, 1e300), "digamma": (1e-300, 1e300), "tan": (-1e6, 1e6), "sine": (-1e6, 1e6),
    "cosine": (-1e6, 1e6), "erfc": (-26, 26),
    "cbrt": (-1e300, 1e300),
}  # fmt: skip
UNARY = [op for op in ORACLES if op.operands == ("x",) and not op.defaults and "float" in op.dtypes]


@pytest.mark.parametrize("op", UNARY, ids=lambda op: op.name)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_drawn_floats(op, data):
    low, high = DOMAINS.get(op.name, (-1e300, 1e300))
    # most bits of a drawn float are its exponent: small and large numbers alike
    xs = data.draw(st.lists(floats_within(low, high), min_size=1, max_size=8))
    sample = Sample((np.array(xs),))
    check(op, ORACLES[op], sample, *LOOSE.get(op.name, (8e-15,)))


@pytest.mark.parametrize("x", [1e-300, 1e-20, 1e-12, 1e-7, 1e-3, 0.3, 0.5, 0.7, 0.999, 1 - 1e-15])
def test_erf_inv_keeps_relative_digits(x):
    check(ops.erf_inv, special.erfinv, Sample((np.array([x, -x]),)), rtol=1e-14)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_polygamma_at_poles_and_infinity(n):
    x = np.array([0.0, -0.0, -1.0, -2.0, np.inf, np.nan, -0.5, -1.5])
    check(ops.polygamma, ORACLES[ops.polygamma], Sample((x,), {"n": n}), 1e-13)


BINARY = (ops.add, ops.subtract, ops.multiply, ops.divide, ops.remainder, ops.maximum, ops.minimum)
INTEGERS = [d.name for d in dtypes_of(ops.add) if d.is_integer]


@pytest.mark.parametrize("name", INTEGERS)
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_drawn_integers_wrap_as_twos_complement(name, data):
    info = np.iinfo(name)
    drawn = st.lists(st.integers(info.min, info.max), min_size=4, max_size=4)
    a, b = (np.array(data.draw(drawn), name) for _ in range(2))
    for op in BINARY:
        check(op, ORACLES[op], Sample((a, b)))
    for op in (ops.negate, ops.abs_, ops.sign):
        check(op, ORACLES[op], Sample((a,)))


# ---- convert: truncation, saturation, wrapping


def converted(x, *, dtype):
    """One Python number as another dtype, by StableHLO's rules and XLA's saturation."""
    if dtype.kind == "bool":
        return x != 0
    if isinstance(x, complex) and not dtype.is_complex:
        x = x.real
    if dtype.is_integer and isinstance(x, float):
        info = np.iinfo(dtype.numpy)
        if x != x:
            return 0
        return info.max if x >= info.max else info.min if x <= info.min else math.trunc(x)
    if dtype.is_float and math.isfinite(x):
        try:
            return struct.unpack("f", struct.pack("f", x))[0] if dtype.bits == 32 else float(x)
        except OverflowError:
            return math.copysign(math.inf, x)
    return x


CONVERT = scalars(converted)
ORACLES[ops.convert] = lambda x, *, dtype: CONVERT(x, dtype=as_dtype(dtype))
NUMBERS = ["bool", *INTEGERS, "float32", "float64"]


@pytest.mark.parametrize("source", [*NUMBERS, "complex128"])
@pytest.mark.parametrize("target", [*NUMBERS, "complex128"])
@settings(max_examples=12, deadline=None)
@given(st.data())
def test_convert(source, target, data):
    d = as_dtype(source)
    if d.kind == "bool":
        drawn = st.booleans()
    elif d.is_integer:
        drawn = st.integers(np.iinfo(source).min, np.iinfo(source).max)
    elif d.is_complex:
        drawn = st.complex_numbers(max_magnitude=1e30)
    else:
        drawn = st.floats(width=d.bits) | st.integers(-300, 300).map(float)
    xs = np.array(data.draw(st.lists(drawn, min_size=1, max_size=6)), source)
    check(ops.convert, ORACLES[ops.convert], Sample((xs,), {"dtype": target}), rtol=0)


def test_converts_own_samples():
    for sample in cases(ops.convert):
        check(ops.convert, ORACLES[ops.convert], sample, rtol=0)

"""Exponentials, roots, trigonometry, and special functions, elementwise."""

from __future__ import annotations

import math

import numpy as np

from ..blocks import in_blocks
from ..op import op
from ._infer import unary_float, unary_inexact
from ._samples import elementwise
from .complexes import conj_if_complex as c

_BOTH = ("float", "complex")


def _rule(derivative):
    """A vjp from ``derivative(y, x)``; conjugated for complex numbers."""
    return lambda g, y, x: (g * c(derivative(y, x)),)


def _unary(derivative, *, low=-2.0, high=2.0, both=True, ulps=4):
    return op(
        infer=unary_inexact if both else unary_float,
        vjp=_rule(derivative),
        samples=elementwise(low, high),
        dtypes=_BOTH if both else "float",
        ulps=ulps,
    )


@_unary(lambda y, x: y)
def exponential(x):
    """``e`` to the power ``x``."""
    return np.exp(x)


@_unary(lambda y, x: y + 1.0)
def exponential_minus_one(x):
    """``exp(x) - 1``, accurate near 0."""
    if not np.iscomplexobj(x):
        return np.expm1(x)
    y = np.where(np.isfinite(x), np.expm1(x), np.exp(x) - 1)  # as C99 at infinities and NaN
    y.real += 0.0  # the array API has no -0 here
    return y


@_unary(lambda y, x: 1.0 / x, low=0.1)
def log(x):
    """Natural logarithm."""
    return np.log(x)


@_unary(lambda y, x: 1.0 / (x + 1.0), low=-0.9)
def log_plus_one(x):
    """``log(1 + x)``, accurate near 0."""
    return np.log1p(x)


@_unary(lambda y, x: 0.5 / y, low=0.1)
def sqrt(x):
    """Square root."""
    return np.sqrt(x)


@_unary(lambda y, x: -0.5 * y / x, low=0.1)
def rsqrt(x):
    """``1 / sqrt(x)``."""
    return 1.0 / np.sqrt(x)


@_unary(lambda y, x: 1.0 / (3.0 * y * y), low=0.1, both=False)
def cbrt(x):
    """Real cube root."""
    return np.cbrt(x)


@_unary(lambda y, x: cosine(x))
def sine(x):
    """Sine of radians."""
    return np.sin(x)


@_unary(lambda y, x: -sine(x))
def cosine(x):
    """Cosine of radians."""
    return np.cos(x)


@_unary(lambda y, x: 1.0 + y * y, low=-1.2, high=1.2)
def tan(x):
    """Tangent of radians."""
    return np.tan(x)


@_unary(lambda y, x: rsqrt(1.0 - x * x), low=-0.9, high=0.9)
def asin(x):
    """Inverse sine, in radians."""
    return np.arcsin(x)


@_unary(lambda y, x: -rsqrt(1.0 - x * x), low=-0.9, high=0.9)
def acos(x):
    """Inverse cosine, in radians."""
    return np.arccos(x)


@_unary(lambda y, x: 1.0 / (1.0 + x * x), low=-0.9, high=0.9)
def atan(x):
    """Inverse tangent, in radians."""
    return np.arctan(x)


@_unary(lambda y, x: cosh(x), ulps=12)  # XLA: 8.3 at 100, from exp(x - log 2)
def sinh(x):
    """Hyperbolic sine."""
    return np.sinh(x)


@_unary(lambda y, x: sinh(x), ulps=12)  # XLA: 8.3 at 100, from exp(x - log 2)
def cosh(x):
    """Hyperbolic cosine."""
    return np.cosh(x)


@_unary(lambda y, x: 1.0 - y * y)
def tanh(x):
    """Hyperbolic tangent."""
    y = np.asarray(np.tanh(x))
    if np.iscomplexobj(x):  # the array API: 1 + 0j at infinity, whatever the sine's sign
        y.imag = np.where(np.isinf(x.real) & np.isfinite(x.imag), np.copysign(0, x.imag), y.imag)
    return y


@_unary(lambda y, x: rsqrt(x * x + 1.0), low=-0.9, high=0.9)
def asinh(x):
    """Inverse hyperbolic sine."""
    return np.arcsinh(x)


@_unary(lambda y, x: rsqrt(x - 1.0) * rsqrt(x + 1.0), low=1.1, high=3.0)
def acosh(x):
    """Inverse hyperbolic cosine."""
    return np.arccosh(x)


@_unary(lambda y, x: 1.0 / (1.0 - x * x), low=-0.9, high=0.9, ulps=12)  # XLA: 8.1
def atanh(x):
    """Inverse hyperbolic tangent."""
    return np.arctanh(x)


@_unary(lambda y, x: y * (1.0 - y))
def logistic(x):
    """``1 / (1 + exp(-x))``."""
    return 1.0 / (1.0 + np.exp(-x))


def _each(fn):
    vector = np.vectorize(fn, otypes=[np.float64])
    return lambda x: vector(x.astype(np.float64)) if x.size else x


_erf, _erfc = _each(math.erf), _each(math.erfc)


@_unary(lambda y, x: 2.0 / math.sqrt(math.pi) * exponential(-x * x), both=False)
def erf(x):
    """The error function."""
    return _erf(x)


@_unary(lambda y, x: -2.0 / math.sqrt(math.pi) * exponential(-x * x), both=False)
def erfc(x):
    """``1 - erf(x)``, accurate for large ``x``."""
    return _erfc(x)


# Wichura's approximation of the normal quantile, AS 241 (Applied Statistics 37, 1988): numerator and
# denominator, lowest power first, near the median, in the tails, and far out
# fmt: off
_CENTRE = (
    (3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3,
     1.3731693765509461125e4, 4.5921953931549871457e4, 6.7265770927008700853e4,
     3.3430575583588128105e4, 2.5090809287301226727e3),
    (1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
     2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4,
     5.2264952788528545610e3),
)
_TAIL = (
    (1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0,
     3.64784832476320460504e0, 1.27045825245236838258e0, 2.41780725177450611770e-1,
     2.27238449892691845833e-2, 7.74545014278341407640e-4),
    (1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
     1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4,
     1.05075007164441684324e-9),
)
_FAR = (
    (6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0,
     2.96560571828504891230e-1, 2.65321895265761230930e-2, 1.24266094738807843860e-3,
     2.71155556874348757815e-5, 2.01033439929228813265e-7),
    (1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
     7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7,
     2.04426310338993978564e-15),
)
# fmt: on


def _ratio(tables, r):
    above, below = (_polynomial(t, r) for t in tables)
    above /= below
    return above


def _polynomial(coefficients, r):
    y = np.full_like(r, coefficients[-1])
    for constant in reversed(coefficients[:-1]):
        y *= r
        y += constant
    return y


def _erf_inv(v):
    # of v in [0, 1): the normal quantile of (1 + v) / 2, over sqrt(2)
    q = v / 2
    out = _ratio(_CENTRE, 0.180625 - q * q)
    out *= q
    tail = q > 0.425
    r = np.sqrt(-np.log((1 - v[tail]) / 2))
    y = _ratio(_TAIL, r - 1.6)
    if (far := r > 5).any():
        y[far] = _ratio(_FAR, r[far] - 5)
    out[tail] = y
    out /= math.sqrt(2)
    return out


@_unary(
    lambda y, x: math.sqrt(math.pi) / 2.0 * exponential(y * y),
    low=-0.95,
    high=0.95,
    both=False,
    ulps=8,
)
def erf_inv(x):
    """The inverse of `erf`: infinite at -1 and 1, NaN beyond."""
    flat = x.reshape(-1)
    out = np.empty(flat.shape)

    def fill(start, stop):
        part = flat[start:stop]
        size = np.abs(part.astype(np.float64))
        if (size < 1).all():
            y = _erf_inv(size)
        else:
            y = _erf_inv(np.where(size < 1, size, 0.0))
            y = np.where(size < 1, y, np.where(size == 1, np.inf, np.nan))
        np.copysign(y, part, out=out[start:stop])

    in_blocks(fill, flat.size)
    return out.reshape(x.shape)


def _lgamma(v):
    if math.isnan(v):
        return math.nan
    if math.isinf(v) or (v <= 0 and v == math.floor(v)):
        return math.inf
    return math.lgamma(v)


_lgamma_each = _each(_lgamma)


@op(
    infer=unary_float, vjp=lambda g, y, x: (g * digamma(x),), samples=elementwise(0.2, 4.0), ulps=16
)
def lgamma(x):
    """Logarithm of the gamma function's magnitude."""
    return _lgamma_each(x)


def _digamma(v):
    if math.isnan(v) or v == -math.inf:
        return math.nan
    if v == math.inf:
        return v
    if v <= 0 and v == math.floor(v):
        return math.nan if v else -math.copysign(math.inf, v)
    total = 0.0
    if v < 0:  # reflection
        total, v = -math.pi / math.tan(math.pi * v), 1 - v
    while v < 10:  # recurrence up to where the asymptotic series has all digits
        total, v = total - 1 / v, v + 1
    s = 1 / (v * v)
    series = s * (
        1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s * (1 / 132 - s * 691 / 32760))))
    )
    return total + math.log(v) - 0.5 / v - series


_digamma_each = _each(_digamma)


@op(
    infer=unary_float,
    vjp=lambda g, y, x: (g * polygamma(x, n=1),),
    samples=elementwise(0.2, 4.0),
    ulps=32,
)
def digamma(x):
    """Derivative of `lgamma`."""
    return _digamma_each(x)


def _polygamma_one(v, n):
    sign, total = (-1) ** (n + 1), 0.0
    if math.isnan(v) or v == -math.inf:
        return math.nan
    if v <= 0 and v == math.floor(v):  # a pole: the limit from the right
        return sign * math.inf
    if v == math.inf:
        return sign * 0.0
    f = math.factorial(n)
    while v < 16:
        total, v = total + f / v ** (n + 1), v + 1
    bernoulli = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730)
    tail = math.factorial(n - 1) / v**n + f / (2 * v ** (n + 1))
    for k, b in enumerate(bernoulli, 1):
        tail += b * math.factorial(2 * k + n - 1) / (math.factorial(2 * k) * v ** (2 * k + n))
    return sign * (total + tail)


@op(
    infer=lambda x, *, n: unary_float(x),
    vjp=lambda g, y, x, *, n: (g * polygamma(x, n=n + 1),),
    samples=lambda d, rng: (
        type(s)(s.operands, {"n": 1 + i % 2}, s.grad)
        # engines part at the poles and at infinity
        for i, s in enumerate(elementwise(0.3, 4.0, specials=False)(d, rng))
    ),
    ulps=64,
)
def polygamma(x, *, n):
    """The ``n``-th derivative of `digamma`, ``n >= 1``; at a pole the limit from the right."""
    return np.vectorize(lambda v: _polygamma_one(v, n), otypes=[np.float64])(x) if x.size else x

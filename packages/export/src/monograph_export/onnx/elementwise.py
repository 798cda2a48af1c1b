"""Elementwise operations: ours -> ONNX's name, or a formula where ONNX has none or means another thing.

An entry is ``(builder, dtype, *names, **attributes) -> name``: operands come in ``dtype``, in which
arithmetic is done (see `CARRIERS`), and broadcast to each other; whoever calls it converts back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from monograph import ops
from monograph.dtypes import DType, bool_, float32, int32, int64
from monograph.op import Op

from .builder import Builder

Entry = Callable[..., str]


def plain(op: str) -> Entry:
    """ONNX's own operation of that meaning."""
    return lambda b, d, *xs: b(op, *xs)


def _divide(b: Builder, d: DType, x: str, y: str) -> str:
    if not d.is_integer:
        return b("Div", x, y)
    zero, one, minus_one = (b.number(n, d) for n in (0, 1, -1))
    none, turned = b("Equal", y, zero), b("Equal", y, minus_one)
    # a processor traps on x / 0, and on the least number over -1
    quotient = b("Div", x, b("Where", b("Or", none, turned), one, y))
    return b("Where", none, minus_one, b("Where", turned, b("Neg", x), quotient))


def _remainder(b: Builder, d: DType, x: str, y: str) -> str:
    if not d.is_integer:
        return b("Mod", x, y, fmod=1)
    rest = b("Sub", x, b("Mul", _divide(b, d, x, y), y))
    return b("Where", b("Equal", y, b.number(0, d)), x, rest)


def _trunc(b: Builder, d: DType, x: str) -> str:
    return b("Where", b("Less", x, b.number(0, d)), b("Ceil", x), b("Floor", x))


def _round_away(b: Builder, d: DType, x: str) -> str:
    size = b("Abs", x)
    down = b("Floor", size)
    up = b("GreaterOrEqual", b("Sub", size, down), b.number(0.5, d))
    away = b("Add", down, b.cast(up, d))
    return b("Where", b("Less", x, b.number(0, d)), b("Neg", away), away)


def _expm1(b: Builder, d: DType, x: str) -> str:
    # Kahan: the error of exp(x) - 1 cancels against that of log(exp(x))
    u, one = b("Exp", x), b.number(1, d)
    low = b("Sub", u, one)
    y = b("Mul", low, b("Div", x, b("Log", u)))
    y = b("Where", b("Equal", low, b.number(-1, d)), low, y)
    y = b("Where", b("Equal", u, one), x, y)
    return b("Where", b("IsInf", u), u, y)


def _log1p(b: Builder, d: DType, x: str) -> str:
    u = b("Add", x, b.number(1, d))
    low, log = b("Sub", u, b.number(1, d)), b("Log", u)
    y = b("Mul", log, b("Div", x, low))
    y = b("Where", b("Equal", low, b.number(0, d)), x, y)
    return b("Where", b("IsInf", u), log, y)


# of the inverse of erf over x, in w = -log(1 - x * x): Giles 2012, single precision, near 0 and in the tails
_NEAR = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503,
    -0.00417768164, 0.246640727, 1.50140941,
)  # fmt: skip
_FAR = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613,
    0.00943887047, 1.00167406, 2.83297682,
)  # fmt: skip


def _erf_inv(b: Builder, d: DType, x: str) -> str:
    def polynomial(w: str, coefficients: tuple[float, ...]) -> str:
        y = b.number(coefficients[0], d)
        for c in coefficients[1:]:
            y = b("Add", b("Mul", y, w), b.number(c, d))
        return b("Mul", y, x)

    one = b.number(1, d)
    w = b("Neg", b("Log", b("Mul", b("Sub", one, x), b("Add", one, x))))
    near = polynomial(b("Sub", w, b.number(2.5, d)), _NEAR)
    far = polynomial(b("Sub", b("Sqrt", w), b.number(3, d)), _FAR)
    y = b("Where", b("Less", w, b.number(5, d)), near, far)
    return b("Where", b("Equal", b("Abs", x), one), b("Mul", x, b.number(np.inf, d)), y)


def _logistic(b: Builder, d: DType, x: str) -> str:
    # Sigmoid is 0 from -18 on, whose logarithm is not -18
    one = b.number(1, d)
    return b("Div", one, b("Add", one, b("Exp", b("Neg", x))))


def _sign(b: Builder, d: DType, x: str) -> str:
    s = b("Sign", x)
    return s if d.is_integer else b("Where", b("IsNaN", x), x, s)


def _is_finite(b: Builder, d: DType, x: str) -> str:
    return b("Not", b("Or", b("IsNaN", x), b("IsInf", x)))


_COMPARE = {
    "EQ": "Equal", "LT": "Less", "LE": "LessOrEqual", "GT": "Greater", "GE": "GreaterOrEqual",
}  # fmt: skip


def _compare(b: Builder, d: DType, x: str, y: str, *, direction: str) -> str:
    if direction == "NE":
        return b("Not", b("Equal", x, y))
    if d is bool_ and direction != "EQ":
        x, y = b.cast(x, int32), b.cast(y, int32)
    return b(_COMPARE[direction], x, y)


def _logical(of_bools: str, of_bits: str) -> Entry:
    return lambda b, d, *xs: b(of_bools if d is bool_ else of_bits, *xs)


def _relu(b: Builder, d: DType, x: str) -> str:
    return b("Max", x, b.number(0, d)) if d.is_integer else b("Relu", x)


def _select(b: Builder, d: DType, test: str, yes: str, no: str) -> str:
    if d is not bool_:
        return b("Where", test, yes, no)
    return b.cast(b("Where", test, b.cast(yes, int32), b.cast(no, int32)), bool_)


def convert(b: Builder, source: DType, x: str, target: DType) -> str:
    """``x`` as another dtype. Floats outside an integer's range saturate, NaN becomes 0."""
    if not (source.is_float and target.is_integer):
        return b.cast(x, target)
    x, info = b.wide(x, source), np.iinfo(target.numpy)
    low = b("LessOrEqual", x, b.number(info.min, float32))
    high = b("GreaterOrEqual", x, b.number(info.max, float32))
    outside = b("Or", b("Or", low, high), b("IsNaN", x))
    x = b("Where", outside, b.number(0, float32), x)
    if target.name == "uint64":  # what int64 does not hold, less 2**63, whose bits come back
        over, top = b("GreaterOrEqual", x, b.number(2.0**63, float32)), b.number(2.0**63, float32)
        rest = b.cast(b("Where", over, b("Sub", x, top), x), int64)
        whole = b("Where", over, b("Add", rest, b.number(-(2**63), int64)), rest)
    else:
        whole = b.cast(x, int64)
    whole = b("Where", low, b.number(info.min, int64), whole)
    most = -1 if target.name == "uint64" else info.max  # the same bits
    return b.cast(b("Where", high, b.number(most, int64), whole), target)


ELEMENTWISE: Mapping[Op, Entry] = {
    # arithmetic
    ops.add: plain("Add"), ops.subtract: plain("Sub"), ops.multiply: plain("Mul"),
    ops.divide: _divide, ops.remainder: _remainder, ops.negate: plain("Neg"), ops.abs_: plain("Abs"),
    ops.power: plain("Pow"), ops.maximum: plain("Max"), ops.minimum: plain("Min"), ops.sign: _sign,
    # transcendental
    ops.exponential: plain("Exp"), ops.exponential_minus_one: _expm1, ops.log: plain("Log"),
    ops.log_plus_one: _log1p, ops.sqrt: plain("Sqrt"),
    ops.rsqrt: lambda b, d, x: b("Reciprocal", b("Sqrt", x)), ops.sine: plain("Sin"),
    ops.cosine: plain("Cos"), ops.tan: plain("Tan"), ops.asin: plain("Asin"), ops.acos: plain("Acos"),
    ops.atan: plain("Atan"), ops.sinh: plain("Sinh"), ops.cosh: plain("Cosh"), ops.tanh: plain("Tanh"),
    ops.asinh: plain("Asinh"), ops.acosh: plain("Acosh"), ops.atanh: plain("Atanh"),
    ops.logistic: _logistic, ops.erf: plain("Erf"), ops.erf_inv: _erf_inv,
    # rounding
    ops.floor: plain("Floor"), ops.ceil: plain("Ceil"), ops.trunc: _trunc, ops.is_finite: _is_finite,
    ops.round_nearest_even: plain("Round"), ops.round_nearest_afz: _round_away,
    # bits and choice
    ops.and_: _logical("And", "BitwiseAnd"), ops.or_: _logical("Or", "BitwiseOr"),
    ops.xor: _logical("Xor", "BitwiseXor"), ops.not_: _logical("Not", "BitwiseNot"),
    ops.compare: _compare, ops.select: _select,
    ops.clamp: lambda b, d, low, x, high: b("Min", b("Max", x, low), high),
    # activations
    ops.hard_tanh: lambda b, d, x, *, low, high: b("Clip", x, b.number(low, d), b.number(high, d)),
    ops.relu: _relu, ops.silu: lambda b, d, x: b("Mul", x, b("Sigmoid", x)),
    ops.gelu: lambda b, d, x, *, approximate: b(
        "Gelu", x, approximate="tanh" if approximate else "none"
    ),
}  # fmt: skip

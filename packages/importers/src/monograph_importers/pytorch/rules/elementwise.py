"""Elementwise ops: arithmetic, comparisons, functions, activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
from monograph.dtypes import default_float

from ._types import cast, floating, is_array, result_type, together


def _binary(fn: Callable) -> Callable:
    return lambda a, b: fn(*together(a, b))


def _add(a: Any, b: Any, *, alpha: Any = 1) -> Any:
    a, b = together(a, b)
    if _dtype(a, b) == "bool":
        return mg.logical_or(a, b)
    return mg.add(a, b if alpha == 1 else mg.multiply(b, alpha) if is_array(b) else b * alpha)


def _sub(a: Any, b: Any, alpha: Any = 1) -> Any:
    a, b = together(a, b)
    return mg.subtract(a, b if alpha == 1 else mg.multiply(b, alpha) if is_array(b) else b * alpha)


def _mul(a: Any, b: Any) -> Any:
    a, b = together(a, b)
    return (mg.logical_and if _dtype(a, b) == "bool" else mg.multiply)(a, b)


def _dtype(*xs: Any) -> str:
    return next(x.dtype.name for x in xs if is_array(x))


def _div(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode == "floor":
        return _floor_divide(a, b)
    if rounding_mode is None:
        d = result_type(a, b)
        d = d if d.is_inexact else default_float
        return mg.divide(*(cast(x, d) if is_array(x) else x for x in (a, b)))
    a, b = together(a, b)
    if result_type(a, b).is_integer:
        return mg.ops.divide(*_arrays(a, b))
    return mg.trunc(mg.divide(a, b))


def _floor_divide(a: Any, b: Any) -> Any:
    a, b = together(a, b)
    if not result_type(a, b).is_float:
        return mg.floor_divide(a, b)
    # as torch, step by step: it takes the remainder off first
    a, b = map(mg.stop_gradient, _arrays(a, b))
    rest = mg.ops.remainder(a, b)
    exact = (a - rest) / b - mg.astype(_crosses(rest, b), a.dtype)
    low = mg.floor(exact)
    low = mg.where(exact - low > 0.5, low + 1, low)
    return mg.where(b == 0, a / b, mg.where(exact == 0, mg.copysign(0.0, a / b), low))


def _crosses(rest: Any, b: Any) -> Any:
    """Where a truncated quotient lies above the floored one."""
    return mg.logical_and(rest != 0, (b < 0) != (rest < 0))


def _remainder(a: Any, b: Any) -> Any:
    a, b = _arrays(*together(a, b))
    rest = mg.ops.remainder(a, b)
    return mg.where(_crosses(rest, b), rest + b, rest)


def _arrays(a: Any, b: Any) -> Any:
    d = result_type(a, b)
    return mg.broadcast_arrays(*(x if is_array(x) else mg.asarray(x, dtype=d) for x in (a, b)))


def _fmod(a: Any, b: Any) -> Any:
    return mg.ops.remainder(*_arrays(*together(a, b)))


def _pow(a: Any, b: Any) -> Any:
    a, b = together(a, b)
    if not is_array(b) and b == 0.5:
        return mg.sqrt(a)
    return mg.pow(a, b)


def _bitwise(logical: Callable, bits: Callable) -> Callable:
    """A rule that is another function of bools."""

    def rule(a: Any, b: Any) -> Any:
        a, b = together(a, b)
        return (logical if _dtype(a, b) == "bool" else bits)(a, b)

    return rule


_maximum = _bitwise(mg.logical_or, mg.maximum)
_minimum = _bitwise(mg.logical_and, mg.minimum)


def _nan_aside(fn: Callable) -> Callable:
    def rule(a: Any, b: Any) -> Any:
        a, b = together(a, b)
        return mg.where(mg.isnan(a), b, mg.where(mg.isnan(b), a, fn(a, b)))

    return rule


def _clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    x, min, max = together(x, min, max)
    x = x if min is None else mg.maximum(x, min)
    return x if max is None else mg.minimum(x, max)


def _where(condition: Any, a: Any, b: Any) -> Any:
    return mg.where(condition, *together(a, b))


def _sign(x: Any) -> Any:
    # of NaN it is 0 in torch, NaN here
    return mg.where(mg.isnan(x), 0, mg.sign(x)) if x.dtype.is_float else mg.sign(x)


def _round(x: Any, *, decimals: int = 0) -> Any:
    if not decimals:
        return mg.round(x)
    scale = 10.0 ** abs(decimals)
    return mg.round(x * scale) / scale if decimals > 0 else mg.round(x / scale) * scale


def _elu(x: Any, alpha: Any = 1, scale: Any = 1, input_scale: Any = 1) -> Any:
    below = mg.expm1(mg.minimum(x, 0.0) * float(input_scale)) * float(alpha * scale)
    return mg.where(x > 0, x * float(scale), below)


def _softplus(x: Any, beta: Any = 1, threshold: Any = 20) -> Any:
    scaled = x * float(beta)
    small = mg.minimum(scaled, float(threshold))
    return mg.where(scaled > threshold, x, mg.log1p(mg.exp(small)) / float(beta))


def _prelu(x: Any, weight: Any) -> Any:
    if x.ndim > 1 and weight.size > 1:
        weight = mg.reshape(weight, (1, -1, *[1] * (x.ndim - 2)))
    return mg.where(x > 0, x, x * weight)


def _glu(x: Any, dim: int = -1) -> Any:
    n = x.shape[dim] // 2
    a, b = mg.split(x, [n], axis=dim)
    return a * mg.sigmoid(b)


def _hardsigmoid(x: Any) -> Any:
    return mg.relu6(x + 3.0) / 6.0


def _hardtanh(x: Any, min_val: Any = -1, max_val: Any = 1) -> Any:
    return mg.hard_tanh(x, min_val, max_val)


def _leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    return mg.where(x > 0, x, x * negative_slope)


def _addcmul(x: Any, a: Any, b: Any, *, value: Any = 1) -> Any:
    return _add(x, _mul(a, b), alpha=value)


def _addcdiv(x: Any, a: Any, b: Any, *, value: Any = 1) -> Any:
    return _add(x, _div(a, b), alpha=value)


def _lerp(a: Any, b: Any, weight: Any) -> Any:
    return mg.where(
        mg.abs(mg.asarray(weight)) < 0.5, a + (b - a) * weight, b - (b - a) * (1 - weight)
    )


def _nan_to_num(x: Any, nan: Any = None, posinf: Any = None, neginf: Any = None) -> Any:
    return mg.nan_to_num(x, nan=nan or 0.0, posinf=posinf, neginf=neginf)


def _masked_fill(x: Any, mask: Any, value: Any) -> Any:
    return mg.where(mask, cast(value, x.dtype) if is_array(value) else value, x)


def _xlogy(a: Any, b: Any) -> Any:
    a, b = map(floating, _arrays(*together(a, b)))
    return mg.where(mg.logical_and(a == 0, mg.logical_not(mg.isnan(b))), 0.0, a * mg.log(b))


def _log_sigmoid(x: Any) -> Any:
    return mg.minimum(x, 0.0) - mg.log1p(mg.exp(mg.negative(mg.abs(x))))


def _mish(x: Any) -> Any:
    return x * mg.tanh(_softplus(x))


RULES: dict[str, Callable] = {
    # one argument; integers become floats where they must
    "abs": mg.abs, "acos": mg.acos, "acosh": mg.acosh,
    "asin": mg.asin, "asinh": mg.asinh, "atan": mg.atan,
    "atanh": mg.atanh, "bitwise_not": mg.bitwise_invert, "ceil": mg.ceil,
    "conj": mg.conj, "_conj": mg.conj, "cos": mg.cos,
    "cosh": mg.cosh, "digamma": mg.digamma, "erf": mg.erf,
    "erfc": mg.erfc, "erfinv": mg.erf_inv, "exp": mg.exp,
    "exp2": lambda x: mg.pow(2.0, floating(x)), "expm1": mg.expm1,
    "fix": mg.trunc, "floor": mg.floor, "frac": lambda x: x - mg.trunc(x),
    "imag": mg.imag, "isfinite": mg.isfinite, "isinf": mg.isinf,
    "isnan": mg.isnan, "lgamma": mg.lgamma, "log": mg.log,
    "log10": mg.log10, "log1p": mg.log1p, "log2": mg.log2,
    "logical_not": mg.logical_not, "nan_to_num": _nan_to_num, "neg": mg.negative,
    "positive": mg.positive, "real": mg.real, "reciprocal": mg.reciprocal,
    "round": _round, "rsqrt": mg.rsqrt, "sigmoid": mg.sigmoid, "sgn": _sign,
    "sign": _sign, "sin": mg.sin, "sinh": mg.sinh, "sqrt": mg.sqrt,
    "square": lambda x: _mul(x, x), "tan": mg.tan, "tanh": mg.tanh,
    "trunc": mg.trunc,
    # two arguments
    "add": _add, "__add__": _add, "atan2": _binary(mg.atan2), "copysign": _binary(mg.copysign),
    "bitwise_and": _bitwise(mg.logical_and, mg.bitwise_and),
    "bitwise_or": _bitwise(mg.logical_or, mg.bitwise_or),
    "bitwise_xor": _bitwise(mg.logical_xor, mg.bitwise_xor),
    "__and__": _bitwise(mg.logical_and, mg.bitwise_and),
    "__or__": _bitwise(mg.logical_or, mg.bitwise_or),
    "__xor__": _bitwise(mg.logical_xor, mg.bitwise_xor),
    "bitwise_left_shift": _binary(mg.bitwise_left_shift), "__lshift__": _binary(mg.bitwise_left_shift),
    "bitwise_right_shift": _binary(mg.bitwise_right_shift),
    "__rshift__": _binary(mg.bitwise_right_shift), "div": _div, "true_divide": _div,
    "divide": _div, "floor_divide": _floor_divide, "fmax": _nan_aside(mg.maximum),
    "fmin": _nan_aside(mg.minimum), "fmod": _fmod, "hypot": _binary(mg.hypot),
    "logaddexp": _binary(mg.logaddexp), "logical_and": mg.logical_and,
    "logical_or": mg.logical_or, "logical_xor": mg.logical_xor,
    "maximum": _maximum, "minimum": _minimum, "mul": _mul, "multiply": _mul,
    "max.other": _maximum, "min.other": _minimum,
    "nextafter": _binary(mg.nextafter), "pow": _pow, "remainder": _remainder,
    "rsub": lambda a, b, alpha=1: _sub(b, a, alpha), "sub": _sub, "subtract": _sub, "xlogy": _xlogy,
    "eq": _binary(mg.equal), "ne": _binary(mg.not_equal), "lt": _binary(mg.less),
    "le": _binary(mg.less_equal), "gt": _binary(mg.greater), "ge": _binary(mg.greater_equal),
    "less": _binary(mg.less), "greater": _binary(mg.greater), "not_equal": _binary(mg.not_equal),
    # more
    "addcdiv": _addcdiv, "addcmul": _addcmul, "clamp": _clamp, "clip": _clamp,
    "clamp_max": lambda x, max: _clamp(x, None, max), "clamp_min": lambda x, min: _clamp(x, min),
    "lerp": _lerp, "masked_fill": _masked_fill, "where.self": _where, "where.ScalarOther": _where,
    "where.ScalarSelf": _where, "where.Scalar": _where,
    # activations
    "celu": lambda x, alpha=1.0: _elu(x, alpha, 1, 1 / alpha), "elu": _elu,
    "gelu": lambda x, *, approximate="none": mg.gelu(x, approximate=approximate == "tanh"),
    "glu": _glu, "hardsigmoid": _hardsigmoid, "hardswish": lambda x: x * _hardsigmoid(x),
    "hardtanh": _hardtanh, "leaky_relu": _leaky_relu, "log_sigmoid": _log_sigmoid, "mish": _mish,
    "prelu": _prelu, "relu": mg.relu, "relu6": lambda x: _hardtanh(x, 0, 6),
    "selu": lambda x: _elu(x, 1.6732632423543772, 1.0507009873554805), "silu": mg.silu,
    "softplus": _softplus,
    "threshold": lambda x, threshold, value: mg.where(x <= threshold, value, x),
}  # fmt: skip

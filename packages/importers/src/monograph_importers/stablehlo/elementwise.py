"""Operations on elements: one line each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops

from .constants import constant, dtype
from .interpret import FOLDED, RULES, Step, rule

# of any operands of one shape; of booleans it is the second
_PLAIN: dict[str, Any] = {
    "abs": ops.abs_, "add": (ops.add, ops.or_), "and": ops.and_,
    "ceil": ops.ceil, "complex": ops.complex_, "cosine": ops.cosine,
    "count_leading_zeros": ops.count_leading_zeros, "divide": ops.divide,
    "exponential": ops.exponential, "exponential_minus_one": ops.exponential_minus_one,
    "floor": ops.floor, "is_finite": ops.is_finite, "log": ops.log,
    "log_plus_one": ops.log_plus_one, "logistic": ops.logistic,
    "multiply": (ops.multiply, ops.and_), "negate": ops.negate, "not": ops.not_, "or": ops.or_,
    "popcnt": ops.popcnt, "remainder": ops.remainder,
    "round_nearest_afz": ops.round_nearest_afz, "round_nearest_even": ops.round_nearest_even,
    "rsqrt": ops.rsqrt, "shift_left": ops.shift_left,
    "shift_right_arithmetic": ops.shift_right_arithmetic,
    "shift_right_logical": ops.shift_right_logical, "sign": ops.sign, "sine": ops.sine,
    "sqrt": ops.sqrt, "subtract": (ops.subtract, ops.xor), "tan": ops.tan, "tanh": ops.tanh,
    "xor": ops.xor,
}  # fmt: skip

# of CHLO, the client's dialect
_CLIENT: dict[str, Any] = {
    "acos": ops.acos, "acosh": ops.acosh, "asin": ops.asin, "asinh": ops.asinh, "atan": ops.atan,
    "atanh": ops.atanh, "conj": ops.conj, "cosh": ops.cosh, "digamma": ops.digamma, "erf": ops.erf,
    "erf_inv": ops.erf_inv, "erfc": ops.erfc, "lgamma": ops.lgamma, "next_after": ops.nextafter,
    "sinh": ops.sinh, "square": lambda x: ops.multiply(x, x), "tan": ops.tan,
}  # fmt: skip


def kind(x: Any) -> str:
    """The kind of dtype of a value."""
    return mg.Spec.of(x).dtype.kind


def _plain(of_numbers: Callable, of_bools: Callable | None = None) -> Callable:
    def run(step: Step, *xs: Any) -> Any:
        return (of_bools if of_bools and kind(xs[0]) == "bool" else of_numbers)(*xs)

    return run


for _prefix, _table in (("stablehlo", _PLAIN), ("chlo", _CLIENT)):
    for _name, _fns in _table.items():
        RULES[f"{_prefix}.{_name}"] = _plain(*(_fns if isinstance(_fns, tuple) else (_fns,)))
        FOLDED.add(f"{_prefix}.{_name}")


@rule("stablehlo.maximum", fold=True)
def _maximum(step: Step, a: Any, b: Any) -> Any:
    return _extreme(a, b, {"bool": ops.or_}.get(kind(a), ops.maximum), "GT")


@rule("stablehlo.minimum", fold=True)
def _minimum(step: Step, a: Any, b: Any) -> Any:
    return _extreme(a, b, {"bool": ops.and_}.get(kind(a), ops.minimum), "LT")


def _extreme(a: Any, b: Any, of_reals: Any, way: str) -> Any:
    """Complex numbers go by their real parts, and by their imaginary ones where those are equal."""
    if kind(a) != "complex":
        return of_reals(a, b)
    (ar, br), (ai, bi) = ([part(x) for x in (a, b)] for part in (ops.real, ops.imag))
    same = ops.compare(ar, br, direction="EQ")
    first = ops.select(same, ops.compare(ai, bi, direction=way), ops.compare(ar, br, direction=way))
    return ops.select(first, a, b)


@rule("stablehlo.real", fold=True)
def _real(step: Step, x: Any) -> Any:
    return ops.real(x) if kind(x) == "complex" else x


@rule("stablehlo.imag", fold=True)
def _imag(step: Step, x: Any) -> Any:
    return ops.imag(x) if kind(x) == "complex" else mg.zeros_like(x)


@rule("stablehlo.atan2")
def _atan2(step: Step, y: Any, x: Any) -> Any:
    if kind(x) != "complex":
        return ops.atan2(y, x)
    return mg.log((x + 1j * y) / mg.sqrt(x * x + y * y)) * -1j


@rule("stablehlo.cbrt")
def _cbrt(step: Step, x: Any) -> Any:
    return ops.cbrt(x) if kind(x) != "complex" else ops.power(x, mg.full_like(x, 1 / 3))


@rule("stablehlo.power", fold=True)
def _power(step: Step, a: Any, b: Any) -> Any:
    """Of integers by squaring; one over an integer is 0 but for 1 and -1."""
    d = mg.Spec.of(a).dtype
    if not d.is_integer:
        return ops.power(a, b)
    one = mg.ones_like(a)

    def turn(i: Any, carry: Any) -> Any:
        power, square, left = carry
        power = mg.where((left & one) == one, power * square, power)
        return power, square * square, ops.shift_right_logical(left, one)

    magnitude = b if d.kind == "uint" else ops.abs_(b)
    power = mg.fori_loop(0, d.bits, turn, (one, a, magnitude))[0]
    if d.kind == "uint":
        return power
    return mg.where((b < 0) & (ops.abs_(a) != one), mg.zeros_like(a), power)


# the spellings with a broadcast in them
_BROADCAST = (
    "add and atan2 compare complex divide maximum minimum multiply or power remainder select shift_left "
    "shift_right_arithmetic shift_right_logical subtract xor"
)


def _together(name: str) -> Callable:
    return lambda step, *xs: RULES[f"stablehlo.{name}"](step, *mg.broadcast_arrays(*xs))


for _name in _BROADCAST.split():
    RULES[f"chlo.broadcast_{_name}"] = _together(_name)


@rule("stablehlo.constant", "chlo.constant")
def _constant(step: Step) -> Any:
    return constant(step.get("value"))


@rule("stablehlo.compare", fold=True)
def _compare(step: Step, a: Any, b: Any) -> Any:
    order = step.get("compare_type")
    direction = step.get("comparison_direction").value
    if kind(a) == "float" and order is not None and order.value == "TOTALORDER":
        a, b = ordinal(a), ordinal(b)
    return ops.compare(a, b, direction=direction)


def ordinal(x: Any) -> Any:
    """Floats as integers in IEEE's total order: -NaN < -inf < ... < -0 < 0 < ... < inf < NaN."""
    bits = mg.Spec.of(x).dtype.bits
    i = ops.bitcast_convert(x, dtype=f"int{bits}")
    flipped = ops.xor(i, mg.full_like(i, np.iinfo(f"int{bits}").max))
    return ops.select(ops.compare(i, mg.zeros_like(i), direction="LT"), flipped, i)


@rule("stablehlo.select", fold=True)
def _select(step: Step, pred: Any, a: Any, b: Any) -> Any:
    return ops.select(_like(pred, a), a, b)


@rule("stablehlo.clamp", fold=True)
def _clamp(step: Step, low: Any, x: Any, high: Any) -> Any:
    return ops.clamp(_like(low, x), x, _like(high, x))


def _like(scalar: Any, x: Any) -> Any:
    """A 0-d value in the shape of ``x``."""
    shape = mg.Spec.of(x).shape
    if mg.Spec.of(scalar).shape == shape:
        return scalar
    return ops.broadcast_in_dim(scalar, shape=shape, dims=())


@rule("stablehlo.convert", fold=True)
def _convert(step: Step, x: Any) -> Any:
    to = dtype(step.type.element)
    if kind(x) == "complex" and not to.is_complex:
        x = ops.real(x)
    if to.kind == "bool" and kind(x) != "bool":
        return ops.compare(x, mg.zeros_like(x), direction="NE")
    return ops.convert(x, dtype=to)


@rule("stablehlo.bitcast_convert")
def _bitcast(step: Step, x: Any) -> Any:
    to, now = dtype(step.type.element), mg.Spec.of(x)
    if to is now.dtype:
        return x
    if to.bits == now.dtype.bits:
        return ops.bitcast_convert(x, dtype=to)
    if to.bits < now.dtype.bits:  # one element becomes several along a new last axis
        wide, n = ops.bitcast_convert(x, dtype=f"uint{now.dtype.bits}"), now.dtype.bits // to.bits
        parts = [ops.shift_right_logical(wide, mg.full_like(wide, i * to.bits)) for i in range(n)]
        narrow = [ops.convert(p, dtype=f"uint{to.bits}") for p in parts]
        return ops.bitcast_convert(mg.stack(narrow, axis=-1), dtype=to)
    n, narrow = now.shape[-1], ops.bitcast_convert(x, dtype=f"uint{now.dtype.bits}")
    wide = ops.convert(narrow, dtype=f"uint{to.bits}")
    at = mg.arange(n, dtype=f"uint{to.bits}") * now.dtype.bits
    moved = ops.shift_left(wide, mg.broadcast_to(at, now.shape))
    axis = len(now.shape) - 1
    return ops.bitcast_convert(ops.reduce_sum(moved, axes=(axis,)), dtype=to)


@rule("stablehlo.reduce_precision")
def _reduce_precision(step: Step, x: Any) -> Any:
    """Rounded to fewer bits of exponent and mantissa; the gradient is rounded too, as in JAX."""
    bits = int(step.get("exponent_bits")), int(step.get("mantissa_bits"))
    rounded = mg.custom_vjp(lambda x: _rounded(x, *bits))
    rounded.defvjp(lambda x: (_rounded(x, *bits), ()), lambda _, g: (_rounded(g, *bits),))
    return rounded(x)


_MANTISSA = {"float64": 52, "float32": 23, "float16": 10, "bfloat16": 7}


def _rounded(x: Any, exponent_bits: int, mantissa_bits: int) -> Any:
    d = mg.Spec.of(x).dtype
    mantissa, one = _MANTISSA[d.name], 1 << (d.bits - 1)
    exponent = d.bits - 1 - mantissa
    raw = ops.bitcast_convert(x, dtype=f"uint{d.bits}")

    def const(v: int) -> Any:
        return mg.full_like(raw, v)

    field = const((2**exponent - 1) << mantissa)
    finite = ops.compare(ops.and_(raw, field), field, direction="NE")
    if mantissa_bits < mantissa:  # to the nearest, ties to even
        cut = mantissa - mantissa_bits
        odd = ops.and_(ops.shift_right_logical(raw, const(cut)), const(1))
        raw = ops.add(raw, ops.add(odd, const((1 << (cut - 1)) - 1)))
        raw = ops.and_(raw, const((2 * one - 1) ^ ((1 << cut) - 1)))
    if exponent_bits < exponent:  # too large becomes infinite, too small 0
        bias, reach = 2 ** (exponent - 1) - 1, 2 ** (exponent_bits - 1) - 1
        found, sign = ops.and_(raw, field), ops.and_(raw, const(one))
        over = ops.compare(found, const((bias + reach) << mantissa), direction="GT")
        under = ops.compare(found, const((bias - reach) << mantissa), direction="LE")
        raw = ops.select(over, ops.or_(sign, field), raw)
        raw = ops.select(under, sign, raw)
    rounded = ops.bitcast_convert(raw, dtype=d)
    return ops.select(finite, rounded, x)


@rule("chlo.is_inf")
def _is_inf(step: Step, x: Any) -> Any:
    return ops.compare(ops.abs_(x), mg.full_like(x, np.inf), direction="EQ")


@rule("chlo.is_pos_inf")
def _is_pos_inf(step: Step, x: Any) -> Any:
    return ops.compare(x, mg.full_like(x, np.inf), direction="EQ")


@rule("chlo.is_neg_inf")
def _is_neg_inf(step: Step, x: Any) -> Any:
    return ops.compare(x, mg.full_like(x, -np.inf), direction="EQ")


@rule("chlo.constant_like")
def _constant_like(step: Step, x: Any) -> Any:
    return mg.full_like(x, step.get("value"))

"""Operators that work element by element, and conversions of type."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops
from monograph.graph import Value

from ..rules import rule
from ..tensors import NARROW, STRING, code, computable, element_type, narrow, storage

# operators that are one function of ours, of any number of inputs that it takes
SAME = {
    "Abs": mg.abs, "Acos": mg.acos, "Acosh": mg.acosh, "And": mg.logical_and, "Asin": mg.asin,
    "Asinh": mg.asinh, "Atan": mg.atan, "Atanh": mg.atanh, "BitwiseAnd": mg.bitwise_and,
    "BitwiseNot": mg.bitwise_invert, "BitwiseOr": mg.bitwise_or, "BitwiseXor": mg.bitwise_xor,
    "Ceil": mg.ceil, "Cos": mg.cos, "Cosh": mg.cosh, "Equal": mg.equal, "Erf": mg.erf, "Exp": mg.exp,
    "Floor": mg.floor, "Greater": mg.greater, "GreaterOrEqual": mg.greater_equal, "IsNaN": mg.isnan,
    "Less": mg.less, "LessOrEqual": mg.less_equal, "Log": mg.log, "Mul": mg.multiply, "Neg": mg.negative,
    "Not": mg.logical_not, "Or": mg.logical_or, "Reciprocal": mg.reciprocal, "Relu": mg.relu,
    "Round": mg.round, "Sigmoid": mg.sigmoid, "Sign": mg.sign, "Sin": mg.sin, "Sinh": mg.sinh,
    "Sqrt": mg.sqrt, "Sub": mg.subtract, "Tan": mg.tan, "Tanh": mg.tanh, "Where": mg.where,
    "Xor": mg.logical_xor, "Add": mg.add,
}  # fmt: skip
OLD = (
    "Add",
    "And",
    "Equal",
    "Greater",
    "Less",
    "Mul",
    "Or",
    "Sub",
    "Xor",
)  # had another form before
for _name, _fn in SAME.items():
    rule(_name, since=7 if _name in OLD else 1)(_fn)


def _folded(fn: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda *xs: functools.reduce(fn, xs[1:], mg.asarray(xs[0]))


for _name, _fn in {"Max": mg.maximum, "Min": mg.minimum, "Sum": mg.add}.items():
    rule(_name)(_folded(_fn))


@rule("Mean")
def mean(*xs: Any) -> Any:
    """The mean of the inputs, broadcast together."""
    return _folded(mg.add)(*xs) / len(xs)


@rule("Identity")
def identity(x: Any) -> Any:
    """The value itself, a sequence or nothing too."""
    return x


@rule("Div", since=7)
def div(a: Any, b: Any) -> Any:
    """The quotient; of integers towards zero."""
    return ops.divide(*mg.broadcast_arrays(a, b))


@rule("Mod")
def mod(a: Any, b: Any, *, fmod: int = 0) -> Any:
    """What a division leaves: with the divisor's sign, or with ``fmod`` the dividend's."""
    return ops.remainder(*mg.broadcast_arrays(a, b)) if fmod else mg.remainder(a, b)


@rule("Pow", since=7)
def power(x: Any, y: Any) -> Any:
    """``x ** y``, in the dtype of ``x``."""
    x = mg.asarray(x)
    if isinstance(y, np.ndarray) and y.size == 1 and y.ndim <= x.ndim and x.dtype.is_float:
        return mg.pow(x, float(y.item()))  # a number: squares are products
    if x.dtype.is_float:
        return mg.pow(x, mg.astype(y, x.dtype))
    y = mg.asarray(y)
    out = mg.pow(mg.astype(x, y.dtype), y) if y.dtype.is_float else mg.pow(x, mg.astype(y, x.dtype))
    return mg.astype(out, x.dtype)


@rule("Clip", since=11)
def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """Held between two bounds; where they cross the upper one wins."""
    return mg.clip(x, low, high)


@rule("Clip", since=6)
def clip_6(x: Any, *, min: float = -math.inf, max: float = math.inf) -> Any:
    """As above, with bounds as attributes."""
    return mg.clip(x, min, max)


@rule("IsInf")
def is_inf(x: Any, *, detect_negative: int = 1, detect_positive: int = 1) -> Any:
    """Whether infinite, of the signs asked for."""
    x = mg.asarray(x)
    up, down = mg.logical_and(mg.isinf(x), x > 0), mg.logical_and(mg.isinf(x), x < 0)
    wanted = [side for side, asked in ((up, detect_positive), (down, detect_negative)) if asked]
    return functools.reduce(mg.logical_or, wanted) if wanted else mg.zeros_like(up)


@rule("BitShift", direction=("LEFT", "RIGHT"))
def bit_shift(x: Any, n: Any, *, direction: str) -> Any:
    """Bits moved to the left, or to the right with the sign, or zeros, behind them."""
    x, n = mg.broadcast_arrays(x, n)
    if direction == "LEFT":
        return ops.shift_left(x, n)
    return (ops.shift_right_arithmetic if x.dtype.kind == "int" else ops.shift_right_logical)(x, n)


# ---- activations


@rule("Elu")
def elu(x: Any, *, alpha: float = 1.0) -> Any:
    """Exponential linear unit (Clevert et al. 2015)."""
    x = mg.asarray(x)
    return mg.where(x > 0, x, alpha * mg.expm1(mg.minimum(x, 0)))


@rule("Selu")
def selu(
    x: Any, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
) -> Any:
    """Scaled `elu` (Klambauer et al. 2017)."""
    return gamma * elu(x, alpha=alpha)


@rule("Celu")
def celu(x: Any, *, alpha: float = 1.0) -> Any:
    """Continuously differentiable `elu` (Barron 2017)."""
    return elu(mg.asarray(x) / alpha, alpha=1.0) * alpha


@rule("LeakyRelu")
def leaky_relu(x: Any, *, alpha: float = 0.01) -> Any:
    """``alpha * x`` below zero."""
    x = mg.asarray(x)
    return mg.where(x < 0, alpha * x, x)


@rule("PRelu", since=7)
def prelu(x: Any, slope: Any) -> Any:
    """``slope * x`` below zero."""
    x = mg.asarray(x)
    return mg.where(x < 0, slope * x, x)


@rule("ThresholdedRelu")
def thresholded_relu(x: Any, *, alpha: float = 1.0) -> Any:
    """``x`` above ``alpha``, else 0."""
    x = mg.asarray(x)
    return mg.where(x > alpha, x, 0)


@rule("HardSigmoid")
def hard_sigmoid(x: Any, *, alpha: float = 0.2, beta: float = 0.5) -> Any:
    """``alpha * x + beta`` within 0 and 1."""
    return mg.clip(alpha * mg.asarray(x) + beta, 0, 1)


@rule("HardSwish")
def hard_swish(x: Any) -> Any:
    """``x`` times a `hard_sigmoid` (Howard et al. 2019)."""
    return x * hard_sigmoid(x, alpha=1 / 6)


@rule("Softplus")
def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``."""
    return mg.logaddexp(x, mg.zeros_like(x))


@rule("Softsign")
def softsign(x: Any) -> Any:
    """``x / (1 + abs(x))``."""
    return x / (1 + mg.abs(x))


@rule("Mish")
def mish(x: Any) -> Any:
    """``x * tanh(softplus(x))`` (Misra 2019)."""
    return x * mg.tanh(softplus(x))


@rule("Swish")
def swish(x: Any, *, alpha: float = 1.0) -> Any:
    """``x * sigmoid(alpha * x)``."""
    return mg.silu(x) if alpha == 1 else x * mg.sigmoid(alpha * mg.asarray(x))


@rule("Gelu", approximate=("none", "tanh"))
def gelu(x: Any, *, approximate: str = "none") -> Any:
    """``x`` times the normal distribution function of ``x``, or its approximation by a tanh."""
    return mg.gelu(x, approximate=approximate == "tanh")


@rule("Shrink")
def shrink(x: Any, *, bias: float = 0.0, lambd: float = 0.5) -> Any:
    """Towards zero by ``bias`` beyond ``lambd``, else 0."""
    x = mg.asarray(x)
    out = mg.where(x < -lambd, x + bias, mg.where(x > lambd, x - bias, 0))
    return mg.astype(out, x.dtype)


# ---- types


def _castable(to: int) -> None:
    if to == STRING:
        raise mg.errors.DTypeError("there are no strings here")
    if to not in NARROW:
        computable(to)


@rule("Cast", to=_castable)
def cast(x: Any, *, to: int, saturate: int = 1, round_mode: str = "up") -> Any:
    """Of another element type; what float8 cannot hold becomes its largest unless ``saturate`` is 0."""
    if narrow(x):
        x = x.astype(np.float32 if "float" in x.dtype.name else np.int32)
    _castable(to)
    if to in NARROW:
        return _to_narrow(x, to)
    dtype, x = element_type(to), mg.asarray(x)
    assert dtype is not None
    if dtype.kind == "float8" and saturate:
        return _saturated(x, dtype)
    return mg.astype(x, dtype)


def _saturated(x: Any, dtype: Any) -> Any:
    import ml_dtypes

    top = float(ml_dtypes.finfo(dtype.numpy).max)
    return mg.astype(mg.clip(mg.astype(x, mg.float32), -top, top), dtype)


def _to_narrow(x: Any, to: int) -> np.ndarray:
    name = NARROW[to][0]
    if isinstance(x, Value):
        raise mg.errors.DTypeError(
            f"no engine holds {name}: only what is known while tracing becomes it"
        )
    x = np.asarray(x)
    if "float" in name:
        return x.astype(np.float32).astype(storage(to))
    return np.trunc(x.astype(np.float32)).astype(np.int64).astype(storage(to))


@rule("CastLike")
def cast_like(x: Any, like: Any, *, saturate: int = 1, round_mode: str = "up") -> Any:
    """Of the element type of ``like``."""
    return cast(x, to=code(like), saturate=saturate)


@rule("BitCast", to=computable)
def bit_cast(x: Any, *, to: int) -> Any:
    """The same bits under another type of the same width."""
    x, dtype = mg.asarray(x), element_type(to)
    if dtype is not None and mg.bool in (x.dtype, dtype):  # a byte that is 0 or 1
        return mg.astype(x, dtype)
    return ops.bitcast_convert(x, dtype=dtype)

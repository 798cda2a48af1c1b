"""Elementwise arithmetic, transcendental functions, comparison and choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import ops

from .common import Pointwise, pointwise
from .integers import LACKING, ordered, wide_unsigned


def _signed_too(name: str, arity: int = 2, wide: Callable = wide_unsigned) -> Callable:
    """``torch.<name>``; where torch has no kernel for an unsigned dtype, in lanes that it has."""
    plain, widened = pointwise(name, arity), wide(getattr(torch, name))

    def lower(node: Any, device: Any) -> Any:
        lacking = node.inputs[-1].dtype.name in LACKING
        return (widened if lacking else plain)(node, device)

    return lower


def _power(node: Any, device: Any) -> Any:
    plain = pointwise("pow", 2)
    if not node.outputs[0].dtype.is_complex:
        return plain(node, device)
    return lambda a, b: torch.where(b == 0, 1, torch.pow(a, b))  # 0 ** 0 comes out as NaN


def _comparison(node: Any, device: Any) -> Any:
    name = node.attrs["direction"].lower()
    if node.inputs[0].dtype.name in LACKING:
        return ordered(lambda a, b, direction: getattr(torch, name)(a, b))(node, device)
    return Pointwise(f"torch.{name}({{0}}, {{1}})")


def _clamp(node: Any, device: Any) -> Any:
    if node.inputs[0].dtype.name in LACKING:
        return ordered(lambda low, x, high: torch.minimum(torch.maximum(x, low), high))(
            node, device
        )
    return Pointwise("torch.minimum(torch.maximum({1}, {0}), {2})", (1,))


TABLE: dict[Any, Any] = {
    **{
        op: pointwise(name)
        for op, name in {
            ops.exponential: "exp", ops.exponential_minus_one: "expm1", ops.log: "log",
            ops.log_plus_one: "log1p", ops.sqrt: "sqrt", ops.rsqrt: "rsqrt", ops.sine: "sin",
            ops.cosine: "cos", ops.tan: "tan", ops.asin: "asin", ops.acos: "acos", ops.atan: "atan",
            ops.sinh: "sinh", ops.cosh: "cosh", ops.tanh: "tanh", ops.asinh: "asinh",
            ops.acosh: "acosh", ops.atanh: "atanh", ops.logistic: "sigmoid", ops.erf: "erf",
            ops.erfc: "erfc", ops.erf_inv: "erfinv", ops.lgamma: "lgamma", ops.digamma: "digamma",
            ops.floor: "floor", ops.ceil: "ceil", ops.trunc: "trunc",
            ops.round_nearest_even: "round",
        }.items()
    },
    ops.is_finite: "torch.isfinite({0})", ops.real: "torch.real({0})", ops.imag: "torch.imag({0})",
    ops.conj: "torch.conj({0})", ops.complex_: "torch.complex({0}, {1})",
    ops.add: _signed_too("add"), ops.subtract: _signed_too("sub"), ops.multiply: _signed_too("mul"),
    ops.negate: _signed_too("neg", 1), ops.power: _power,
    ops.maximum: _signed_too("maximum", wide=ordered),
    ops.minimum: _signed_too("minimum", wide=ordered),
    ops.atan2: pointwise("atan2", 2), ops.nextafter: pointwise("nextafter", 2),
    ops.polygamma: "torch.polygamma({n}, {0})",
    ops.cbrt: lambda node, device: lambda x: torch.sign(x) * torch.abs(x).pow(1 / 3),
    ops.round_nearest_afz: lambda node, device: lambda x: x.trunc() + torch.where(
        (x - x.trunc()).abs() >= 0.5, torch.sign(x), 0
    ).to(x.dtype),
    ops.and_: _signed_too("bitwise_and"), ops.or_: _signed_too("bitwise_or"),
    ops.xor: _signed_too("bitwise_xor"), ops.not_: _signed_too("bitwise_not", 1),
    ops.compare: _comparison, ops.select: _signed_too("where", 3), ops.clamp: _clamp,
}  # fmt: skip

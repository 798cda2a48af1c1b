"""Elementwise arithmetic, transcendental functions, comparison and choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import ops

from .integers import FLIP, ordered, wide_unsigned

_CMP = {
    "EQ": torch.eq,
    "NE": torch.ne,
    "LT": torch.lt,
    "LE": torch.le,
    "GT": torch.gt,
    "GE": torch.ge,
}


def _compare(node: Any, device: Any) -> Callable:
    fn, name = _CMP[node.attrs["direction"]], node.inputs[0].dtype.name
    if name == "uint64":
        return lambda a, b: fn(a.view(torch.int64) ^ FLIP, b.view(torch.int64) ^ FLIP)
    if name in ("uint16", "uint32"):
        return lambda a, b: fn(a.to(torch.int64), b.to(torch.int64))
    return fn


TABLE: dict[Any, Any] = {
    **{
        op: f"torch.{name}({{0}})"
        for op, name in {
            ops.exponential: "exp", ops.exponential_minus_one: "expm1", ops.log: "log",
            ops.log_plus_one: "log1p", ops.sqrt: "sqrt", ops.rsqrt: "rsqrt", ops.sine: "sin",
            ops.cosine: "cos", ops.tan: "tan", ops.asin: "asin", ops.acos: "acos", ops.atan: "atan",
            ops.sinh: "sinh", ops.cosh: "cosh", ops.tanh: "tanh", ops.asinh: "asinh",
            ops.acosh: "acosh", ops.atanh: "atanh", ops.logistic: "sigmoid", ops.erf: "erf",
            ops.erfc: "erfc", ops.erf_inv: "erfinv", ops.lgamma: "lgamma", ops.digamma: "digamma",
            ops.floor: "floor", ops.ceil: "ceil", ops.trunc: "trunc", ops.is_finite: "isfinite",
            ops.round_nearest_even: "round", ops.real: "real", ops.imag: "imag", ops.conj: "conj",
        }.items()
    },
    ops.add: wide_unsigned(torch.add), ops.subtract: wide_unsigned(torch.sub),
    ops.multiply: wide_unsigned(torch.mul), ops.negate: wide_unsigned(torch.neg),
    ops.power: "torch.pow({0}, {1})", ops.complex_: "torch.complex({0}, {1})",
    ops.maximum: ordered(torch.maximum), ops.minimum: ordered(torch.minimum),
    ops.atan2: "torch.atan2({0}, {1})", ops.nextafter: "torch.nextafter({0}, {1})",
    ops.polygamma: "torch.polygamma({n}, {0})",
    ops.cbrt: lambda node, device: lambda x: torch.sign(x) * torch.abs(x).pow(1 / 3),
    ops.round_nearest_afz: lambda node, device: lambda x: x.trunc() + torch.where(
        (x - x.trunc()).abs() >= 0.5, torch.sign(x), 0
    ).to(x.dtype),
    ops.and_: wide_unsigned(torch.bitwise_and), ops.or_: wide_unsigned(torch.bitwise_or),
    ops.xor: wide_unsigned(torch.bitwise_xor), ops.not_: wide_unsigned(torch.bitwise_not),
    ops.compare: _compare, ops.select: wide_unsigned(torch.where),
    ops.clamp: ordered(lambda low, x, high: torch.minimum(torch.maximum(x, low), high)),
}  # fmt: skip

"""Shifts and the bits of numbers, which random numbers are made of; entries as in `shapes`.

ONNX shifts unsigned integers only, and by less than their width: all are shifted as uint64 here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monograph import ops
from monograph.dtypes import DType, dtype, int64
from monograph.op import Op

from .builder import Builder, Ref, element_type
from .shapes import Entry, Specs

UINT64 = dtype("uint64")
BITCAST = 26
"""The operator set that has `BitCast`."""


def _twin(d: DType, kind: str) -> DType:
    """The integer of that width that is signed (``int``) or not (``uint``)."""
    return dtype(f"{kind}{d.bits}")


def _within(b: Builder, n: Ref) -> tuple[str, str]:
    """The amounts as int64, and where they lie within the width."""
    amount = b.cast(n.name, int64)
    low = b("GreaterOrEqual", amount, b.number(0, int64))
    return amount, b("And", low, b("Less", amount, b.number(n.spec.dtype.bits, int64)))


def _logical(direction: str) -> Entry:
    def lower(b: Builder, out: Specs, x: Ref, n: Ref) -> list:
        d = x.spec.dtype
        amount, within = _within(b, n)
        bits = b.cast(b.cast(x.name, _twin(d, "uint")), UINT64)
        by = b.cast(b("Where", within, amount, b.number(0, int64)), UINT64)
        y = b.cast(b("BitShift", bits, by, direction=direction), _twin(d, "uint"))
        return [b.cast(b("Mul", b.cast(y, int64), b.cast(within, int64)), d)]

    return lower


def _arithmetic(b: Builder, out: Specs, x: Ref, n: Ref) -> list:
    d = x.spec.dtype
    amount, within = _within(b, n)
    by = b.cast(b("Where", within, amount, b.number(d.bits - 1, int64)), UINT64)
    value = b.cast(b.cast(x.name, _twin(d, "int")), int64)
    below = b("Less", value, b.number(0, int64))
    bits = b.cast(b("Where", below, b("BitwiseNot", value), value), UINT64)
    y = b.cast(b("BitShift", bits, by, direction="RIGHT"), int64)
    return [b.cast(b("Where", below, b("BitwiseNot", y), y), d)]


def _bitcast(b: Builder, out: Specs, x: Ref, *, dtype: Any) -> list:
    if dtype is x.spec.dtype:
        return [x.name]
    return [b("BitCast", x.name, to=element_type(dtype), needs=BITCAST)]


BITS: Mapping[Op, Entry] = {
    ops.shift_left: _logical("LEFT"), ops.shift_right_logical: _logical("RIGHT"),
    ops.shift_right_arithmetic: _arithmetic, ops.bitcast_convert: _bitcast,
}  # fmt: skip

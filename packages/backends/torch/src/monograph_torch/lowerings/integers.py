"""Integers where torch differs: 16/32/64 unsigned bits, division by zero, shifts, conversions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monograph import ops
from monograph.dtypes import float32
from monograph.op import constant

from .common import FLOAT8, call, dtype_of, function, pointwise

# torch has few kernels for wide unsigned integers: what is modular runs in signed lanes of the same
# bits, which are views; what asks for the value runs in lanes that hold it
BITS = {
    torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64,
    **dict.fromkeys(FLOAT8.values(), torch.uint8),
}  # fmt: skip
VALUES = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}


def wide_unsigned(fn: Callable, lanes: dict[torch.dtype, torch.dtype] = BITS) -> Callable:
    """``fn`` of tensors and attributes, which runs unsigned operands in signed lanes."""

    def lower(node: Any, device: Any) -> Callable:
        attrs = node.attrs
        dtypes = [dtype_of(v.spec) for v in node.inputs]
        if not any(d in lanes for d in dtypes):
            return (lambda *xs: fn(*xs, **attrs)) if attrs else fn
        outs = [dtype_of(v.spec) for v in node.outputs]

        def run(*xs: Any) -> Any:
            got = fn(*[_cast(x, lanes.get(x.dtype, x.dtype)) for x in xs], **attrs)
            many = got if isinstance(got, (tuple, list)) else (got,)
            back = [_cast(y, d) for y, d in zip(many, outs)]
            return tuple(back) if isinstance(got, (tuple, list)) else back[0]

        return run

    return lower


def _cast(x: torch.Tensor, d: torch.dtype) -> torch.Tensor:
    """``x`` as ``d``: the same bits where it has as many, else the same value."""
    if x.dtype == d:
        return x
    return x.contiguous().view(d) if x.dtype.itemsize == d.itemsize else x.to(d)


FLIP = -(2**63)


def ordered(fn: Callable) -> Callable:
    """As `wide_unsigned`, for order-sensitive ops: uint64 is shifted so that int64 order agrees."""
    plain = wide_unsigned(fn, VALUES)

    def lower(node: Any, device: Any) -> Callable:
        flagged = [v.dtype.name == "uint64" for v in node.inputs]
        if not any(flagged):
            return plain(node, device)
        attrs, outs = node.attrs, [dtype_of(v.spec) for v in node.outputs]

        def run(*xs: Any) -> Any:
            wide = [x.view(torch.int64) ^ FLIP if f else x for x, f in zip(xs, flagged)]
            got = fn(*wide, **attrs)
            many = got if isinstance(got, (tuple, list)) else (got,)
            back = [(y ^ FLIP).view(d) if d == torch.uint64 else y for y, d in zip(many, outs)]
            return tuple(back) if isinstance(got, (tuple, list)) else back[0]

        return run

    return lower


# dtypes torch has few kernels for
LACKING = frozenset(("uint16", "uint32", "uint64", *FLOAT8))


def _convert(node: Any, device: Any) -> str | Callable:
    source, target = node.inputs[0].dtype, node.attrs["dtype"]
    if source.kind == "float8":
        last = _converted(float32, target)
        back = function(last, 1) if isinstance(last, str) else last
        return lambda x: back(x.float())
    if target.kind == "float8":
        there = _converted(source, float32)
        first = function(there, 1) if isinstance(there, str) else there
        return lambda x: _narrow(first(x), FLOAT8[target.name])
    return _converted(source, target)


# beyond it torch gives the largest number, where the type's rule is NaN
_LARGEST = {torch.float8_e4m3fn: 464.0}


def _narrow(x: torch.Tensor, out: torch.dtype) -> torch.Tensor:
    if out in _LARGEST:
        x = torch.where(x.abs() > _LARGEST[out], torch.nan, x)
    return x.to(out)


def _converted(src: Any, target: Any) -> str | Callable:
    out = getattr(torch, target.name.rstrip("_"))
    if target.kind == "bool":
        return lambda x: signed(x) != 0
    if src.is_complex and not target.is_complex:
        return lambda x: _saturate(x.real, target, out) if target.is_integer else x.real.to(out)
    if src.is_float and target.is_integer:
        return lambda x: _saturate(x, target, out)
    if src.name == "uint64" and target.is_inexact:
        # torch reads uint64's top bit as a sign: halve, convert, double
        return lambda x: _uint64_to_float(x).to(out)
    if not LACKING.isdisjoint((src.name, target.name)) and src.is_integer and target.is_integer:
        return lambda x: wrap(x, out)
    return f"{{0}}.to({out})"


def signed(x: torch.Tensor) -> torch.Tensor:
    """``x`` in a dtype torch computes with; uint64 as the int64 of the same bits."""
    if x.dtype == torch.uint64:
        return x.view(torch.int64)
    return x.to(torch.int64) if x.dtype in (torch.uint16, torch.uint32) else x


def _uint64_to_float(x: torch.Tensor) -> torch.Tensor:
    s = x.view(torch.int64)
    half = ((s >> 1) & 0x7FFFFFFFFFFFFFFF) | (s & 1)
    return torch.where(s < 0, half.to(torch.float64) * 2, s.to(torch.float64))


def wrap(x: torch.Tensor, out: torch.dtype) -> torch.Tensor:
    """An integer tensor in another integer dtype, modulo its range."""
    x = signed(x)
    if out == torch.uint64:
        return x.to(torch.int64).contiguous().view(torch.uint64)
    if out in (torch.uint16, torch.uint32):
        return (x.to(torch.int64) & (0xFFFF if out == torch.uint16 else 0xFFFFFFFF)).to(out)
    return x.to(out)


def _saturate(x: torch.Tensor, target: Any, out: torch.dtype) -> torch.Tensor:
    info = np.iinfo(target.numpy)
    w = torch.nan_to_num(
        x.to(torch.float64), nan=0.0, posinf=float("inf"), neginf=float("-inf")
    ).trunc()
    high, low = w >= float(info.max), w <= float(info.min)
    if target.name == "uint64":
        half = torch.where(high | low, 0, torch.where(w >= 2.0**63, w - 2.0**63, w)).to(torch.int64)
        inner = torch.where((w >= 2.0**63) & ~high, half ^ FLIP, half)
        return torch.where(high, -1, torch.where(low, 0, inner)).view(torch.uint64)
    y = torch.where(high | low, 0, w).to(torch.int64)
    return torch.where(high, int(info.max), torch.where(low, int(info.min), y)).to(out)


def _unsigned_divmod(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Quotient and remainder of int64 read as unsigned (Hacker's Delight 9-3)."""
    big = b < 0
    safe = torch.where(big | (b == 0), 1, b)
    q = torch.div(((a >> 1) & 0x7FFFFFFFFFFFFFFF), safe, rounding_mode="trunc") << 1
    r = a - q * safe
    over = (r ^ FLIP) >= (safe ^ FLIP)
    q, r = torch.where(over, q + 1, q), torch.where(over, r - safe, r)
    at_least = (a ^ FLIP) >= (b ^ FLIP)
    q = torch.where(big, at_least.to(torch.int64), q)
    r = torch.where(big, torch.where(at_least, a - b, a), r)
    return torch.where(b == 0, -1, q), torch.where(b == 0, a, r)


def _quotient(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    zero, unit = _traps(a, b)
    q = torch.div(a, torch.where(zero | unit, 1, b), rounding_mode="trunc")
    return torch.where(zero, -1 if a.dtype.is_signed else 255, torch.where(unit, -a, q))


def _rest(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    zero, unit = _traps(a, b)
    return torch.where(zero, a, torch.fmod(a, torch.where(zero | unit, 1, b)))


def _traps(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where hardware traps: a zero divisor, and -1 (the lowest by -1; negating wraps instead)."""
    return b == 0, (b == -1 if a.dtype.is_signed else torch.zeros_like(b, dtype=torch.bool))


def _division(floats: str, part: int) -> Callable:
    """``part`` 0: quotient, 1: remainder."""
    plain, narrow = pointwise(floats, 2), wide_unsigned((_quotient, _rest)[part], VALUES)

    def lower(node: Any, device: Any) -> Callable:
        d = node.inputs[0].dtype
        if not d.is_integer:
            return plain(node, device)
        if d.name != "uint64":
            return narrow(node, device)
        return lambda a, b: _unsigned_divmod(a.view(torch.int64), b.view(torch.int64))[part].view(
            torch.uint64
        )

    return lower


def _sign(x: torch.Tensor) -> torch.Tensor:
    if x.is_complex():
        return torch.sgn(x)
    return torch.where(torch.isnan(x), x, torch.sign(x)) if x.is_floating_point() else torch.sign(x)


def _sign_of(node: Any, device: Any) -> Callable:
    if node.inputs[0].dtype.kind == "uint":
        out = dtype_of(node.outputs[0].spec)
        return lambda x: (signed(x) != 0).to(out)
    return _sign


def _abs(x: torch.Tensor) -> torch.Tensor:
    return torch.abs(x) if x.dtype not in (torch.uint16, torch.uint32, torch.uint64) else x


def _shifted(fn: Callable, by_known: Callable) -> Callable:
    def lower(node: Any, device: Any) -> Callable:
        d, out = node.inputs[0].dtype, dtype_of(node.outputs[0].spec)
        known, bits, lane = _known(node.inputs[1]), d.bits, BITS.get(out, out)
        if known is not None and 0 <= known < bits:
            return lambda a, n: _cast(by_known(_cast(a, lane), known, bits), out)

        def run(a: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
            a64, n64 = signed(a).to(torch.int64), signed(n).to(torch.int64)
            return wrap(fn(a64, n64, (n64 < 0) | (n64 >= bits), bits), out)

        return run

    return lower


def _known(v: Any) -> int | None:
    """The number that a value holds in every place, if it is a constant."""
    while v.node.op is ops.broadcast_in_dim:
        v = v.node.inputs[0]
    return int(v.node.attrs["value"].array) if v.node.op is constant and not v.ndim else None


def _mask(a: torch.Tensor, bits: int) -> torch.Tensor:
    return a if bits == 64 else a & ((1 << bits) - 1)


def _shl(a: Any, n: Any, outside: Any, bits: int) -> Any:
    return torch.where(outside, 0, a << torch.where(outside, 0, n))


def _shrl(a: Any, n: Any, outside: Any, bits: int) -> Any:
    k = torch.where(outside, 0, n)
    low = _mask(a, bits) >> k
    if bits == 64:  # the arithmetic shift drags the sign in: clear what came
        low = torch.where(
            k > 0, low & ~(torch.full_like(a, -1) << (64 - torch.clamp(k, min=1))), low
        )
    return torch.where(outside, 0, low)


def _shra(a: Any, n: Any, outside: Any, bits: int) -> Any:
    # the sign bit of the type, not of the lane
    low = _mask(a, bits)
    signed = low if bits == 64 else torch.where(low >= 1 << (bits - 1), low - (1 << bits), low)
    return signed >> torch.where(outside, bits - 1, n)


def _shra_by(a: torch.Tensor, n: int, bits: int) -> torch.Tensor:
    return (a.view(torch.int8) if a.dtype is torch.uint8 else a) >> n


def _shrl_by(a: torch.Tensor, n: int, bits: int) -> torch.Tensor:
    return (a >> n) & ((1 << (bits - n)) - 1) if n else a


def _popcnt(node: Any, device: Any) -> Callable:
    bits, out = node.inputs[0].dtype.bits, dtype_of(node.outputs[0].spec)

    def run(x: torch.Tensor) -> torch.Tensor:
        v = signed(x).to(torch.int64)
        return wrap(sum(((v >> i) & 1) for i in range(bits)), out)

    return run


def _clz(node: Any, device: Any) -> Callable:
    bits, out = node.inputs[0].dtype.bits, dtype_of(node.outputs[0].spec)

    def run(x: torch.Tensor) -> torch.Tensor:
        v = signed(x).to(torch.int64)
        zeros = torch.full_like(v, bits)
        for i in range(bits):
            zeros = torch.where(((v >> i) & 1) == 1, bits - 1 - i, zeros)
        return wrap(zeros, out)

    return run


TABLE: dict[Any, Any] = {
    ops.convert: _convert,
    ops.divide: _division("div", 0), ops.remainder: _division("fmod", 1),
    ops.sign: _sign_of, ops.abs_: call(_abs),
    ops.shift_left: _shifted(_shl, lambda a, n, bits: a << n),
    ops.shift_right_logical: _shifted(_shrl, _shrl_by),
    ops.shift_right_arithmetic: _shifted(_shra, _shra_by),
    ops.popcnt: _popcnt, ops.count_leading_zeros: _clz,
}  # fmt: skip

"""Quantised numbers: ``real = (integer - zero point) * scale``. Products are exact, in int32."""

from __future__ import annotations

from typing import Any

import monograph as mg
import numpy as np

from ..rules import rule
from ..tensors import NARROW, code, computable, element_type, narrow
from .convolutions import AUTO_PADS, conv
from .elementwise import cast

UINT8 = 2


def _aligned(v: Any, x: Any, axis: int, block: int) -> Any:
    """A scale or zero point, one for all, per entry of an axis or per block, shaped for ``x``."""
    v = _wide(v)
    if v.ndim == 0 or v.size == 1:
        return mg.reshape(v, ())
    a = axis % x.ndim
    if v.ndim == 1 and not block:
        return mg.reshape(v, [-1 if i == a else 1 for i in range(x.ndim)])
    per = block or -(-x.shape[a] // v.shape[a])
    return mg.repeat(v, per, axis=a)[(slice(None),) * a + (slice(x.shape[a]),)]


def _wide(x: Any) -> Any:
    """Numbers of four bits in a type that computes."""
    if narrow(x):
        return mg.asarray(x.astype(np.float32 if "float" in x.dtype.name else np.int32))
    return mg.asarray(x)


def _saturated(x: Any, dtype: Any) -> Any:
    info = np.iinfo(dtype.numpy)
    return mg.astype(mg.clip(x, info.min, info.max), dtype)


def _optional(code: int) -> None:
    """An element type, or 0 where none is said."""
    if code:
        computable(code)


def _quantised(code: int) -> None:
    if code not in NARROW:
        _optional(code)


@rule("QuantizeLinear", state=(1,), output_dtype=_quantised, precision=_optional)
def quantize_linear(
    x: Any, scale: Any, zero: Any = None, *, axis: int = 1, block_size: int = 0, output_dtype: int = 0,
    precision: int = 0, saturate: int = 1,
) -> Any:  # fmt: skip
    """Rounded to integers of a scale, halves to even, or to float8; what does not fit saturates."""
    x, wide = mg.asarray(x), element_type(precision) if precision else mg.float32
    ratio = mg.astype(x, wide) / mg.astype(_aligned(scale, x, axis, block_size), wide)
    to = output_dtype or (UINT8 if zero is None else code(zero))
    name, dtype = NARROW.get(to, ("", 0))[0], element_type(to)
    if "float" in name or (dtype is not None and dtype.kind == "float8"):
        return cast(ratio, to=to, saturate=saturate)
    whole = mg.round(ratio)
    if zero is not None:
        whole = whole + mg.astype(_aligned(zero, x, axis, block_size), wide)
    if not name:
        return _saturated(whole, dtype)
    bits = NARROW[to][1]
    low = -(1 << bits - 1) if name.startswith("int") else 0
    return cast(mg.clip(whole, low, low + (1 << bits) - 1), to=to)


@rule("DequantizeLinear", state=(1,), output_dtype=_optional)
def dequantize_linear(
    x: Any,
    scale: Any,
    zero: Any = None,
    *,
    axis: int = 1,
    block_size: int = 0,
    output_dtype: int = 0,
) -> Any:
    """Real numbers of quantised ones."""
    x = _wide(x)
    dtype = element_type(output_dtype) if output_dtype else mg.Spec.of(scale).dtype
    real = mg.astype(x, mg.float32)
    if zero is not None:
        real = real - mg.astype(_aligned(zero, x, axis, block_size), mg.float32)
    return mg.astype(real * mg.astype(_aligned(scale, x, axis, block_size), mg.float32), dtype)


def _centred(x: Any, zero: Any, rows: bool = False) -> Any:
    """Without the zero point, as int32; with ``rows`` one zero point per row of a matrix."""
    x = mg.astype(x, mg.int32)
    if zero is None:
        return x
    zero = mg.astype(zero, mg.int32)
    return x - (
        mg.expand_dims(zero, axis=-1) if rows and zero.ndim == 1 and zero.size > 1 else zero
    )


@rule("MatMulInteger")
def matmul_integer(a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> Any:
    """A product of 8-bit matrices in int32."""
    return mg.matmul(_centred(a, a_zero, rows=True), _centred(b, b_zero))


@rule("QLinearMatMul", state=(1, 4, 6))
def qlinear_matmul(
    a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, scale: Any, zero: Any
) -> Any:
    """A product of quantised matrices, quantised again."""
    out = matmul_integer(a, b, a_zero, b_zero)
    left = mg.astype(a_scale, mg.float32)
    left = mg.expand_dims(left, axis=-1) if left.ndim == 1 and left.size > 1 else left
    return _requantized(out, left * mg.astype(b_scale, mg.float32), scale, zero)


def _requantized(x: Any, by: Any, scale: Any, zero: Any) -> Any:
    real = mg.astype(x, mg.float32) * (by / mg.astype(scale, mg.float32))
    dtype = mg.Spec.of(zero).dtype
    return _saturated(mg.round(real) + mg.astype(zero, mg.float32), dtype)


def _exact_conv(x: Any, w: Any, x_zero: Any, w_zero: Any, attributes: dict) -> Any:
    # no engine convolves integers; float64 holds every sum of such products exactly
    w = mg.astype(w, mg.int32)
    if w_zero is not None:
        zero = mg.astype(w_zero, mg.int32)
        w = w - (
            mg.reshape(zero, (-1, *[1] * (w.ndim - 1))) if zero.size > 1 else mg.reshape(zero, ())
        )
    x = mg.astype(_centred(x, x_zero), mg.float64)
    return mg.astype(conv(x, mg.astype(w, mg.float64), **attributes), mg.int32)


@rule("ConvInteger", auto_pad=AUTO_PADS)
def conv_integer(
    x: Any, w: Any, x_zero: Any = None, w_zero: Any = None, *, auto_pad: str = "NOTSET",
    dilations: Any = None, group: int = 1, kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """A convolution of 8-bit numbers in int32."""
    how = {
        "auto_pad": auto_pad,
        "dilations": dilations,
        "group": group,
        "pads": pads,
        "strides": strides,
    }
    return _exact_conv(x, w, x_zero, w_zero, how)


@rule("QLinearConv", state=(1, 4, 6), auto_pad=AUTO_PADS)
def qlinear_conv(
    x: Any, x_scale: Any, x_zero: Any, w: Any, w_scale: Any, w_zero: Any, scale: Any, zero: Any,
    b: Any = None, *, auto_pad: str = "NOTSET", dilations: Any = None, group: int = 1,
    kernel_shape: Any = None, pads: Any = None, strides: Any = None,
) -> Any:  # fmt: skip
    """A convolution of quantised numbers, quantised again."""
    how = {
        "auto_pad": auto_pad,
        "dilations": dilations,
        "group": group,
        "pads": pads,
        "strides": strides,
    }
    out = _exact_conv(x, w, x_zero, w_zero, how)
    line = [1, -1, *[1] * (out.ndim - 2)]
    if b is not None:
        out = out + mg.reshape(b, line)
    by = mg.astype(w_scale, mg.float32)
    by = mg.reshape(by, line) if by.size > 1 else mg.reshape(by, ())
    return _requantized(out, mg.astype(x_scale, mg.float32) * by, scale, zero)

"""Dense constants and element types of MLIR as arrays and dtypes."""

from __future__ import annotations

import math
import sys
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops
from monograph.dtypes import DType, dtype as as_dtype
from monograph.errors import DTypeError, FileFormatError

from .ir import Elements, Tensor

DTYPES = {
    "i1": "bool", "f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64",
    "complex<f32>": "complex64", "complex<f64>": "complex128", "f8E4M3FN": "float8_e4m3fn",
    "f8E5M2": "float8_e5m2", "index": "int64",
    **{f"{m}{b}": f"{k}{b}" for m, k in (("i", "int"), ("si", "int"), ("ui", "uint")) for b in (8, 16, 32, 64)},
}  # fmt: skip

NARROW = {"i2": ("int8", 2), "ui2": ("uint8", 2), "i4": ("int8", 4), "ui4": ("uint8", 4)}
DTYPES |= {
    k: d for k, (d, _) in NARROW.items()
}  # in bytes, cut to their width after each operation


def narrowed(x: Any, element: str) -> Any:
    """Bytes that hold integers of 2 or 4 bits, wrapped as those would."""
    d, bits = NARROW[element]
    by = np.asarray(8 - bits, d)
    by = ops.broadcast_in_dim(by, shape=mg.Spec.of(x).shape, dims=())
    back = ops.shift_right_arithmetic if d == "int8" else ops.shift_right_logical
    return back(ops.shift_left(x, by), by)


def dtype(element: str) -> DType:
    """The dtype of an element type; raises `DTypeError` for one that Monograph lacks."""
    if element not in DTYPES:
        raise DTypeError(f"elements of type {element} have no dtype here")
    return as_dtype(DTYPES[element])


def array(x: Elements) -> np.ndarray:
    """A constant in full; one number for all is a view of that number.

    Raises:
        FileFormatError: numbers and type disagree.
    """
    d = dtype(x.type.element).numpy
    shape = tuple(n or 0 for n in x.type.shape)
    size = math.prod(shape)
    try:
        if x.hex:
            flat = _bits(bytes.fromhex(x.hex), d, size)
        else:
            flat = np.array([_element(n, d) for n in x.numbers], d)
        if flat.size not in (size, 1):
            raise ValueError(f"{flat.size} numbers for {size} elements")
    except (ValueError, OverflowError, TypeError) as e:
        raise FileFormatError(f"a constant {x.type} is not what it says: {e}") from None
    return flat.reshape(shape) if flat.size == size else np.broadcast_to(flat.reshape(()), shape)


def _bits(raw: bytes, d: np.dtype, size: int) -> np.ndarray:
    if d == np.bool_ and len(raw) != size:  # a bit each; what is one byte long may be for all
        packed = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little").astype(bool)
        return packed[: size if size <= packed.size else 1]
    return _native(np.frombuffer(raw, d.newbyteorder("<")), d)


def _native(a: np.ndarray, d: np.dtype) -> np.ndarray:
    """Little-endian numbers under the very dtype ``d``, whose spellings engines tell apart."""
    return a.view(d) if sys.byteorder == "little" else a.astype(d)


def _element(n: Any, d: np.dtype) -> Any:
    if isinstance(n, tuple):
        half = np.dtype(f"f{d.itemsize // 2}")
        return complex(*(float(_element(part, half)) for part in n))
    if not isinstance(n, str):
        return n
    if d.kind in "iub":
        return int(n, 16)
    return np.frombuffer(int(n, 16).to_bytes(d.itemsize, "little"), d.newbyteorder("<"))[0]


def full(value: Any, shape: Any, d: DType) -> Any:
    """``value`` in every element, made where it is needed."""
    scalar = np.asarray(value).astype(d.numpy)
    return ops.broadcast_in_dim(scalar, shape=tuple(shape), dims=()) if len(shape) else scalar


def constant(x: Elements) -> Any:
    """A constant in a graph: what is one number many times is kept as that."""
    a = array(x)
    if a.size > 64 and not any(a.strides):
        return full(a.flat[0], a.shape, dtype(x.type.element))
    return a


def integers(x: Any) -> list[int]:
    """An attribute that lists integers, in any of the ways that MLIR has for it."""
    if isinstance(x, Elements):
        return [int(n) for n in array(x).reshape(-1)]
    return [int(n) for n in x]


def pairs(x: Any, n: int) -> list[tuple[int, int]]:
    """A padding attribute ``[n, 2]``; absent it is zero."""
    flat = integers(x) if x is not None else [0] * (2 * n)
    return [(flat[2 * i], flat[2 * i + 1]) for i in range(n)]


def shape_of(t: Tensor) -> tuple[int, ...]:
    """A type's lengths, all of which must be known."""
    if None in t.shape:
        raise FileFormatError(f"the shape of {t} is needed and not known")
    return t.shape  # type: ignore[return-value]

"""``monograph_op.h`` for ctypes. Standard library only: the child of `guard` runs it by itself."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any

ABI = 1

# enum mg_dtype, from 1
DTYPES = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "bfloat16", "float32", "float64", "complex64", "complex128", "float8_e4m3fn", "float8_e5m2",
    "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e4m3b11fnuz",
)  # fmt: skip
CODES = {name: i for i, name in enumerate(DTYPES, 1)}
INTS, FLOATS, TEXT = 1, 2, 3  # enum mg_kind

MESSAGE = 1024  # bytes of room for an error


class Array(ctypes.Structure):
    """``mg_array``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("size", ctypes.c_int64),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
    )


class Attr(ctypes.Structure):
    """``mg_attr``."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("kind", ctypes.c_int32),
        ("count", ctypes.c_int32),
        ("values", ctypes.c_void_p),
    )


class Call(ctypes.Structure):
    """``mg_call``."""

    _fields_ = (
        ("abi", ctypes.c_int32),
        ("n_in", ctypes.c_int32),
        ("n_out", ctypes.c_int32),
        ("n_attrs", ctypes.c_int32),
        ("inputs", ctypes.POINTER(Array)),
        ("outputs", ctypes.POINTER(Array)),
        ("attrs", ctypes.POINTER(Attr)),
        ("message", ctypes.c_void_p),
        ("message_size", ctypes.c_int64),
    )


FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Call))
"""``int symbol(const mg_call *)``; calling one lets other Python threads run meanwhile."""


class Frame:
    """One ``mg_call`` with all it points to, for arrays of known shapes; `slots` take the addresses.

    Args:
        arrays: ``(shape, code)`` of inputs, then outputs.
        n_in: how many of them are inputs.
        attrs: by name, each as `takes` allows.
    """

    def __init__(
        self, arrays: Sequence[tuple[Sequence[int], int]], n_in: int, attrs: dict[str, Any]
    ):
        n = len(arrays)
        self.arrays, self.attrs = (Array * n)(), (Attr * len(attrs))()
        self.slots = [self.arrays[i] for i in range(n)]
        for slot, (shape, code) in zip(self.slots, arrays):
            slot.shape = (ctypes.c_int64 * len(shape))(*shape)
            slot.size, slot.ndim, slot.dtype = math.prod(shape), len(shape), code
        self._kept = [_fill(a, name, value) for a, (name, value) in zip(self.attrs, attrs.items())]
        self.message = ctypes.create_string_buffer(MESSAGE)
        at = ctypes.addressof(self.arrays)
        self.call = Call(
            ABI, n_in, n - n_in, len(attrs), ctypes.cast(at, ctypes.POINTER(Array)),
            ctypes.cast(at + n_in * ctypes.sizeof(Array), ctypes.POINTER(Array)), self.attrs,
            ctypes.addressof(self.message), MESSAGE,
        )  # fmt: skip
        self.ref = ctypes.byref(self.call)


def takes(value: Any) -> bool:
    """Whether an attribute can be handed to C: a bool, 64-bit int, float, text, or tuple of numbers."""
    if isinstance(value, tuple):
        return all(takes(i) and not isinstance(i, (str, tuple)) for i in value)
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, (float, str))


def _fill(attr: Attr, name: str, value: Any) -> Any:
    """Write an attribute; returns what must stay alive for it."""
    attr.name = name.encode()
    if isinstance(value, str):
        text = value.encode()
        kept: Any = ctypes.create_string_buffer(text)
        attr.kind, attr.count = TEXT, len(text)
    else:
        items = value if isinstance(value, (tuple, list)) else (value,)
        floats = any(isinstance(i, float) for i in items)
        attr.kind, attr.count = (FLOATS if floats else INTS), len(items)
        kept = ((ctypes.c_double if floats else ctypes.c_int64) * len(items))(*items)
    attr.values = ctypes.addressof(kept)
    return kept


def function(path: str, symbol: str) -> Any:
    """The C function of that name. Raises OSError or AttributeError."""
    return FUNCTION((symbol, ctypes.CDLL(path)))

"""GGUF, the format of llama.cpp: its header, and arrays that are unpacked when they are looked at.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The header is read here, as `gguf.GGUFReader`
believes the counts that a file gives; blocks of quantised numbers are unpacked by `gguf.quants`.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from monograph import Spec
from monograph.dtypes import dtype as as_dtype
from monograph.errors import FileFormatError, PluginError
from monograph.storage import damaged
from monograph.tensorfile import as_array, is_shape

from . import zips
from ._weights import Array, Weights

PLAIN = {
    0: "float32", 1: "float16", 24: "int8", 25: "int16", 26: "int32", 27: "int64", 28: "float64",
    30: "bfloat16",
}  # fmt: skip
"""Element types that are kept as they are, by the format's number."""

BLOCKS = {
    2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 29: ("IQ1_M", 256, 56), 34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip
"""Quantised types by number: name, numbers in a block, bytes of a block; read as float32."""

_NUMBERS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
TENSORS, PAIRS, TEXTS = 65_536, 10_000, 1_200_000
"""The most of each in a header: twice the largest vocabulary with its merges are a million texts."""


def read(path: Path) -> Weights:
    """The tensors by name, rows first as everywhere else; ``metadata`` are the file's key-value pairs."""
    whole = zips.mapped(path)
    header = _Header(path, whole)
    version, tensors, pairs = header.numbers("IQQ")
    if version not in (2, 3):
        raise FileFormatError(f"{path}: GGUF version {version}; versions 2 and 3 are read")
    if tensors > TENSORS or pairs > PAIRS:
        raise damaged(path, f"it says that it has {tensors:,} tensors and {pairs:,} values")
    metadata = {}
    for _ in range(pairs):
        key = header.text()
        metadata[key] = header.value(*header.numbers("I"))
    rows = {}
    for _ in range(tensors):
        name = header.text()
        (rank,) = header.numbers("I")
        if rank > 8 or name in rows:
            raise damaged(path, f"the tensor {name!r} has {rank} axes, or is there twice")
        *lengths, kind, at = header.numbers(f"{rank}QIQ")
        rows[name] = tuple(reversed(lengths)), kind, at
    step = metadata.get("general.alignment", 32)
    if type(step) is not int or not 0 < step <= 2**20:
        raise damaged(path, f"its alignment is {step!r}")
    begin = -(-header.at // step) * step
    return Weights(path, {n: _array(path, whole, n, *row, begin) for n, row in rows.items()}, metadata)  # fmt: skip


class _Header:
    """Reads on from the magic, never past the end, and no more values than is sound."""

    def __init__(self, path: Path, whole: np.ndarray):
        self.path, self.raw, self.at, self.left = path, whole.data, 4, TEXTS

    def take(self, n: int) -> memoryview:
        if n > len(self.raw) - self.at:
            raise damaged(self.path, "it ends inside its header")
        self.at += n
        return self.raw[self.at - n : self.at]

    def numbers(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def text(self) -> str:
        self.left -= 1
        n = int.from_bytes(self.take(8), "little")
        if n > 2**24 or self.left < 0:
            raise damaged(self.path, "it has a text, or a list of them, that is absurdly long")
        return str(self.take(n), "utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind in _NUMBERS:
            return self.numbers(_NUMBERS[kind])[0]
        if kind != _ARRAY:
            raise damaged(self.path, f"it has a value of the unknown type {kind}")
        inner, n = self.numbers("IQ")
        if inner in _NUMBERS:
            return np.frombuffer(
                self.take(n * struct.calcsize(f"<{_NUMBERS[inner]}")), f"<{_NUMBERS[inner]}"
            )
        if inner != _STRING:
            raise damaged(self.path, "it has lists in lists")
        if n > self.left:
            raise damaged(self.path, f"it has a list of {n:,} texts")
        return [self.text() for _ in range(n)]


def _array(
    path: Path, whole: np.ndarray, name: str, shape: tuple[int, ...], kind: int, at: int, begin: int
) -> Array:
    size = math.prod(shape)
    if kind in PLAIN:
        dtype = as_dtype(PLAIN[kind])
        nbytes = size * dtype.itemsize
    elif kind in BLOCKS:
        title, numbers, bytes_ = BLOCKS[kind]
        if not shape or shape[-1] % numbers:
            raise damaged(
                path, f"{name!r} is {title}, and shape {shape} is no multiple of {numbers}"
            )
        dtype, nbytes = as_dtype("float32"), size // numbers * bytes_
    else:
        raise FileFormatError(
            f"{path}: {name!r} has the element type {kind}, which is not known here"
        )
    start = begin + at
    if nbytes > whole.size - start or not is_shape(shape, 8):
        raise damaged(path, f"{name!r} of shape {shape} ends outside the file")
    raw = whole[start : start + nbytes]
    if kind in PLAIN:
        return Array(Spec(shape, dtype), lambda: as_array(raw, dtype, shape))
    return Array(Spec(shape, dtype), lambda: _unpacked(raw, shape, kind), kept_as=title)


def _unpacked(raw: np.ndarray, shape: tuple[int, ...], kind: int) -> np.ndarray:
    try:
        from gguf import GGMLQuantizationType, quants
    except ImportError:
        raise PluginError(
            "quantised numbers are unpacked by the package gguf: pip install 'monograph-importers[gguf]'"
        ) from None
    _, numbers, bytes_ = BLOCKS[kind]
    rows = raw.reshape(*shape[:-1], shape[-1] // numbers * bytes_)
    if not raw.size:
        return np.zeros(shape, np.float32)
    with np.errstate(all="ignore"):  # a scale of a damaged file may be infinite
        return quants.dequantize(rows, GGMLQuantizationType(kind))

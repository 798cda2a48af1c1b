"""ONNX tensors as NumPy arrays: nothing is believed of sizes, paths and offsets.

External data (https://onnx.ai/onnx/repo-docs/ExternalData.html) must lie in the model's own folder, links
followed; it is memory-mapped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from monograph.dtypes import DType, dtype as as_dtype
from monograph.errors import DTypeError, StorageError
from monograph.storage import damaged, opened

DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128",
    16: "bfloat16", 17: "float8_e4m3fn", 18: "float8_e4m3fnuz", 19: "float8_e5m2",
    20: "float8_e5m2fnuz",
}  # fmt: skip
"""ONNX's numbers of element types, and our names."""

NARROW = {
    21: ("uint4", 4), 22: ("int4", 4), 23: ("float4_e2m1fn", 4), 24: ("float8_e8m0fnu", 8),
    25: ("uint2", 2), 26: ("int2", 2),
}  # fmt: skip
"""Types that no engine computes with, under ml_dtypes' names, and their bits: weights may have them."""

STRING = 8

# the field that holds numbers of a type where there is no raw data, and what it holds them as
_FIELDS = {
    **dict.fromkeys((1, 14), ("float_data", "float32")), **dict.fromkeys((11, 15), ("double_data", "float64")),
    7: ("int64_data", "int64"), **dict.fromkeys((12, 13), ("uint64_data", "uint64")),
}  # fmt: skip
_BITS = {
    10: "uint16",
    16: "uint16",
    17: "uint8",
    18: "uint8",
    19: "uint8",
    20: "uint8",
    24: "uint8",
}


def element_type(code: int) -> DType | None:
    """Our dtype of an ONNX element type; None for strings and what is narrower than a byte."""
    return as_dtype(DTYPES[code]) if code in DTYPES else None


def computable(code: int) -> None:
    """Raises `DTypeError` for an element type that no engine has."""
    if code not in DTYPES:
        raise DTypeError(f"no engine has ONNX's element type {code}")


def storage(code: int) -> np.dtype:
    """The NumPy dtype that holds an element type."""
    if code in NARROW:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, NARROW[code][0]))
    return as_dtype(DTYPES[code]).numpy


_CODES = {name: code for code, name in DTYPES.items()} | {
    n: code for code, (n, _) in NARROW.items()
}


def code(x: Any) -> int:
    """The element type of an array, known or not."""
    return _CODES.get(x.dtype.name, STRING)


def narrow(x: Any) -> bool:
    """Whether an array has a dtype that no engine computes with."""
    return isinstance(x, np.ndarray) and any(x.dtype.name == n for n, _ in NARROW.values())


class Reader:
    """Arrays of one model's tensors.

    Args:
        path: what errors call the model.
        folder: where external data must lie; None where the model came as bytes.
        data: the whole file.
        places: where in it the main graph's initializers lie that were cut out of the message.
    """

    def __init__(
        self, path: str, folder: Path | None = None, data: Any = None,
        places: Mapping[int, tuple[int, int]] = MappingProxyType({}),
    ):  # fmt: skip
        self.path, self.folder, self.data, self.places = path, folder, data, places
        self._mapped: dict[str, np.ndarray] = {}

    def array(self, t: Any, position: int | None = None) -> np.ndarray:
        """A `TensorProto` as an array, read-only where it is a file's own pages.

        Args:
            position: which of the main graph's initializers it is.

        Raises:
            FileFormatError: numbers and shape disagree, or the type is unknown.
            StorageError: external data that cannot be read, or lies elsewhere than it may.
        """
        name, code, shape = t.name or "a tensor", t.data_type, tuple(t.dims)
        if code == STRING:
            return np.array([s.decode(errors="replace") for s in t.string_data], object).reshape(
                shape
            )
        if code not in DTYPES and code not in NARROW:
            raise damaged(self.path, f"{name} has the unknown element type {code}")
        if any(n < 0 for n in shape) or len(shape) > 64:
            raise damaged(self.path, f"{name} has the shape {shape}")
        count = math.prod(shape)
        bits = NARROW[code][1] if code in NARROW else as_dtype(DTYPES[code]).itemsize * 8
        nbytes = -(-count * bits // 8)
        if t.data_location == 1:
            raw = self._external(t, name, nbytes)
        elif position is not None and position in self.places:
            start, end = self.places[position]
            raw = np.frombuffer(self.data[start:end], np.uint8)
        elif t.HasField("raw_data"):
            raw = np.frombuffer(t.raw_data, np.uint8)
        else:
            return self._typed(t, name, code, shape, count)
        if raw.size != nbytes:
            raise damaged(
                self.path, f"{name} has {raw.size:,} bytes, its shape {shape} needs {nbytes:,}"
            )
        return _unpacked(raw, code, bits, count).reshape(shape)

    def _typed(self, t: Any, name: str, code: int, shape: tuple, count: int) -> np.ndarray:
        field, kind = _FIELDS.get(code, ("int32_data", "int32"))
        numbers = np.asarray(getattr(t, field), kind)
        bits = NARROW[code][1] if code in NARROW else 8
        want = count * 2 if code in (14, 15) else -(-count * bits // 8) if bits < 8 else count
        if numbers.size != want:
            raise damaged(
                self.path, f"{name} has {numbers.size:,} numbers, its shape {shape} needs {want:,}"
            )
        if bits < 8:
            return _unpacked(numbers.astype(np.uint8), code, bits, count).reshape(shape)
        if code in _BITS:
            return numbers.astype(_BITS[code]).view(storage(code)).reshape(shape)
        if code in (14, 15):
            return numbers.view(storage(code)).reshape(shape)
        return numbers.astype(storage(code)).reshape(shape)

    def _external(self, t: Any, name: str, nbytes: int) -> np.ndarray:
        where = {e.key: e.value for e in t.external_data}
        location = where.get("location", "")
        try:
            offset = int(where.get("offset", 0))
            length = int(where.get("length", nbytes))
        except ValueError:
            raise damaged(
                self.path, f"{name}: the place of its external data is no number"
            ) from None
        data = self._mapped.get(location)
        if data is None:
            data = self._mapped[location] = self._map(name, location)
        if length != nbytes or offset < 0 or offset + nbytes > data.size:
            raise damaged(
                self.path, f"{name} needs {nbytes:,} bytes; {location} has {data.size:,}, of which it "
                f"names {length:,} from {offset:,} on",
            )  # fmt: skip
        return data[offset : offset + nbytes]

    def _map(self, name: str, location: str) -> np.ndarray:
        if self.folder is None:
            raise StorageError(
                f"{self.path}: {name} lies in the file {location!r} beside the model; load the model by "
                f"its path"
            )
        home = self.folder.resolve()
        try:
            inside = bool(location) and (home / location).resolve().is_relative_to(home)
        except (OSError, ValueError, RuntimeError):  # a null byte, a circle of links
            inside = False
        if not inside or Path(location).is_absolute() or ".." in Path(location).parts:
            raise StorageError(
                f"{self.path}: {name} lies in {location!r}, which is not in the model's folder, also not by "
                f"a link; it is not read. Put the file beside the model"
            )
        with opened(home / location) as f:
            if not f.seek(0, 2):
                return np.zeros(0, np.uint8)
            return np.memmap(f, np.uint8, "r")


def _unpacked(raw: np.ndarray, code: int, bits: int, count: int) -> np.ndarray:
    """Little-endian bytes as numbers; several to a byte, the first in the lowest bits."""
    if bits >= 8:
        little = storage(code).newbyteorder("<")
        return raw.view(little).astype(storage(code), copy=False)
    parts = [raw >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)]
    numbers = np.stack(parts, -1).reshape(-1)[:count]
    kind = storage(code)
    if kind.name.startswith("int"):  # the highest bit is the sign
        high = 1 << bits - 1
        numbers = (numbers.astype(np.int8) ^ high) - high
    return numbers.view(kind) if kind.name.startswith("float") else numbers.astype(kind)

"""Safetensors files: arrays by name after a JSON header. Written here because NumPy lacks bfloat16.

Layout (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, the header
``{"__metadata__": {str: str}, name: {"dtype", "shape", "data_offsets"}}``, then the arrays without
a gap. Nothing in a file is trusted: lengths are checked against the file before memory is taken.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .dtypes import DType, dtype as as_dtype
from .errors import ArgumentError, DTypeError, FileFormatError, VariableError
from .storage import damaged, opened, replacing

CODES = {
    "BOOL": "bool", "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64",
    "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "F16": "float16",
    "BF16": "bfloat16", "F32": "float32", "F64": "float64", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2",
}  # fmt: skip
"""The format's names of element types, and ours."""

LONGEST = 8_000_000
"""The longest header read, in bytes: that of 60,000 arrays. The format allows 100 million, which could
be made to unfold to gigabytes."""

_CODE_OF = {ours: code for code, ours in CODES.items() if ours != "complex64"}


# ---- writing


def form(dtype: DType, shape: Sequence[int]) -> tuple[str, list[int]]:
    """The type and shape under which the format holds an array.

    Complex numbers become pairs (a last axis of 2); types the format lacks become bytes.
    """
    if dtype.name in _CODE_OF:
        return _CODE_OF[dtype.name], list(shape)
    if dtype.is_complex:
        return f"F{dtype.bits // 2}", [*shape, 2]
    return "U8", [*shape, dtype.itemsize]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """An array as little-endian bytes; the same memory where it can be."""
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little).reshape(-1).view(np.uint8)


def layout(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The header's table and the body's parts; wide elements come first, so all are aligned."""
    if "__metadata__" in arrays:
        raise VariableError("no variable can be named '__metadata__': the file format reserves it")
    table, body, at = {}, [], 0
    for name, array in sorted(arrays.items(), key=lambda i: (-i[1].dtype.itemsize, i[0])):
        code, shape = form(as_dtype(array.dtype), array.shape)
        raw = as_bytes(array)
        table[name] = {"dtype": code, "shape": shape, "data_offsets": [at, at + raw.nbytes]}
        body.append(raw)
        at += raw.nbytes
    return table, body


def framed(text: bytes, path: Any) -> bytearray:
    """A header as it begins a file: its length, and spaces so that what follows is aligned.

    Raises:
        ArgumentError: it is longer than what is read back.
    """
    text += b" " * (-len(text) % 8)
    if len(text) > LONGEST:
        raise ArgumentError(
            f"{path}: names, shapes and notes take {len(text):,} bytes, at most {LONGEST:,} are read "
            f"back; write fewer arrays to a file, or shorter notes"
        )
    return bytearray(len(text).to_bytes(8, "little") + text)


def save_safetensors(
    arrays: Mapping[str, Any], path: str | os.PathLike, metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays by name to a plain safetensors file, all or nothing.

    Raises:
        StorageError: the system refused.
        ArgumentError: too many arrays or notes for a header.
    """
    table, body = layout({n: np.asarray(a) for n, a in arrays.items()})
    whole = {"__metadata__": dict(metadata), **table} if metadata else table
    head = framed(json.dumps(whole).encode(), path)
    with replacing(Path(path)) as f:
        f.write(head)
        for part in body:
            f.write(part.data)


# ---- reading


@dataclass(frozen=True)
class Entry:
    """One array's place in a file: type and shape as the file says, offset from its start."""

    name: str
    code: str
    dtype: DType
    shape: tuple[int, ...]
    at: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """What a file says before its arrays: metadata, entries in the order of the body, raw bytes."""

    metadata: dict[str, str]
    entries: list[Entry]
    raw: bytes


def read_raw_header(f: BinaryIO, path: Any) -> bytes:
    """The length field and the header, nothing parsed, no more memory taken than the file has."""
    size, first = os.fstat(f.fileno()).st_size, f.read(8)
    n = int.from_bytes(first, "little")
    if len(first) < 8 or not 2 <= n <= size - 8:
        raise damaged(path, f"it has {size:,} bytes and does not start with the length of a header")
    if n > LONGEST:
        raise FileFormatError(f"{path}: a header of {n:,} bytes; at most {LONGEST:,} are read")
    raw = first + f.read(n)
    if len(raw) != 8 + n:
        raise damaged(path, "it ends inside its header")
    return raw


def parse_header(f: BinaryIO, raw: bytes, path: Any) -> Header:
    """The header, checked: unique names, known types, arrays that fill the file exactly."""
    try:
        table = json.loads(raw[8:], object_pairs_hook=_unique)
        metadata = table.pop("__metadata__", {})
        if not all(isinstance(v, str) for v in metadata.values()):
            raise ValueError("its metadata are not all strings")
        entries = [_entry(name, row, len(raw)) for name, row in table.items()]
    except DTypeError as e:  # one of a package that is not installed
        raise DTypeError(f"{path}: {e}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise damaged(path, f"its header is not one of a safetensors file ({e})") from None
    at = len(raw)
    for entry in sorted(entries, key=lambda e: (e.at, e.nbytes)):
        if entry.at != at:
            raise damaged(path, f"the array {entry.name!r} overlaps another or leaves a gap")
        at += entry.nbytes
    size = os.fstat(f.fileno()).st_size
    if at != size:
        raise damaged(path, f"it has {size:,} bytes, its header describes {at:,}")
    return Header(metadata, sorted(entries, key=lambda e: e.at), raw)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name occurs twice")
    return out


def _entry(name: str, row: dict[str, Any], start: int) -> Entry:
    code, shape, (a, b) = row["dtype"], row["shape"], row["data_offsets"]
    if code not in CODES:
        raise ValueError(f"the array {name!r} has the unknown type {code!r}")
    dtype = as_dtype(CODES[code])
    if not is_shape(shape, dtype.itemsize) or not is_shape([a, b], 0):
        raise ValueError(f"the array {name!r} has a shape or offset that is no size")
    if b - a != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"the array {name!r} has {b - a} bytes and shape {shape}")
    return Entry(name, code, dtype, tuple(shape), start + a, b - a)


def is_shape(shape: Sequence[Any], itemsize: int) -> bool:
    """Whether NumPy can have an array of this shape, if only for its lack of elements.

    >>> is_shape([3, 2], 4), is_shape([0, 2**62, 2], 4), is_shape([-1], 4), is_shape([1.0], 4)
    (True, False, False, False)
    """
    if len(shape) > 64 or not all(type(n) is int and 0 <= n < 2**63 for n in shape):
        return False
    return math.prod(n for n in shape if n) * itemsize < 2**63


def read_bytes(f: BinaryIO, entry: Entry, path: Any) -> np.ndarray:
    """An entry's bytes, in memory of their own."""
    f.seek(entry.at)
    out = np.empty(entry.nbytes, np.uint8)
    if f.readinto(out.data) != entry.nbytes:  # type: ignore[attr-defined]
        raise damaged(path, f"it ends inside {entry.name!r}")
    return out


def as_array(raw: np.ndarray, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Little-endian bytes as an array."""
    little = dtype.numpy.newbyteorder("<")
    return raw.view(little).astype(dtype.numpy, copy=False).reshape(shape)


def load_safetensors(path: str | os.PathLike, mapped: bool = False) -> dict[str, np.ndarray]:
    """The arrays of any safetensors file by name, such as weights from elsewhere.

    Such a file has no checksums: damage to its numbers is not noticed. For a file that
    `monograph_train.save_checkpoint` wrote, `load_checkpoint` notices.

    Args:
        mapped: read-only arrays that are the file's own pages, read when looked at; the file must
            stay as it is meanwhile. Otherwise they are in memory of their own.

    Raises:
        StorageError: the file cannot be opened.
        FileFormatError: not a safetensors file, or truncated.

    >>> import os, tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "weights.safetensors")
    ...     save_safetensors({"w": np.arange(3.0)}, path)
    ...     load_safetensors(path)
    {'w': array([0., 1., 2.])}
    """
    with opened(path) as f:
        header = parse_header(f, read_raw_header(f, path), path)
        whole = np.memmap(f, np.uint8, "r") if mapped else None
        return {
            e.name: as_array(
                read_bytes(f, e, path) if whole is None else whole[e.at : e.at + e.nbytes],
                e.dtype, e.shape,
            )
            for e in sorted(header.entries, key=lambda e: e.name)
        }  # fmt: skip

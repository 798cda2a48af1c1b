"""Safetensors files, read and written whole or not at all.

Layout (the safetensors format): 8 bytes length, a JSON header of that length, then the arrays. Our
own files also hold, in the header's ``__metadata__``, a SHA-256 of each array and one of the header,
and the header describes every byte after it: so no cut and no flipped bit goes unseen.

Written here rather than with the safetensors library, which hands NumPy no bfloat16 and needs a
second copy of everything it writes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import monograph as mg
import numpy as np
from monograph.errors import DTypeError, FileFormatError, MonographError

# NumPy's name of a dtype -> the format's
TAGS = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32",
    "int32": "I32", "uint64": "U64", "int64": "I64", "float16": "F16", "bfloat16": "BF16",
    "float32": "F32", "float64": "F64", "complex64": "C64", "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
_NAMES = {tag: name for name, tag in TAGS.items()}
_LONGEST_HEADER = 100_000_000  # the format's own limit
_UNSIGNED = "0" * 64  # stands for the header's digest while that is taken
_VERSION = 1


class StorageError(MonographError, OSError):
    """A file that cannot be written or read: no space, no permission, no such folder."""

    def __init__(self, message: str, cause: OSError | None = None):
        super().__init__(message)
        self.errno = cause.errno if cause else None

    def __str__(self) -> str:  # OSError would put None before it
        return str(self.args[0])


@contextlib.contextmanager
def replacing(path: Any) -> Iterator[BinaryIO]:
    """A file that takes ``path``'s place when the block ends well, and is gone when it does not.

    When this returns, both the file and its name are on the disk (fsync of file and folder).

    Raises:
        StorageError: naming ``path``; what was there before is unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            with open(temporary, "xb", buffering=0) as f:
                yield f
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)
    except OSError as e:
        raise StorageError(
            f"{path}: cannot be written: {e.strerror or e}. What was there before is unchanged; make "
            f"room or choose another folder.",
            e,
        ) from e


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # which has no handles of folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(f: BinaryIO, data: Any) -> None:
    view = memoryview(data)
    while len(view):
        view = view[f.write(view) :]  # one call writes 2 GiB at most


@dataclass(frozen=True)
class Entry:
    """Where an array is in a file: the bytes from ``begin`` to ``end`` after the header."""

    shape: tuple[int, ...]
    dtype: np.dtype
    begin: int
    end: int


def write(
    path: Any,
    specs: Mapping[str, tuple[tuple[int, ...], np.dtype]],
    read: Callable[[str], np.ndarray],
    info: dict[str, Any] | None = None,
) -> None:
    """Write arrays, one in memory at a time.

    Args:
        specs: shape and dtype of each.
        read: gives an array by its name.
        info: what our own files say about themselves (JSON); None writes a plain safetensors file.

    Raises:
        DTypeError: dtypes that the format lacks; all are listed.
        StorageError: see `replacing`.
    """
    lacking = [f"{n!r} ({dtype})" for n, (_, dtype) in specs.items() if dtype.name not in TAGS]
    if lacking:
        raise DTypeError(
            f"{path}: safetensors files cannot hold {', '.join(lacking)}; convert to one of "
            f"{', '.join(TAGS)}"
        )
    entries, at = {}, 0
    # wide dtypes first: each array is aligned to its own width
    for name in sorted(specs, key=lambda n: (-specs[n][1].itemsize, n)):
        shape, dtype = specs[name]
        end = at + math.prod(shape) * dtype.itemsize
        entries[name] = Entry(tuple(shape), dtype, at, end)
        at = end
    digests = dict.fromkeys(entries, _UNSIGNED)
    with replacing(path) as f:
        _write_all(f, _header(entries, digests, info))  # takes the room it will take when filled in
        for name in entries:
            data = np.ascontiguousarray(read(name)).reshape(-1).view(np.uint8)
            digests[name] = hashlib.sha256(data.data).hexdigest()
            _write_all(f, data.data)
        f.seek(0)
        _write_all(f, _header(entries, digests, info))


def _header(entries: dict[str, Entry], digests: dict[str, str], info: dict | None) -> bytes:
    table: dict[str, Any] = {}
    if info is not None:
        ours = json.dumps({"format": _VERSION, **info, "sha256": digests})
        table["__metadata__"] = {"monograph": ours, "sha256": _UNSIGNED}
    for name, e in entries.items():
        offsets = [e.begin, e.end]
        table[name] = {"dtype": TAGS[e.dtype.name], "shape": e.shape, "data_offsets": offsets}
    text = json.dumps(table, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out = len(text).to_bytes(8, "little") + text
    if info is None:
        return out
    # found by its quotes: digests of arrays stand in a string, where quotes are escaped
    place = out.index(f'"{_UNSIGNED}"'.encode()) + 1
    return out[:place] + hashlib.sha256(out).hexdigest().encode() + out[place + 64 :]


class Reader:
    """An open safetensors file whose header was read and checked.

    Attributes:
        entries: what it holds, by name.
        info: what our own files say about themselves; None for a plain safetensors file.
    """

    def __init__(self, path: Any):
        self.path = Path(path)
        try:
            self._file = open(self.path, "rb", buffering=0)  # noqa: SIM115
        except IsADirectoryError as e:
            raise StorageError(
                f"{path}: this is a folder; Checkpoints(folder).latest() takes its newest file", e
            ) from None
        except OSError as e:
            raise StorageError(f"{path}: cannot be read: {e.strerror}", e) from None
        try:
            self.info, self.entries, self._start = self._open()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def _damaged(self, why: str) -> FileFormatError:
        return FileFormatError(f"{self.path}: {why}; the file is damaged, take another copy")

    def _bytes(self, start: int, n: int) -> np.ndarray:
        out = np.empty(n, np.uint8)
        view = out.data
        self._file.seek(start)
        while len(view):
            got = self._file.readinto(view)
            if not got:
                raise self._damaged(f"it ends {len(view)} bytes early")
            view = view[got:]
        return out

    def _open(self) -> tuple[dict | None, dict[str, Entry], int]:
        size = os.fstat(self._file.fileno()).st_size
        if size < 8:
            raise self._damaged(f"it has {size} bytes, and no header")
        length = int.from_bytes(self._bytes(0, 8).tobytes(), "little")
        if length > min(size - 8, _LONGEST_HEADER):
            raise self._damaged(
                f"it is no safetensors file: a header of {length:,} bytes does not fit in {size:,}"
            )
        raw = self._bytes(0, 8 + length).tobytes()
        try:
            table = json.loads(raw[8:])
            metadata = table.pop("__metadata__", {})
            ours = metadata.get("monograph")
            info = None
            if ours is None and b'\\"sha256\\"' in raw:  # one of ours that lost its name
                raise ValueError("its metadata is altered")
            if ours is not None:
                self._check_digest(raw, metadata["sha256"])
                info = json.loads(ours)
                if info["format"] != _VERSION:
                    raise FileFormatError(
                        f"{self.path}: format {info['format']!r}, this is {_VERSION}; upgrade "
                        f"monograph-train"
                    )
            entries = self._entries(table, size - 8 - length)
            if info is not None and set(info["sha256"]) != set(entries):
                raise ValueError("its digests are of other arrays")
        except MonographError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            raise self._damaged(f"its header cannot be read ({type(e).__name__}: {e})") from None
        return info, entries, 8 + length

    def _check_digest(self, raw: bytes, digest: str) -> None:
        place = raw.find(f'"{digest}"'.encode()) + 1
        blank = raw[:place] + _UNSIGNED.encode() + raw[place + 64 :]
        if not place or hashlib.sha256(blank).hexdigest() != digest:
            raise self._damaged("its header does not have the digest it names")

    def _entries(self, table: dict[str, Any], size: int) -> dict[str, Entry]:
        entries, at = {}, 0
        for name, e in sorted(table.items(), key=lambda item: item[1]["data_offsets"]):
            begin, end = e["data_offsets"]
            shape = tuple(map(int, e["shape"]))
            dtype = _numpy(e["dtype"], f"{self.path}: {name!r}")
            if min(shape, default=0) < 0:
                raise ValueError(f"{name!r} has the shape {shape}")
            if begin != at or end - begin != math.prod(shape) * dtype.itemsize:
                raise ValueError(
                    f"{name!r} ({dtype}{list(shape)}) is not at bytes {begin} to {end}"
                )
            entries[name], at = Entry(shape, dtype, begin, end), end
        if at != size:
            raise self._damaged(f"it has {size:,} bytes of arrays instead of {at:,}")
        return entries

    def read(self, name: str) -> np.ndarray:
        """An array of its own; checked, when the file has its digest.

        Raises:
            FileFormatError: it does not have the digest.
        """
        e = self.entries[name]
        data = self._bytes(self._start + e.begin, e.end - e.begin)
        if (
            self.info is not None
            and hashlib.sha256(data.data).hexdigest() != self.info["sha256"][name]
        ):
            raise self._damaged(
                f"the array {name!r} does not have the digest that the header names"
            )
        return data.view(e.dtype).reshape(e.shape)


def _numpy(tag: str, what: str) -> np.dtype:
    name = _NAMES.get(tag)
    if name is None:
        raise DTypeError(f"{what} has the dtype {tag}, which is not known here")
    if name.startswith("float8"):
        try:
            import ml_dtypes
        except ImportError:
            raise DTypeError(f"{what} is {name}; pip install ml_dtypes to read it") from None
        return np.dtype(getattr(ml_dtypes, name))
    return mg.dtypes.dtype(name).numpy


def load_safetensors(path: Any) -> dict[str, np.ndarray]:
    """The arrays of any safetensors file, such as one from the Hugging Face hub, by name.

    Plain files hold no digests: what is checked is that the header describes the whole file.

    Raises:
        FileFormatError: no safetensors file, or a damaged one.
        DTypeError: a dtype that no installed package provides.
        StorageError: the file cannot be read.
    """
    with Reader(path) as f:
        return {name: f.read(name) for name in sorted(f.entries)}

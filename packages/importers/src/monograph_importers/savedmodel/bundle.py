"""TensorFlow's checkpoints ("tensor bundles"): an index in LevelDB's table format, and data files."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from monograph.dtypes import dtype
from monograph.errors import DTypeError, FileFormatError
from monograph.storage import damaged, opened

from .checksum import crc32c, masked
from .wire import Message, varint

_MAGIC = 0xDB4775248B80FB57
_STRING, _OBJECTS = 7, "_CHECKPOINTABLE_OBJECT_GRAPH"
DTYPES = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 8: "complex64", 9: "int64",
    10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128", 19: "float16", 22: "uint32", 23: "uint64",
    24: "float8_e5m2", 25: "float8_e4m3fn",
}  # fmt: skip


class Checkpoint(NamedTuple):
    """Arrays by their keys in the file, and a name for each: the variable's own where no other has it."""

    arrays: dict[str, np.ndarray]
    names: dict[str, str]


def read(prefix: Path) -> Checkpoint:
    """The arrays of a checkpoint; they are the files' own pages.

    Args:
        prefix: the path of the index without its suffix.

    Raises:
        StorageError: a file is missing.
        FileFormatError: a file is damaged.
    """
    entries = dict(_table(Path(f"{prefix}.index")))
    header = Message(entries.pop(b"", b""))
    if header.integer(2) != 0:
        raise FileFormatError(f"{prefix}: a big-endian checkpoint is not read")
    shards = _Shards(prefix, max(1, header.integer(1)))
    tensors = {key.decode(errors="replace"): Message(value) for key, value in entries.items()}
    names = _names(shards, tensors.pop(_OBJECTS, None))
    arrays = {
        key: shards.array(key, entry)
        for key, entry in tensors.items()
        if entry.integer(1) != _STRING and entry.integer(1) in DTYPES and not entry.has(7)
    }
    return Checkpoint(arrays, {key: names.get(key, _path(key)) for key in arrays})


def _path(key: str) -> str:
    """``layer/kernel/.ATTRIBUTES/VARIABLE_VALUE`` without what is TensorFlow's own."""
    return re.sub(r"/\.ATTRIBUTES/.*$", "", key)


def _names(shards: _Shards, entry: Message | None) -> Mapping[str, str]:
    """The variables' own names by the keys of the checkpoint (TrackableObjectGraph)."""
    if entry is None:
        return {}
    graph = Message(shards.string(entry))
    found = [(a.text(3), a.text(2)) for node in graph.many(1) for a in node.many(2) if a.text(2)]
    return {key: name for key, name in found if sum(n == name for _, n in found) == 1}


class _Shards:
    """The data files, mapped into memory."""

    def __init__(self, prefix: Path, count: int):
        self.prefix, self.count = prefix, count
        self.maps: dict[int, np.ndarray] = {}

    def pages(self, entry: Message, what: str) -> np.ndarray:
        i, offset, size = entry.integer(3), entry.integer(4), entry.integer(5)
        if i not in self.maps:
            if i >= self.count:
                raise damaged(self.prefix, f"{what} is in file {i} of {self.count}")
            path = Path(f"{self.prefix}.data-{i:05d}-of-{self.count:05d}")
            with opened(path) as f:
                empty = not f.read(1)
            self.maps[i] = (
                np.zeros(0, np.uint8) if empty else np.memmap(path, np.uint8, "r").view(np.ndarray)
            )
        data = self.maps[i]
        if offset + size > len(data):
            raise damaged(self.prefix, f"{what} ends at byte {offset + size:,} of {len(data):,}")
        return data[offset : offset + size]

    def array(self, key: str, entry: Message) -> np.ndarray:
        shape = tuple(d.integer(1) for d in entry.one(2).many(2))
        try:
            d = dtype(DTYPES[entry.integer(1)]).numpy
        except DTypeError as e:
            raise FileFormatError(f"{self.prefix}: {key}: {e}") from None
        raw = self.pages(entry, key)
        if math.prod(shape) * d.itemsize != len(raw):
            raise damaged(self.prefix, f"{key} has shape {shape} and {len(raw):,} bytes")
        if masked(crc32c(raw)) != entry.integer(6):
            raise damaged(self.prefix, f"the checksum of {key} does not match its bytes")
        return (
            raw.view(d).reshape(shape)
            if raw.ctypes.data % d.alignment == 0
            else _moved(raw, d, shape)
        )

    def string(self, entry: Message) -> bytes:
        """A 0-d string: its length, a checksum of that, and the bytes."""
        raw = bytes(self.pages(entry, _OBJECTS))
        size, at = varint(raw, 0)
        if at + 4 + size != len(raw):
            raise damaged(self.prefix, "its table of objects is not as long as it says")
        return raw[at + 4 :]


def _moved(raw: np.ndarray, d: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    out = raw.copy().view(d).reshape(shape)
    out.flags.writeable = False
    return out


# ---- LevelDB's table


def _table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with opened(path) as f:
        data = f.read()
    if len(data) < 48 or int.from_bytes(data[-8:], "little") != _MAGIC:
        raise damaged(path, "it is no index of a checkpoint, or is cut off")
    at = len(data) - 48
    for _ in range(2):  # skip the meta index's place
        _, at = varint(data, at)
    index, at = _handle(data, at)
    for _, place in _block(path, data, index):
        yield from _block(path, data, _handle(place, 0)[0])


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(path: Path, data: bytes, place: tuple[int, int]) -> Iterator[tuple[bytes, bytes]]:
    """Keys share what they begin with with the one before."""
    offset, size = place
    block, tail = data[offset : offset + size], data[offset + size : offset + size + 5]
    if len(block) != size or len(tail) != 5 or size < 4:
        raise damaged(path, "a block lies outside of it")
    if masked(crc32c(data[offset : offset + size + 1])) != int.from_bytes(tail[1:], "little"):
        raise damaged(path, "the checksum of a block does not match")
    if tail[0] != 0:
        raise FileFormatError(f"{path}: its blocks are compressed, which is not read")
    restarts = int.from_bytes(block[-4:], "little")
    end, at, key = size - 4 - 4 * restarts, 0, b""
    while at < end:
        shared, at = varint(block, at)
        fresh, at = varint(block, at)
        length, at = varint(block, at)
        if at + fresh + length > end or shared > len(key):
            raise damaged(path, "a key reaches out of its block")
        key = key[:shared] + block[at : at + fresh]
        yield key, block[at + fresh : at + fresh + length]
        at += fresh + length

"""Protocol buffers read without their classes: fields by number (protobuf's encoding guide)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

from monograph.errors import FileFormatError


class Message:
    """An encoded message; a field that is absent reads as empty or 0."""

    __slots__ = ("_fields",)

    def __init__(self, data: Any):
        self._fields: dict[int, list[Any]] = {}
        for number, value in _fields(memoryview(data)):
            self._fields.setdefault(number, []).append(value)

    def all(self, number: int) -> list[Any]:
        """Every value of a field: an int, or bytes."""
        return self._fields.get(number, [])

    def has(self, number: int) -> bool:
        return number in self._fields

    def integer(self, number: int) -> int:
        value = self._last(number, 0)
        if not isinstance(value, int):
            raise FileFormatError(f"field {number} of a protocol buffer is no integer")
        return value

    def data(self, number: int) -> bytes:
        return bytes(_data(self._last(number, b"")))

    def text(self, number: int) -> str:
        return _text(self._last(number, b""))

    def texts(self, number: int) -> list[str]:
        return [_text(v) for v in self.all(number)]

    def one(self, number: int) -> Message:
        return Message(_data(self._last(number, b"")))

    def many(self, number: int) -> list[Message]:
        return [Message(_data(v)) for v in self.all(number)]

    def map(self, number: int) -> dict[str, Message]:
        """A map from strings to messages."""
        return {m.text(1): m.one(2) for m in self.many(number)}

    def ints(self, number: int) -> list[int]:
        """A repeated integer, packed or not; negative ones are as they were."""
        out = []
        for value in self.all(number):
            if isinstance(value, int):
                out.append(value)
            else:
                at = 0
                while at < len(value):
                    n, at = varint(value, at)
                    out.append(n)
        return [signed(n) for n in out]

    def _last(self, number: int, default: Any) -> Any:
        return self._fields.get(number, [default])[-1]


def signed(n: int) -> int:
    """A protocol buffer's int64: it is written as if it had no sign."""
    return n - 2**64 if n >= 2**63 else n


def _data(value: Any) -> Any:
    if isinstance(value, int):
        raise FileFormatError("a field of a protocol buffer is a number, expected bytes")
    return value


def _text(value: Any) -> str:
    try:
        return bytes(_data(value)).decode()
    except UnicodeDecodeError:
        raise FileFormatError("a name in a protocol buffer is no UTF-8") from None


def varint(data: Any, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    n = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise FileFormatError("a protocol buffer ends within a number")
        byte = data[at]
        at += 1
        n |= (byte & 127) << shift
        if byte < 128:
            return n, at
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    at, value = 0, None  # type: int, Any
    while at < len(data):
        tag, at = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            if at + size > len(data):
                raise FileFormatError("a protocol buffer ends within a number")
            (value,) = struct.unpack_from("<Q" if kind == 1 else "<I", data, at)
            at += size
        elif kind == 2:
            size, at = varint(data, at)
            if at + size > len(data):
                raise FileFormatError("a protocol buffer ends within a field")
            value = data[at : at + size]
            at += size
        else:
            raise FileFormatError(f"a protocol buffer has a field of unknown kind {kind}")
        yield number, value

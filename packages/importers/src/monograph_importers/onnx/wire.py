"""The bytes of a model file taken apart where the large arrays lie: the rest is small enough to parse.

A protobuf message is a row of fields, each a key, a length and bytes
(https://protobuf.dev/programming-guides/encoding). The raw numbers of initializers are cut out and stay
in the file's own pages; so a file of any size is read without a copy, and no length is believed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

GRAPH, INITIALIZER, RAW_DATA = (
    7,
    5,
    9,
)  # ModelProto.graph, GraphProto.initializer, TensorProto.raw_data
MOST = 50_000  # nodes and initializers of a model
SMALL = 1024  # raw data up to this many bytes stays in the message


class Field(NamedTuple):
    """One field: its number, whether it has a length, where it starts, its value starts, and it ends."""

    number: int
    sized: bool
    start: int
    value: int
    end: int


def fields(data: Any, at: int, end: int) -> Iterator[Field]:
    """The fields of a message in ``data[at:end]``.

    Raises:
        ValueError: a length beyond the message, or a key that no message has.
    """
    while at < end:
        start = at
        key, at = _varint(data, at, end)
        kind = key & 7
        if kind == 0:
            value, at = at, _varint(data, at, end)[1]
        elif kind == 2:
            size, value = _varint(data, at, end)
            at = value + size
        elif kind in (1, 5):
            value, at = at, at + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"no field starts at byte {start}")
        if at > end or not key >> 3:
            raise ValueError(f"the field at byte {start} does not end within its message")
        yield Field(key >> 3, kind == 2, start, value, at)


def _varint(data: Any, at: int, end: int) -> tuple[int, int]:
    out = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = int(data[at])
        at += 1
        out |= (byte & 127) << shift
        if byte < 128:
            return out, at
    raise ValueError(f"the number at byte {at} does not end")


def _encoded(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def cut(data: Any) -> tuple[bytes, dict[int, tuple[int, int]]]:
    """A model's message without the large arrays, and where they lie, by the initializer's position.

    Args:
        data: the whole file, bytes or an array of them.

    Returns:
        The smaller message, and ``{position: (start, end)}``.

    Raises:
        ValueError: it is no protobuf message.
    """
    places: dict[int, tuple[int, int]] = {}
    seen = 0

    def tensor(f: Field) -> bytes:
        nonlocal seen
        if seen > MOST:
            raise ValueError(f"it has more than {MOST:,} initializers")
        out = []
        for g in fields(data, f.value, f.end):
            if g.number == RAW_DATA and g.sized and g.end - g.value > SMALL:
                places[seen] = g.value, g.end
            else:
                out.append(bytes(data[g.start : g.end]))
        seen += 1
        return b"".join(out)

    def graph(f: Field) -> bytes:
        return b"".join(
            _message(g.number, tensor(g)) if g.number == INITIALIZER and g.sized
            else bytes(data[g.start : g.end])
            for g in fields(data, f.value, f.end)
        )  # fmt: skip

    small = b"".join(
        _message(f.number, graph(f))
        if f.number == GRAPH and f.sized
        else bytes(data[f.start : f.end])
        for f in fields(data, 0, len(data))
    )
    return small, places


def _message(number: int, body: bytes) -> bytes:
    return _encoded(number << 3 | 2) + _encoded(len(body)) + body

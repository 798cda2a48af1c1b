"""Zip files of which nothing is believed: where members lie, as pages of the file or unpacked."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from monograph.errors import FileFormatError
from monograph.storage import damaged, opened

DIRECTORY = 4_000_000
"""The largest table of contents read, in bytes: some 50,000 members."""

BOMB = 64_000_000, 100
"""What unpacks to more bytes than the first and to more than the second times its own is refused."""


@dataclass(frozen=True)
class Member:
    """One file in a zip file.

    Attributes:
        at: where its bytes begin, packed or not.
        packed: how many they are in the file.
        size: and unpacked.
        stored: whether they are not packed.
        crc: checksum of them unpacked.
    """

    name: str
    at: int
    packed: int
    size: int
    stored: bool
    crc: int = 0


def members(path: Path) -> dict[str, Member]:
    """The members by name; directories are left out.

    Raises:
        FileFormatError: not a sound zip file: names twice, members outside or over one another,
            encrypted, or packed otherwise than by deflate.
    """
    with opened(path) as f:
        _short_directory(f, path)
        try:
            with zipfile.ZipFile(f) as z:
                found = z.infolist()
        except Exception as e:  # of damaged tables, of a dozen kinds
            raise damaged(path, f"it is no sound zip file ({e})") from None
        end = f.seek(0, 2)
        out: dict[str, Member] = {}
        for info in found:
            name = info.filename
            if name in out:
                raise damaged(path, f"{name!r} is in it twice")
            if info.flag_bits & 1 or info.compress_type not in (0, 8):
                raise FileFormatError(f"{path}: {name!r} is encrypted or packed in a rare way")
            f.seek(max(info.header_offset, 0))
            head = f.read(30)
            if len(head) != 30 or head[:4] != b"PK\3\4":
                raise damaged(path, f"{name!r} does not begin where the table of contents says")
            at = f.tell() + sum(int.from_bytes(head[n : n + 2], "little") for n in (26, 28))
            sizes = info.compress_size, info.file_size
            member = Member(name, at, *sizes, not info.compress_type, info.CRC)
            if at + member.packed > end or (member.stored and member.packed != member.size):
                raise damaged(path, f"{name!r} ends outside the file")
            if not name.endswith("/"):
                out[name] = member
    last = 0
    for member in sorted(out.values(), key=lambda m: (m.at, m.packed)):
        if member.at < last:
            raise damaged(path, f"{member.name!r} lies over another member")
        last = member.at + member.packed
    return out


def _short_directory(f: BinaryIO, path: Path) -> None:
    """Refuse a table of contents that would take seconds to read, before it is read."""
    size = f.seek(0, 2)
    f.seek(max(size - 65_600, 0))
    tail = f.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 22:
        raise damaged(path, "it is no whole zip file: its table of contents is missing")
    length = int.from_bytes(tail[at + 12 : at + 16], "little")
    wide = tail.rfind(b"PK\6\6", 0, at)
    if wide >= 0:  # the same for files of more than 4 GB
        length = max(length % 0xFFFFFFFF, int.from_bytes(tail[wide + 40 : wide + 48], "little"))
    if length > DIRECTORY:
        raise FileFormatError(
            f"{path}: {length:,} bytes of table of contents, at most {DIRECTORY:,}"
        )


def mapped(path: Path) -> np.ndarray:
    """A file's bytes as read-only pages."""
    with opened(path) as f:
        if not f.seek(0, 2):
            raise damaged(path, "it is empty")
        return np.memmap(f, np.uint8, "r")


def content(path: Path, whole: np.ndarray, member: Member, first: int | None = None) -> np.ndarray:
    """A member's bytes: the file's pages where it is stored, else unpacked.

    Args:
        whole: the file, `mapped`.
        first: only so many of them.

    Raises:
        FileFormatError: it unpacks to more or less than it says, or to absurdly much.
    """
    raw = whole[member.at : member.at + member.packed]
    size = member.size if first is None else min(first, member.size)
    if member.stored:
        return raw[:size]
    if size > BOMB[0] and size > BOMB[1] * member.packed:
        raise FileFormatError(
            f"{path}: {member.name!r} has {member.packed:,} bytes and would unpack to {size:,}; "
            f"such a file is refused. Save it unpacked, if you trust it"
        )
    try:
        unpacker = zlib.decompressobj(-15)
        out = unpacker.decompress(raw.data, size + (first is None))
    except zlib.error as e:
        raise damaged(path, f"{member.name!r} cannot be unpacked ({e})") from None
    if len(out) != size or (first is None and zlib.crc32(out) != member.crc):
        raise damaged(path, f"{member.name!r} does not unpack to the {size:,} bytes that it had")
    return np.frombuffer(out, np.uint8)

"""The parts of a PyTorch archive: a zip that only stores, read as the file's own pages and checked."""

from __future__ import annotations

import json
import zipfile
import zlib
from typing import Any, BinaryIO

import numpy as np
from monograph.storage import damaged

# bytes of JSON, and lists and objects in it: what these take in memory is many times their text
_LONGEST, _MOST = 32 << 20, 1_000_000


class Archive:
    """An open archive.

    Args:
        f: the file.
        path: what errors call it.

    Raises:
        FileFormatError: it is no zip, or not one as PyTorch writes it: compressed, parts that overlap.
    """

    def __init__(self, f: BinaryIO, path: Any):
        self.path = path
        try:
            entries = zipfile.ZipFile(f).infolist()
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, OverflowError) as e:
            raise damaged(path, f"it is no archive ({e})") from None
        self.pages = np.memmap(f, np.uint8, "r")
        if any(e.compress_type != zipfile.ZIP_STORED or e.flag_bits & 1 for e in entries):
            raise damaged(path, "it has compressed or encrypted parts, which such files never have")
        if sum(e.file_size for e in entries) > self.pages.size:
            raise damaged(path, "its parts overlap")
        # all are in one folder, of any name
        self.entries = {e.filename.partition("/")[2]: e for e in entries}
        if len(self.entries) != len(entries):
            raise damaged(path, "a name occurs twice in it")
        self.parts: dict[str, np.ndarray] = {}
        self.verified: set[str] = set()

    def part(self, name: str) -> np.ndarray:
        """The bytes of a part, which are the file's pages; `verify` looks through them."""
        if name in self.parts:
            return self.parts[name]
        if name not in self.entries:
            raise damaged(self.path, f"it lacks {name}")
        entry = self.entries[name]
        head = bytes(self.pages[entry.header_offset : entry.header_offset + 30])
        more = (int.from_bytes(head[i : i + 2], "little") for i in (26, 28))  # name, padding
        start = entry.header_offset + 30 + sum(more)
        found = self.pages[start : start + entry.file_size]
        if len(head) != 30 or found.size != entry.file_size:
            raise damaged(self.path, f"its part {name} ends too soon")
        self.parts[name] = found
        return found

    def verify(self) -> None:
        """Hold every part that was asked for against its checksum, once: weights before their first use."""
        for name, found in self.parts.items():
            if name not in self.verified and zlib.crc32(found.data) != self.entries[name].CRC:
                raise damaged(self.path, f"its part {name} is not what was written")
            self.verified.add(name)

    def json(self, name: str) -> Any:
        """A part that is JSON."""
        text = self.part(name)
        self.verify()
        if text.size > _LONGEST:
            raise damaged(self.path, f"{name} has {text.size:,} bytes, more than {_LONGEST:,}")
        raw = text.tobytes()
        if raw.count(b"[") + raw.count(b"{") > _MOST:
            raise damaged(self.path, f"{name} has more than {_MOST:,} lists and objects")
        return json.loads(raw)

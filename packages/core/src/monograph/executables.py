"""What an engine compiled, kept on disk: the next process loads it and compiles nothing.

One file per graph, engine and machine, in a folder that is the user's alone: what lies there is run. Whatever
an executable depends on is in its file's header and must be the same to the letter; a file that is damaged
or that somebody else may write to counts for nothing. The least recently used go when there are too many.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import choices
from .engine import Engine, Options
from .errors import ArgumentError, MonographError
from .files import read_container, read_header, write_container
from .graph import Graph
from .naming import digest, title
from .storage import cache, others_may

_log = logging.getLogger("monograph.executables")

WORTH = 0.3
"""Seconds of compiling from which an executable is kept."""

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_ABANDONED = 3600.0  # seconds after which a file half written is nobody's


def limit() -> int:
    """Bytes that may be kept: ``MONOGRAPH_CACHE_SIZE``, such as ``500MB``; 2 GB without it, 0 for none.

    Raises:
        ArgumentError: the variable is no size.
    """
    text = os.environ.get("MONOGRAPH_CACHE_SIZE", "2GB")
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([KMGT]?)B?\s*", text, re.IGNORECASE | re.ASCII)
    if not found:
        raise ArgumentError(
            f"MONOGRAPH_CACHE_SIZE={text!r} is no size: write bytes, or such as 500MB or 2GB; 0 keeps "
            f"no executables"
        )
    return int(float(found[1]) * _UNITS[found[2].upper()])


def folder() -> Path:
    """``$MONOGRAPH_CACHE/executables`` or ``~/.cache/monograph/executables``."""
    return cache("executables")


class Entry(NamedTuple):
    """The place of one executable.

    Attributes:
        known: all it depends on, as JSON.
        title: the graph, for a reader.
    """

    known: dict[str, Any]
    title: str

    @property
    def path(self) -> Path:
        text = json.dumps(self.known, sort_keys=True)
        return folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.executable"

    def load(self) -> bytes | None:
        """What was kept here; None where nothing is that can be trusted."""
        path = self.path
        try:
            if not path.exists():
                return None
            if others_may(path.parent.stat(), 0o077) or others_may(path.stat(), 0o022):
                _log.warning("%s or its folder is not yours alone: not loaded", path)
                return None
            header, (payload,) = read_container(path)
            if header["kind"] != "executable" or header["known"] != self.known:
                raise ValueError("another executable's")
        except (OSError, MonographError, LookupError, ValueError, TypeError) as e:
            _log.info("not loaded: %s", e)
            return None
        with contextlib.suppress(OSError):  # on a disk that is read only
            os.utime(path)
        return payload.tobytes()

    def keep(self, payload: bytes, seconds: float) -> None:
        """Write it down, with the seconds it took to compile. A folder that cannot be written to is no error."""
        most = limit()
        if len(payload) > most:
            return
        header = {
            "kind": "executable", "known": self.known, "title": self.title, "seconds": seconds,
            "made": round(time.time()),
        }  # fmt: skip
        try:
            path = self.path
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if others_may(path.parent.stat(), 0o077):
                _log.warning("%s is not yours alone: nothing is kept there", path.parent)
                return
            write_container(path, header, [np.frombuffer(payload, "uint8")])
            path.chmod(0o600)
            _evict(path.parent, most)
        except (OSError, MonographError) as e:
            _log.info("not kept: %s", e)


def entry(
    engine: Engine, graph: Graph, options: Options, facts: Mapping[str, Any] | None
) -> Entry | None:
    """Where the executable of a prepared graph is kept; None for one that only this process can run.

    Args:
        facts: what the engine's compiler depends on besides the graph, the versions of `Engine.libraries`,
            the machine, the device and what is donated; as JSON. None where it cannot tell.
    """
    if facts is None or not limit() or any(node.op.outside for node in graph.walk()):
        return None
    name = digest(graph)
    if name is None:
        return None
    packages = ("monograph", type(engine).__module__.partition(".")[0])
    known = {
        "graph": name,
        "engine": engine.name,
        "device": str(options.device),
        "donate": list(options.donate),
        "machine": [sys.platform, choices.machine(), _short(choices.processor())],
        "versions": choices.versions(("monograph", "numpy", *engine.libraries)),
        "code": {p: _code(p) for p in packages},
        "facts": dict(facts),
    }
    return Entry(json.loads(json.dumps(known)), title(graph))


@functools.cache
def _code(package: str) -> str:
    """The state of a package's files: lowerings change between versions, where somebody works on them."""
    found = []
    for base in getattr(sys.modules.get(package), "__path__", ()):
        for path in sorted(Path(base).rglob("*.py")):
            with contextlib.suppress(OSError):
                s = path.stat()
                found.append((str(path.relative_to(base)), s.st_size, s.st_mtime_ns))
    return _short(found)


def _short(x: Any) -> str:
    return hashlib.sha256(json.dumps(x).encode()).hexdigest()[:16]


class Kept(NamedTuple):
    """One line of the list: see `every`."""

    title: str
    device: str
    bytes: int
    seconds: float
    used: float


def every() -> Iterator[Kept]:
    """All that is kept, the latest used first; other files are passed over."""
    found = []
    for path in folder().glob("*.executable"):
        with contextlib.suppress(OSError, MonographError, LookupError, ValueError, TypeError):
            d, s = read_header(path), path.stat()
            device = str(d["known"]["device"])
            found.append(Kept(str(d["title"]), device, s.st_size, float(d["seconds"]), s.st_mtime))
    yield from sorted(found, key=lambda k: -k.used)


def clear() -> int:
    """Delete everything; returns how many executables that were."""
    n = 0
    for path in folder().glob("*.executable"):
        with contextlib.suppress(OSError):
            path.unlink()
            n += 1
    return n


def _evict(where: Path, most: int) -> None:
    """Delete the least recently used beyond ``most`` bytes, and what a process that died left half written."""
    files = []
    for path in where.iterdir():
        with contextlib.suppress(OSError):  # another process has deleted it
            s = path.stat()
            if path.suffix == ".executable":
                files.append((s.st_mtime, s.st_size, path))
            elif path.suffix == ".tmp" and time.time() - s.st_mtime > _ABANDONED:
                path.unlink()
    total = 0
    for _, size, path in sorted(files, reverse=True):
        total += size
        if total > most:
            with contextlib.suppress(OSError):
                path.unlink()

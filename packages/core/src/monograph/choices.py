"""What was measured on this machine and chosen: one small JSON file per choice, listed by `tune`.

A choice holds for the machine, the versions and the thing measured; another version measures anew.
Files are data: a name that is no candidate any more is passed over.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .errors import MonographError
from .storage import cache, replacing


@dataclass(frozen=True)
class Choice:
    """One choice.

    Attributes:
        kind: what was chosen, such as ``"engine"``.
        what: for a reader: what it was chosen for.
        chosen: the fastest of `seconds`.
        seconds: median time of each candidate; None for one that could not run it.
        machine: processor and number of cores.
        versions: of the libraries that took part.
        made: seconds since 1970.
    """

    kind: str
    what: str
    chosen: str
    seconds: Mapping[str, float | None]
    machine: str
    versions: Mapping[str, str]
    made: float


# what `_read` raises of other files
_UNREADABLE = OSError, ValueError, TypeError, LookupError, RecursionError, OverflowError


def enabled() -> bool:
    """Whether choices are kept: not with ``MONOGRAPH_TUNE=0``, where nothing is measured either."""
    return os.environ.get("MONOGRAPH_TUNE", "1") != "0"


def folder() -> Path:
    """``$MONOGRAPH_CACHE/choices`` or ``~/.cache/monograph/choices``."""
    return cache("choices")


@functools.cache
def processor() -> tuple[str, ...]:
    """What Linux says of the processor's name and its instruction sets; nothing elsewhere."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return tuple(
            sorted({x for x in lines if x.startswith(("flags", "Features", "model name"))})
        )
    return ()


@functools.cache
def machine() -> str:
    """The processor's name and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    for line in processor():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return f"{name}, {cores()} cores"


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def versions(libraries: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, by distribution."""
    out = {}
    for name in libraries:
        with contextlib.suppress(metadata.PackageNotFoundError):
            out[name] = metadata.version(name)
    return out


def recall(
    kind: str, key: str, candidates: Sequence[str], libraries: tuple[str, ...]
) -> str | None:
    """What was chosen here before of just these candidates and versions; None asks to measure.

    It is text out of a file: one of the candidates, or what the caller can tell from anything else.
    """
    try:
        return _read(_path(kind, key, candidates, libraries)).chosen
    except _UNREADABLE:
        return None


def fastest(seconds: Mapping[str, float | None]) -> str:
    """The name with the least time.

    >>> fastest({"a": 2.0, "b": 1.0, "c": None})
    'b'
    """
    timed = {name: s for name, s in seconds.items() if s is not None}
    return min(timed, key=timed.__getitem__)


def keep(
    kind: str, key: str, what: str, seconds: Mapping[str, float | None],
    libraries: tuple[str, ...], candidates: Sequence[str] = (), chosen: str = "",
) -> None:  # fmt: skip
    """Write down what was measured. A folder that cannot be written to is no error.

    Args:
        candidates: what `recall` will name; all that were measured by default.
        chosen: the fastest by default.
    """
    made = Choice(
        kind, what, chosen or fastest(seconds), dict(seconds), machine(), versions(libraries),
        round(time.time()),
    )  # fmt: skip
    with contextlib.suppress(OSError, MonographError):
        path = _path(kind, key, tuple(candidates or seconds), libraries)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path) as f:
            f.write(json.dumps(asdict(made), indent=1).encode())


FASTER, ROUNDS = 0.9, 7
"""The most of the first way's time that another may take to be chosen; runs of each, after one that warms up."""


def quickest(
    kind: str, what: str, ways: Mapping[str, Callable[[], Any]], libraries: tuple[str, ...],
    same: Callable[[Any, Any], bool],
) -> str:  # fmt: skip
    """The name of the quickest of several ways to compute one thing, measured here once and kept.

    The first stands unless another takes less than `FASTER` of its time, so that noise decides nothing, and
    without choices (see `enabled`). A way that raises, or whose result is not that of the first, takes no part.

    Args:
        what: all that the choice depends on besides machine and versions: shapes, dtypes, threads.
        ways: by name; each computes it once.
        same: whether two results agree.
    """
    first = next(iter(ways))
    if not enabled():
        return first
    found = recall(kind, what, tuple(ways), libraries)
    if found is not None and found in ways:
        return found
    want, times = ways[first](), {}
    for name, way in ways.items():
        with contextlib.suppress(Exception):  # whatever it lacks, it is no way
            if name == first or same(want, way()):
                times[name] = math.inf
    for _ in range(ROUNDS):
        for name in times:
            with contextlib.suppress(Exception):
                started = time.perf_counter()
                ways[name]()
                times[name] = min(times[name], time.perf_counter() - started)
    seconds = {name: times.get(name) for name in ways}
    best = fastest(seconds)
    chosen = best if times[best] < FASTER * times[first] else first
    keep(kind, what, what, seconds, libraries, chosen=chosen)
    return chosen


def every() -> Iterator[Choice]:
    """All that is kept, the latest first; files that are no choices are passed over."""
    found = []
    for path in folder().glob("*.json"):
        with contextlib.suppress(*_UNREADABLE):
            found.append(_read(path))
    yield from sorted(found, key=lambda c: -c.made)


def clear() -> int:
    """Forget everything; returns how many choices that were."""
    n = 0
    for path in folder().glob("*.json"):
        with contextlib.suppress(OSError):
            path.unlink()
            n += 1
    return n


def _path(kind: str, key: str, candidates: Sequence[str], libraries: tuple[str, ...]) -> Path:
    known = [kind, key, *sorted(candidates), machine(), json.dumps(versions(libraries))]
    return folder() / f"{kind}-{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]}.json"


_MOST = 100_000  # bytes of a file that can be a choice


def _read(path: Path) -> Choice:
    with open(path, "rb") as f:
        text = f.read(_MOST + 1)
    if len(text) > _MOST:
        raise ValueError("too long")
    d = json.loads(text)
    seconds = {str(k): None if s is None else float(s) for k, s in dict(d["seconds"]).items()}
    known = {str(k): str(v) for k, v in dict(d["versions"]).items()}
    return Choice(
        str(d["kind"]), str(d["what"]), str(d["chosen"]), seconds, str(d["machine"]), known,
        float(d["made"]),
    )  # fmt: skip

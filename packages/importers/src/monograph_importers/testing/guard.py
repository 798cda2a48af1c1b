"""`Guard`: a parser in a child process with little memory and time, which may die."""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS, MEGABYTES = 1.0, 256


@dataclass(frozen=True)
class Outcome:
    """What a parser made of one file.

    Attributes:
        kind: ``"read"``, the name of the exception, ``"died"`` or ``"hangs"``.
        message: the exception's, or how it died.
        seconds: of processor time that it took.
        refused: whether the exception is one of Monograph's.
    """

    kind: str
    message: str = ""
    seconds: float = 0.0
    refused: bool = False

    @property
    def finding(self) -> str:
        """What is wrong with it; empty where all is well."""
        if self.kind != "read" and not self.refused:
            return f"{self.kind}: {self.message}"
        return f"{self.kind} after {self.seconds:.1f} s" if self.seconds > SECONDS else ""


class Guard:
    """A child process that reads files with ``module:function``, with little memory beyond its start.

    Args:
        reads: the function; what it returns is not used.
        sound: a file that is read first, so that what is imported then does not count.
        megabytes: how much memory it and its own children may take each.
    """

    def __init__(self, reads: str, sound: Path, megabytes: int = MEGABYTES):
        self.reads, self.sound, self.megabytes = reads, sound, megabytes
        self.process: subprocess.Popen | None = None

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *args: Any) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def read(self, path: Path) -> Outcome:
        """What becomes of one file; a child that dies is replaced."""
        if self.process is None:
            start = f"from {__name__} import child; child({self.reads!r}, {self.megabytes})"
            self.process = subprocess.Popen(
                [sys.executable, "-c", start], text=True, bufsize=1, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            first = self._ask(self.sound, 60)
            if first.kind != "read":
                raise RuntimeError(f"{self.reads} does not read {self.sound}: {first}")
        return self._ask(path, 10 * SECONDS)

    def _ask(self, path: Path, patience: float) -> Outcome:
        assert self.process and self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{path}\n")
        ready, _, _ = select.select([self.process.stdout], [], [], patience)
        line = self.process.stdout.readline() if ready else ""
        if line.startswith("{"):
            return Outcome(**json.loads(line))
        if not ready:
            self.__exit__()
            return Outcome("hangs", f"no answer after {patience} s", patience)
        self.process.communicate()
        code, self.process = self.process.returncode, None
        return Outcome("died", f"exit status {code} {line.strip()}")


def _attempt(read: Callable[[Path], Any], path: Path) -> Outcome:
    from monograph.errors import MonographError

    # processor time, children's included: others may keep the machine busy
    start, kind, message, refused = sum(os.times()[:4]), "read", "", False
    try:
        read(path)
    except BaseException as e:
        kind, message, refused = type(e).__name__, f"{e}"[:300], isinstance(e, MonographError)
    return Outcome(kind, message, sum(os.times()[:4]) - start, refused)


def child(reads: str, megabytes: int) -> None:
    """What the child process does: a path a line in, an `Outcome` a line out."""
    module, _, function = reads.partition(":")
    read = getattr(importlib.import_module(module), function)
    for n, line in enumerate(sys.stdin):
        print(json.dumps(vars(_attempt(read, Path(line.rstrip("\n"))))), flush=True)
        if not n:  # what is imported later than this counts
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + megabytes * 2**20
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            warnings.simplefilter("error")

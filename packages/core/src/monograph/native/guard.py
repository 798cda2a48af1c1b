"""A call of a C function with guard zones around every array, in this process or in one of its own.

What lies before and after each array, and each input, must be untouched afterwards. The child, which a
function that crashes takes down, imports this module and `abi` alone: standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import mmap
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from . import abi

ZONE = 4096
"""Bytes guarded before and after each array."""

PATTERN = b"\xa5"
UNWRITTEN = b"\xfb"  # what outputs hold before
CHUNK = 1 << 20


class Arena:
    """Memory with a place for each array, zones between them.

    Args:
        sizes: bytes per array.
        file: its descriptor, for memory shared with a child; -1 for none.
    """

    def __init__(self, sizes: Sequence[int], file: int = -1):
        self.sizes, self.starts = sizes, []
        at = ZONE
        for n in sizes:
            self.starts.append(at)
            at += -(-n // 64) * 64 + ZONE
        if file != -1:
            os.ftruncate(file, at)
        self.memory = mmap.mmap(file, at)
        self._view = ctypes.c_char.from_buffer(self.memory)
        self.address = ctypes.addressof(self._view)

    def close(self) -> None:
        """Give the memory back."""
        del self._view
        self.memory.close()

    def fill(self, values: Sequence[int | None]) -> None:
        """Copy arrays in from their addresses; None: an output, filled with what is no likely result."""
        end = 0
        for at, n, value in zip(self.starts, self.sizes, values):
            self.memory[end:at] = PATTERN * (at - end)
            end = at + n
            if value is None:
                self.memory[at:end] = UNWRITTEN * n
            elif n:
                ctypes.memmove(self.address + at, value, n)
        self.memory[end:] = PATTERN * (len(self.memory) - end)

    def damage(self, values: Sequence[int | None], names: Sequence[str]) -> str:
        """What was written that should not have been, in words; or nothing."""
        end, last = 0, ""
        for at, name in zip([*self.starts, len(self.memory)], [*names, ""]):
            zone = self.memory[end:at]
            bad = [i for i, b in enumerate(zone) if b != PATTERN[0]]
            if bad and last and (bad[0] < len(zone) // 2 or not name):
                return f"it wrote past the end of {last}, up to {bad[-1] + 1} bytes"
            if bad:
                return f"it wrote before the start of {name}, up to {len(zone) - bad[0]} bytes"
            i = names.index(name) if name else 0
            end, last = at + (self.sizes[i] if name else 0), name
        for at, n, value, name in zip(self.starts, self.sizes, values, names):
            if value is not None and any(
                self.memory[at + i : min(at + i + CHUNK, at + n)]
                != ctypes.string_at(value + i, min(CHUNK, n - i))
                for i in range(0, n, CHUNK)
            ):
                return f"it changed its {name}; copy what it needs to write to"
        return ""

    def unwritten(self, frame: abi.Frame, names: Sequence[str]) -> str:
        """An output that the function left as it was, at least a part; or nothing."""
        n_in = frame.call.n_in
        for i, slot in enumerate(frame.slots[n_in:], n_in):
            width = self.sizes[i] // slot.size if slot.size else 0
            if not width or (width == 1 and slot.dtype != abi.CODES["bool"]):
                continue  # a byte may be what was computed, of a bool not
            at = self.starts[i]
            count = self.memory[at : at + self.sizes[i]].count(UNWRITTEN * width)
            # so may two bytes, but not everywhere
            if count * 1000 > slot.size and (width != 2 or count == slot.size > 3):
                return f"it left {count} of the {slot.size} elements of {names[i]} unwritten"
        return ""


def run(
    frame: abi.Frame, pointers: Sequence[int], sizes: Sequence[int], fn: Any,
    elsewhere: dict[str, Any] | None = None,
) -> str:  # fmt: skip
    """Call ``fn`` on guarded copies; results go to the outputs' addresses. Returns what is wrong.

    Args:
        frame: of the call; the slots' addresses are overwritten.
        pointers, sizes: addresses and bytes of inputs, then outputs.
        elsewhere: what the child needs to make the call in a process of its own; None: here.
    """
    n_in = frame.call.n_in
    values = [p if i < n_in else None for i, p in enumerate(pointers)]
    names = [f"input {i}" if i < n_in else f"output {i - n_in}" for i in range(len(sizes))]
    with tempfile.TemporaryFile() if elsewhere is not None else contextlib.nullcontext() as file:
        arena = Arena([*sizes, abi.MESSAGE], -1 if file is None else file.fileno())
        try:
            arena.fill([*values, None])
            message = arena.starts[-1]
            arena.memory[message : message + abi.MESSAGE] = bytes(abi.MESSAGE)
            if elsewhere is None:
                problem = _here(frame, arena, fn)
            else:
                problem = _child(elsewhere, arena, file)
            # the damage first: after it nothing else can be trusted
            problem = arena.damage([*values, None], [*names, "its error message"]) or problem
            problem = problem or arena.unwritten(frame, names)
            if not problem:
                for at, n, p in zip(arena.starts[n_in:], sizes[n_in:], pointers[n_in:]):
                    if n:
                        ctypes.memmove(p, arena.address + at, n)
            return problem
        finally:
            arena.close()


def _call(frame: abi.Frame, arena: Arena, fn: Any) -> int:
    """``fn`` on the arena's arrays, its message there too."""
    for slot, at in zip(frame.slots, arena.starts):
        slot.data = arena.address + at
    frame.call.message = arena.address + arena.starts[-1]
    return fn(frame.ref)


def _here(frame: abi.Frame, arena: Arena, fn: Any) -> str:
    code = _call(frame, arena, fn)
    frame.call.message = ctypes.addressof(frame.message)
    return told(code, ctypes.string_at(arena.address + arena.starts[-1], abi.MESSAGE))


def told(code: int, message: bytes) -> str:
    """What a function that returned ``code`` said; nothing if all went well."""
    text = message.partition(b"\0")[0].decode(errors="replace")
    return text or (f"it returned {code}, and no message" if code else "")


# a package of this folder, without what monograph's own __init__ imports
_CHILD = f"""
import sys, types
sys.modules["native"] = types.ModuleType("native")
sys.modules["native"].__path__ = [{os.path.dirname(os.path.abspath(__file__))!r}]
from native.guard import child
child()
"""


def _child(elsewhere: dict[str, Any], arena: Arena, file: Any) -> str:
    what = json.dumps({**elsewhere, "sizes": list(arena.sizes), "file": file.fileno()})
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _CHILD], input=what, text=True, capture_output=True,
        pass_fds=[file.fileno()], check=False,
    )  # fmt: skip
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        return f"it crashed with signal {-done.returncode} ({name})"
    try:
        code = int(done.stdout.rpartition("code=")[2])
    except ValueError:
        return f"it ended the process with status {done.returncode}: {done.stderr[-500:]}"
    at = arena.starts[-1]
    return told(code, arena.memory[at : at + abi.MESSAGE])


def child() -> None:
    """What the process of its own does: the call that it reads about from its input."""
    what = json.load(sys.stdin)
    arena = Arena(what["sizes"], what["file"])
    attrs = {k: tuple(v) if isinstance(v, list) else v for k, v in what["attrs"].items()}
    frame = abi.Frame(what["arrays"], what["n_in"], attrs)
    code = _call(frame, arena, abi.function(what["path"], what["symbol"]))
    print(f"code={code}", flush=True)
    os._exit(0)

"""Whether a NaN guard is on, and which: all of it that the call path looks at.

What it does when a call trips it is in `monograph.examine`, imported then.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from .errors import ArgumentError


class Guard(NamedTuple):
    """One `nan_guard`.

    Attributes:
        mode: ``raise``, ``skip`` or ``off``.
        folder: where pictures of graphs are written; None for a temporary one.
        what: the caller's words for what runs, such as ``training step 12``.
    """

    mode: str
    folder: Any = None
    what: str = ""


_MODES = {"1": "raise", "true": "raise", "raise": "raise", "skip": "skip", "0": "off", "": "off"}
_MODES |= {"false": "off", "off": "off"}


def _mode(mode: Any, where: str) -> str:
    found = _MODES.get(str(mode).lower())
    if found is None:
        raise ArgumentError(f"{where}={mode!r} is none of 'raise', 'skip', 'off'")
    return found


_ENV = "MONOGRAPH_NAN_GUARD"
_everywhere = Guard(_mode(os.environ.get(_ENV, ""), _ENV))
_guard: ContextVar[Guard] = ContextVar("monograph_nan_guard", default=_everywhere)
_lock = threading.Lock()

on = int(_everywhere.mode != "off")
"""How many guards there are, in any thread: while it is 0, calls look no further."""


def current() -> Guard | None:
    """The guard that holds here, None where there is none."""
    guard = _guard.get()
    return None if guard.mode == "off" else guard


def _count(by: int) -> None:
    global on
    with _lock:
        on += by


@contextmanager
def nan_guard(mode: Any = "raise", folder: Any = None, what: str = "") -> Iterator[None]:
    """Find the first operation that makes a NaN or an infinity of finite numbers, by name.

    Inside the block every compiled call tells, by one flag, whether its results are finite. When they
    are not, it is run again step by step, and the report names the operation, the user's line, the
    layer's scope, its inputs and the turn of a loop; a graph around it is written to a file. Values
    that `allow_nonfinite` lets pass and masks of ``-inf`` that vanish in ``where`` or ``softmax``
    raise no alarm. Eager operations are looked at one by one.

    The environment variable ``MONOGRAPH_NAN_GUARD`` (``1``, ``skip``) puts one around everything, in
    every thread; a block holds for its own thread or task, as `mg.engine` does.

    Args:
        mode: ``"raise"`` (or True): raise, variables as they were before the call. ``"skip"``: warn
            with the same report, return the results, and keep the variables as they were.
            ``"off"`` (or False): none, inside another.
        folder: where the graph's picture is written; None for a temporary folder.
        what: what runs, for the report, such as ``"training step 12"``.

    Raises:
        NonFinite: inside, by a call in mode ``"raise"``; ``.report`` holds what was found.
        ArgumentError: another mode.

    >>> import monograph as mg
    >>> f = mg.jit(lambda x: mg.sum(mg.log(x)))
    >>> with mg.nan_guard():
    ...     try:
    ...         f(mg.tensor([1.0, -1.0]))
    ...     except mg.errors.NonFinite as e:
    ...         print(e.report.op)
    log
    """
    guard = Guard(_mode(mode, "nan_guard: mode"), folder, what)
    _count(1)
    token = _guard.set(guard)
    try:
        yield
    finally:
        _guard.reset(token)
        _count(-1)

"""``python -m monograph``: what is installed and whether it works; the ops; plug-ins' commands."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Sequence

import numpy as np

from . import plugins
from .engine import engines
from .errors import MonographError
from .op import all_ops


def doctor(argv: list[str]) -> int:
    """List engines and other plug-ins, each tried; 1 when one is ill."""
    argparse.ArgumentParser(prog="monograph doctor", description=doctor.__doc__).parse_args(argv)
    print(f"Python {platform.python_version()}, NumPy {np.__version__}, {platform.machine()}\n")
    rows = [("engine", "works", "devices", "ops")]
    found = engines()
    rows += [(e.name, "yes" if e.ok else "NO", ", ".join(e.devices), str(e.ops)) for e in found]
    problems = [f"engine {e.name}: {e.problem}" for e in found if not e.ok]
    _table(rows)
    for group, kind in plugins.GROUPS.items():
        if group == "monograph.engines":
            continue
        for name in plugins.names(group):
            try:
                plugins.load(group, name)
                print(f"{kind} {name}: works")
            except MonographError as e:
                problems.append(str(e))
    for p in problems:
        print(f"\nPROBLEM  {p}")
    return 1 if problems else 0


def list_ops(argv: list[str]) -> int:
    """List the op records: name, primitive or composite, and the first line of what it does."""
    argparse.ArgumentParser(prog="monograph ops", description=list_ops.__doc__).parse_args(argv)
    _table(
        [("op", "kind", "what it does")]
        + [
            (
                o.name,
                "composite" if o.is_composite else "primitive",
                (o.__doc__ or "").splitlines()[0],
            )
            for o in all_ops()
        ]
    )
    return 0


def tune(argv: list[str]) -> int:
    """Show what was measured on this machine and chosen (engines, lowerings), or forget it."""
    from . import choices

    parser = argparse.ArgumentParser(prog="monograph tune", description=tune.__doc__)
    parser.add_argument(
        "--show", action="store_true", help="list the choices (what happens anyway)"
    )
    parser.add_argument("--clear", action="store_true", help="forget them: all is measured anew")
    given = parser.parse_args(argv)
    if given.clear:
        print(f"{choices.clear()} choices forgotten, in {choices.folder()}")
        return 0
    found = list(choices.every())
    rows = [("what", "kind", "chosen", "seconds, each candidate", "made")]
    for c in found:
        seconds = (f"{n} {'cannot' if s is None else f'{s:.3g}'}" for n, s in c.seconds.items())
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(c.made))
        rows.append((c.what, c.kind, c.chosen, ", ".join(seconds), made))
    _table(rows)
    print(f"\n{len(found)} choices in {choices.folder()}; MONOGRAPH_TUNE=0 switches them off")
    return 0


def cache(argv: list[str]) -> int:
    """Show which compiled executables are kept on disk for the next process, or delete them."""
    from . import executables

    parser = argparse.ArgumentParser(prog="monograph cache", description=cache.__doc__)
    parser.add_argument("--show", action="store_true", help="list them (what happens anyway)")
    parser.add_argument("--clear", action="store_true", help="delete them: all is compiled anew")
    given = parser.parse_args(argv)
    if given.clear:
        print(f"{executables.clear()} executables deleted, in {executables.folder()}")
        return 0
    found = list(executables.every())
    rows = [("what", "device", "size", "seconds to compile", "last used")]
    for k in found:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(k.used))
        rows.append((k.title, k.device, f"{k.bytes / 1e6:.1f} MB", f"{k.seconds:.1f}", used))
    _table(rows)
    print(
        f"\n{len(found)} executables, {sum(k.bytes for k in found) / 1e6:.1f} of at most "
        f"{executables.limit() / 1e6:.0f} MB, in {executables.folder()}; MONOGRAPH_CACHE_SIZE sets the "
        f"size, 0 switches them off"
    )
    return 0


COMMANDS = {"doctor": doctor, "ops": list_ops, "tune": tune, "cache": cache}


def _table(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for n, r in enumerate(rows):
        print("  ".join(c.ljust(w) for c, w in zip(r, widths)).rstrip())
        if not n:
            print("  ".join("-" * w for w in widths))


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    others = plugins.names("monograph.commands")
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: python -m monograph COMMAND [--help]\n")
        for name, fn in COMMANDS.items():
            print(f"  {name:<10} {(fn.__doc__ or '').splitlines()[0]}")
        for name in others:
            print(f"  {name:<10} (from a plug-in)")
        return 0
    name, rest = argv[0], argv[1:]
    try:
        command = COMMANDS.get(name) or plugins.load("monograph.commands", name)
    except MonographError as e:
        print(f"{e}\nCommands: {', '.join([*COMMANDS, *others])}", file=sys.stderr)
        return 2
    return int(command(rest) or 0)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)

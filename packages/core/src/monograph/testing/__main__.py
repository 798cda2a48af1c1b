"""``python -m monograph.testing ENGINE ...``: the conformance kit from a shell."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..engine import get_engine
from ..errors import ArgumentError, MonographError
from ..op import all_ops, get
from .jobs import Oracle
from .kit import run
from .table import markdown

HELP = """Run every op record on an engine and compare with the NumPy reference.

checks of each op and dtype, on the samples of its record:
  value     results and their inferred specs, floats against the reference in float64; empty, 0-d,
            NaN and infinite inputs among them
  strided   the same on operands that are transposed or every second element of another array
  gradient  against the reference's gradient in float64; in 64 bits against differences too
  second    the gradient of the gradient, against differences
and the engine's rules: put copies, results stay, donation is safe, what it lacks it refuses."""

EXAMPLES = """examples:
  python -m monograph.testing torch                     everything, on one engine
  python -m monograph.testing numpy xla torch --op tanh one op, on three engines
  python -m monograph.testing example --quick           values in float32, int32 and bool: seconds
  python -m monograph.testing numpy xla torch --write docs/conformance.md
  python -m monograph.testing torch --import my.ops --op mine      an op from outside

A failure that cannot be mended yet goes into conformance.toml beside the engine's module:
  [[known]]
  op = "lgamma"
  dtype = "float32"   # left out: every dtype
  check = "value"     # left out: every check
  reason = "the vendor's lgamma loses digits near 1"
An entry that excuses nothing any more fails the run.

exit status: 0 all passed, 1 something failed, 2 no such engine or op.
In a test: from monograph.testing import assert_conforms; assert_conforms("example")"""


def main(argv: list[str] | None = None) -> int:
    """Parse arguments, run, print; returns the exit status."""
    p = argparse.ArgumentParser(
        prog="python -m monograph.testing", description=HELP, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    p.add_argument("engine", nargs="+", help="such as numpy, xla, torch")
    p.add_argument("--op", action="append", default=[], help="only this op; may be repeated")
    p.add_argument(
        "--import", action="append", default=[], dest="modules", metavar="MODULE",
        help="import this first: where an op from outside is written; may be repeated",
    )  # fmt: skip
    p.add_argument("--quick", action="store_true", help="values in float32, int32 and bool only")
    p.add_argument(
        "--threads", type=int, default=min(os.cpu_count() or 1, 4), metavar="N",
        help="how many ops at once (default: %(default)s)",
    )  # fmt: skip
    p.add_argument(
        "--write", type=Path, metavar="FILE", help="write a Markdown table of all engines named"
    )
    args = p.parse_args(argv)
    try:  # before anything runs for minutes
        for name in args.engine:
            get_engine(name)
        for name in args.modules:
            importlib.import_module(name)
        for name in args.op:
            if get(name).samples is None:
                raise ArgumentError(
                    f"op {name!r} has no samples, so there is nothing to check; give its record some"
                )
    except (MonographError, ImportError) as err:
        print(f"{p.prog}: {err}", file=sys.stderr)
        return 2
    oracle, reports = Oracle(), []
    for name in args.engine:
        progress = _progress(name, len(args.op))
        report = run(name, args.op, args.quick, progress, oracle, args.threads)
        print("\r\x1b[K" if sys.stderr.isatty() else "", end="", file=sys.stderr, flush=True)
        for row in report.failures:
            print(row)
        print(report, flush=True)
        reports.append(report)
    if args.write:
        args.write.write_text(markdown(reports))
    return 0 if all(r.ok for r in reports) else 1


def _progress(engine: str, count: int) -> Callable[[str], None] | None:
    if not sys.stderr.isatty():
        return None
    total, seen = count or sum(o.samples is not None for o in all_ops()), iter(range(1, 10**6))
    return lambda op: print(
        f"\r\x1b[K{engine} {next(seen)}/{total} {op}", end="", file=sys.stderr, flush=True
    )


if __name__ == "__main__":
    sys.exit(main())

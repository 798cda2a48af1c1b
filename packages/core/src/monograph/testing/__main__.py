"""``python -m monograph.testing ENGINE ...``: the conformance kit from a shell."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .kit import Report, run

HELP = """Run every op record on an engine and compare with the reference in float64: values, inferred
specs, numeric gradients to second order, empty, 0-d, NaN and infinite inputs, strided inputs."""


def main(argv: list[str] | None = None) -> int:
    """Parse arguments, run, print; returns the exit status."""
    p = argparse.ArgumentParser(prog="python -m monograph.testing", description=HELP)
    p.add_argument("engine", nargs="+", help="such as numpy, xla, torch")
    p.add_argument("--op", action="append", default=[], help="only this op; may be repeated")
    p.add_argument("--quick", action="store_true", help="values in float32 and int32 only")
    p.add_argument("--write", type=Path, help="write a Markdown table of all engines named")
    args = p.parse_args(argv)
    show = (
        (lambda name: print(f"\r{name:<40}", end="", flush=True)) if sys.stdout.isatty() else None
    )
    reports = []
    for name in args.engine:
        report = run(name, args.op, args.quick, show)
        if show:
            print("\r" + " " * 40 + "\r", end="")
        for row in report.rows:
            if row.outcome == "failed":
                print(f"FAILED {row.op} {row.dtype} {row.check}: {row.note}")
        print(report)
        reports.append(report)
    if args.write:
        args.write.write_text(markdown(reports))
    return 0 if all(r.ok for r in reports) else 1


def markdown(reports: list[Report]) -> str:
    """The reports as tables: largest error per op and engine, then every exception with its reason."""
    names = [r.engine for r in reports]
    lines = [
        "# Conformance", "",
        "Written by `python -m monograph.testing " + " ".join(names) + " --write docs/conformance.md`.",
        "A number is the largest error of an op's values over its dtypes, in units in the last place of the",
        "result's largest magnitude, against the reference in float64. Gradients are checked numerically.",
        "", "| op | " + " | ".join(names) + " |", "|---|" + "---|" * len(names),
    ]  # fmt: skip
    for op in sorted({row.op for r in reports for row in r.rows}):
        cells = []
        for r in reports:
            rows = [row for row in r.rows if row.op == op]
            bad = [row for row in rows if row.outcome in ("failed", "known")]
            worst = max((row.ulps for row in rows if row.outcome == "passed"), default=0.0)
            cells.append(f"{worst:.2g}" + (f" ({len(bad)} exceptions)" if bad else ""))
        lines.append(f"| {op} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "## Exceptions",
        "",
        "| engine | op | dtype | check | outcome | reason |",
        "|---|---|---|---|---|---|",
    ]
    for r in reports:
        for row in r.rows:
            if row.outcome != "passed":
                note = row.note.replace("|", "/").replace("\n", " ")
                lines.append(
                    f"| {r.engine} | {row.op} | {row.dtype} | {row.check} | {row.outcome} | {note} |"
                )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())

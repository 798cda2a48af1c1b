"""``docs/conformance.md``: what ran on which engine, what did not and why, how far results part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from ..dtypes import dtype, known
from .distance import distance
from .kit import Report, Row

_SHORT = {"bool": "b", "int": "i", "uint": "u", "float": "f", "complex": "c"}

HEAD = """# Conformance

Written by `python -m monograph.testing {names} --write docs/conformance.md`.

An op's row says in which dtypes its record is sampled and, per engine, that every check passed
(`pass`) or which dtypes did not: `known` (fails, for the reason below) or `skip` (not run, for the
reason below). The number is the largest error of a value met in any dtype, in units in the last place
of the result's largest magnitude, rounded up to a power of two: against the reference in float64, and in
the last column between any two engines. `0` is bit for bit. Dtypes: {dtypes}.
"""


def short(name: str) -> str:
    """``f32`` for float32."""
    d = dtype(name)
    if d.kind == "float8":
        return "f8_" + name.partition("_")[2]
    return (
        "bf16" if name == "bfloat16" else _SHORT[d.kind] + name.lstrip("abcdefghijklmnopqrstuvwxyz")
    )


def rounded(ulps: float) -> str:
    """Up to a power of two, so that a page written on another machine reads the same."""
    if ulps == 0:
        return "0"
    if not math.isfinite(ulps):
        return "inf"
    up = 2.0 ** max(math.ceil(math.log2(ulps)), -2)
    return f"{up:g}"


def between(reports: Sequence[Report], op: str) -> float:
    """Largest difference of an op's values between two engines, in ulp."""
    worst = 0.0
    for a, b in itertools.combinations(reports, 2):
        for key in a.values.keys() & b.values.keys():
            if key[0] == op and not _excepted((a, b), key):
                for x, y in zip(a.values[key], b.values[key]):
                    if x.shape == y.shape:
                        worst = max(worst, distance(x, y, dtype(x.dtype)))
    return worst


def _excepted(reports: Sequence[Report], key: tuple[str, str]) -> bool:
    return any(
        (row.op, row.dtype) == key and row.outcome != "passed" and row.check == "value"
        for r in reports
        for row in r.rows
    )


def _cell(rows: Sequence[Row]) -> str:
    worst = max((r.ulps for r in rows if r.outcome == "passed" and r.check == "value"), default=0.0)
    parts = []
    for outcome, word in (("failed", "**fail**"), ("known", "known"), ("skipped", "skip")):
        names = dict.fromkeys(short(r.dtype) for r in rows if r.outcome == outcome)
        parts += [f"{word} {' '.join(names)}"] if names else []
    passed = any(r.outcome == "passed" for r in rows)
    return "; ".join([f"pass {rounded(worst)}", *parts] if passed else parts or ["-"])


def markdown(reports: Sequence[Report]) -> str:
    """The reports as one page."""
    names = [r.engine for r in reports]
    order = {d.name: i for i, d in enumerate(sorted(known(), key=lambda d: (d.kind, d.bits)))}
    codes = ", ".join(f"`{short(d)}` {d}" for d in order)
    lines = [
        HEAD.format(names=" ".join(names), dtypes=codes),
        "| op | dtypes | " + " | ".join(names) + " | between engines |",
        "|---|---|" + "---|" * len(names) + "---|",
    ]
    ops = sorted({row.op for r in reports for row in r.rows} - {"(engine)"})
    for op in ops:
        rows = [[row for row in r.rows if row.op == op] for r in reports]
        sampled = sorted(
            {row.dtype for part in rows for row in part} - {"*"}, key=order.__getitem__
        )
        cells = [_cell(part) for part in rows]
        gap = rounded(between(reports, op)) if len(reports) > 1 else "-"
        lines.append(f"| {op} | {' '.join(map(short, sampled))} | {' | '.join(cells)} | {gap} |")
    lines += ["", "## Exceptions", ""]
    odd = [(r.engine, row) for r in reports for row in r.rows if row.outcome != "passed"]
    lines += ["| engine | op | dtype | check | outcome | reason |", "|---|---|---|---|---|---|"]
    for name, row in odd:
        note = row.note.replace("|", "/").replace("\n", " ")
        lines.append(f"| {name} | {row.op} | {row.dtype} | {row.check} | {row.outcome} | {note} |")
    lines += ["", "## Rules of an engine", ""]
    for r in reports:
        kept = [row for row in r.rows if row.op == "(engine)"]
        broken = [f"{row.check} ({row.note})" for row in kept if row.outcome != "passed"]
        said = "broken: " + "; ".join(broken) if broken else ", ".join(row.check for row in kept)
        lines.append(f"- {r.engine}: {said}")
    return "\n".join([*lines, ""])

"""The CSV: one number a line, rows of the table replaced as they are measured anew."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from monograph.storage import replacing


class Record(NamedTuple):
    """One number.

    Attributes:
        table: ``"inference"``, ``"training"``, ``"start-up"`` and so on.
        row: the model, or what else a row of that table is.
        competitor: whose number it is.
        measure: what it is, with its unit: ``"ms"``, ``"compile s"``, ``"over ours-xla"``.
        median, low, high: over the rounds, with the quartiles.
        rounds: how many there were.
    """

    table: str
    row: str
    competitor: str
    measure: str
    median: str
    low: str = ""
    high: str = ""
    rounds: str = ""


def number(value: float) -> str:
    return f"{value:.5g}"


class Records:
    """All numbers of a CSV, written whenever some are put.

    Args:
        path: where; None keeps them in memory.
    """

    def __init__(self, path: Path | None):
        self.path = path
        self.by_name: dict[tuple[str, ...], Record] = {}
        if path is not None and path.exists():
            with open(path, newline="") as f:
                found = [Record(**line) for line in csv.DictReader(f)]
            self.by_name = {r[:4]: r for r in found}

    @property
    def all(self) -> list[Record]:
        """In the order in which they were first put."""
        return list(self.by_name.values())

    def put(self, records: Iterable[Record]) -> None:
        """Add these in the place of all of the same table, row and competitor."""
        new = {r[:4]: r for r in records}
        places = {name[:3] for name in new}
        for name in [n for n in self.by_name if n[:3] in places and n not in new]:
            del self.by_name[name]
        self.by_name |= new
        self.write()

    def drop(self, table: str, row: str, competitor: str | None = None) -> None:
        """Forget a row, or what one competitor has in it: it was measured before, and fails now."""
        gone = (table, row) if competitor is None else (table, row, competitor)
        self.by_name = {n: r for n, r in self.by_name.items() if n[: len(gone)] != gone}
        self.write()

    def write(self) -> None:
        """The file as the numbers are, if there is one."""
        if self.path is None:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Record._fields)
        writer.writerows(self.all)
        with replacing(self.path) as f:
            f.write(text.getvalue().encode())

    def find(self, table: str, row: str, competitor: str, measure: str) -> Record | None:
        """One number, if it is there."""
        return self.by_name.get((table, row, competitor, measure))

    def value(self, table: str, row: str, competitor: str, measure: str) -> float | None:
        found = self.find(table, row, competitor, measure)
        return None if found is None else float(found.median)

"""Known failures: ``conformance.toml`` beside an engine's module, each entry with a reason."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..engine import Engine
from ..errors import FileFormatError

if TYPE_CHECKING:
    from .kit import Row


@dataclass(frozen=True)
class Excuse:
    """One ``[[known]]`` entry; a dtype or check of ``*`` means every one."""

    op: str
    reason: str
    dtype: str = "*"
    check: str = "*"

    def covers(self, row: Row) -> bool:
        """Whether it speaks of that row."""
        return (
            self.op == row.op and self.dtype in ("*", row.dtype) and self.check in ("*", row.check)
        )


_KEYS = {field.name for field in fields(Excuse)}


def excuses_of(e: Engine) -> list[Excuse]:
    """What the engine's package says is known to fail.

    Raises:
        FileFormatError: an entry lacks its op or reason, or has a key that means nothing.
    """
    package = type(e).__module__.partition(".")[0]
    home = find_spec(package) if package not in ("monograph", "__main__") else None
    if home is None or home.submodule_search_locations is None:
        return []  # a plain module has nowhere to keep the file
    path = files(package) / "conformance.toml"
    return parse(path.read_text(), str(path)) if path.is_file() else []


def parse(text: str, where: str = "conformance.toml") -> list[Excuse]:
    """The entries of such a file's text."""
    try:
        entries = tomllib.loads(text).get("known", [])
    except tomllib.TOMLDecodeError as err:
        raise FileFormatError(f"{where}: {err}") from None
    for k in entries:
        if not {"op", "reason"} <= k.keys() <= _KEYS:
            raise FileFormatError(
                f"{where}: a [[known]] entry has the keys op and reason, dtype and check if need "
                f"be; this one has {', '.join(sorted(k))}"
            )
    return [Excuse(**k) for k in entries]


def excuse(rows: Sequence[Row], excuses: Sequence[Excuse], whole: bool = True) -> list[Row]:
    """Failed rows that an entry covers become known; an entry that excuses nothing is a failure.

    Not of a partial run (``whole=False``) when nothing it speaks of was run.
    """
    from .kit import Row

    out = []
    for row in rows:
        entry = next((x for x in excuses if x.covers(row)), None)
        if entry is not None and row.outcome == "failed":
            row = Row(row.op, row.dtype, row.check, "known", entry.reason, row.ulps)
        out.append(row)
    for x in excuses:
        met = [row for row in rows if x.covers(row) and row.outcome != "skipped"]
        if (met or whole) and not any(row.outcome == "failed" for row in met):
            said = f"passes, though known to fail: {x.reason}; take the entry out"
            out.append(Row(x.op, x.dtype, x.check, "failed", said))
    return out

"""The picture: our faster engine over the fastest rival, a dot per model and mode."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

from . import cases
from .records import Records
from .report import best, fastest, rows, title

COLORS = {"inference": "#0072b2", "training": "#d55e00"}  # Okabe and Ito's, told apart by all
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)


class Dot(NamedTuple):
    """A ratio with its quartiles."""

    label: str
    color: str
    rival: str
    ratio: float
    low: float
    high: float


def dots(records: Records) -> Iterator[Dot]:
    """Of every row that has a rival, the last first."""
    for row in reversed(cases.CASES):
        for mode in reversed(cases.MODES):
            if row not in rows(records, mode) or not (winner := fastest(records, mode, row)):
                continue
            found = records.find(mode, row, winner[0], f"{best(records, mode, row)} over it")
            assert found
            label = f"{cases.CASES[row].title}, {mode}"
            spread = float(found.low), float(found.high)
            yield Dot(label, COLORS[mode], title(winner[0]), winner[1], *spread)


def chart(records: Records) -> bytes | None:
    """A PNG; None where no row has a rival."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = list(dots(records))
    if not found:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.3 * len(found)), layout="constrained")
    for y, dot in enumerate(found):
        axes.plot([dot.low, dot.high], [y, y], color=dot.color, lw=2, alpha=0.5)
        axes.plot(dot.ratio, y, "o", color=dot.color)
        axes.annotate(
            dot.rival, (dot.high, y), (8, 0), textcoords="offset points", va="center", fontsize=8,
            color="#555555",
        )  # fmt: skip
    low = 0.8 * min(0.5, *(dot.low for dot in found))
    high = 1.8 * max(2, *(dot.high for dot in found))  # with room for a name
    axes.axvline(1, color="black", lw=1)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    ticks = [t for t in TICKS if low < t < high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(found)), [dot.label for dot in found])
    axes.set_ylim(-0.7, len(found) - 0.3)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("our time over the fastest rival's (named): left of 1, ours is faster")
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130, metadata={"Software": None})
    pyplot.close(figure)
    return out.getvalue()

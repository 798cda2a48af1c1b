"""The picture: our faster engine over the fastest rival, a dot per model and mode."""

from __future__ import annotations

import io

from . import cases
from .records import Records
from .report import best, fastest, rows, title

COLORS = {"inference": "#0072b2", "training": "#d55e00"}  # Okabe and Ito's, told apart by all


def chart(records: Records) -> bytes | None:
    """A PNG; None where no row has a rival."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    dots = [
        (mode, row, *winner)
        for row in reversed(cases.CASES)
        for mode in reversed(cases.MODES)
        if row in rows(records, mode) and (winner := fastest(records, mode, row))
    ]
    if not dots:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.3 * len(dots)), layout="constrained")
    for y, (mode, row, rival, ratio) in enumerate(dots):
        found = records.find(mode, row, rival, f"{best(records, mode, row)} over it")
        assert found
        axes.plot(
            [float(found.low), float(found.high)], [y, y], color=COLORS[mode], lw=2, alpha=0.5
        )
        axes.plot(ratio, y, "o", color=COLORS[mode])
        axes.annotate(
            title(rival), (max(ratio, float(found.high)), y), (6, 0), textcoords="offset points",
            va="center", fontsize=8, color="#555555",
        )  # fmt: skip
    axes.axvline(1, color="black", lw=1)
    axes.set_xscale("log")
    ends = [d[3] for d in dots]
    low, high = min(0.5, *ends) * 0.8, max(2, *ends) * 1.7
    axes.set_xlim(low, high)
    ticks = [t for t in (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if low < t < high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.minorticks_off()
    axes.set_yticks(range(len(dots)), [f"{cases.CASES[d[1]].title}, {d[0]}" for d in dots])
    axes.set_ylim(-0.7, len(dots) - 0.3)
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("our time over the fastest rival's (named): left of 1, ours is faster")
    axes.spines[["top", "right"]].set_visible(False)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130, metadata={"Software": None})
    pyplot.close(figure)
    return out.getvalue()

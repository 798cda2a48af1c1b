"""The page: tables and means made of the records, under a head that says how to read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from . import cases
from .competitors import COMPETITORS, OURS
from .records import Record, Records

SLOWER = 1.05
RIVALS = [name for name in COMPETITORS if name not in OURS]

HEAD = """\
# Benchmarks

Written by `nox -s bench`; do not edit. The numbers are in [benchmarks.csv](benchmarks.csv).

**A ratio is our time over theirs: below 1, ours is faster.** Ours is the faster of our engines, XLA and Torch, which is
what `engine="auto"` picks. Each model is written once as a function of a scope, and for each rival as its users write it:
in JAX by hand with optax; in Flax NNX with `nnx.jit` and `nnx.cached_partial`; in Keras 3 with its own layers, its models
where `keras.applications` has the same, and the training loops of its guides; in PyTorch with modules, transformers for
BERT, ViT and GPT-2 and PyG for graphs, images channels last, fused optimizers; as the same module through `torch.compile`;
and exported to onnxruntime. All begin with the same weights and the same batch, held on the device. Before the clock
starts, results are compared: logits to 1e-4 of the largest, the losses of three training steps to 1e-3. A row where one
differs is not in the table.

- *Inference*: batch 1, each result read. *Training*: forward, backward and update (Adam; for the CNNs SGD with momentum).
- Everything compiles and warms up first. Then competitors take turns, in one process where they can live together and
  else in processes that wait for each other, with all cores each. A ratio is the median over the rounds of the ratio
  within a round; in brackets are the quartiles.
- "-": the rival has no such model, or none of a few lines.
"""


def cell(records: Records, mode: str, row: str, competitor: str, measure: str) -> str:
    """A number with its quartiles, as a table shows it."""
    found = records.find(mode, row, competitor, measure)
    if found is None:
        return "-"
    spread = f" [{float(found.low):.2f}, {float(found.high):.2f}]" if found.low else ""
    return f"{float(found.median):.2f}{spread}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [list(head), ["---", *["---:"] * (len(head) - 1)], *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def best(records: Records, mode: str, row: str) -> str:
    """Our faster engine."""
    ms = {name: records.value(mode, row, name, "ms") for name in OURS}
    return min((name for name in OURS if ms[name]), key=lambda name: ms[name] or math.inf)


def rows(records: Records, mode: str) -> list[str]:
    """The models measured, in the order of the cases."""
    found = {r.row for r in records.all if r.table == mode and r.competitor in OURS}
    return [name for name in cases.CASES if name in found]


def ratios(records: Records, mode: str, row: str) -> dict[str, float]:
    """Our faster engine over each rival."""
    measure = f"{best(records, mode, row)} over it"
    found = {name: records.value(mode, row, name, measure) for name in RIVALS}
    return {name: value for name, value in found.items() if value is not None}


def fastest(records: Records, mode: str, row: str) -> tuple[str, float] | None:
    """The rival that does best against us, and our ratio to it."""
    found = ratios(records, mode, row)
    name = max(found, key=lambda n: found[n], default=None)
    return None if name is None else (name, found[name])


def mean(values: Sequence[float]) -> str:
    """Geometric; "-" of none."""
    return f"{math.exp(sum(map(math.log, values)) / len(values)):.2f}" if values else "-"


def ratio_table(records: Records, mode: str) -> str:
    head = ["", "our engine", *[COMPETITORS[r].title for r in RIVALS], "fastest rival"]
    lines, columns = [], {r: [] for r in (*RIVALS, "")}  # type: tuple[list, dict[str, list[float]]]
    for row in rows(records, mode):
        ours, winner = best(records, mode, row), fastest(records, mode, row)
        for name, value in ratios(records, mode, row).items():
            columns[name].append(value)
        if winner:
            columns[""].append(winner[1])
        lines.append(
            [
                cases.CASES[row].title,
                ours.removeprefix("ours-"),
                *[cell(records, mode, row, r, f"{ours} over it") for r in RIVALS],
                f"**{winner[1]:.2f}** {COMPETITORS[winner[0]].title}" if winner else "-",
            ]
        )
    lines.append(["geometric mean", "", *[mean(columns[r]) for r in (*RIVALS, "")]])
    return table(head, lines)


def plain_table(records: Records, mode: str, measure: str, digits: int) -> str:
    def shown(row: str, name: str) -> str:
        value = records.value(mode, row, name, measure)
        return "-" if value is None else f"{value:.{digits}f}"

    lines = [
        [cases.CASES[row].title, *[shown(row, n) for n in COMPETITORS]]
        for row in rows(records, mode)
    ]
    return table(["", *[c.title for c in COMPETITORS.values()]], lines)


def slower(records: Records) -> list[tuple[float, str, str, str]]:
    """``(ratio, mode, model, rival)`` where ours is slower than the fastest, worst first."""
    found = [
        (winner[1], mode, row, winner[0])
        for mode in cases.MODES
        for row in rows(records, mode)
        if (winner := fastest(records, mode, row)) and winner[1] > SLOWER
    ]
    return sorted(found, reverse=True)


def results(records: Records) -> str:
    """What a terminal shows, and most of the page."""
    parts = []
    for mode in cases.MODES:
        if not rows(records, mode):
            continue
        rounds = sorted({int(r.rounds) for r in records.all if r[0] == mode and r[3] == "ms"})
        parts += [
            f"## {mode.capitalize()}",
            f"Ratios, ours over theirs; {'-'.join(map(str, {rounds[0]: 0, rounds[-1]: 0}))} rounds.",
            ratio_table(records, mode),
            "Milliseconds per step:",
            plain_table(records, mode, "ms", 3),
            "Seconds for the first step, compilation included:",
            plain_table(records, mode, "compile s", 2),
        ]
    return "\n\n".join(parts)


def behind(records: Records) -> str:
    """The list of rows where ours is slower."""
    lines = [
        f"- {ratio:.2f}: {cases.CASES[row].title}, {mode}, against {COMPETITORS[rival].title}"
        for ratio, mode, row, rival in slower(records)
    ]
    title = f"## Where ours is slower than {SLOWER} of the fastest rival"
    return f"{title}\n\n" + ("\n".join(lines) or "Nowhere.")


def free_tables(records: Records) -> str:
    """The small tables: a section for each name that is no mode, rows times competitors."""
    parts = []
    known = {*cases.MODES, "about"}
    for name in dict.fromkeys(r.table for r in records.all if r.table not in known):
        held = [r for r in records.all if r.table == name]
        columns = list(dict.fromkeys((r.competitor, r.measure) for r in held))
        lines = [
            [row, *[cell(records, name, row, *column) for column in columns]]
            for row in dict.fromkeys(r.row for r in held)
        ]
        parts.append(f"## {name}\n\n" + table(["", *[", ".join(c) for c in columns]], lines))
    return "\n\n".join(parts)


def about(records: Records) -> str:
    """Models, machine and versions."""
    models = "\n".join(f"- {c.title}: {c.note}." for c in cases.CASES.values())
    facts = "\n".join(f"- {r.row}: {r.median}" for r in records.all if r.table == "about")
    return f"## Models\n\n{models}\n\n## Machine and versions\n\n{facts}"


def page(records: Records) -> str:
    """The whole Markdown page."""
    chart = "![Ours over the fastest rival](benchmarks.png)"
    parts = [HEAD.strip(), chart, results(records), behind(records), free_tables(records)]
    return "\n\n".join(p for p in [*parts, about(records)] if p) + "\n"


def facts() -> list[Record]:
    """Of this machine, and the versions of all libraries that compete."""
    import importlib.metadata
    import os
    import platform

    names = sorted({n for c in COMPETITORS.values() for n in c.libraries} | {"numpy"})
    cpu = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as f:
            cpu = next(line.split(":")[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    found = {
        "machine": f"{os.cpu_count()} cores of {cpu}, {platform.system()}",
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
    }
    return [Record("about", row, "", "", value) for row, value in found.items()]

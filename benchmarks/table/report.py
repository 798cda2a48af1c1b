"""The page: tables and means made of the records, under a head that says how to read them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from . import cases
from .competitors import COMPETITORS, OURS
from .records import Records

SLOWER = 1.05

HEAD = """\
# Benchmarks

Written by `nox -s bench`; do not edit. The numbers are in [benchmarks.csv](benchmarks.csv).

**A ratio is our time over theirs: below 1, ours is faster.** Ours is the fastest of our engines (XLA, Torch and, in
inference, onnxruntime), which `engine="auto"` looks for. Each model is written once as a function of a scope, and for each rival as its users write it:
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
- "-": the rival has no such model, none of a few lines, or none that compiles soon (Xception's training step takes
  `torch.compile` more than three minutes).
- PyTorch's OpenMP threads are told to sleep soon (`GOMP_SPINCOUNT=20000`), in all processes: on a busy machine its steps
  else take up to hundreds of times longer. Still, where the load was not near 0 when the run began (see the end), other
  programs ran too, and disturbed what is measured.
"""


def cell(records: Records, mode: str, row: str, competitor: str, measure: str) -> str:
    """A number with its quartiles, as a table shows it."""
    found = records.find(mode, row, competitor, measure)
    if found is None:
        return "-"
    spread = f" [{shown(found.low)}, {shown(found.high)}]" if int(found.rounds or 0) > 2 else ""
    return f"{shown(found.median)}{spread}"


def shown(value: str) -> str:
    """Two decimals, three of small numbers, fewer of large ones."""
    x = float(value)
    return f"{x:.{3 if x < 0.095 else 2 if x < 9.95 else 1 if x < 99.5 else 0}f}"


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


def rivals(records: Records) -> list[str]:
    """Those of the table, then those of one's own that were measured."""
    found = [*COMPETITORS, *[r.competitor for r in records.all if r.table in cases.MODES]]
    return [name for name in dict.fromkeys(found) if name not in OURS]


def title(name: str) -> str:
    return COMPETITORS[name].title if name in COMPETITORS else name


def ratios(records: Records, mode: str, row: str) -> dict[str, float]:
    """Our faster engine over each rival."""
    measure = f"{best(records, mode, row)} over it"
    found = {name: records.value(mode, row, name, measure) for name in rivals(records)}
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
    names = rivals(records)
    head = ["", "our engine", *map(title, names), "fastest rival"]
    lines, columns = [], {r: [] for r in (*names, "")}  # type: tuple[list, dict[str, list[float]]]
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
                *[cell(records, mode, row, r, f"{ours} over it") for r in names],
                f"**{winner[1]:.2f}** {title(winner[0])}" if winner else "-",
            ]
        )
    lines.append(["geometric mean", "", *[mean(columns[r]) for r in (*names, "")]])
    return table(head, lines)


def plain_table(records: Records, mode: str, measure: str, digits: int) -> str:
    def one(row: str, name: str) -> str:
        value = records.value(mode, row, name, measure)
        return "-" if value is None else f"{value:.{digits}f}"

    names = [*OURS, *rivals(records)]
    lines = [[cases.CASES[row].title, *[one(row, n) for n in names]] for row in rows(records, mode)]
    return table(["", *map(title, names)], lines)


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
        rounds = [int(r.rounds) for r in records.all if r[0] == mode and r[3] == "ms"]
        least, most = min(rounds), max(rounds)
        parts += [
            f"## {mode.capitalize()}",
            f"Ratios, ours over theirs, of {most if least == most else f'{least} to {most}'} rounds:",
            ratio_table(records, mode),
            "Milliseconds per step:",
            plain_table(records, mode, "ms", 3),
            "Seconds for the first step, compilation included:",
            plain_table(records, mode, "compile s", 2),
        ]
    return "\n\n".join(parts)


BOUNDS = """What bounds them: in inference ours runs the same session as the rival, so what is left is the way there, 3 us from the
user's call through the store's state to it, of the MLP's 5 us, and for images their transpose, since ours come channels last.
The LSTM's and MobileNetV1's training steps on torch spend their time in the kernels that PyTorch's own spend it in.
"""


def behind(records: Records) -> str:
    """The list of rows where ours is slower."""
    lines = [
        f"- {ratio:.2f}: {cases.CASES[row].title}, {mode}, against {title(rival)}"
        for ratio, mode, row, rival in slower(records)
    ]
    head = f"## Where ours takes more than {SLOWER} of the fastest rival's time"
    return f"{head}\n\n" + ("\n".join([*lines, "", BOUNDS.rstrip()]) if lines else "Nowhere.")


SMALL = {
    "Start-up": "Seconds from a process's start to the end of its first training step of ResNet50: imports, the model, its "
    "weights from a file, compilation. Cold: caches on disk are empty; warm: a second process with what the first kept. JAX's own cache is off, as by default; "
    "with it: [start-up.md](start-up.md).",
    "Memory": "Peak of resident memory of a fresh process that takes three training steps, MiB.",
    "Imports": "After NumPy's import, with bytecode; sizes without bytecode, with all distributions that are required.",
    "Calls": "Microseconds of a call that doubles n arrays of 4 numbers, on tensors of the framework's own; in turns.",
}


def small(records: Records) -> str:
    """The tables of what is paid besides steps: rows times columns of a name and a unit."""
    parts = []
    for name, note in SMALL.items():
        held = [r for r in records.all if r.table == name]
        columns = list(dict.fromkeys((r.competitor, r.measure) for r in held))
        lines = [
            [row, *[cell(records, name, row, *column) for column in columns]]
            for row in dict.fromkeys(r.row for r in held)
        ]
        if held:
            parts.append(f"## {name}\n\n{note}\n\n" + table(["", *map(", ".join, columns)], lines))
    return "\n\n".join(parts)


def about(records: Records) -> str:
    """Models, machine and versions."""
    models = "\n".join(f"- {c.title}: {c.note}." for c in cases.CASES.values())
    found = "\n".join(f"- {r.row}: {r.median}" for r in records.all if r.table == "about")
    return f"## Models\n\n{models}\n\n## Machine and versions\n\n{found}"


def page(records: Records) -> str:
    """The whole Markdown page."""
    chart = "![Ours over the fastest rival](benchmarks.png)"
    parts = [HEAD.strip(), chart, results(records), behind(records), small(records)]
    return "\n\n".join(p for p in [*parts, about(records)] if p) + "\n"

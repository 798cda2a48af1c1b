"""Monograph beside JAX, Flax, Keras, PyTorch and onnxruntime: models times competitors, in turns.

Each model runs on our engines and on every rival that has it, with the same weights; results are
compared, then steps are timed in turns. A ratio is our time over theirs: below 1, ours is faster.

    python -m benchmarks.table                            print what a quarter of an hour measures
    python -m benchmarks.table --write                    and keep it: docs/benchmarks.{csv,md,png}
    python -m benchmarks.table --models mlp cnn --rivals jax torch --rounds 5
    python -m benchmarks.table --models bert --write      replace the rows of one model
    python -m benchmarks.table --models mlp --rivals mine.py
                                                          a rival of one's own: a file with MODELS, the
                                                          names it has, and build(name, mode, weights),
                                                          which gives a benchmarks.table.cases.Program
    python -m benchmarks.table --write --models           write the page anew from what was measured

Run it on an idle machine. With --write, numbers are kept as they come: a run that is stopped loses
nothing, and the next may measure the rest. The exit status is 1 where results differed or a competitor
failed.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from monograph.storage import replacing

from . import race, report
from .cases import CASES, MODES
from .chart import chart
from .competitors import chosen
from .costs import all_costs
from .machine import facts
from .pipes import ROOT, WorkerError
from .records import Records

FULL = race.Effort(rounds=15, turn=0.05, row=15)
QUICK = race.Effort(rounds=5, turn=0.02, row=4)
QUICK_MODELS = ("mlp", "cnn", "bert", "lstm", "gnn")
QUICK_LACKS = ("flax", "torch.compile")  # which take longest until their first step
DOCS = ROOT / "docs"


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--models", nargs="*", choices=CASES, metavar="MODEL", help=", ".join(CASES))
    add("--rivals", nargs="+", metavar="RIVAL", help="names, or a Python file; all by default")
    add(
        "--mode",
        choices=(*MODES, "costs"),
        help="one of these; all by default. costs: start-up, memory, imports, calls",
    )
    add("--rounds", type=int, help=f"turns of each competitor; {FULL.rounds} by default")
    add(
        "--quick", action="store_true", help="few rounds of the models and rivals that compile soon"
    )
    add("--write", action="store_true", help="keep the numbers, and write the page and the chart")
    return parser.parse_args(given)


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def measure(args: argparse.Namespace, records: Records) -> list[str]:
    """Every row asked for; what went wrong is returned."""
    effort = QUICK if args.quick else FULL
    if args.rounds:
        effort = effort._replace(rounds=args.rounds)
    competitors = chosen(args.rivals)
    if args.quick and args.rivals is None:
        competitors = {k: c for k, c in competitors.items() if k not in QUICK_LACKS}
    names = args.models if args.models is not None else QUICK_MODELS if args.quick else CASES
    problems = []
    for name in names:
        with race.row(competitors, say) as row:
            for mode in (m for m in CASES[name].modes if args.mode in (None, m)):
                try:
                    measured, failed = row.measure(name, mode, effort)
                    records.put(measured)
                    for key, why in failed.items():
                        problems.append(f"{name} {mode}: {key}: {why}")
                        records.drop(mode, name, key)
                except (race.Wrong, WorkerError) as e:
                    problems.append(f"{name} {mode}: {e}")
                    say(problems[-1])
                    records.drop(mode, name)
                row.forget()
    return problems


def costs(args: argparse.Namespace, records: Records) -> None:
    """The small tables, of all models or none."""
    if args.mode == "costs" or (args.mode is None and args.models is None):
        for found in all_costs(1 if args.quick else 2, say):
            records.put(found)


def main(given: list[str] | None = None) -> int:
    args = arguments(given)
    records = Records(DOCS / "benchmarks.csv" if args.write else None)
    if args.models != []:  # else nothing is measured
        records.put(facts())
    if (load := os.getloadavg()[0]) > 1:
        say(f"the load is {load:.1f}: what else runs disturbs the numbers, most those of PyTorch")
    problems = measure(args, records) if args.mode != "costs" else []
    costs(args, records)
    if args.write:
        write(records, DOCS)
    print(report.results(records), report.behind(records), report.small(records), sep="\n\n")
    if problems:
        print("\nFailed:", *problems, sep="\n  ")
    return bool(problems)


def write(records: Records, folder: Path) -> None:
    """The page and the chart."""
    with replacing(folder / "benchmarks.md") as f:
        f.write(report.page(records).encode())
    if picture := chart(records):
        with replacing(folder / "benchmarks.png") as f:
            f.write(picture)


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # so that workers and their folder go too
    sys.exit(main())

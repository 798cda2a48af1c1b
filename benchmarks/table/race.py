"""One row of the table: competitors' results compared, then their steps timed in turns."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .competitors import OURS, Competitor
from .pipes import Worker, WorkerError
from .records import Record, number

TOLERANCE = {"inference": 1e-4, "training": 1e-3}
"""How far results may be apart, as a part of the largest number of the reference's: float32's roundings
through fifty layers, and what three steps of training make of them."""


class Effort(NamedTuple):
    """How long to measure.

    Attributes:
        rounds: turns of each competitor.
        turn: seconds that one turn lasts at least.
        row: seconds after which no round begins, once there are three.
    """

    rounds: int
    turn: float
    row: float


class Wrong(Exception):
    """A competitor computes something else: its speed would mean nothing."""


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Median, lower and upper quartile."""
    low, high = (float(np.quantile(values, q)) for q in (0.25, 0.75))
    return statistics.median(values), low, high


def agree(results: Mapping[str, list[float]], mode: str) -> None:
    """Compare all with the competitor that most are near to.

    Raises:
        Wrong: names those who are not.
    """
    arrays = {name: np.asarray(r) for name, r in results.items()}

    def apart(a: str, b: str) -> float:
        x, y = arrays[a], arrays[b]
        if x.shape != y.shape or not np.isfinite(x).all() or not np.isfinite(y).all():
            return math.inf
        return float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30))

    reference = min(arrays, key=lambda b: statistics.median(apart(a, b) for a in arrays))
    off = {name: apart(name, reference) for name in arrays}
    wrong = [f"{n} by {x:.1e}" for n, x in off.items() if not x <= TOLERANCE[mode]]
    if wrong:
        raise Wrong(f"results are off {reference}'s: {', '.join(wrong)}; allowed {TOLERANCE[mode]}")


class Row:
    """The processes of one model."""

    def __init__(
        self, competitors: Mapping[str, Competitor], folder: Path, say: Callable[[str], None]
    ):
        self.competitors, self.folder, self.say = competitors, folder, say
        self.stack = contextlib.ExitStack()
        self.workers: dict[str, Worker] = {}

    def worker(self, competitor: Competitor) -> Worker:
        """The process where a competitor lives, started when first asked for."""
        found = self.workers.get(competitor.process)
        if found is None or found.process.poll() is not None:
            env = competitor.env | {"TORCHINDUCTOR_CACHE_DIR": str(self.folder / "inductor")}
            log = self.folder / f"{competitor.process}.log"
            found = self.stack.enter_context(Worker(env, log))
            self.workers[competitor.process] = found
        return found

    def measure(self, name: str, mode: str, effort: Effort) -> tuple[list[Record], dict[str, str]]:
        """Build all that have the model, compare, race.

        Returns:
            The numbers; and why competitors could not be built, by name.

        Raises:
            Wrong: results differ, or none of our engines built it.
        """
        weights = str(self.folder / f"{name}-{mode}.npz")
        self.worker(self.competitors[OURS[0]]).ask("weights", name=name, mode=mode, path=weights)
        built: dict[str, dict[str, Any]] = {}
        failed: dict[str, str] = {}
        for key, competitor in self.competitors.items():
            try:
                answer = self.worker(competitor).ask(
                    "build", key=key, competitor=dataclasses.asdict(competitor), name=name,
                    mode=mode, weights=weights,
                )  # fmt: skip
            except WorkerError as e:
                failed[key] = str(e).strip().splitlines()[-1]
                self.say(f"{name} {mode}: {key} failed\n{e}")
                continue
            if "missing" not in answer:
                built[key] = answer
                self.say(
                    f"{name} {mode}: {key} took {answer['compile_s']:.1f} s for its first step"
                )
        if not built.keys() & OURS:
            raise Wrong("; ".join(f"{key}: {why}" for key, why in failed.items()))
        agree({key: answer["result"] for key, answer in built.items()}, mode)
        rounds = self.race(list(built), effort)
        return [*records(name, mode, rounds, built)], failed

    def forget(self) -> None:
        """Drop what was built: memory for the next mode."""
        for worker in self.workers.values():
            if worker.process.poll() is None:
                worker.ask("forget")

    def race(self, keys: list[str], effort: Effort) -> list[dict[str, float]]:
        """Seconds per step of each, round by round; every other round in the opposite order."""

        def turn(key: str, steps: int) -> float:
            order = {"key": key, "steps": steps}
            return self.worker(self.competitors[key]).ask("turn", **order)["seconds"] / steps

        steps = {}
        for key in keys:  # which warms up, too
            pilot = turn(key, 1)
            while (n := math.ceil(effort.turn / pilot)) > 10 and pilot * 10 < effort.turn:
                pilot = turn(key, n // 5)
                if pilot * n > effort.turn / 2:
                    break
            steps[key] = max(1, math.ceil(effort.turn / pilot))
        rounds: list[dict[str, float]] = []
        started = time.perf_counter()
        for i in range(effort.rounds):
            if i >= 3 and time.perf_counter() - started > effort.row:
                break
            rounds.append({key: turn(key, steps[key]) for key in keys[:: -1 if i % 2 else 1]})
        return rounds


def records(
    name: str, mode: str, rounds: list[dict[str, float]], built: Mapping[str, dict[str, Any]]
) -> Iterator[Record]:
    """The numbers of one row: milliseconds, ratios of our engines' times to each, compilation."""
    n = str(len(rounds))
    for key, answer in built.items():
        ms = quartiles([r[key] * 1e3 for r in rounds])
        yield Record(mode, name, key, "ms", *map(number, ms), n)
        yield Record(mode, name, key, "compile s", number(answer["compile_s"]), rounds="1")
        for ours in OURS:
            if ours in built and ours != key:
                ratio = quartiles([r[ours] / r[key] for r in rounds])
                yield Record(mode, name, key, f"{ours} over it", *map(number, ratio), n)


@contextlib.contextmanager
def row(
    competitors: Mapping[str, Competitor], say: Callable[[str], None]
) -> Iterator[Row]:  # fmt: skip
    """Processes for one model, and a folder for what they share; both gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        made = Row(competitors, Path(folder), say)
        with made.stack:
            yield made

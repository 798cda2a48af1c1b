"""Run the checks: for each op one graph of all its samples and dtypes, so one compilation each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ..dtypes import DType
from ..engine import Engine, Options, get_engine
from ..errors import EngineError, UnsupportedOp
from ..graph import Graph
from ..op import Op, all_ops, get
from .distance import same
from .excuses import excuse, excuses_of
from .jobs import CHECKS, Job, Oracle, merged
from .oracles import dtypes_of, samples_of
from .rules import RULES, lacks

QUICK = ("float32", "int32", "bool")


@dataclass
class Row:
    """One op, dtype and check: ``passed``, ``failed``, ``known`` or ``skipped``, and why.

    ``ulps`` is the largest error met. The rules of an engine have the op ``(engine)``.
    """

    op: str
    dtype: str
    check: str
    outcome: str
    note: str = ""
    ulps: float = 0.0

    def __str__(self) -> str:
        return f"{self.outcome.upper()} {self.op} {self.dtype} {self.check}: {self.note}"


@dataclass
class Report:
    """What a run found.

    Attributes:
        rows: every op, dtype and check, and the engine's rules.
        values: results of the check ``value`` by (op, dtype), to compare engines with each other.
        lacks: primitives the engine does not list.
    """

    engine: str
    rows: list[Row] = field(default_factory=list)
    values: dict[tuple[str, str], list[np.ndarray]] = field(default_factory=dict)
    lacks: list[str] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        """How many rows have that outcome."""
        return sum(r.outcome == outcome for r in self.rows)

    @property
    def failures(self) -> list[Row]:
        """The rows that failed."""
        return [r for r in self.rows if r.outcome == "failed"]

    @property
    def ok(self) -> bool:
        """Whether none failed."""
        return not self.failures

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(o)} {o}" for o in ("passed", "failed", "known", "skipped"))
        note = f"; lacks {', '.join(self.lacks)}" if self.lacks else ""
        return f"conformance {self.engine}: {counts}{note}"


def run(
    engine: str | Engine, ops: Iterable[str] = (), quick: bool = False,
    progress: Callable[[str], None] | None = None, oracle: Oracle | None = None, threads: int = 1,
) -> Report:  # fmt: skip
    """Run the kit.

    Args:
        engine: its name, or the object itself.
        ops: only these; all when empty.
        quick: values only, float32, int32 and bool only.
        progress: told the name of each op before it runs.
        oracle: shared by runs on several engines, so that the reference runs once.
        threads: how many ops at once; an engine that compiles outside Python's lock gains by it.

    Raises:
        EngineError: there is no such engine, or it cannot be loaded.
        GraphError: there is no such op.
    """
    e = engine if isinstance(engine, Engine) else get_engine(engine)
    _load_dtypes()
    chosen = [get(n) for n in ops]
    known = oracle or Oracle()
    report = Report(e.name, lacks=[op.name for op in lacks(e)])

    def one(op: Op) -> list[Row]:
        if progress:
            progress(op.name)
        return _rows(e, op, quick, known, report)

    with ThreadPoolExecutor(threads) as pool:
        for rows in pool.map(one, chosen or [o for o in all_ops() if o.samples]):
            report.rows += rows
    for rule in RULES:
        report.rows.append(_rule(e, rule))
    report.rows = excuse(report.rows, excuses_of(e), whole=not (quick or chosen))
    return report


def assert_conforms(engine: str | Engine, ops: Iterable[str] = (), quick: bool = False) -> Report:
    """Run the kit in a test of your engine; raises AssertionError with every row that failed.

    >>> assert_conforms("numpy", ops=["tanh"], quick=True).count("failed")
    0
    """
    report = run(engine, ops, quick)
    assert report.ok, "\n".join(map(str, [report, *report.failures]))
    return report


def _load_dtypes() -> None:
    from .. import plugins
    from ..dtypes import dtype

    for name in plugins.names("monograph.dtypes"):
        dtype(name)


def _rows(e: Engine, op: Op, quick: bool, oracle: Oracle, report: Report) -> list[Row]:
    """Every check of one op: all jobs in one program, or one by one where that fails."""
    rows: list[Row] = []
    jobs: list[Job] = []
    for d in dtypes_of(op):
        if quick and d.name not in QUICK:
            continue
        for check in ("value",) if quick else CHECKS:
            made = _job(e, op, d, check, oracle)
            if isinstance(made, Row):
                rows.append(made)
            elif made is not None:
                jobs.append(made)
    try:
        done = _together(e, jobs) if jobs else []
    except Exception:
        done = [_alone(e, job) for job in jobs]
    for job, found in zip(jobs, done):
        if isinstance(found, Row):
            rows.append(found)
            continue
        outs, changed = found
        if job.check == "value":
            report.values[op.name, job.dtype.name] = outs
        ulps, problem = job.judge(outs)
        if changed:
            problem = f"changed its input {changed[0]}; {problem}".rstrip("; ")
        rows.append(
            Row(
                op.name, job.dtype.name, job.check, "failed" if problem else "passed", problem, ulps
            )
        )
    return rows


def _job(e: Engine, op: Op, d: DType, check: str, oracle: Oracle) -> Job | Row | None:
    """The job, None where there is nothing to check, or the row that says why it cannot run."""

    def row(outcome: str, note: str) -> Row:
        return Row(op.name, d.name, check, outcome, note)

    try:
        samples = samples_of(op, d)
        if not samples:
            return None
        if not e.supports_dtype(d):
            return row("skipped", f"{e.name} has no {d.name}") if check == "value" else None
        job = CHECKS[check](oracle, op, d, samples)
    except Exception as err:  # a defect of the record, not of the engine
        return row("failed", f"the record: {type(err).__name__}: {str(err)[:300]}")
    try:
        if job is not None:
            e.prepare(job.graph)
    except UnsupportedOp as err:
        lied = [n for n in err.missing if e.supports(get(n))]
        if lied:
            return row("failed", f"lists {', '.join(lied)}, yet refuses")
        return row("skipped", f"{e.name} lacks {', '.join(err.missing)}")
    except EngineError as err:  # a dtype inside, as of convert's result
        return row("skipped", str(err).partition(": ")[2] or str(err))
    except Exception as err:
        return row("failed", f"prepare: {type(err).__name__}: {str(err)[:300]}")
    return job


def _together(e: Engine, jobs: Sequence[Job]) -> list:
    outs, changed = _compute(e, merged(jobs), [a for job in jobs for a in job.arrays])
    found, o, i = [], 0, 0
    for job in jobs:
        n, m = len(job.graph.outputs), len(job.arrays)
        found.append((outs[o : o + n], [c - i for c in changed if i <= c < i + m]))
        o, i = o + n, i + m
    return found


def _alone(e: Engine, job: Job) -> Row | tuple:
    try:
        return _compute(e, job.graph, job.arrays)
    except Exception as err:
        note = f"{type(err).__name__}: {str(err)[:300]}"
        return Row(job.op.name, job.dtype.name, job.check, "failed", note)


def _compute(e: Engine, graph: Graph, arrays: Sequence[np.ndarray]) -> tuple[list, list[int]]:
    """Results, and which inputs are no longer what was put in."""
    device = e.devices[0]
    exe = e.compile(e.prepare(graph, device), Options(device))
    # strided views: an engine must not assume that what it is handed lies in one piece
    buffers = [e.put(np.repeat(a[..., None], 2, -1)[..., 0], device) for a in arrays]
    outs = [np.array(e.get(b)) for b in exe(*buffers)]
    if len(outs) != len(graph.outputs):
        raise ValueError(f"yields {len(outs)} results, the graph has {len(graph.outputs)}")
    gone = [i for i, (a, b) in enumerate(zip(arrays, buffers)) if not same(np.asarray(e.get(b)), a)]
    return outs, gone


def _rule(e: Engine, rule: Callable[[Engine], str]) -> Row:
    try:
        problem = rule(e)
    except Exception as err:
        problem = f"{type(err).__name__}: {str(err)[:300]}"
    name = rule.__name__.replace("_", " ")
    return Row("(engine)", "-", name, "failed" if problem else "passed", problem)

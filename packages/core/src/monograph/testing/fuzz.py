"""``python -m monograph.testing.fuzz COUNT``: random programs through every pass, on every engine.

Each program, and its gradient where it has one, is rewritten by every pass and run by every engine;
what they compute must be what the NumPy reference computes of the graph as it was recorded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import get_context
from typing import Any

import numpy as np

from .. import ops, transforms
from ..autodiff import grad
from ..batching import vmap
from ..engine import get_engine
from ..errors import NotDifferentiable
from ..graph import Graph
from ..numpy_engine import evaluate
from ..rewrite import decompose
from ..spec import Spec
from ..text import graph_text, parse
from ..tracing import trace
from .differ import Trial, on_engine
from .excuses import excuses_of
from .programs import Program, random_program

Pass = Callable[[Graph], Graph]


def _cut_up(graph: Graph) -> Graph:
    """Split in three, if there is enough to compute, and joined again."""
    computed, ends = set(graph.inputs), []
    for i, node in enumerate(graph.nodes, 1):
        if any(v in computed for v in node.inputs):  # constants are nobody's part
            computed.update(node.outputs)
            ends.append(i)
    third = len(ends) // 3
    return graph.split([ends[third - 1], ends[2 * third - 1]]).join() if third else graph


EXACT: Mapping[str, Pass] = {
    "simplify": transforms.simplify,
    "fold_constants": transforms.fold_constants,
    "DEFAULT": lambda graph: graph.transform(transforms.DEFAULT),
    "split and join": _cut_up,
    "inline": transforms.inline,
    "text and back": lambda graph: parse(graph_text(graph, full=True)),
}
"""Passes after which the same bits must come out."""

NEAR: Mapping[str, Pass] = {
    "layout": transforms.layout,
    "composites": lambda graph: transforms.composites(graph.inline()),
}
"""Passes that may round otherwise."""


def graphs(program: Program) -> Iterator[tuple[str, Graph]]:
    """What is tried of a program: itself, and the gradient of the sum of its floats."""
    yield "program", program.graph()

    def loss(*floats: Any) -> Any:
        out = program(*floats, *program.inputs[len(floats) :])
        smooth = [ops.convert(y, dtype="float64") for y in out if y.dtype.is_inexact]
        return sum(
            (ops.reduce_sum(y, axes=tuple(range(y.ndim))) for y in smooth), ops.full(0, scalar)
        )

    scalar = Spec((), "float64")
    floats = [x for x in program.inputs if x.dtype.kind == "f"]
    try:
        yield "gradient", trace(grad(loss, tuple(range(len(floats)))), *map(Spec.of, floats))
    except NotDifferentiable:
        return


def findings(
    program: Program, engines: Sequence[str], exact: Mapping[str, Pass] = EXACT,
    near: Mapping[str, Pass] = NEAR,
) -> list[str]:  # fmt: skip
    """What is wrong with a program's results after each pass and on each engine.

    Args:
        exact: passes that keep every bit.
        near: passes that may round otherwise.
    """
    out: list[str] = []

    def attempt(what: str, run: Callable[[], list[np.ndarray]], bits: bool) -> None:
        try:
            out.extend(
                f"{what}: {p}" for p in trial.problems(run(), bits, what.startswith("gradient"))
            )
        except Exception as e:  # whatever it is, it is a finding
            out.append(f"{what}: {type(e).__name__}: {str(e).strip()[:300]}")

    for what, graph in graphs(program):
        arrays = program.inputs[: len(graph.inputs)]
        trial = Trial(graph, arrays)
        for passes, bits in ((exact, True), (near, False)):
            for name, change in passes.items():
                attempt(f"{what}, {name}", lambda: _reference(change(graph), arrays), bits)  # noqa: B023
        if what == "program" and near:
            out += [f"vmap: {p}" for p in lane_problems(program, graph)]
        for engine in engines:
            run = lambda: on_engine(graph, arrays, engine)  # noqa: B023, E731
            attempt(f"{what} on {engine}", run, engine == "numpy")
    return out


def lane_problems(program: Program, graph: Graph) -> list[str]:
    """What is wrong with `vmap` of a program over two sets of inputs, one of them changed a little."""
    lanes = [program.inputs, [x * 0.875 if x.dtype.kind == "f" else x for x in program.inputs]]
    stacked = [np.stack(xs) for xs in zip(*lanes)]
    try:
        batch = trace(vmap(program), *map(Spec.of, stacked))
        got = _reference(batch, stacked)
    except Exception as e:
        return [f"{type(e).__name__}: {str(e).strip()[:300]}"]
    return [
        f"lane {k}: {p}"
        for k, xs in enumerate(lanes)
        for p in Trial(graph, xs).problems([y[k] for y in got])
    ]


def _reference(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return evaluate(decompose(graph.verify(), lambda op: op.reference is not None)[0], arrays)


def program_of(seed: int, engines: Sequence[str] = (), steps: int = 12) -> Program:
    """The program of a seed, without the ops that an engine is known to fail."""
    rng = np.random.default_rng(seed)
    known = {x.op for name in engines for x in excuses_of(get_engine(name))}
    known |= {"digamma"} & known and {"polygamma"}  # its gradient
    return random_program(lambda n: int(rng.integers(n)), steps, without=known)


def _one(job: tuple[int, tuple[str, ...]]) -> tuple[int, list[str], str]:
    seed, engines = job
    program = program_of(seed, engines)
    found = findings(program, engines)
    return seed, found, repr(program) if found else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Run it; 1 if anything was found."""
    parser = argparse.ArgumentParser(prog="python -m monograph.testing.fuzz", description=__doc__)
    parser.add_argument("count", type=int, help="how many programs")
    parser.add_argument("--engines", nargs="+", default=["numpy"], help="default: numpy")
    parser.add_argument("--first", type=int, default=0, help="the first seed; one seed one program")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--show", action="store_true", help="print the programs that failed")
    args = parser.parse_args(argv)
    jobs = ((s, tuple(args.engines)) for s in range(args.first, args.first + args.count))
    bad, started = 0, time.monotonic()
    with get_context("spawn").Pool(args.jobs, maxtasksperchild=250) as pool:
        for done, (seed, found, text) in enumerate(pool.imap_unordered(_one, jobs), 1):
            bad += bool(found)
            for problem in found:
                print(f"seed {seed}: {problem}", flush=True)
            if found and args.show:
                print(text)
            if done % 100 == 0 or done == args.count:
                rate = done / (time.monotonic() - started)
                print(f"{done} programs, {bad} with findings, {rate:.1f} a second", file=sys.stderr)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())

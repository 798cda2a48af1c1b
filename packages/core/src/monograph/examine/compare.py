"""Where two engines part: node by node, both fed the first one's values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import tree
from ..api import finfo
from ..bound import Bound
from ..engine import Buffer, Device, resolve
from ..errors import ArgumentError
from ..graph import Graph, Node, Source, attr_graphs
from ..tensor import feed
from ..testing.distance import distance
from ..tracing import trace, user_source
from .inside import Place, each_turn
from .walk import CONTROL, step

EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 4096.0, np.inf)
"""Upper edges of the bins of `Row.histogram`, in ulps; the last bin holds disagreeing NaN too."""


@dataclass(frozen=True)
class Row:
    """One node on both engines.

    Attributes:
        op, source: the operation and the user's line.
        ulps: the largest difference, in eps of the dtype relative to the largest magnitude of the
            first engine's result (as the conformance kit measures); inf where NaN or infinities, or
            integers, differ.
        tolerance: what the op's record accepts.
        histogram: elements per bin of `EDGES`, of all results.
        places: loops (with the turn) and branches around it, outermost first.
        spec: of its first result.
    """

    op: str
    source: Source | None
    ulps: float
    tolerance: float
    histogram: tuple[int, ...]
    places: tuple[Place, ...] = ()
    spec: Any = None

    @property
    def beyond(self) -> bool:
        """Whether the two differ by more than is accepted."""
        return self.ulps > self.tolerance


@dataclass
class Comparison:
    """What `compare` found; ``str()`` gives a table.

    Attributes:
        engines: the two devices; values are the first one's.
        rows: every node, in order.
    """

    engines: tuple[str, str]
    rows: list[Row] = field(default_factory=list)

    @property
    def first(self) -> Row | None:
        """The first node whose results differ beyond its tolerance; None if none does."""
        return next((r for r in self.rows if r.beyond), None)

    @property
    def ok(self) -> bool:
        """Whether no node differs beyond its tolerance."""
        return self.first is None

    def largest(self, n: int = 5) -> list[Row]:
        """The nodes that differ most, relative to what is accepted."""
        return sorted(self.rows, key=lambda r: r.ulps / max(r.tolerance, 1e-9), reverse=True)[:n]

    def __str__(self) -> str:
        first = self.first
        a, b = self.engines
        beyond = sum(r.beyond for r in self.rows)
        lines = [f"{a} and {b}: {len(self.rows)} operations, {beyond} beyond their tolerance"]
        if first is not None:
            lines += [f"first beyond: {_named(first)}", *map(str, first.places)]
        lines.append(f"{'operation':<24}{'ulps':>12}{'tolerance':>12}  line")
        lines += [
            f"{r.op:<24}{r.ulps:>12.4g}{r.tolerance:>12.4g}  {r.source}" for r in self.largest(10)
        ]
        for shown in [first] if first else self.largest(1):
            lines += [f"differences of {_named(shown)}, in ulps:", *_bars(shown.histogram)]
        return "\n".join(lines)


def _named(row: Row) -> str:
    return f"{row.op} -> {row.spec} at {row.source}"


def _bars(histogram: Sequence[int]) -> list[str]:
    most = max(max(histogram), 1)
    labels = ["      0", *[f"<= {e:>4g}" for e in EDGES[1:-1]], "   more"]
    return [
        f"  {label} {n:>10,} {'#' * -(-40 * n // most)}" for label, n in zip(labels, histogram) if n
    ]


def compare(
    fn: Any, args: Sequence[Any], engines: Sequence[Any] = ("xla", "torch"),
    tolerance: float | None = None, loops: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Comparison:  # fmt: skip
    """Run a function node by node on two engines and tell where they part.

    Each operation is compiled by itself and gets the first engine's values on both, so that a
    difference is its own.

    Args:
        fn: a function of arrays, a jitted one, a bound model (its variables are read), or a `Graph`.
        args: its arguments.
        engines: two, as for `mg.engine`.
        tolerance: in ulps, instead of each op's own (`Op.ulps`; for a loop, the sum over its turns).
        loops: enter loops, branches and called bodies turn by turn instead of comparing their results.
        progress: told (nodes done, nodes in all) of the outermost graph.

    Returns:
        A `Comparison`: ``.first`` is the first node beyond its tolerance, ``.rows`` are all, and
        ``str()`` shows the largest differences with a histogram.

    Raises:
        ArgumentError: not two engines, or arguments that do not fit the graph.
        UnsupportedOp: an engine lacks an operation.

    >>> import monograph as mg
    >>> found = mg.compare(lambda x: mg.exp(x) + 1, [mg.ones((3,))], engines=["numpy", "numpy"])
    >>> found.ok, [r.op for r in found.rows]
    (True, ['exponential', 'constant', 'broadcast_in_dim', 'add'])
    """
    if len(engines) != 2:
        raise ArgumentError(f"{user_source()}: compare takes two engines, got {list(engines)}")
    a, b = resolve(engines[0]), resolve(engines[1])
    graph, arrays = _graph_of(fn, tuple(args))
    fed = [feed(x, a) for x in arrays]
    if [s for s, _ in fed] != list(graph.input_specs):
        raise ArgumentError(
            f"{user_source()}: {graph.name} takes {list(graph.input_specs)}, got {[s for s, _ in fed]}"
        )
    out = Comparison((str(a), str(b)))
    _walk(graph, [x for _, x in fed], (a, b), (), tolerance, loops, out.rows, progress)
    return out


def _graph_of(fn: Any, args: tuple) -> tuple[Graph, list]:
    leaves = tree.leaves(args)
    if isinstance(fn, Graph):
        return fn, leaves
    if isinstance(fn, Bound):
        graph = fn.trace(*args)
        return graph, [*leaves, *[fn.store[p] for p in graph.input_names[len(leaves) :]]]
    return (fn.trace if hasattr(fn, "trace") else lambda *xs: trace(fn, *xs))(*args), leaves


def _walk(
    graph: Graph, buffers: Sequence[Buffer], devices: tuple[Device, Device], places: tuple,
    tolerance: float | None, loops: bool, rows: list[Row], progress: Any = None,
) -> list[Buffer]:  # fmt: skip
    """One graph on both; the rows of its nodes are added. Returns the first engine's results."""
    a, b = devices
    done = 0

    def execute(node: Node, xs: list) -> Sequence[Buffer]:
        nonlocal done
        outs = step(node, xs, a)
        if loops and node.op in CONTROL:

            def look(place: Place, inner: Graph, given: list) -> tuple[None, Sequence[Buffer]]:
                around = (*places, place)
                return None, _walk(inner, given, devices, around, tolerance, loops, rows)

            each_turn(node, xs, a, look)
        else:
            theirs = step(node, [b.engine.put(a.engine.get(x), b) for x in xs], b)
            accepted = tolerance_of(node) if tolerance is None else tolerance
            pairs = [(a.engine.get(x), b.engine.get(y)) for x, y in zip(outs, theirs)]
            rows.append(_row(node, pairs, accepted, places))
        done += 1
        if progress is not None:
            progress(done, len(graph.nodes))
        return outs

    return graph.replay(buffers, execute)


def _row(node: Node, pairs: list, accepted: float, places: tuple) -> Row:
    ulps, histogram = 0.0, np.zeros(len(EDGES), int)
    for v, (want, got) in zip(node.outputs, pairs):
        ulps = max(ulps, float(distance(got, want, v.dtype)))
        histogram += np.bincount(_bins(got, want, v.dtype), minlength=len(EDGES))
    spec = node.outputs[0].spec if node.outputs else None
    return Row(node.op.name, node.source, ulps, accepted, tuple(map(int, histogram)), places, spec)


def _bins(got: np.ndarray, want: np.ndarray, d: Any) -> np.ndarray:
    """The bin of each element."""
    same = ((got == want) | ((got != got) & (want != want))).ravel()
    each = np.where(same, 0.0, np.inf)
    if d.is_inexact and got.size:
        wide = np.complex128 if d.is_complex else np.float64
        with np.errstate(all="ignore"):
            g, w = got.astype(wide).ravel(), want.astype(wide).ravel()
            finite = np.isfinite(w) & np.isfinite(g)
            scale = max(float(np.abs(w[finite]).max()), 1e-6) if finite.any() else 1.0
            apart = np.abs(g - w) / (finfo(d).eps * scale)
        each = np.where(~same & finite, apart, each)
    return np.searchsorted(EDGES, each)


def tolerance_of(node: Node) -> float:
    """What is accepted of a node: its op's ulps; of a loop the sum over its body and turns."""
    if node.op not in CONTROL:
        return node.op.ulps
    bodies = [sum(map(tolerance_of, g.nodes)) for g in attr_graphs(node.attrs)]
    return max(bodies) * node.attrs.get("length", 1)

"""What is checked of an op: each check is a job, a graph to run and a judge of what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..autodiff import backward
from ..dtypes import DType
from ..graph import Graph, ancestors
from ..numpy_engine import evaluate
from ..op import NOT_DIFFERENTIABLE, Op, Sample
from ..ops import alias, literal, slice_, transpose, zeros_like
from ..rewrite import decompose
from ..spec import Spec
from ..tracing import inline, trace_flat, tracing
from .distance import distance
from .oracles import samples_of

Judge = Callable[[Sequence[np.ndarray]], tuple[float, str]]


@dataclass(frozen=True)
class Job:
    """One check of one op in one dtype.

    Attributes:
        graph, arrays: what the engine runs, on what.
        judge: results -> (largest error in ulp, what is wrong or nothing).
    """

    op: Op
    dtype: DType
    check: str
    graph: Graph
    arrays: list[np.ndarray]
    judge: Judge


class Oracle:
    """What the records say, computed once and shared by the engines of one run."""

    def __init__(self) -> None:
        self._kept: dict[Any, Any] = {}

    def keep(self, make: Callable, *key: Any) -> Any:
        """``make(*key)``, remembered."""
        if (make, *key) not in self._kept:
            self._kept[make, *key] = make(*key)
        return self._kept[make, *key]


def merged(jobs: Sequence[Job]) -> Graph:
    """One graph of several jobs, inputs and outputs in a row: one compilation instead of many."""

    def flat(*xs: Any) -> Any:
        outs, at = [], 0
        for job in jobs:
            outs += inline(job.graph, xs[at : at + len(job.arrays)])
            at += len(job.arrays)
        return tuple(outs)

    specs = [s for job in jobs for s in job.graph.input_specs]
    return _traced(flat, specs, jobs[0].op.name)


def _traced(fn: Callable, specs: Sequence[Spec], name: str) -> Graph:
    with tracing(None):
        return trace_flat(fn, specs, name=name)[0]


def _reference(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    plain, missing = decompose(graph, lambda o: o.reference is not None)
    assert not missing
    return evaluate(plain, arrays)


# ---- values


def recorded(op: Op, samples: Sequence[Sample], widen: bool = False) -> tuple[Graph, list]:
    """One graph that applies ``op`` to every sample, and its inputs; in 64 bits with ``widen``."""
    arrays = [_wide(a) if widen else a for s in samples for a in s.operands]

    def flat(*xs: Any) -> Any:
        out: list[Any] = []
        at = 0
        for s in samples:
            attrs = {k: _wide_attr(v) for k, v in s.attrs.items()} if widen else s.attrs
            y = op(*xs[at : at + len(s.operands)], **attrs)
            out.extend(y if op.multi else [y])
            at += len(s.operands)
        return tuple(out)

    return _traced(flat, [Spec.of(a) for a in arrays], op.name), arrays


def _wide(a: np.ndarray) -> np.ndarray:
    kind = Spec.of(a).dtype.kind
    return a.astype({"float": "float64", "complex": "complex128"}.get(kind, a.dtype))


def _wide_attr(v: Any) -> Any:
    if isinstance(v, DType) and v.is_inexact:
        return "complex128" if v.is_complex else "float64"
    return v


def _widens(op: Op, d: DType, samples: Sequence[Sample]) -> bool:
    """Whether a float64 run of the record means the same: not for bit patterns and typed graphs."""
    values = [v for s in samples for v in s.attrs.values()]
    items = [i for v in values for i in (v if isinstance(v, tuple) else (v,))]
    return d.is_inexact and not op.bits and not any(isinstance(i, Graph) for i in items)


def _expected(op: Op, d: DType) -> list[np.ndarray]:
    samples = samples_of(op, d)
    return _reference(*recorded(op, samples, _widens(op, d, samples)))


def _compare(
    got: Sequence[np.ndarray], want: Sequence, specs: Sequence[Spec], ulps: float, floor: float = 1e-6
) -> tuple[float, str]:  # fmt: skip
    """Shape and dtype as inferred, numbers within ``ulps``: (largest error, problem or nothing)."""
    worst, problems = 0.0, []
    for i, (g, w, s) in enumerate(zip(got, want, specs)):
        if g.shape != s.shape or g.dtype != s.dtype.numpy:
            problems.append(f"output {i} is {g.dtype}{list(g.shape)}, inferred was {s}")
            continue
        off = distance(g, w, s.dtype, floor)
        worst = max(worst, off)
        if not off <= ulps:
            problems.append(
                f"output {i} ({s}) is off by {off:.3g} ulp of its largest, allowed {ulps:g}"
            )
    return worst, "; ".join(problems[:3])


def value(oracle: Oracle, op: Op, d: DType, samples: Sequence[Sample]) -> Job:
    """Every sample's value and spec against the reference, floats in float64."""
    graph, arrays = recorded(op, samples)
    specs = graph.verify().output_specs
    return Job(
        op, d, "value", graph, arrays,
        lambda got: _compare(got, oracle.keep(_expected, op, d), specs, op.ulps),
    )  # fmt: skip


def strided(oracle: Oracle, op: Op, d: DType, samples: Sequence[Sample]) -> Job | None:
    """The same on operands that an engine may hold as views: transposed, or every second element.

    One dtype is enough: strides know nothing of dtypes.
    """
    first = next(n for n in ("float32", "int32", "uint32", "bool", d.name) if _takes(op, n))
    if d.name != first or not any(a.ndim for s in samples for a in s.operands):
        return None
    graph, arrays = recorded(op, samples)

    def flat(*xs: Any) -> Any:
        return tuple(inline(graph, [_view(x) for x in xs]))

    held = [np.ascontiguousarray(a.T) if a.ndim > 1 else a.repeat(2, -1) if a.ndim else a
            for a in arrays]  # fmt: skip
    outer = _traced(flat, [Spec.of(a) for a in held], op.name)
    return Job(
        op, d, "strided", outer, held,
        lambda got: _compare(got, oracle.keep(_expected, op, d), graph.output_specs, op.ulps),
    )  # fmt: skip


def _takes(op: Op, name: str) -> bool:
    kind = name.rstrip("0123456789")
    return any(k in ("any", kind, name) for k in op.dtypes)


def _view(x: Any) -> Any:
    if x.ndim > 1:
        return transpose(x, permutation=tuple(range(x.ndim))[::-1])
    return slice_(x, start=(0,), limit=x.shape, strides=(2,)) if x.ndim else x


# ---- gradients


def pulled(op: Op, samples: Sequence[Sample], order: int, widen: bool = False) -> tuple:
    """A graph of the gradients of a weighted sum of outputs, by every float input: (graph, inputs,
    places of the inputs, weights, pushes). Of second order: of the gradient, weighted by pushes."""
    graph, arrays = recorded(op, samples, widen)
    rng = np.random.default_rng(3)
    places = [i for i, a in enumerate(arrays) if Spec.of(a).dtype.is_inexact and a.size]

    def draw(shape: tuple, like: Any) -> np.ndarray:  # the same numbers in every dtype
        return rng.uniform(0.5, 1.5, shape).astype("float32").astype(like)

    weights = [
        draw(s.shape, s.dtype.numpy) if s.dtype.is_inexact else None for s in graph.output_specs
    ]
    pushes = [draw(arrays[i].shape, arrays[i].dtype) for i in places]

    def flat(*xs: Any) -> Any:
        named = [alias(x) if i in places else x for i, x in enumerate(xs)]
        live = [(y, literal(w)) for y, w in zip(inline(graph, named), weights) if w is not None]
        watched = [named[i] for i in places]
        grads = backward([y for y, _ in live], [w for _, w in live], watched)
        if order == 2:
            pairs = [(g, literal(p)) for g, p in zip(grads, pushes) if g is not None]
            grads = backward([g for g, _ in pairs], [p for _, p in pairs], watched)
        return tuple(zeros_like(x) if g is None else g for g, x in zip(grads, watched))

    made = _traced(flat, [Spec.of(a) for a in arrays], f"{op.name}_grad")
    return made, arrays, places, weights, pushes


def _smooth(op: Op, d: DType) -> list[Sample]:
    return [s for s in samples_of(op, d) if s.grad and all(0 < a.size <= 200 for a in s.operands)]


def _differentiable(op: Op, d: DType, dtypes: Sequence[str]) -> list[Sample]:
    return _smooth(op, d) if op.vjp is not NOT_DIFFERENTIABLE and d.name in dtypes else []


def _numeric(op: Op, d: DType, order: int) -> list[np.ndarray]:
    """Central differences of the reference: of its value, or for order 2 of its gradient."""
    samples = _smooth(op, d)
    graph, arrays = recorded(op, samples)
    _, _, places, weights, pushes = pulled(op, samples, 1)
    if order == 2:
        graph, weights = pulled(op, samples, 1)[0], pushes
    plain, _ = decompose(graph, lambda o: o.reference is not None)
    needs = [set(ancestors([y])) for y in plain.outputs]

    def one(i: int) -> np.ndarray:
        # only what depends on this input: samples have nothing to do with each other
        live = [
            k for k, n in enumerate(needs) if plain.inputs[i].node in n and weights[k] is not None
        ]
        part = Graph(plain.inputs, [plain.outputs[k] for k in live])

        def project(x: np.ndarray) -> float:
            ys = evaluate(part, [*arrays[:i], x, *arrays[i + 1 :]])
            return sum(float(np.vdot(weights[k], y).real) for k, y in zip(live, ys))

        return _differences(project, arrays[i])

    return [one(i) for i in places]


def _differences(project: Callable[[np.ndarray], float], x: np.ndarray) -> np.ndarray:
    """Of a real function of one array; conjugate convention for complex numbers."""
    out, h = np.zeros(x.shape, x.dtype), 1e-6
    for at in np.ndindex(x.shape):
        for unit in (1.0, 1j) if np.iscomplexobj(x) else (1.0,):
            up, down = x.copy(), x.copy()
            up[at] += h * unit
            down[at] -= h * unit
            out[at] += unit * (project(up) - project(down)) / (2 * h)
    return out


def _against_numeric(got: Sequence[np.ndarray], want: Sequence[np.ndarray]) -> str:
    for i, (g, w) in enumerate(zip(got, want)):
        worst = float(np.abs(g - w).max(initial=0)) / max(1.0, float(np.abs(w).max(initial=0)))
        if not worst < 2e-5:
            return f"float operand {i}: off by {worst:.2e} from central differences in float64"
    return ""


def _gradient(op: Op, d: DType) -> list[np.ndarray]:
    samples = _smooth(op, d)
    graph, arrays, *_ = pulled(op, samples, 1, _widens(op, d, samples))
    return _reference(graph, arrays)


def gradient(oracle: Oracle, op: Op, d: DType, samples: Sequence[Sample]) -> Job | None:
    """The gradient against the reference's own in float64, and in 64 bits against differences too.

    A gradient is several ops, so it may be off by more than the op itself: 8 times as much, and at
    least 64 ulp of its largest. Below 0.1 it counts as that: what cancels is about 1 in the samples.
    """
    samples = _differentiable(op, d, ("float32", "complex64", "float64", "complex128"))
    if not samples:
        return None
    graph, arrays, places, *_ = pulled(op, samples, 1)
    specs = graph.verify().output_specs

    def judge(got: Sequence[np.ndarray]) -> tuple[float, str]:
        want = oracle.keep(_gradient, op, d)
        worst, problem = _compare(got, want, specs, max(64, 8 * op.ulps), 0.1)
        if not problem and d.name in ("float64", "complex128"):
            problem = _against_numeric(got, oracle.keep(_numeric, op, d, 1))
        return worst, problem

    return Job(op, d, "gradient", graph, arrays, judge) if places else None


def second(oracle: Oracle, op: Op, d: DType, samples: Sequence[Sample]) -> Job | None:
    """The gradient of the gradient, in 64 bits, against differences of the reference's gradient."""
    samples = _differentiable(op, d, ("float64", "complex128"))
    if not samples:
        return None
    graph, arrays, places, *_ = pulled(op, samples, 2)
    graph.verify()
    return Job(
        op, d, "second", graph, arrays,
        lambda got: (0.0, _against_numeric(got, oracle.keep(_numeric, op, d, 2))),
    ) if places else None  # fmt: skip


CHECKS: dict[str, Callable[[Oracle, Op, DType, Sequence[Sample]], Job | None]] = {
    "value": value, "strided": strided, "gradient": gradient, "second": second,
}  # fmt: skip

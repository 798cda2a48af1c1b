"""The checks: for each op record and dtype one graph of all its samples, so one compilation each."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import numpy as np

from ..autodiff import backward
from ..dtypes import DType, known
from ..engine import Engine, Options, get_engine
from ..errors import MonographError, UnsupportedOp
from ..graph import Graph
from ..numpy_engine import evaluate
from ..op import NOT_DIFFERENTIABLE, Op, Sample, all_ops, get
from ..ops import literal
from ..rewrite import decompose
from ..spec import Spec
from ..tracing import trace_flat, tracing

CHECKS = ("value", "gradient", "second")


@dataclass
class Row:
    """One op, dtype and check: ``passed``, ``failed``, ``known`` or ``skipped``, and why."""

    op: str
    dtype: str
    check: str
    outcome: str
    note: str = ""
    ulps: float = 0.0


@dataclass
class Report:
    """What a run found."""

    engine: str
    rows: list[Row] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return sum(r.outcome == outcome for r in self.rows)

    @property
    def ok(self) -> bool:
        return not self.count("failed")

    def __str__(self) -> str:
        counts = ", ".join(f"{self.count(o)} {o}" for o in ("passed", "failed", "known", "skipped"))
        return f"conformance {self.engine}: {counts}"


def dtypes_of(op: Op) -> list[DType]:
    """The registered dtypes a record asks to be sampled with."""
    return [d for d in known() if any(k in ("any", d.kind, d.name) for k in op.dtypes)]


def run(
    engine: str | Engine, ops: Iterable[str] = (), quick: bool = False,
    progress: Callable[[str], None] | None = None,
) -> Report:  # fmt: skip
    """Run the kit.

    Args:
        engine: its name, or the object itself.
        ops: only these; all when empty.
        quick: values only, float32 and int32 only.
    """
    e = engine if isinstance(engine, Engine) else get_engine(engine)
    wanted, report, excused = set(ops), Report(e.name), _known(e)
    _load_dtypes()
    for name in sorted(wanted):
        get(name)  # raises for a name that is no op
    for op in all_ops():
        if op.name in ("parameter", "constant") or (wanted and op.name not in wanted):
            continue
        if progress:
            progress(op.name)
        for d in dtypes_of(op):
            if quick and d.name not in ("float32", "int32", "bool"):
                continue
            for check in CHECKS[:1] if quick else CHECKS:
                row = _guarded(e, op, d, check)
                if row is not None:
                    report.rows.append(_excuse(row, excused))
    report.rows.append(_honest(e))
    return report


def _load_dtypes() -> None:
    from .. import plugins
    from ..dtypes import dtype

    for name in plugins.names("monograph.dtypes"):
        dtype(name)


def _known(e: Engine) -> dict[tuple[str, str, str], str]:
    package = type(e).__module__.partition(".")[0]
    home = find_spec(package) if package not in ("monograph", "__main__") else None
    if home is None or home.submodule_search_locations is None:
        return {}  # a plain module has nowhere to keep the file
    path = files(package) / "conformance.toml"
    if not path.is_file():
        return {}
    entries = tomllib.loads(path.read_text())["known"]
    return {(k["op"], k.get("dtype", "*"), k.get("check", "*")): k["reason"] for k in entries}


def _excuse(row: Row, excused: dict[tuple[str, str, str], str]) -> Row:
    keys = [(row.op, d, c) for d in (row.dtype, "*") for c in (row.check, "*")]
    reason = next((excused[k] for k in keys if k in excused), None)
    if reason is None or row.outcome == "skipped":
        return row
    if row.outcome == "failed":
        return Row(row.op, row.dtype, row.check, "known", reason, row.ulps)
    if any(k[1] != "*" and k[2] != "*" for k in keys if k in excused):
        return Row(
            row.op, row.dtype, row.check, "failed", f"passes, though known to fail: {reason}"
        )
    return row


def _guarded(e: Engine, op: Op, d: DType, check: str) -> Row | None:
    try:
        samples = list(op.samples(d, np.random.default_rng(7))) if op.samples else []
    except Exception as err:  # a defect of the record, not of the engine
        return Row(op.name, d.name, check, "failed", f"samples: {type(err).__name__}: {err}")
    if not samples:
        return None
    if not e.supports_dtype(d):
        return Row(op.name, d.name, check, "skipped", f"{e.name} has no {d.name}")
    try:
        return {"value": _value, "gradient": _gradient, "second": _second}[check](e, op, d, samples)
    except UnsupportedOp as err:
        lied = [n for n in err.missing if e.supports(get(n))]
        if lied:
            return Row(op.name, d.name, check, "failed", f"lists {', '.join(lied)}, yet refuses")
        return Row(op.name, d.name, check, "skipped", f"{e.name} lacks {', '.join(err.missing)}")
    except Exception as err:
        return Row(op.name, d.name, check, "failed", f"{type(err).__name__}: {str(err)[:300]}")


def _compute(e: Engine, graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    device = e.devices[0]
    exe = e.compile(e.prepare(graph), Options(device))
    # strided views: an engine must not assume that what it is handed lies in one piece
    strided = [np.repeat(a[..., None], 2, -1)[..., 0] for a in arrays]
    return [np.asarray(e.get(b)) for b in exe(*[e.put(a, device) for a in strided])]


def _oracle(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    plain, missing = decompose(graph, lambda o: o.reference is not None)
    assert not missing
    return evaluate(plain, arrays)


def _record(
    op: Op, samples: Sequence[Sample], widen: bool = False
) -> tuple[Graph, list[np.ndarray]]:
    """One graph that applies ``op`` to every sample, and its inputs."""
    arrays = [_wide(a) if widen else a for s in samples for a in s.operands]

    def flat(*xs: Any) -> Any:
        out, at = [], 0
        for s in samples:
            attrs = {k: _wide_attr(v) for k, v in s.attrs.items()} if widen else s.attrs
            y = op(*xs[at : at + len(s.operands)], **attrs)
            out.extend(y if op.multi else [y])
            at += len(s.operands)
        return tuple(out)

    with tracing(None):
        return trace_flat(flat, [Spec.of(a) for a in arrays], name=op.name)[0], arrays


def _wide(a: np.ndarray) -> np.ndarray:
    kind = Spec.of(a).dtype.kind
    return a.astype({"float": "float64", "complex": "complex128"}.get(kind, a.dtype))


def _wide_attr(v: Any) -> Any:
    if isinstance(v, DType) and v.is_inexact:
        return "complex128" if v.is_complex else "float64"
    return v


def _widest(op: Op, samples: Sequence[Sample]) -> bool:
    """Whether a float64 run of the record means the same: not for bit patterns and typed graphs."""
    typed = any(
        isinstance(v, Graph) or (isinstance(v, tuple) and any(isinstance(g, Graph) for g in v))
        for s in samples
        for v in s.attrs.values()
    )
    return not (op.bits or typed)


def _value(e: Engine, op: Op, d: DType, samples: Sequence[Sample]) -> Row:
    graph, arrays = _record(op, samples)
    graph.verify()
    got = _compute(e, graph, arrays)
    widen = d.is_inexact and _widest(op, samples)
    want = _oracle(*_record(op, samples, widen)) if widen else _oracle(graph, arrays)
    worst, problems = 0.0, []
    for i, (g, w, s) in enumerate(zip(got, want, graph.output_specs)):
        if g.shape != s.shape or g.dtype != s.dtype.numpy:
            problems.append(f"output {i} is {g.dtype}{list(g.shape)}, inferred was {s}")
            continue
        ulps = distance(g, w, s.dtype)
        worst = max(worst, ulps)
        if not ulps <= op.ulps:
            problems.append(
                f"output {i} ({s}) is off by {ulps:.3g} ulp of its largest, allowed {op.ulps:g}"
            )
    if problems:
        return Row(op.name, d.name, "value", "failed", "; ".join(problems[:3]), worst)
    return Row(op.name, d.name, "value", "passed", "", worst)


def distance(got: np.ndarray, want: np.ndarray, d: DType) -> float:
    """Largest error in eps of ``d`` relative to the largest finite magnitude; inf where NaNs or
    infinities disagree. For integers and bools: 0 when equal, else inf."""
    if not d.is_inexact:
        return 0.0 if np.array_equal(got, want) else np.inf
    wide = np.complex128 if d.is_complex else np.float64
    with np.errstate(all="ignore"):
        rounded = want.astype(d.numpy).astype(wide)  # what overflows in d is infinite in d
        g, w = got.astype(wide), want.astype(wide)
        finite = np.isfinite(rounded) & np.isfinite(w)
        if not np.array_equal(np.isnan(g), np.isnan(rounded)):
            return np.inf
        if not d.is_complex and not np.array_equal(g[~finite], rounded[~finite], equal_nan=True):
            return np.inf
        if not finite.any():
            return 0.0
        eps = {"bfloat16": 2.0**-7, "float16": 2.0**-10}.get(d.name)
        eps = eps or float(np.finfo(d.numpy).eps)
        scale = max(float(np.abs(w[finite]).max()), 1e-6)
        return float(np.abs(g - w)[finite].max() / (eps * scale))


# ---- gradients


def _pulled(
    op: Op, samples: Sequence[Sample], rng: Any, order: int
) -> tuple[Graph, list[np.ndarray], list[int]]:
    """A graph of each sample's random projection and its gradients by float inputs."""
    graph, arrays = _record(op, samples)
    places = [i for i, a in enumerate(arrays) if Spec.of(a).dtype.is_inexact and a.size]
    weights = [
        rng.uniform(0.5, 1.5, s.shape).astype(s.dtype.numpy) if s.dtype.is_inexact else None
        for s in graph.output_specs
    ]
    pushes = {i: rng.uniform(0.5, 1.5, arrays[i].shape).astype(arrays[i].dtype) for i in places}

    def flat(*xs: Any) -> Any:
        from ..ops import alias
        from ..tracing import inline

        xs = [alias(x) if i in places else x for i, x in enumerate(xs)]
        ys = inline(graph, xs)
        live = [(y, literal(w)) for y, w in zip(ys, weights) if w is not None]
        watched = [xs[i] for i in places]
        grads = backward([y for y, _ in live], [w for _, w in live], watched)
        if order == 2:
            pairs = [(g, literal(pushes[i])) for g, i in zip(grads, places) if g is not None]
            second = backward([g for g, _ in pairs], [p for _, p in pairs], watched)
            return _filled(second, watched)
        return _filled(grads, watched)

    with tracing(None):
        return (
            trace_flat(flat, [Spec.of(a) for a in arrays], name=f"{op.name}_grad")[0],
            arrays,
            places,
        )


def _filled(grads: Sequence[Any], xs: Sequence[Any]) -> tuple:
    from ..ops import zeros_like

    return tuple(zeros_like(x) if g is None else g for g, x in zip(grads, xs))


def _numeric(run: Callable, arrays: list[np.ndarray], place: int, weights: list) -> np.ndarray:
    """Central differences of the projection by one input, conjugate convention for complex."""
    x = arrays[place]
    out = np.zeros(x.shape, x.dtype)
    steps = (1.0, 1j) if np.iscomplexobj(x) else (1.0,)
    h = 1e-6

    def project(value: np.ndarray) -> float:
        ys = run([*arrays[:place], value, *arrays[place + 1 :]])
        return sum(
            float(np.real(np.sum(np.conj(w) * y))) for y, w in zip(ys, weights) if w is not None
        )

    for at in np.ndindex(x.shape):
        for unit in steps:
            up, down = x.copy(), x.copy()
            up[at] += h * unit
            down[at] -= h * unit
            out[at] += unit * (project(up) - project(down)) / (2 * h)
    return out


def _smooth(op: Op, d: DType, samples: Sequence[Sample]) -> list[Sample]:
    if op.vjp is NOT_DIFFERENTIABLE or d.name not in ("float64", "complex128"):
        return []
    return [s for s in samples if s.grad and all(0 < a.size <= 200 for a in s.operands)]


def _gradient(e: Engine, op: Op, d: DType, samples: Sequence[Sample]) -> Row | None:
    return _against_numeric(e, op, d, samples, 1)


def _second(e: Engine, op: Op, d: DType, samples: Sequence[Sample]) -> Row | None:
    return _against_numeric(e, op, d, samples, 2)


def _against_numeric(
    e: Engine, op: Op, d: DType, samples: Sequence[Sample], order: int
) -> Row | None:
    samples = _smooth(op, d, samples)
    if not samples:
        return None
    check = CHECKS[order]
    graph, arrays, places = _pulled(op, samples, np.random.default_rng(3), order)
    if not places:
        return None
    got = _compute(e, graph.verify(), arrays)
    rng = np.random.default_rng(3)
    base, _ = _record(op, samples)
    weights = [
        rng.uniform(0.5, 1.5, s.shape).astype(s.dtype.numpy) if s.dtype.is_inexact else None
        for s in base.output_specs
    ]
    pushes = [rng.uniform(0.5, 1.5, arrays[i].shape).astype(arrays[i].dtype) for i in places]
    if order == 2:  # differences of the gradient, projected on the same pushes
        first, _, _ = _pulled(op, samples, np.random.default_rng(3), 1)
        plain, _ = decompose(first, lambda o: o.reference is not None)
        weights = list(pushes)
    else:
        plain, _ = decompose(base, lambda o: o.reference is not None)
    for place, g in zip(places, got):
        want = _numeric(lambda xs: evaluate(plain, xs), list(arrays), place, weights)
        scale = max(1.0, float(np.abs(want).max(initial=0)))
        worst = float(np.abs(g - want).max(initial=0)) / scale
        if not worst < 2e-5:
            return Row(
                op.name, d.name, check, "failed",
                f"operand {place}: off by {worst:.2e} from central differences in float64",
            )  # fmt: skip
    return Row(op.name, d.name, check, "passed")


# ---- honesty


def _honest(e: Engine) -> Row:
    """What the engine says it lacks it must refuse, all at once and by name."""
    lacking = [
        op for op in all_ops() if op.body is None and not e.supports(op) and op.name != "parameter"
    ]
    wrong = [op.name for op in e.LOWER if not isinstance(op, Op)]
    if wrong:
        return Row("(table)", "-", "honesty", "failed", f"keys that are no ops: {wrong}")
    names = set()
    spec = Spec((2,), "float32")
    from ..graph import Node
    from ..tracing import Trace

    t = Trace(None)
    x = t.add_input(spec)
    outs = [Node(op, (x,), {}, (spec,), None, t).outputs[0] for op in lacking]
    try:
        e.prepare(Graph([x], outs or [x]))
    except UnsupportedOp as err:
        names = set(err.missing)
    except MonographError as err:
        return Row("(table)", "-", "honesty", "failed", str(err))
    if names != {op.name for op in lacking}:
        return Row("(table)", "-", "honesty", "failed", f"refuses {names}, lacks {lacking}")
    note = f"lacks {', '.join(sorted(names))}" if names else ""
    return Row("(table)", "-", "honesty", "passed", note)

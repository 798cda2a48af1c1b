"""`Guarded`: a compiled graph that tells whether its results are finite, and why not."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .. import guarding, ops, tree
from ..api._common import asarray
from ..array import Array
from ..compiled import Compiled, _gone
from ..engine import Buffer
from ..errors import EngineError, NonFinite
from ..graph import Graph
from ..op import Op
from ..packs import Plan
from ..tensor import Tensor
from ..tracing import current, user_source
from .blame import Finding, first_arithmetic, judge
from .flags import can_be_nonfinite, flagged, watched
from .report import Report, described, given, picture, place_of
from .statistics import NAN, Statistics, kinds
from .walk import together, walk


class NonFiniteWarning(RuntimeWarning):
    """What a `nan_guard` in mode ``"skip"`` warns with."""


class Guarded(Compiled):
    """A graph compiled with a flag that tells whether its results are finite; see `nan_guard`.

    It lends the engine no input to overwrite: what was handed in is still there when the flag falls.
    What the state was two calls ago is the memory that it writes into, so state takes twice the memory.

    Args:
        donate: as for `Compiled`; those tensors are used up when the call returned.
        variables: inputs from this position on are variables, those before it arguments.
        out_tree: how the results before the state nest, where the graph does not say.
        plan: of the state; the last results are the next values of what it holds. In mode ``"skip"`` a call
            that trips gives the inputs back instead. It is told of by variable, packed or not.
    """

    __slots__ = (
        "plan", "state", "places", "variables", "out_tree", "spared", "spares", "innocent", "told",
    )  # fmt: skip

    SPARED = 1 << 14  # bytes from which on memory that is there already beats new memory

    def __init__(
        self, graph: Graph, engine: Any = None, donate: Sequence[int] = (),
        variables: int | None = None, out_tree: Any = None, plan: Plan | None = None,
    ):  # fmt: skip
        n, state = len(graph.inputs), plan.written if plan else []
        self.spared = [i for i in state if graph.inputs[i].spec.nbytes >= self.SPARED]
        self.spares: list[list[Buffer]] = []
        super().__init__(flagged(graph, self.spared), engine, range(n, n + len(self.spared)))
        self.plan, self._specs, self.state = plan, graph.output_specs, tuple(state)
        self.graph, self.places = (plan.plain, plan.plainly_written) if plan else (graph, [])
        self.variables = len(graph.inputs) if variables is None else variables
        self.out_tree = graph.out_tree if out_tree is None else out_tree
        self._gone = [(i, _gone(graph.name, graph.input_names[i])) for i in donate]
        # results that were infinite by right: (position, kinds)
        self.innocent: set[tuple[int, int]] = set()
        self.told: set[Any] = set()

    def execute(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """Buffers from buffers.

        Raises:
            NonFinite: in mode ``"raise"``, when an operation is to blame for what is not finite.
        """
        try:
            spares = self.spares.pop()  # another thread makes its own meanwhile
        except IndexError:
            spares = self._new_spares()
        *outs, ok = super().execute([*buffers, *spares])
        report = None if self.device.engine.get(ok) else self._report(buffers, outs)
        if report is None:
            self.spares[:] = [[buffers[i] for i in self.spared]]
            return outs
        self._tell(report)
        first = len(outs) - len(self.state)
        return [*outs[:first], *[buffers[i] for i in self.state]]

    def _new_spares(self) -> list[Buffer]:
        put, specs = self.device.engine.put, [self.graph.inputs[i].spec for i in self.spared]
        return [put(np.zeros(s.shape, s.dtype.numpy), self.device) for s in specs]

    def _tell(self, report: Report) -> None:
        """Raise, or in mode ``"skip"`` warn of what was not told before."""
        if not self._skips():
            raise nonfinite(report)
        key = _key(report)
        if key not in self.told:
            self.told.add(key)
            _warn(f"{report}\n{_SKIPPED}")

    def _skips(self) -> bool:
        guard = guarding.current()
        return guard is not None and guard.mode == "skip"

    def _report(self, buffers: Sequence[Buffer], outs: Sequence[Buffer]) -> Report | None:
        """What is to blame; None where the results are infinite by right."""
        if self.plan is not None and self.plan.plain is not self.plan.graph:
            buffers = self.plan.inputs(buffers, self.device)
            outs = self.plan.outputs(outs, self.device)
        graph, get = self.graph, self.device.engine.get
        found = {i: kinds(get(outs[i])) for i in watched(graph)}
        odd = {(i, k) for i, k in found.items() if k}
        if odd and odd <= self.innocent:
            return None
        finding, shown = self._diagnose(buffers, sorted(i for i, _ in odd))
        if finding is None and shown:
            self.innocent |= {(i, k) for i, k in odd if not k & NAN}
            return None
        guard = guarding.current() or guarding.Guard("raise")
        bad = tuple(self._named(i) for i, _ in sorted(odd))
        known: dict[str, Any] = {"engine": str(self.device), "what": guard.what, "bad": bad}
        if finding is None:
            return Report("unknown", source=user_source(), **known)
        if finding.given is None:
            report = described(finding, **known)
        else:
            at = place_of(finding.given, graph.inputs)
            kind = "variable" if at >= self.variables else "argument"
            report = given(kind, graph.inputs[at], get(buffers[at]), source=user_source(), **known)
        if self._skips() and _key(report) in self.told:  # nobody will look at another picture
            return report
        return replace(report, picture=picture(finding, guard.folder))

    def _diagnose(
        self, buffers: Sequence[Buffer], odd: Sequence[int]
    ) -> tuple[Finding | None, bool]:
        """What is to blame, and whether a replay shows the bad results at all."""
        outputs, get = self.graph.outputs, self.device.engine.get
        first = len(outputs) - len(self.places)
        spoilt = [i for i in odd if i >= first and not kinds(get(buffers[self.places[i - first]]))]
        for run in (walk, together):
            with contextlib.suppress(EngineError):  # one that cannot run them so
                trail = run(self.graph, buffers, self.device)
                finding = judge(trail) or first_arithmetic([outputs[i] for i in spoilt], trail)
                if finding is not None or trail.has([outputs[i] for i in odd]):
                    return finding, True
        return None, False

    def _named(self, i: int) -> str:
        first = len(self.graph.outputs) - len(self.places)
        if i >= first:
            return f"variable {self.graph.input_names[self.places[i - first]]}"
        out_tree = self.out_tree
        if out_tree is None or out_tree is tree.LEAF:
            return f"result {i}" if first > 1 else "the result"
        return f"result{tree.paths(tree.unflatten(out_tree, range(first)))[i]}"


def _key(report: Report) -> tuple:
    """Tells what is to blame from anything else."""
    return report.kind, report.op, report.source, report.name


_SKIPPED = "  The call's results are handed out; variables keep their values from before it."


def _warn(text: str) -> None:
    source = user_source()
    file, line = (source.file, source.line) if source else ("monograph", 1)
    warnings.warn_explicit(text, NonFiniteWarning, file, line)


def nonfinite(report: Report) -> NonFinite:
    """The error of a report."""
    error = NonFinite(str(report))
    error.report = report
    return error


# ---- eager operations, and the two marks


def check_eager(
    op: Op, attrs: dict[str, Any], operands: Sequence[Tensor], results: Sequence[Tensor]
) -> None:
    """Look at what an eager operation made.

    Raises:
        NonFinite: NaN or infinity of finite operands, or NaN of operands without one.
    """
    guard = guarding.current()
    if guard is None or op is ops.allow_nonfinite or op.name == "constant":
        return
    made = _kinds(results)
    if not made:
        return
    given = _kinds(operands)
    if given and not (made & NAN and not given & NAN):
        return
    report = _eager_report(op, attrs, operands, results, guard.what)
    if guard.mode == "raise":
        raise nonfinite(report)
    _warn(str(report))


def _kinds(xs: Sequence[Tensor]) -> int:
    found = 0
    for x in xs:
        if can_be_nonfinite(x):  # type: ignore[arg-type]
            found |= kinds(x.numpy())
    return found


def _eager_report(
    op: Op, attrs: dict[str, Any], operands: Sequence[Tensor], results: Sequence[Tensor], what: str
) -> Report:
    point = op is ops.check_finite
    source = user_source()
    return Report(
        kind="point" if point else "operation", op=op.name, source=source,
        operands=tuple(Statistics.of(x.numpy(), x.spec) for x in operands),
        results=tuple(Statistics.of(x.numpy(), x.spec) for x in results),
        name=attrs["name"] if point else "", engine=str(results[0].device), what=what,
        scope=source.scope if source else "",
    )  # fmt: skip


def check_finite(x: Any, name: str, /) -> Array:
    """``x`` itself, which shall be finite: the place is named when it is not.

    Eagerly that is looked at once, always. In a traced function it is under a `nan_guard`, also where
    the value never reaches a result, and in loops, branches and gradients: the gradient that comes back
    through here is looked at too. Use what it returns; a value that nobody reads is not computed.

    Raises:
        NonFinite: eagerly, or under a guard: NaN or infinity.

    >>> import monograph as mg
    >>> mg.check_finite(mg.tensor([1.0, 2.0]), "lengths").tolist()
    [1.0, 2.0]
    """
    y = ops.check_finite(asarray(x), name=str(name))
    if current() is None and _kinds([y]):
        raise nonfinite(_eager_report(ops.check_finite, {"name": str(name)}, [y], [y], ""))
    return y


def allow_nonfinite(x: Any, /) -> Array:
    """``x`` itself, in which NaN and infinities are meant to be: masks of ``-inf``, for instance.

    What made it is never blamed by a `nan_guard`, nor is what passes its infinities on.

    >>> import monograph as mg
    >>> with mg.nan_guard():
    ...     mg.jit(lambda x: mg.allow_nonfinite(mg.log(x)))(mg.tensor([0.0])).tolist()
    [-inf]
    """
    return ops.allow_nonfinite(asarray(x))

"""What a model lacks: seen by its nodes, and by recording it once, past every step that fails.

The recording ends, with what was found so far, when it takes too much effort: what a very long model lacks further
on, and does not show by its nodes, is said when it is traced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import monograph as mg
from monograph.errors import DataDependentShape, DTypeError
from monograph.tracing import without_line

from .._steps import EFFORT, STEP, Effort, Lacking, Missing, Spent
from . import check
from .interpret import FOLDED, Run, all_known, most
from .parts import Body, Step

# what a model meets for arrays of any size; of other errors those may be to blame that stand for axes with names
_ALWAYS = (DataDependentShape, DTypeError, Lacking)


def lacks(
    main: Body, inputs: Mapping[str, Any], specs: Mapping[str, mg.Spec], types: Mapping[str, mg.Spec],
    *parts: Any,
) -> Iterator[tuple[str, str, str]]:  # fmt: skip
    """``(op, where, why)`` of every node that cannot run, those in functions once.

    Args:
        inputs: values of inputs by name.
        specs: of other inputs, which are data; what is in neither is not there.
        types: of values by name, as far as the model says.
        parts: of a `Run` besides the scope.
    """
    found: dict[int, tuple[Step, str]] = {}
    for step, why in check.missing(main):
        found[id(step)] = step, why
        yield step.runs_by, _where(step), why
    before = len(found)

    def dry(scope: mg.Scope, *data: Any) -> tuple[()]:
        given = {**inputs, **dict(zip(specs, data))}
        run = _Dry(parts[0], scope, *parts[1:])
        run.found, run.types = found, {id(s): [types.get(n) for n in s.outputs] for s in main.steps}
        run.effort = Effort(EFFORT)
        with contextlib.suppress(Missing, Spent):
            run.body(main, [given.get(n, _GONE) for n in main.inputs], {})
        return ()

    mg.Outline().bind(dry, "numpy").trace(*specs.values())
    for step, why in list(found.values())[before:]:
        yield step.runs_by, _where(step), why


def _where(step: Step) -> str:
    return f"{step.source} {step.name!r}"


_GONE = object()  # in the place of a value that is not there


class _Dry(Run):
    """A run of which nothing is kept but the steps that fail.

    What such a step should have given is data of the type that the model says, where it does.

    Attributes:
        found: the steps that fail, and why, by their identity.
        types: specs of a step's outputs, by its identity.
    """

    found: dict[int, tuple[Step, str]]
    types: Mapping[int, Sequence[mg.Spec | None]]
    effort: Effort

    def body(self, *args: Any) -> list[Any]:
        out = super().body(*args)
        if any(x is _GONE for x in out):
            raise Missing
        return out

    def step(self, step: Step, env: dict, opsets: dict[str, int], given: Mapping[str, Any]) -> Any:
        self.effort.spend(STEP)
        if id(step) not in self.found:
            try:
                if not any(env.get(n) is _GONE for n in step.inputs):
                    return self.compute(step, env, opsets, given)
            except _ALWAYS as e:
                self.found[id(step)] = step, without_line(e)
            except Exception:  # of the sizes, or of what is not there: said when it is traced
                pass
        if id(step) not in self.found:
            return [_GONE] * len(step.outputs)
        specs = self.types.get(id(step), [None] * len(step.outputs))
        return [_GONE if s is None else mg.zeros(s.shape, dtype=s.dtype) for s in specs]

    def rule(self, step: Step, xs: list, attributes: dict, env: dict) -> Any:
        if all(map(all_known, xs)):
            self.effort.spend(min(most(xs), FOLDED))
        return super().rule(step, xs, attributes, env)

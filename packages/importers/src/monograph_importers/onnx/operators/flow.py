"""If, Loop and Scan: what is known is decided while tracing, the rest becomes `mg.cond`, `while_loop`, `scan`."""

from __future__ import annotations

import itertools
from typing import Any

import monograph as mg
import numpy as np

from ..._steps import Lacking, known
from ..check import needs
from ..interpret import all_known, sized
from ..rules import rule

UNROLLED = 64  # loops of known length up to this one are written out


@rule("If")
def if_(cond: Any, *, then_branch: Any, else_branch: Any, step: Any) -> Any:
    """One of two graphs; both are recorded where it is data that decides."""
    if known(cond):
        return tuple(step.body(then_branch if np.asarray(cond).item() else else_branch))
    try:
        return mg.cond(
            mg.reshape(cond, ()),
            lambda: tuple(step.body(then_branch)),
            lambda: tuple(step.body(else_branch)),
        )
    except mg.errors.ShapeError as e:
        e.add_note(
            "Data decides this If, so both of its graphs must fit these shapes. If its condition comes from an "
            "input, give that when loading: mg.load(..., constants={...})."
        )
        raise


@rule("Loop")
def loop(trips: Any, cond: Any, *carried: Any, body: Any, step: Any) -> Any:
    """A graph again and again: so often, or while a condition holds.

    Raises:
        DataDependentShape: data decides how many results there are to stack.
    """
    n = len(carried)
    stacked = len(body.outputs) - 1 - n
    if trips is not None and not known(trips):
        limit = None
    else:
        limit = np.iinfo(np.int64).max if trips is None else int(np.asarray(trips).item())
        if cond is None or known(cond):
            go = cond is None or bool(np.asarray(cond).item())
            if limit <= UNROLLED or _must_be_written_out(body, carried):
                out = _unrolled(limit, go, carried, body, step, stacked)
                if out is not None:
                    return out
            if go and _always(body):
                return _scanned(limit, carried, body, step)
    if stacked:
        raise mg.errors.DataDependentShape(
            "a Loop that data ends stacks a number of results that depends on it"
        )
    return _while(trips if limit is None else limit, cond, carried, body, step)


def _must_be_written_out(body: Any, carried: Any) -> bool:
    """Whether each turn differs for us: it computes shapes, or goes through a sequence."""
    decide = needs(body)
    return (
        all_known(list(carried))
        or any(isinstance(c, list) for c in carried)
        or any(n in decide for n in body.inputs)
    )


def _unrolled(limit: int, go: bool, carried: Any, body: Any, step: Any, stacked: int) -> Any:
    """Turn by turn; None where data comes to decide whether to go on."""
    state, rows = list(carried), [[] for _ in range(stacked)]  # type: ignore[var-annotated]
    for i in itertools.count():
        if i >= limit or not go:
            break
        out = step.body(body, np.asarray(i, np.int64), np.asarray(True), *state)
        if not known(out[0]):
            return None
        go, state = bool(np.asarray(out[0]).item()), out[1 : 1 + len(state)]
        for row, y in zip(rows, out[1 + len(state) :]):
            row.append(y)
    if stacked and not rows[0]:  # what a turn would give says of which shape nothing is
        out = step.body(body, np.asarray(0), np.asarray(True), *state)[1 + len(state) :]
        return (*state, *[mg.zeros((0, *y.shape), dtype=y.dtype) for y in out])
    return (*state, *[_stack(row) for row in rows])


def _stack(row: list[Any]) -> Any:
    return np.stack(row) if all(map(known, row)) else mg.stack(row, axis=0)


def _always(body: Any) -> bool:
    """Whether the body's condition is always true, as far as can be seen."""
    made = {s.outputs[0]: s for s in body.steps if s.outputs}
    name = body.outputs[0]
    while name in made and made[name].op in ("Identity", "Cast"):
        name = made[name].inputs[0]
    if name == body.inputs[1]:
        return True
    found = body.constants.get(name)
    if found is None and name in made and made[name].op == "Constant":
        found = made[name].attributes.get("value")
    return found is not None and bool(np.asarray(found).reshape(-1)[0])


def _scanned(limit: int, carried: Any, body: Any, step: Any) -> Any:
    def turn(state: Any, i: Any) -> Any:
        out = step.body(body, i, np.asarray(True), *state)
        n = 1 + len(state)
        return tuple(map(mg.asarray, out[1:n])), tuple(map(mg.asarray, out[n:]))

    steps = np.arange(*sized((limit,)))
    state, rows = mg.scan(turn, tuple(map(mg.asarray, carried)), steps)
    return (*state, *rows)


def _while(trips: Any, cond: Any, carried: Any, body: Any, step: Any) -> Any:
    limit = mg.reshape(mg.astype(trips, "int64"), ())
    first = mg.asarray(True if cond is None else cond)

    def turn(state: Any) -> Any:
        i, go, *rest = state
        out = step.body(body, i, go, *rest)
        return (i + 1, mg.reshape(mg.asarray(out[0]), ()), *map(mg.asarray, out[1:]))

    start = (mg.asarray(np.int64(0)), mg.reshape(first, ()), *map(mg.asarray, carried))
    out = mg.while_loop(lambda s: mg.logical_and(s[0] < limit, s[1]), turn, start)
    return tuple(out[2:])


@rule("Scan", since=9)
def scan(
    *xs: Any, body: Any, num_scan_inputs: int, scan_input_axes: Any = None,
    scan_input_directions: Any = None, scan_output_axes: Any = None, scan_output_directions: Any = None,
    step: Any,
) -> Any:  # fmt: skip
    """A graph for each slice of some inputs, with a state that goes along."""
    n = len(xs) - num_scan_inputs
    k = len(body.outputs) - n
    lined = [
        _first(x, axis, back)
        for x, axis, back in zip(
            xs[n:], scan_input_axes or [0] * num_scan_inputs, scan_input_directions or [0] * num_scan_inputs
        )
    ]  # fmt: skip

    def turn(state: Any, row: Any) -> Any:
        out = [mg.asarray(y) for y in step.body(body, *state, *row)]
        return tuple(out[:n]), tuple(out[n:])

    state, rows = mg.scan(turn, tuple(map(mg.asarray, xs[:n])), tuple(lined))
    outs = [
        mg.moveaxis(mg.flip(y, axis=0) if back else y, 0, axis)
        for y, axis, back in zip(rows, scan_output_axes or [0] * k, scan_output_directions or [0] * k)
    ]  # fmt: skip
    return (*state, *outs)


def _first(x: Any, axis: int, back: int) -> Any:
    x = mg.moveaxis(mg.asarray(x), axis, 0)
    return mg.flip(x, axis=0) if back else x


@rule("Scan", since=8)
def scan_8(
    lengths: Any, *xs: Any, body: Any, num_scan_inputs: int, directions: Any = None, step: Any
) -> Any:
    """As above, for each row of a batch."""
    if lengths is not None:
        raise Lacking("Scan of version 8 with sequence_lens")
    rows = [
        scan(
            *[mg.asarray(x)[b] for x in xs], body=body, num_scan_inputs=num_scan_inputs,
            scan_input_directions=directions, step=step,
        )
        for b in range(xs[0].shape[0])
    ]  # fmt: skip
    return tuple(mg.stack(list(column), axis=0) for column in zip(*rows))

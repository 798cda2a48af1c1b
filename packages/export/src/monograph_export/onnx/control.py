"""Branches and loops: If, Loop and Scan, whose graphs see the tensors around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from monograph import Graph, Spec, ops
from monograph.dtypes import bool_, int64
from monograph.op import Op

from .builder import Builder, Ref, full
from .shapes import Entry, Specs

Replay = Callable[[Builder, Graph, Sequence[Ref]], list[Ref]]


def control(replay: Replay) -> Mapping[Op, Entry]:
    """The entries, given what writes a nested graph: ``replay(builder, graph, refs) -> refs``."""

    def branch(b: Builder, graph: Graph, operands: Sequence[Ref]) -> Any:
        inner = b.nested()
        return inner.graph(graph.name, (), _whole(inner, replay(inner, graph, operands)))

    def case(b: Builder, out: Specs, index: Ref, *operands: Ref, branches: Any) -> Sequence[str]:
        if len(branches) == 1:
            return [x.name for x in _whole(b, replay(b, branches[0], operands))]
        at = index.name if index.spec.dtype is bool_ else b.cast(index.name, int64)
        return _choose(b, out, at, index.spec.dtype is bool_, operands, branches, 0)

    def _choose(
        b: Builder, out: Specs, at: str, of_bool: bool, operands: Sequence[Ref],
        branches: Sequence[Graph], first: int,
    ) -> list[str]:  # fmt: skip
        """Branch ``first`` if ``at`` says so, else one of those after it; the last for all others."""
        test = b("Not", at) if of_bool else b("Equal", at, b.number(first, int64))
        if first + 2 == len(branches):
            rest = branch(b, branches[-1], operands)
        else:
            inner = b.nested()
            names = _choose(inner, out, at, of_bool, operands, branches, first + 1)
            rest = inner.graph("rest", (), [full(n, s) for n, s in zip(names, out)])
        mine = branch(b, branches[first], operands)
        got = b("If", test, outputs=len(out), then_branch=mine, else_branch=rest)
        return [got] if len(out) == 1 else got

    def while_(
        b: Builder, out: Specs, *operands: Ref, cond: Graph, body: Graph, num_carry: int
    ) -> Sequence[str]:
        carry, rest = operands[:num_carry], operands[num_carry:]
        begin = _whole(b, replay(b, cond, operands))[0].name
        inner = b.nested()
        turn, going = (full(inner.name(), Spec((), d)) for d in (int64, bool_))
        state = [full(inner.name(), x.spec) for x in carry]
        after = _whole(inner, replay(inner, body, [*state, *rest]))
        again = _whole(inner, replay(inner, cond, [*after, *rest]))
        loop = inner.graph(body.name, [turn, going, *state], [*again, *after])
        got = b("Loop", "", begin, *[x.name for x in carry], outputs=num_carry, body=loop)
        return [got] if num_carry == 1 else got

    def scan(
        b: Builder, out: Specs, *operands: Ref, body: Graph, num_consts: int, num_carry: int,
        length: int, reverse: bool, history: bool,
    ) -> Sequence[str]:  # fmt: skip
        k = num_consts + num_carry
        consts, carry, xs = operands[:num_consts], operands[num_consts:k], operands[k:]
        if not length:
            empty = [b.constant(np.zeros(s.shape, s.dtype.numpy)) for s in out[num_carry:]]
            return [*[x.name for x in carry], *empty]
        inner = b.nested()
        state = [full(inner.name(), x.spec) for x in carry]
        rows = [full(inner.name(), x.spec.with_(x.spec.shape[1:])) for x in xs]
        got = _whole(inner, replay(inner, body, [*consts, *state, *rows]))
        scanned = [x.name for x in xs]
        if not xs:  # there is no Scan over nothing
            rows, scanned = [full(inner.name(), Spec((), int64))], [b.constant(np.arange(length))]
        ys = [*got[num_carry:], *(state if history else [])]
        graph = inner.graph(body.name, [*state, *rows], [*got[:num_carry], *ys])
        backwards: dict[str, Any] = {}
        if reverse:
            backwards["scan_input_directions"] = [1] * len(scanned)
            if ys:
                backwards["scan_output_directions"] = [1] * len(ys)
        outs = b(
            "Scan", *[x.name for x in carry], *scanned, outputs=len(out), body=graph,
            num_scan_inputs=len(scanned), **backwards,
        )  # fmt: skip
        return [outs] if len(out) == 1 else outs

    return {ops.case: case, ops.while_: while_, ops.scan: scan}


def _whole(b: Builder, refs: Sequence[Ref]) -> list[Ref]:
    return [b.whole(x) for x in refs]

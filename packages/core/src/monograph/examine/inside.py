"""Into loops, branches and called graphs, turn by turn with concrete operands."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from .. import ops
from ..engine import Buffer, Device
from ..graph import Graph, Node, Source
from ..op import Op
from .walk import walk


@dataclass(frozen=True)
class Place:
    """A graph inside the outer one: a loop's body in one turn, a branch, or a called body.

    Attributes:
        op: ``scan``, ``while``, ``case``, ``checkpoint_call``, ``custom_vjp_call``.
        name: the body's name.
        source: where the loop or branch stands.
        index: the turn, from 0, or the number of the branch; None for a call.
        count: how many there are, None where nobody knows.
    """

    op: str
    name: str
    source: Source | None
    index: int | None = None
    count: int | None = None

    def __str__(self) -> str:
        n = "" if self.count is None else f" of {self.count}"
        what = {
            "scan": f"iteration {self.index}{n} (from 0) of scan",
            "while": f"iteration {self.index} (from 0) of while_loop",
            "case": f"branch {self.index}{n} (from 0) of cond or switch",
        }.get(self.op, f"the body of {self.op.removesuffix('_call')}")
        return f"{what} {self.name!r}, {self.source}"


Turn = tuple[Place, Graph, list[Buffer]]
Turns = Generator[Turn, Sequence[Buffer], None]


def turns(node: Node, xs: Sequence[Buffer], device: Device) -> Turns:
    """What a node runs: graph and operands of each turn; send each turn's results back in.

    A node that runs no graph has none.
    """
    enter = _ENTER.get(node.op)
    if enter is not None:
        yield from enter(node, list(xs), device)


def each_turn(
    node: Node, xs: Sequence[Buffer], device: Device,
    look: Callable[[Place, Graph, list[Buffer]], tuple[Any, Sequence[Buffer]]],
) -> Any:  # fmt: skip
    """``look(place, graph, operands) -> (found, results)`` turn by turn, until something is found."""
    run, outs = turns(node, xs, device), None
    while True:
        try:
            turn = run.send(outs)  # type: ignore[arg-type]
        except StopIteration:
            return None
        found, outs = look(*turn)
        if found is not None:
            return found


def _scan(node: Node, xs: list, device: Device) -> Turns:
    a = node.attrs
    k, n, length = a["num_consts"] + a["num_carry"], a["num_carry"], a["length"]
    consts, carry, put = xs[: a["num_consts"]], xs[a["num_consts"] : k], device.engine.put
    arrays = [device.engine.get(x) for x in xs[k:]]
    for i in range(length)[:: -1 if a["reverse"] else 1]:
        place = Place("scan", a["body"].name, node.source, i, length)
        given = [*consts, *carry, *[put(x[i], device) for x in arrays]]
        carry = list((yield place, a["body"], given)[:n])


def _while(node: Node, xs: list, device: Device) -> Turns:
    a, n, turn = node.attrs, node.attrs["num_carry"], 0
    while bool(device.engine.get(walk(a["cond"], xs, device).outputs[0])):
        outs = yield Place("while", a["body"].name, node.source, turn), a["body"], xs
        xs, turn = [*outs, *xs[n:]], turn + 1


def _case(node: Node, xs: list, device: Device) -> Turns:
    branches, i = node.attrs["branches"], int(device.engine.get(xs[0]))
    i = i if 0 <= i < len(branches) else len(branches) - 1
    yield Place("case", branches[i].name, node.source, i, len(branches)), branches[i], xs[1:]


def _called(node: Node, xs: list, device: Device) -> Turns:
    body = node.attrs["body"]
    yield Place(node.op.name, body.name, node.source), body, xs


_ENTER: dict[Op, Callable[[Node, list, Device], Turns]] = {
    ops.scan: _scan, ops.while_: _while, ops.case: _case,
    ops.checkpoint_call: _called, ops.custom_vjp_call: _called,
}  # fmt: skip

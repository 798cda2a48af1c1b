"""Who shares memory with whom: what may be overwritten in place, and which results need a copy.

The rule: a result of the compiled function shares memory with no input that the caller keeps, no
constant, and no other result. A donated input is the function's own to overwrite or hand out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from monograph import ops
from monograph.graph import Node, Value
from monograph.op import Op

from .lowerings.common import Pointwise
from .program import Program, Step


def _one_to_one(node: Node) -> list[int]:
    return list(range(len(node.outputs)))


def _scan_carry(node: Node) -> list[int | None]:
    n, first = node.attrs["num_carry"], node.attrs["num_consts"]
    return [first + i if i < n else None for i in range(len(node.outputs))]


# Per result the operand it may be a view of; results of all other ops are new memory.
VIEWS: dict[Op, Callable[[Node], Sequence[int | None]]] = {
    **dict.fromkeys(
        (
            ops.reshape, ops.transpose, ops.broadcast_in_dim,
            ops.slice_, ops.dynamic_slice, ops.real, ops.imag, ops.conj, ops.convert,
            ops.bitcast_convert, ops.abs_, ops.optimization_barrier,
            ops.while_,  # one that never turns hands its carry on
        ),
        _one_to_one,
    ),
    ops.scan: _scan_carry,
}  # fmt: skip


class Memory:
    """The analysis of one program.

    Attributes:
        copied: positions of results that must be copied.
        donated: positions of inputs whose memory the program overwrites or hands out.
    """

    def __init__(self, program: Program, donate: tuple[int, ...]):
        self._owned = {program.inputs[i] for i in donate}
        self._kept = ({*program.inputs} - self._owned) | program.constants.keys()
        self._roots: dict[Value, frozenset[Value]] = {}
        self._overlapping: set[Value] = {
            v for v in program.constants if v in program.maker
        }  # broadcasts: one element stands in many places
        for v in (*program.inputs, *program.constants):
            self._roots[v] = frozenset((v,))
        for step in program.steps:
            self._place(step)
        self._last = self._last_uses(program)
        written = {
            r
            for i, step in enumerate(program.steps)
            for p in self.free(i, step)
            for r in self._roots[step.inputs[p].value]
        }
        self.copied = self._copied(program)
        handed = {
            r for i, v in enumerate(program.outputs) if i not in self.copied for r in self._roots[v]
        }
        used = (written | handed) & self._owned
        self.donated = tuple(i for i, v in enumerate(program.inputs) if v in used)

    def _place(self, step: Step) -> None:
        view = VIEWS.get(step.node.op)
        places = view(step.node) if view else [None] * len(step.outputs)
        for v, p in zip(step.outputs, places):
            if p is None:
                self._roots[v] = frozenset((v,))
                continue
            beneath = step.inputs[p].value
            self._roots[v] = self._roots[beneath]
            if step.node.op is ops.broadcast_in_dim or beneath in self._overlapping:
                self._overlapping.add(v)

    def _last_uses(self, program: Program) -> dict[Value, int]:
        last: dict[Value, int] = {}
        for i, step in enumerate(program.steps):
            for v in (*step.outputs, *(x.value for x in step.inputs)):
                last.update(dict.fromkeys(self._roots[v], i))
        for v in program.outputs:
            last.update(dict.fromkeys(self._roots[v], len(program.steps)))
        return last

    def free(self, index: int, step: Step) -> tuple[int, ...]:
        """Positions of step number ``index`` whose operands it may overwrite, of those it can."""
        return tuple(p for p in getattr(step.how, "places", ()) if self._dies(index, step, p))

    def _dies(self, index: int, step: Step, place: int) -> bool:
        x = step.inputs[place]
        fits = any(x.value.spec is v.spec for v in step.outputs)
        if not fits or x.suffix or x.value in self._overlapping:
            return False
        roots = self._roots[x.value]
        if roots & self._kept or any(self._last[r] > index for r in roots):
            return False
        others = [y for i, y in enumerate(step.inputs) if i != place]
        if isinstance(step.how, Pointwise):  # which reads an element before it writes there
            others = [y for y in others if y.value is not x.value or y.suffix]
        return not any(roots & self._roots[y.value] for y in others)

    def _copied(self, program: Program) -> frozenset[int]:
        out, taken = set(), set(self._kept)
        for i, v in enumerate(program.outputs):
            roots = self._roots[v]
            # a small view would keep all of a large value alive
            wasteful = 2 * v.spec.size < max(r.spec.size for r in roots)
            if roots & taken or v in self._overlapping or wasteful:
                out.add(i)
            else:
                taken |= roots
        return frozenset(out)

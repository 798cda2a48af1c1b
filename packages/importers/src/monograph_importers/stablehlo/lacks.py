"""What a program lacks: seen by its operations, and by recording it once, past every step that fails.

The recording of a program from a file ends, with what was found so far, after so many steps: what such a program
lacks further on, and does not show by its operations, is said when it is traced.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import monograph as mg
from monograph.errors import DataDependentShape, DTypeError, MonographError
from monograph.tracing import without_line

from .._steps import Effort, Lacking, Missing, Spent
from . import rules
from .constants import DTYPES
from .interpret import Frame
from .ir import Elements, Module, Op, Other, Tensor

STEPS = 8_000  # of a file that are recorded, for it is looked into for a second at most
_LARGE = 64  # elements of a constant that are not read

Found = dict[int, tuple[str, str, str]]  # by the operation
Call = Callable[[Module, str, Sequence[Any]], list[Any]]


def lacks(
    modules: Sequence[Module], run: Callable[..., Any], specs: Sequence[Any], entry: str = "main",
    steps: float = STEPS,
) -> Iterator[tuple[str, str, str]]:  # fmt: skip
    """``(op, where, why)`` of everything that is reached and cannot run.

    Args:
        modules: that are called.
        run: ``(call, scope, *inputs)``: the model, with ``call(module, name, args)`` for the functions of modules.
        specs: of its inputs.
        entry: the function of the modules that is called.
        steps: how many are recorded.
    """
    found: Found = {}
    for module in modules:
        yield from _seen(module, entry, found)
    work = _Work(found, steps)

    def call(module: Module, name: str, args: Sequence[Any]) -> list[Any]:
        arguments = module.functions[name].body.arguments
        work.exact &= all(None not in t.shape for _, t in arguments if isinstance(t, Tensor))
        return _Dry(module, work).call(name, args)

    def dry(scope: mg.Scope, *inputs: Any) -> tuple[()]:
        with contextlib.suppress(
            Exception, Spent
        ):  # of what is around the modules: said when it is traced
            run(call, scope, *inputs)
        return ()

    mg.Outline().bind(dry, "numpy").trace(*specs)
    yield from found.values()


def _seen(module: Module, entry: str, found: Found) -> Iterator[tuple[str, str, str]]:
    """What the table does not have: element types at once, operations into ``found``."""
    seen, todo, types = {entry}, [entry], set()  # type: set[str], list[str], set[str]
    while todo:
        for op in module.functions[todo.pop()].walk():
            where = _where(op, module)
            of_op = [*op.types, *(t for r in op.regions for b in r for _, t in b.arguments)]
            for element in {t.element for t in of_op if isinstance(t, Tensor)} - types:
                types.add(element)
                if (why := rules.lacks_dtype(element)) is not None:
                    yield f"element type {element}", where, why
            if (why := rules.problem(op, module)) is not None:
                found[id(op)] = rules.title(op), where, why
            for name in rules.callees(op):
                if name in module.functions and name not in seen:
                    seen.add(name)
                    todo.append(name)


def _where(op: Op, module: Module) -> str:
    return str(op.source) if op.source else module.name


class _Work(Effort):
    """What the frames of one recording share; the effort is counted in steps.

    Attributes:
        exact: whether all sizes are as the program says. Of other sizes a sound program may fail.
    """

    def __init__(self, found: Found, left: float):
        super().__init__(left)
        self.found, self.exact = found, True


class _Values(dict[str, Any]):
    def __missing__(self, name: str) -> Any:
        raise Missing


class _Dry(Frame):
    """A call of which nothing is kept but the operations that fail.

    What such an operation should have given is data of the type that the program says.
    """

    __slots__ = ("work",)

    def __init__(self, module: Module, work: _Work):
        super().__init__(module)
        self.values, self.work = _Values(), work

    def call(self, name: str, args: Sequence[Any]) -> list[Any]:
        return _Dry(self.module, self.work).block(self.module.functions[name].body, *args)

    def spend(self, steps: int) -> None:
        self.work.spend(steps)

    def step(self, op: Op) -> None:
        work = self.work
        self.spend(1)
        for name in op.results:
            self.values.pop(name, None)  # of another turn
        try:
            if id(op) in work.found or _is_large(op):
                return self.stand_in(op)
            for name, t in zip(op.operands, op.operand_types):
                if self.values[name] is None and isinstance(t, Tensor):  # an input of no dtype
                    raise Missing
            return super().step(op)
        except Missing:
            pass
        except Exception as e:
            if work.exact or isinstance(e, (DataDependentShape, DTypeError, Lacking)):
                work.found[id(op)] = rules.title(op), _where(op, self.module), without_line(e)
        if work.exact or id(op) in work.found:
            self.stand_in(op)

    def stand_in(self, op: Op) -> None:
        """Data in the place of results."""
        for name, t in zip(op.results, op.types):
            with contextlib.suppress(Missing, MonographError):  # of no dtype, or too large
                self.values[name] = self.like(t)

    def like(self, t: Any) -> Any:
        if isinstance(t, Other):
            return tuple(map(self.like, t.parts)) if t.parts else None
        if not isinstance(t, Tensor) or t.element not in DTYPES:
            raise Missing
        self.work.exact &= None not in t.shape
        return mg.zeros([2 if n is None else n for n in t.shape], dtype=DTYPES[t.element])


def _is_large(op: Op) -> bool:
    """Whether it is a constant of so many numbers that none of them decides a shape."""
    value = op.attributes.get("value")
    return isinstance(value, Elements) and (
        len(value.numbers) > _LARGE or len(value.hex) > 32 * _LARGE
    )

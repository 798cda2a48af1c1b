"""A StableHLO program, run operation by operation with ours while a graph is recorded."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from monograph.errors import DataDependentShape
from monograph.tracing import at

from .._steps import eagerly, known
from .constants import NARROW, narrowed
from .ir import Block, Module, Op, Tensor

RETURNS = frozenset({"func.return", "stablehlo.return", "return"})
Rule = Callable[..., Any]  # (step, *operands) -> a value, or several in a list
RULES: dict[str, Rule] = {}
FOLDED: set[str] = set()  # computed at once where all operands are known: shapes are
_SMALL = 64  # elements; more of them are data


def rule(*names: str, fold: bool = False) -> Callable[[Rule], Rule]:
    """Register how an operation runs, under one or more of its names."""

    def register(fn: Rule) -> Rule:
        for name in names:
            RULES[name] = fn
            if fold:
                FOLDED.add(name)
        return fn

    return register


class Step:
    """An operation about to run: what a rule reads besides the operands."""

    __slots__ = ("op", "frame")

    def __init__(self, op: Op, frame: Frame):
        self.op, self.frame = op, frame

    def get(self, name: str, default: Any = None) -> Any:
        return self.op.attributes.get(name, default)

    @property
    def type(self) -> Any:
        return self.op.types[0]

    def region(self, i: int = 0) -> Callable[..., list[Any]]:
        """A region as a function; it reads the values around it."""
        return functools.partial(self.frame.block, self.op.regions[i][0])

    def call(self, name: str, *args: Any) -> list[Any]:
        return self.frame.call(name, args)


class Frame:
    """One call of a function: its values by name."""

    __slots__ = ("module", "values")

    def __init__(self, module: Module):
        self.module = module
        self.values: dict[str, Any] = {}

    def block(self, block: Block, *args: Any) -> list[Any]:
        """The results of straight-line code."""
        self.values.update(zip([name for name, _ in block.arguments], args, strict=True))
        for op in block.ops:
            if op.name in RETURNS:
                return [self.values[name] for name in op.operands]
            with _line(op):
                self.step(op)
        return []

    def step(self, op: Op) -> None:
        """One operation: its results under their names."""
        out = _one(op, [self.values[name] for name in op.operands], self)
        self.values.update(zip(op.results, out, strict=True))

    def spend(self, steps: int) -> None:
        """Told of as many steps about to be recorded by one operation, where they may be very many."""

    def call(self, name: str, args: Sequence[Any]) -> list[Any]:
        """The results of another function of the module."""
        return run(self.module, name, args)


def run(module: Module, name: str, args: Sequence[Any]) -> list[Any]:
    """The results of a function of the module; ``args`` are values of the trace, or known arrays."""
    return Frame(module).block(module.functions[name].body, *args)


@contextlib.contextmanager
def _line(op: Op) -> Iterator[None]:
    with at(op.source) if op.source is not None else contextlib.nullcontext():
        yield


def _one(op: Op, xs: list[Any], frame: Frame) -> list[Any]:
    fn = functools.partial(RULES[op.name], Step(op, frame))
    if op.name in FOLDED and all(map(_foldable, xs)) and all(map(_small, op.types)):
        out = eagerly(fn, *xs)
    else:
        out = fn(*xs)
    out = out if isinstance(out, list) else [out]
    if any(isinstance(t, Tensor) and t.element in NARROW for t in op.types):
        out = [narrowed(y, t.element) if t.element in NARROW else y for y, t in zip(out, op.types)]
    return out


def _foldable(x: Any) -> bool:
    return (
        known(x)
        and isinstance(x, (np.ndarray, np.generic))
        and x.dtype.kind in "iub"
        and x.size <= _SMALL
    )


def _small(t: Any) -> bool:
    return isinstance(t, Tensor) and None not in t.shape and math.prod(t.shape) <= _SMALL  # type: ignore[arg-type]


def concrete(x: Any, what: str) -> np.ndarray:
    """A value that a shape depends on; raises `DataDependentShape` where it is not known yet."""
    if not known(x):
        raise DataDependentShape(f"{what} depends on data, so no static graph can hold it")
    return np.asarray(x)

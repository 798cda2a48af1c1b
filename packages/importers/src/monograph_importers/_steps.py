"""What the interpreters of all formats share: what is missing, what is known already, variables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.importing import Unsupported
from monograph.tracing import tracing


class Lacking(ArgumentError):
    """A form of an operation that is not supported, for arrays of any size."""


class Missing(Exception):
    """While looking for what a program lacks: a value is not there, since a step before it failed."""


class Spent(BaseException):
    """The effort of looking is at its end; nothing on the way may hold this up."""


# in numbers computed: what is looked into for a second at most, and what a step counts as
EFFORT, STEP = 1 << 23, 1 << 10

# what Python says where a program's values are of other kinds and sizes than a rule expects
WRONG = (
    TypeError, ValueError, LookupError, AttributeError, ArithmeticError, MemoryError, RecursionError,
)  # fmt: skip


class Effort:
    """What may still be done to look for what is missing; parts of a look share one."""

    def __init__(self, left: float):
        self.left = left

    def spend(self, n: float) -> None:
        """Raises: Spent."""
        self.left -= n
        if self.left < 0:
            raise Spent


def missing(found: Iterable[tuple[str, str, str]]) -> tuple[Unsupported, ...]:
    """``(op, where, why)`` of every step that cannot run, as one entry per op and reason.

    >>> [str(u) for u in missing([("Foo", "m:1", ""), ("Foo", "m:7", "")])]
    ['Foo (2x, first at m:1)']
    """
    first: dict[tuple[str, str], list[str]] = {}
    for op, where, why in found:
        first.setdefault((op, why), []).append(where)
    return tuple(Unsupported(op, len(at), at[0], why) for (op, why), at in first.items())


def known(x: Any) -> bool:
    """Whether a value is there while the graph is recorded: shapes, and what is computed of them."""
    return not isinstance(x, mg.Array)


def eagerly(fn: Callable[..., Any], *args: Any, **attrs: Any) -> Any:
    """``fn`` on values that are `known`, at once: arrays of NumPy come in and go out."""
    with tracing(None), mg.engine("numpy"):
        return mg.tree.map(
            lambda y: y.numpy() if isinstance(y, mg.Array) else y, fn(*args, **attrs)
        )


def variables(
    scope: mg.Scope, parameters: Mapping[str, np.ndarray], trainable: Callable[[str], bool]
) -> dict[str, Any]:
    """Every parameter as a variable of ``scope``: its value by path, or the variable where it is state."""
    return {
        path: scope.parameter(path, a.shape, dtype=a.dtype) if trainable(path)
        else scope.variable(path, a.shape, dtype=a.dtype)
        for path, a in parameters.items()
    }  # fmt: skip

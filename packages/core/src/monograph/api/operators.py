"""Array's operators, one table: Python's name, the function, and whether operands swap."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..array import Array
from ..tensor import Tensor
from . import elementwise as e

_BINARY = {
    "add": e.add, "sub": e.subtract, "mul": e.multiply,
}  # fmt: skip
_UNARY = {"neg": e.negative}


def _takes(x: Any) -> bool:
    return isinstance(x, (Array, bool, int, float, complex)) or hasattr(x, "__array__")


def _forward(fn: Callable) -> Callable:
    return lambda self, other: fn(self, other) if _takes(other) else NotImplemented


def _reflected(fn: Callable) -> Callable:
    return lambda self, other: fn(other, self) if _takes(other) else NotImplemented


for _name, _fn in _BINARY.items():
    setattr(Array, f"__{_name}__", _forward(_fn))
    setattr(Array, f"__r{_name}__", _reflected(_fn))
for _name, _fn in _UNARY.items():
    setattr(Array, f"__{_name}__", _fn)

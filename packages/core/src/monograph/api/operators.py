"""Array's operators and methods, one table each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..array import Array
from ..tracing import user_source
from . import (
    elementwise as e,
    indexing,
    linear,
    manipulation as m,
    numpy_protocol,
    searching,
    statistical as s,
    updates,
    utility,
)

_BINARY = {
    "add": e.add, "sub": e.subtract, "mul": e.multiply, "truediv": e.divide, "pow": e.pow,
    "floordiv": e.floor_divide, "mod": e.remainder, "matmul": linear.matmul,
    "and": e.bitwise_and, "or": e.bitwise_or, "xor": e.bitwise_xor,
    "lshift": e.bitwise_left_shift, "rshift": e.bitwise_right_shift,
}  # fmt: skip
_COMPARISONS = {
    "lt": e.less, "le": e.less_equal, "gt": e.greater, "ge": e.greater_equal,
    "eq": e.equal, "ne": e.not_equal,
}  # fmt: skip
_UNARY = {"neg": e.negative, "pos": e.positive, "abs": e.abs, "invert": e.bitwise_invert}
_METHODS = {
    "astype": utility.astype, "squeeze": m.squeeze, "sum": s.sum, "mean": s.mean, "max": s.max, "min": s.min,
    "prod": s.prod, "all": s.all, "any": s.any, "std": s.std, "var": s.var, "argmax": searching.argmax,
    "argmin": searching.argmin,
}  # fmt: skip


def _takes(x: Any) -> bool:
    return isinstance(x, (Array, bool, int, float, complex)) or hasattr(x, "__array__")


def _forward(fn: Callable) -> Callable:
    return lambda self, other: fn(self, other) if _takes(other) else NotImplemented


def _reflected(fn: Callable) -> Callable:
    return lambda self, other: fn(other, self) if _takes(other) else NotImplemented


def _reshape(self: Array, *shape: Any) -> Array:
    return m.reshape(self, shape[0] if len(shape) == 1 else shape)


def _len(self: Array) -> int:
    if not self.ndim:
        raise TypeError(f"{user_source()}: len() of {self.spec}, which has no axes")
    return self.shape[0]


def _iter(self: Array) -> Iterator[Array]:
    _len(self)
    return iter(m.unstack(self))


def _contains(self: Array, value: Any) -> bool:
    return bool(s.any(e.equal(self, value)))


def _divmod(x1: Any, x2: Any) -> tuple[Array, Array]:
    return e.floor_divide(x1, x2), e.remainder(x1, x2)


_OTHERS = {
    "__len__": _len,
    "__iter__": _iter,
    "__contains__": _contains,
    "__divmod__": _forward(_divmod),
    "__rdivmod__": _reflected(_divmod),
    "reshape": _reshape,
    "__getitem__": indexing.getitem,
    "at": property(updates.At),
    "T": property(lambda self: m.permute_dims(self, tuple(range(self.ndim))[::-1])),
    "mT": property(m.matrix_transpose),
    # NumPy hands `np_array + ours` and `np.sin(ours)` over instead of looping over elements
    "__array_ufunc__": numpy_protocol.array_ufunc,
    "__array_function__": numpy_protocol.array_function,
}
INSTALLED: dict[str, Any] = {
    **{f"__{name}__": _forward(fn) for name, fn in {**_BINARY, **_COMPARISONS}.items()},
    **{f"__r{name}__": _reflected(fn) for name, fn in _BINARY.items()},
    **{f"__{name}__": fn for name, fn in _UNARY.items()},
    **_METHODS,
    **_OTHERS,
}
for _name, _fn in INSTALLED.items():
    setattr(Array, _name, _fn)

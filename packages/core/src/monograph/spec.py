"""`Spec`: the shape and dtype of a value. Interned, so equality is identity and hashing is free."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .dtypes import DType, dtype as as_dtype
from .errors import ShapeError

_interned: dict[tuple[tuple[int, ...], DType], Spec] = {}


class Spec:
    """Shape and dtype of an array, as in ``mg.trace(fn, mg.Spec((8, 3), "float32"))``.

    Args:
        shape: axis lengths, each >= 0; an int means one axis.
        dtype: anything `monograph.dtype` takes.

    Raises:
        ShapeError: an axis is negative or no integer.

    >>> s = Spec((8, 3), "float32")
    >>> s, s.size, s.nbytes, s is Spec([8, 3], np.float32)
    (float32[8,3], 24, 96, True)
    """

    __slots__ = ("shape", "dtype", "ndim", "size", "__weakref__")
    shape: tuple[int, ...]
    dtype: DType
    ndim: int
    size: int

    def __new__(cls, shape: Sequence[int] | int = (), dtype: Any = "float32") -> Spec:
        if type(shape) is tuple:
            dtype = as_dtype(dtype)
            try:
                found = _interned.get((shape, dtype))
            except TypeError:  # an unhashable axis: as_shape says which
                found = None
            if found is not None:
                return found
        key = (as_shape(shape), as_dtype(dtype))
        found = _interned.get(key)
        if found is None:
            found = object.__new__(cls)
            object.__setattr__(found, "shape", key[0])
            object.__setattr__(found, "dtype", key[1])
            object.__setattr__(found, "ndim", len(key[0]))
            size = 1
            for n in key[0]:
                size *= n
            object.__setattr__(found, "size", size)
            found = _interned.setdefault(key, found)
        return found

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a Spec is immutable; make another with .with_() or Spec(...)")

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def with_(self, shape: Sequence[int] | None = None, dtype: Any = None) -> Spec:
        """The same spec with another shape or dtype."""
        return Spec(self.shape if shape is None else shape, self.dtype if dtype is None else dtype)

    def __repr__(self) -> str:
        return f"{self.dtype.name}[{','.join(map(str, self.shape))}]"

    def __reduce__(self):
        return Spec, (self.shape, self.dtype)

    def __copy__(self) -> Spec:
        return self

    def __deepcopy__(self, memo: Any) -> Spec:
        return self

    @staticmethod
    def of(x: Any) -> Spec:
        """The spec of an array-like: a Spec, Tensor, traced value, NumPy array or Python number."""
        if type(x) is Spec:
            return x
        found = getattr(x, "spec", None)
        if type(found) is Spec:
            return found
        if isinstance(x, (bool, int, float, complex)):
            return Spec((), type(x))
        if hasattr(x, "shape") and hasattr(x, "dtype"):
            return Spec(tuple(x.shape), _dtype_of(x))
        x = np.asarray(x)
        return Spec(x.shape, x.dtype)


def _dtype_of(x: Any) -> DType:
    # torch's dtypes print as torch.float32: the name after the dot is the field's own
    return (
        as_dtype(str(x.dtype).rpartition(".")[2]) if "torch" in str(x.dtype) else as_dtype(x.dtype)
    )


def as_shape(shape: Sequence[int] | int) -> tuple[int, ...]:
    """A tuple of axis lengths, checked."""
    if not isinstance(shape, (tuple, list)):
        try:
            shape = (operator.index(shape),)  # type: ignore[arg-type]
        except TypeError:
            try:
                shape = tuple(shape)  # type: ignore[arg-type]
            except TypeError:
                raise ShapeError(
                    f"a shape is an int or a sequence of ints, not {shape!r}"
                ) from None
    out = []
    for axis, n in enumerate(shape):
        try:
            n = operator.index(n)
        except TypeError:
            raise ShapeError(
                f"shape {tuple(shape)!r}: axis {axis} is {n!r}, not an integer"
            ) from None
        if n < 0:
            raise ShapeError(f"shape {tuple(shape)!r}: axis {axis} is {n}, must be >= 0")
        out.append(n)
    return tuple(out)

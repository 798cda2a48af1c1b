"""torch's type promotion: numbers and 0-d tensors widen the kind of a tensor, never its width."""

from __future__ import annotations

import functools
import math
from typing import Any

import monograph as mg
import numpy as np
from monograph.dtypes import DType, default_float, dtype as named, promote
from monograph.errors import ArgumentError
from monograph.tracing import user_source

_NUMBER = {bool: "bool", int: "int64", float: "float32", complex: "complex64"}


_MOST = 1 << 24  # numbers in an array that a rule makes while the graph is recorded


def made(*lengths: int) -> tuple[int, ...]:
    """The lengths of an array that a rule is about to make, or of a list of tensors.

    Raises:
        ArgumentError: it is larger than a sound program asks for.
    """
    if (n := math.prod(lengths)) > _MOST:
        raise ArgumentError(
            f"{user_source()}: an array of {n:,} numbers would be made while the graph is recorded; "
            f"{_MOST:,} is the most"
        )
    return lengths


def is_array(x: Any) -> bool:
    """Whether it is no number."""
    return isinstance(x, mg.Array)


def result_type(*xs: Any) -> DType:
    """The dtype in which torch computes with ``xs``: arrays, 0-d arrays, numbers.

    >>> result_type(mg.zeros(3), mg.zeros((), dtype="float64"), 2).name
    'float32'
    >>> result_type(mg.zeros(3, dtype="int8"), 2.5).name
    'float32'
    """
    ranks: list[list[DType]] = [[], [], []]
    for x in xs:
        if is_array(x):
            ranks[0 if x.ndim else 1].append(x.dtype)
        elif x is not None:
            ranks[2].append(named(_NUMBER[type(x)]))
    found: DType | None = None
    for rank in ranks:
        if rank:
            low = functools.reduce(promote, rank)
            found = low if found is None else _wider(found, low)
    assert found is not None
    return found


def _wider(high: DType, low: DType) -> DType:
    if high.is_complex:
        return high
    if high.is_float:
        return high.complex if low.is_complex else high
    if high.kind == "bool" or low.is_inexact:
        return promote(high, low)
    return high


def cast(x: Any, d: Any) -> Any:
    """An array of that dtype (a name, or None for its own)."""
    return x if d is None else mg.astype(x, named(d))


def together(*xs: Any) -> list[Any]:
    """Arrays in the common dtype; numbers and None stay, for they follow."""
    d = result_type(*xs)
    return [cast(x, d) if is_array(x) else _number(x, d) for x in xs]


def _number(x: Any, d: DType) -> Any:
    if x is None or isinstance(x, complex) or d.kind == "bool":
        return x
    if d.is_float:
        return float(x)
    # wraps, as in torch
    return int(np.asarray(x).astype(d.numpy)) if d.is_integer else x


def floating(x: Any) -> Any:
    """Integers become float32, torch's default."""
    return x if x.dtype.is_inexact else cast(x, default_float)


def axis(dim: int, ndim: int) -> int:
    """An axis from the front; a 0-d tensor counts as having one."""
    return dim % max(ndim, 1)


def axes(dim: Any, ndim: int) -> tuple[int, ...]:
    """Axes from the front; all for None or none given."""
    if dim is None or dim == []:
        return tuple(range(ndim))
    found = [dim] if isinstance(dim, int) else dim
    return tuple(sorted({axis(d, ndim) for d in found})) if ndim else ()

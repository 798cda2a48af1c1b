"""What every array API function does first: accept numbers, promote dtypes, broadcast shapes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..dtypes import DType, bool_, default_complex, default_float, default_int, result_type
from ..errors import ArgumentError, DataDependentShape, DTypeError, MonographError, ShapeError
from ..graph import Value
from ..spec import Spec
from ..tensor import Tensor
from ..tracing import _current, as_value, at_user_line

_NUMBERS = (bool, int, float, complex)


def asarray(x: Any) -> Array:
    """``x`` as a graph value while tracing, as a tensor otherwise."""
    if isinstance(x, Array):
        return x
    if _current.get() is not None:
        if isinstance(x, (np.ndarray, np.generic, *_NUMBERS)):
            return as_value(x)
        x = Tensor.of(x)
        return as_value(x)
    return Tensor.of(x)


def weak_dtype(x: Any, with_: DType) -> DType:
    """The dtype a Python number takes next to an array of dtype ``with_`` (array API, mixed)."""
    if isinstance(x, bool):
        return with_
    if isinstance(x, int):
        return default_int if with_ is bool_ else with_
    if isinstance(x, float):
        return with_ if with_.is_inexact else default_float
    return with_.complex if with_.is_inexact else default_complex


def promote(*xs: Any) -> list[Array]:
    """Arrays of one dtype; Python numbers adapt to the arrays beside them.

    Raises:
        DTypeError: the dtypes have no common one.
    """
    arrays = [
        x if isinstance(x, Array) else None if isinstance(x, _NUMBERS) else asarray(x) for x in xs
    ]
    known = [x.dtype for x in arrays if x is not None]
    try:
        if known:
            common = result_type(*known)
            for x, a in zip(xs, arrays):
                if a is None:
                    common = result_type(common, weak_dtype(x, common))
        else:
            common = result_type(*[Spec.of(x).dtype for x in xs])
    except MonographError as e:
        raise at_user_line(e) from None
    return [number(x, common) if a is None else cast(a, common) for x, a in zip(xs, arrays)]


def number(x: Any, d: DType) -> Array:
    """A Python number as a 0-d array of dtype ``d``."""
    if d.is_integer and isinstance(x, int) and not isinstance(x, bool):
        info = np.iinfo(d.numpy)
        if not info.min <= x <= info.max:
            raise at_user_line(
                DTypeError(
                    f"{x} does not fit {d} ({info.min} to {info.max}); convert the array first"
                )
            )
    return ops.literal(x, d)


def cast(x: Array, d: DType) -> Array:
    """``x`` with dtype ``d``; itself when it has it."""
    return x if x.dtype is d else ops.convert(x, dtype=d)


def broadcast_shape(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape arrays of these shapes broadcast to.

    Raises:
        ShapeError: names the axis and both lengths.
    """
    ndim = max((len(s) for s in shapes), default=0)
    out = []
    for axis in range(-ndim, 0):
        lengths = {s[axis] for s in shapes if len(s) >= -axis} - {1}
        if len(lengths) > 1:
            a, b = sorted(lengths)[:2]
            raise at_user_line(
                ShapeError(
                    f"shapes {' and '.join(map(str, map(tuple, shapes)))} do not broadcast: axis "
                    f"{axis} is {a} in one and {b} in another. Lengths must agree or be 1; insert "
                    f"an axis with x[..., None] or mg.expand_dims."
                )
            )
        out.append(lengths.pop() if lengths else 1)
    return tuple(out)


def broadcast_to(x: Array, shape: Sequence[int]) -> Array:
    """``x`` repeated along new and length-1 axes; itself when it has the shape."""
    shape = tuple(shape)
    if x.shape == shape:
        return x
    return ops.broadcast_in_dim(x, shape=shape, dims=tuple(range(len(shape) - x.ndim, len(shape))))


def operands(*xs: Any) -> list[Array]:
    """Promoted and broadcast together: ready for an elementwise primitive."""
    specs = [x.spec if isinstance(x, Array) else None for x in xs]
    if specs.count(specs[0]) == len(xs) and specs[0] is not None:
        return list(xs)  # the usual case, and the cost of an eager operator
    out = promote(*xs)
    shapes = {x.shape for x in out}
    if len(shapes) == 1:
        return out
    shape = broadcast_shape(*[x.shape for x in out])
    return [broadcast_to(x, shape) for x in out]


def one_axis(axis: Any, ndim: int, what: str = "axis") -> int:
    """An axis counted from the front.

    Raises:
        ShapeError: it is out of range.
    """
    try:
        axis = operator.index(axis)
    except TypeError:
        raise at_user_line(ArgumentError(f"{what}={axis!r} is no integer")) from None
    if not -ndim <= axis < ndim:
        raise at_user_line(
            ShapeError(f"{what}={axis} is out of range for an array with {ndim} axes")
        )
    return axis % ndim


def axes_of(axis: Any, ndim: int, what: str = "axis") -> tuple[int, ...]:
    """Axes counted from the front, in order; None means all of them."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = tuple(one_axis(a, ndim, what) for a in given)
    if len(set(axes)) != len(axes):
        raise at_user_line(ShapeError(f"{what}={axis}: an axis is named twice"))
    return axes


def concrete(x: Any, what: str, instead: str) -> np.ndarray:
    """The numbers of ``x``, for functions whose result's shape depends on them.

    Raises:
        DataDependentShape: ``x`` is being traced and has none.
    """
    if isinstance(x, Value):
        raise at_user_line(
            DataDependentShape(
                f"{what} has a shape that depends on the values of {x.spec}, which a graph cannot "
                f"hold. {instead}, or call {what} outside the traced function."
            )
        )
    return asarray(x).__array__()

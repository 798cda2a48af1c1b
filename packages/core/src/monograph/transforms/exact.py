"""Simplifications that change no bit: NaN stays NaN, infinities and the sign of zero stay too.

So ``x + (-0.0)`` is ``x``, and ``x + 0.0`` is not: it makes 0.0 of -0.0. What is right only in real
numbers stands in `fast_math`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..dtypes import DType, promote
from ..errors import DTypeError
from ..graph import Node, Value
from .constants import uniform
from .folding import branch_known
from .pattern import build
from .rule import Rule, node_rule, rule

# name -> (pattern, the dtypes it holds for); what it matches is x
_IS_X: dict[str, tuple[Callable, Callable[[DType], bool]]] = {
    "add_zero": (lambda op, x: x + op.constant(0), lambda d: d.is_integer),
    "add_minus_zero": (lambda op, x: x + op.constant(-0.0), lambda d: d.is_float),
    "subtract_zero": (lambda op, x: x - op.constant(0), lambda d: True),
    "multiply_one": (lambda op, x: x * op.constant(1), lambda d: not d.is_complex),
    "divide_one": (lambda op, x: x / op.constant(1), lambda d: not d.is_complex),
    "negate_twice": (lambda op, x: op.negate(op.negate(x)), lambda d: True),
    "not_twice": (lambda op, x: op.not_(op.not_(x)), lambda d: True),
    "conj_twice": (lambda op, x: op.conj(op.conj(x)), lambda d: True),
    "maximum_itself": (lambda op, x: op.maximum(x, x), lambda d: True),
    "minimum_itself": (lambda op, x: op.minimum(x, x), lambda d: True),
    "maximum_lowest": (lambda op, x: op.maximum(x, -math.inf), lambda d: True),
    "minimum_highest": (lambda op, x: op.minimum(x, math.inf), lambda d: True),
    "and_itself": (lambda op, x: op.and_(x, x), lambda d: True),
    "or_itself": (lambda op, x: op.or_(x, x), lambda d: True),
    "or_zero": (lambda op, x: op.or_(x, op.any_of(0, False)), lambda d: True),
    "xor_zero": (lambda op, x: op.xor(x, op.any_of(0, False)), lambda d: True),
    "and_true": (lambda op, x: op.and_(x, True), lambda d: True),
    "shift_by_zero": (
        lambda op, x: op.any_of(
            op.shift_left(x, 0), op.shift_right_logical(x, 0), op.shift_right_arithmetic(x, 0)
        ),
        lambda d: True,
    ),
    "select_itself": (lambda op, x, p: op.select(p, x, x), lambda d: True),
    "real_of_complex": (lambda op, x, y: op.real(op.complex(x, y)), lambda d: True),
    "imag_of_complex": (lambda op, x, y: op.imag(op.complex(y, x)), lambda d: True),
    "one_operand": (lambda op, x: op.concatenate(x), lambda d: True),
    "stop_twice": (
        lambda op, x: op.stop_gradient(op.stop_gradient(x)), lambda d: True
    ),
}  # fmt: skip


def _is_x(name: str, pattern: Callable, holds: Callable[[DType], bool]) -> Rule:
    def rewrite(node: Node, x: Value) -> Value | None:
        return x if x.spec is node.outputs[0].spec and holds(x.dtype) else None

    rewrite.__name__ = name
    built = build(pattern)
    return Rule(rewrite, built, built.roots)


# operations that done twice do what they do once
_IDEMPOTENT = ("abs", "ceil", "floor", "relu", "round_nearest_afz", "round_nearest_even", "trunc")


@node_rule(*_IDEMPOTENT)
def idempotent(node: Node, x: Value) -> Any:
    """``floor(floor(x))`` is ``floor(x)``, and so on."""
    return x if x.node.op is node.op and x.spec is node.outputs[0].spec else None


@rule(lambda op, x: op.abs(-x))
def abs_of_negative(x):
    """``abs(-x)`` is ``abs(x)``, but of unsigned integers, where ``-x`` wraps."""
    return None if x.dtype.kind == "uint" else ops.abs_(x)


@rule(lambda op, x, y: op.any_of(-x * -y, -x / -y))
def negatives(node, x, y):
    """Two minuses in a product or quotient of floats cancel."""
    return node.op(x, y) if x.dtype.is_float else None


@rule(lambda op, x, y: x + (-y))
def add_negative(x, y):
    """``x + (-y)`` is ``x - y``."""
    return ops.subtract(x, y)


@rule(lambda op, x, y: x - (-y))
def subtract_negative(x, y):
    """``x - (-y)`` is ``x + y``."""
    return ops.add(x, y)


@rule(lambda op, x: op.any_of(x * op.constant(-1), x / op.constant(-1)))
def times_minus_one(x):
    """``x * -1`` is ``-x``."""
    return None if x.dtype.is_complex else ops.negate(x)


@rule(lambda op, x: op.constant(-0.0) - x)
def from_minus_zero(x):
    """``-0.0 - x`` is ``-x``; so is ``0 - x`` of integers, which know no -0."""
    return None if x.dtype.is_complex else ops.negate(x)


@rule(lambda op, x: op.any_of(x * op.constant(0), x - x, op.xor(x, x), op.and_(x, 0)))
def integer_zero(x):
    """``x * 0``, ``x - x``, ``x ^ x`` and ``x & 0`` of integers are 0."""
    return ops.zeros_like(x) if x.dtype.is_integer else None


@rule(lambda op, p, x, y: op.select(op.not_(p), x, y))
def select_not(p, x, y):
    """``select(not p, x, y)`` is ``select(p, y, x)``."""
    return ops.select(p, y, x)


@rule(lambda op, x, y: op.select(op.constant("p"), x, y))
def select_known(p, x, y):
    """A choice that is always the same."""
    one = uniform(p)
    return None if one is None else x if one else y


@rule(lambda op, x: op.transpose(op.transpose(x, permutation=op.attr("inner"))))
def transpose_twice(node, x, inner):
    """Two transposes are one, or none."""
    order = tuple(inner[i] for i in node.attrs["permutation"])
    return x if order == tuple(range(x.ndim)) else ops.transpose(x, permutation=order)


@rule(lambda op, x: op.reshape(op.reshape(x)))
def reshape_twice(node, x):
    """Two reshapes are one, or none."""
    shape = node.outputs[0].shape
    return x if x.shape == shape else ops.reshape(x, shape=shape)


@rule(lambda op, x: op.broadcast_in_dim(op.broadcast_in_dim(x, dims=op.attr("inner"))))
def broadcast_twice(node, x, inner):
    """Two broadcasts are one."""
    dims = tuple(node.attrs["dims"][d] for d in inner)
    return ops.broadcast_in_dim(x, shape=node.attrs["shape"], dims=dims)


@rule(lambda op, x: op.broadcast_in_dim(op.reshape(x)))
def broadcast_of_reshape(node, x):
    """A broadcast of what a reshape gave axes of length 1: one broadcast."""
    middle, dims = node.inputs[0].shape, node.attrs["dims"]
    places = inserted(x.shape, middle)
    if places is None:
        return None
    return ops.broadcast_in_dim(x, shape=node.attrs["shape"], dims=[dims[p] for p in places])


def inserted(small: Sequence[int], large: Sequence[int]) -> list[int] | None:
    """Where the axes of ``small`` are in ``large``, if the others there have length 1; else None.

    >>> inserted((3, 1), (1, 3, 1, 1)), inserted((2, 3), (3, 2))
    ([1, 2], None)
    """
    places: list[int] = []
    for i, n in enumerate(large):
        if len(places) < len(small) and small[len(places)] == n:
            places.append(i)
        elif n != 1:
            return None
    return places if len(places) == len(small) else None


@rule(lambda op, x: op.reverse(op.reverse(x, axes=op.attr("inner"))))
def reverse_twice(node, x, inner):
    """What is reversed twice along an axis is not along it."""
    axes = tuple(sorted(set(inner) ^ set(node.attrs["axes"])))
    return ops.reverse(x, axes=axes) if axes else x


@rule(lambda op, x: op.convert(op.convert(x)))
def convert_twice(node, x):
    """Through a dtype that holds every value of the first: one conversion, or none."""
    first, middle, last = x.dtype, node.inputs[0].dtype, node.outputs[0].dtype
    if not holds(middle, first):
        return None
    if first is last:
        return x
    # integers wrap and floats saturate, so that a float between two integers is no matter of form
    if "float8" in (first.kind, last.kind) or (first.is_integer and not middle.is_integer):
        return None
    return ops.convert(x, dtype=last)


# how many binary digits of an integer a float keeps
_DIGITS = {"bfloat16": 8, "float16": 11, "float32": 24, "float64": 53}


def holds(wide: DType, narrow: DType) -> bool:
    """Whether every number of ``narrow`` is one of ``wide``, so that a round trip changes nothing.

    >>> from monograph import dtypes
    >>> holds(dtypes.float64, dtypes.int32), holds(dtypes.float32, dtypes.int32)
    (True, False)
    """
    if narrow.kind == "bool" or wide is narrow:
        return wide.kind != "float8"
    if "float8" in (wide.kind, narrow.kind):
        return False
    if narrow.is_integer and wide.is_inexact:
        digits = narrow.bits - (narrow.kind == "int")
        return digits <= _DIGITS.get(wide.real.name, 0)
    try:
        return promote(wide, narrow) is wide
    except DTypeError:
        return False


@node_rule("pad")
def idle_pad(node: Node, x: Value, value: Value) -> Any:
    """A pad that adds nothing."""
    edges = (*node.attrs["low"], *node.attrs["high"], *node.attrs["interior"])
    return x if not any(edges) else None


EXACT: tuple[Rule, ...] = (
    *[_is_x(name, *spec) for name, spec in _IS_X.items()],
    idempotent, abs_of_negative, negatives, add_negative, subtract_negative, times_minus_one,
    from_minus_zero, integer_zero, select_not, select_known, transpose_twice,
    reshape_twice, broadcast_twice, broadcast_of_reshape, reverse_twice, convert_twice, idle_pad,
    branch_known,
)  # fmt: skip
"""Every rule that changes no bit."""

"""Shape rules that several ops share. A rule takes specs and attributes and returns a spec.

A rule raises `ShapeError` or `DTypeError` with axes and values in the message; the caller puts the
op's name and the user's line in front.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..dtypes import DType, bool_
from ..errors import ArgumentError, DTypeError, ShapeError
from ..spec import Spec

_MEANING = {
    "float": lambda d: d.is_float,
    "inexact": lambda d: d.is_inexact,
    "numeric": lambda d: d.kind not in ("bool", "float8"),
    "real": lambda d: d.kind in ("int", "uint", "float"),
    "integer": lambda d: d.is_integer,
    "signed": lambda d: d.kind in ("int", "float", "complex"),
    "bits": lambda d: d.is_integer or d.kind == "bool",
    "bool": lambda d: d.kind == "bool",
    "complex": lambda d: d.is_complex,
    "computed": lambda d: d.kind != "float8",
    "any": lambda d: True,
}


def check_kind(x: Spec, kind: str, what: str = "operand") -> None:
    """Raise `DTypeError` unless ``x`` has a dtype of that kind."""
    if not _MEANING[kind](x.dtype):
        raise DTypeError(f"{what} has dtype {x.dtype}; needs {kind} values. Convert with .astype()")


def _elementwise(infer: Callable) -> Callable:
    infer.elementwise = True  # type: ignore[attr-defined]  # what `vmap` derives its rule from
    return infer


def unary(kind: str = "numeric", out: Callable[[DType], DType] = lambda d: d) -> Callable:
    """Elementwise on one operand; ``out`` gives the result's dtype."""

    def infer(x: Spec, **attrs: object) -> Spec:
        check_kind(x, kind)
        return Spec(x.shape, out(x.dtype))

    return _elementwise(infer)


def nary(kind: str = "numeric", out: Callable[[DType], DType] = lambda d: d) -> Callable:
    """Elementwise on operands of one spec (primitives do not broadcast)."""

    def infer(*xs: Spec, **attrs: object) -> Spec:
        check_same(xs)
        check_kind(xs[0], kind)
        return Spec(xs[0].shape, out(xs[0].dtype))

    return _elementwise(infer)


unary_float, unary_inexact, unary_any = unary("float"), unary("inexact"), unary("any")
to_bool = lambda d: bool_  # noqa: E731


def check_same(xs: Sequence[Spec]) -> None:
    """Raise unless all specs are one."""
    for i, x in enumerate(xs[1:], 1):
        if x.dtype is not xs[0].dtype:
            raise DTypeError(
                f"operands 0 and {i} have dtypes {xs[0].dtype} and {x.dtype}; primitives need one"
            )
        if x.shape != xs[0].shape:
            raise ShapeError(
                f"operands 0 and {i} have shapes {xs[0].shape} and {x.shape}; primitives need one"
            )


def check_axes(axes: Sequence[int], ndim: int, what: str = "axes") -> None:
    """Raise unless ``axes`` are distinct and each in ``0..ndim-1``."""
    for a in axes:
        if not 0 <= a < ndim:
            raise ShapeError(f"{what}={tuple(axes)}: axis {a} is out of range for {ndim} axes")
    if len(set(axes)) != len(axes):
        raise ShapeError(f"{what}={tuple(axes)}: an axis is named twice")


def reduction(kind: str, out: Callable[[DType], DType] = lambda d: d) -> Callable:
    """Rule of ``op(x, *, axes)``: the axes vanish."""

    def infer(x: Spec, *, axes: tuple[int, ...]) -> Spec:
        check_kind(x, kind)
        check_axes(axes, x.ndim)
        return Spec(tuple(n for i, n in enumerate(x.shape) if i not in axes), out(x.dtype))

    return infer


def check_length(seq: Sequence, n: int, what: str) -> None:
    """Raise unless an attribute has one entry per axis."""
    if len(seq) != n:
        raise ArgumentError(f"{what}={tuple(seq)} has {len(seq)} entries, needs {n}")

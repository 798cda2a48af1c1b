"""Dtype functions and constants of the array API, and the namespace's own description."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..array import Array
from ..dtypes import (
    DType,
    default_complex,
    default_float,
    default_int,
    dtype as as_dtype,
    known,
    promote,
)
from ..errors import ArgumentError, DTypeError
from ..spec import Spec
from ..tracing import at_user_line
from ._common import asarray, cast, weak_dtype

__all__ = [
    "__array_namespace_info__", "astype", "can_cast", "e", "finfo", "iinfo", "inf", "isdtype", "nan",
    "newaxis", "pi", "result_type", "stop_gradient",
]  # fmt: skip

e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None


def astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Array:
    """``x`` converted; floats to integers round toward zero and saturate.

    Args:
        copy: accepted for the standard's sake; arrays are immutable.
        device: where the result shall live (eagerly).

    Raises:
        DTypeError: complex to real; take `mg.real` or `mg.abs`.
    """
    del copy
    x, to = asarray(x), as_dtype(dtype)
    if x.dtype.is_complex and to.kind in ("int", "uint", "float"):
        raise at_user_line(
            DTypeError(f"{x.spec} to {to} would drop the imaginary part; use mg.real")
        )
    out = cast(x, to)
    return out if device is None else out.to_device(device)  # type: ignore[attr-defined]


def stop_gradient(x: Any, /) -> Array:
    """``x`` itself, through which no gradient flows."""
    return ops.stop_gradient(asarray(x))


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype that these promote to; Python numbers adapt to the rest."""
    weak = [x for x in arrays_and_dtypes if isinstance(x, (bool, int, float, complex))]
    rest = [x for x in arrays_and_dtypes if not isinstance(x, (bool, int, float, complex))]
    found = [
        x.dtype
        if isinstance(x, Array)
        else Spec.of(x).dtype
        if hasattr(x, "shape") and hasattr(x, "dtype") and not isinstance(x, np.dtype)
        else as_dtype(x)
        for x in rest
    ]
    if not found:
        if not weak:
            raise at_user_line(ArgumentError("result_type of nothing"))
        found, weak = [as_dtype(type(weak[0]))], weak[1:]
    out = found[0]
    for d in found[1:]:
        out = promote(out, d)
    for x in weak:
        out = promote(out, weak_dtype(x, out))
    return out


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion alone leads from one dtype (or array) to another."""
    a = from_.dtype if isinstance(from_, Array) else as_dtype(from_)
    b = as_dtype(to)
    try:
        return promote(a, b) is b
    except DTypeError:
        return False


_KINDS = {
    "bool": ("bool",),
    "signed integer": ("int",),
    "unsigned integer": ("uint",),
    "integral": ("int", "uint"),
    "real floating": ("float",),
    "complex floating": ("complex",),
    "numeric": ("int", "uint", "float", "complex"),
}


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether ``dtype`` is of that kind: a kind's name, a dtype, or a tuple of them."""
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise at_user_line(ArgumentError(f"kind {kind!r} is none of {', '.join(_KINDS)}"))
        return as_dtype(dtype).kind in _KINDS[kind]
    return as_dtype(dtype) is as_dtype(kind)


class FInfo(NamedTuple):
    """Limits of a floating-point dtype; of a complex one, those of its parts."""

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    dtype: DType


class IInfo(NamedTuple):
    """Limits of an integer dtype."""

    bits: int
    max: int
    min: int
    dtype: DType


def _of(x: Any) -> DType:
    return x.dtype if isinstance(x, Array) else as_dtype(x)


def finfo(type: Any, /) -> FInfo:
    """The limits of a floating-point dtype (or of an array's).

    >>> import monograph as mg
    >>> mg.finfo("float32").eps == 2.0 ** -23
    True
    """
    d = _of(type).real
    if not d.is_float:
        raise at_user_line(DTypeError(f"finfo needs a floating-point dtype, got {d}; use mg.iinfo"))

    # the bit patterns of IEEE numbers are ordered: neighbours differ by one
    def bits(x: float) -> int:
        return int(np.asarray(x, d.numpy).view(f"u{d.itemsize}"))

    def value(pattern: int) -> float:
        return float(np.asarray(pattern, f"u{d.itemsize}").view(d.numpy))

    eps = value(bits(1.0) + 1) - 1.0
    top = value(bits(math.inf) - 1)
    return FInfo(d.bits, eps, top, -top, value(1 << -round(math.log2(eps))), d)


def iinfo(type: Any, /) -> IInfo:
    """The limits of an integer dtype (or of an array's)."""
    d = _of(type)
    if not d.is_integer:
        raise at_user_line(DTypeError(f"iinfo needs an integer dtype, got {d}; use mg.finfo"))
    info = np.iinfo(d.numpy)
    return IInfo(d.bits, int(info.max), int(info.min), d)


class NamespaceInfo:
    """What `__array_namespace_info__` returns: capabilities, devices and dtypes."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean masks and data-dependent shapes work on concrete arrays, not while tracing."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Any:
        """Where arrays are made unless said otherwise."""
        from ..eager import home

        return home()

    def devices(self) -> list[Any]:
        """The devices of the current engine."""
        return list(self.default_device().engine.devices)

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """What Python numbers and indices become."""
        del device
        return {
            "real floating": default_float, "complex floating": default_complex,
            "integral": default_int, "indexing": default_int,
        }  # fmt: skip

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """The standard's dtypes by name, of one kind or of all."""
        del device
        return {
            d.name: d
            for d in known()
            if d.bits != 16 or d.is_integer
            if kind is None or isdtype(d, kind)
        }


def __array_namespace_info__() -> NamespaceInfo:
    """Describes this namespace (array API 2024.12, inspection)."""
    return NamespaceInfo()

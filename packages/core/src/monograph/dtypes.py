"""Element types: one table, open to plug-ins.

A `DType` is unique per name, so `is` and `==` agree. The numbers NumPy knows are here; `bfloat16`,
`float16` and others come from packages that register them in the entry-point group
`monograph.dtypes` and are loaded when first named.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import DTypeError

_KINDS = ("bool", "int", "uint", "float8", "float", "complex")


class DType:
    """An element type.

    Attributes:
        name: what the user writes, e.g. ``"float32"``.
        kind: one of ``bool int uint float8 float complex``; float8 numbers are stored, moved and
            converted, not computed with.
        bits: width of one element.
        numpy: the NumPy dtype that stores it.
        compute: the dtype a reference computes in (float32 for the 16-bit floats), else itself.
    """

    __slots__ = ("name", "kind", "bits", "numpy", "_compute", "__weakref__")

    def __init__(self, name: str, kind: str, numpy: Any, compute: str | None = None):
        if kind not in _KINDS:
            raise DTypeError(f"dtype {name!r}: kind {kind!r} is not one of {', '.join(_KINDS)}")
        self.name, self.kind, self.numpy = name, kind, np.dtype(numpy)
        self.bits = 1 if kind == "bool" else 8 * self.numpy.itemsize
        self._compute = compute

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self.numpy.itemsize

    @property
    def compute(self) -> DType:
        return _TABLE[self._compute] if self._compute else self

    @property
    def is_float(self) -> bool:
        return self.kind == "float"

    @property
    def is_complex(self) -> bool:
        return self.kind == "complex"

    @property
    def is_inexact(self) -> bool:
        return self.kind in ("float", "complex")

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def real(self) -> DType:
        """The dtype of the real part: float32 for complex64, itself for a real one."""
        return {"complex64": float32, "complex128": float64}.get(self.name, self)

    @property
    def complex(self) -> DType:
        """The complex dtype that holds this one."""
        if self.is_complex:
            return self
        return complex128 if self.name in ("float64",) or self.is_integer else complex64

    def __repr__(self) -> str:
        return f"monograph.{self.name}"

    def __str__(self) -> str:
        return self.name

    def __reduce__(self):
        return dtype, (self.name,)


_TABLE: dict[str, DType] = {}
_BY_NUMPY: dict[np.dtype, DType] = {}


def register(d: DType) -> DType:
    """Add a dtype to the table; the way of plug-ins. A second one of the same name is an error."""
    if _TABLE.setdefault(d.name, d) is not d:
        raise DTypeError(f"dtype {d.name!r} is registered already")
    _BY_NUMPY[d.numpy] = d
    return d


bool_ = register(DType("bool", "bool", np.bool_))
int8, int16, int32, int64 = (register(DType(f"int{b}", "int", f"int{b}")) for b in (8, 16, 32, 64))
uint8, uint16, uint32, uint64 = (
    register(DType(f"uint{b}", "uint", f"uint{b}")) for b in (8, 16, 32, 64)
)
float32, float64 = (register(DType(f"float{b}", "float", f"float{b}")) for b in (32, 64))
complex64, complex128 = (
    register(DType(f"complex{b}", "complex", f"complex{b}")) for b in (64, 128)
)

_PYTHON = {bool: bool_, int: int64, float: float32, complex: complex64}
default_int, default_float, default_complex = int64, float32, complex64


def dtype(x: Any) -> DType:
    """The `DType` named by ``x``: a DType, name, NumPy dtype or Python type.

    Raises:
        DTypeError: no installed package provides it; the message says which would.

    >>> dtype("float32"), dtype(int), dtype(np.dtype("bool"))
    (monograph.float32, monograph.int64, monograph.bool)
    """
    if type(x) is DType:
        return x
    if isinstance(x, np.dtype) and x in _BY_NUMPY:
        return _BY_NUMPY[x]
    if isinstance(x, type) and x in _PYTHON:
        return _PYTHON[x]
    if isinstance(x, str):
        found = _TABLE.get(x) or _from_plugin(x)
        if found:
            return found
    try:
        n = None if x is None else np.dtype(x).newbyteorder("=")  # NumPy reads None as float64
    except TypeError:
        n = None
    if n is not None:
        found = _BY_NUMPY.get(n) or _from_plugin(n.name)
        if found:
            return found
    from .tracing import at_user_line  # it needs dtypes

    raise at_user_line(
        DTypeError(
            f"{x!r} is no dtype known here; known are {', '.join(_TABLE)}. Floats of 8 and 16 bits come with "
            f"`pip install monograph-dtypes`."
        )
    )


def _from_plugin(name: str) -> DType | None:
    from . import plugins

    if plugins.find("monograph.dtypes", name) is None:
        return None
    found = plugins.load("monograph.dtypes", name)
    return register(found) if found.name not in _TABLE else _TABLE[found.name]


def known() -> tuple[DType, ...]:
    """Every dtype registered so far."""
    return tuple(_TABLE.values())


# Promotion: the array API's table within a kind; across kinds what NumPy, PyTorch and JAX users
# expect of deep learning: an integer never widens a float.
def promote(a: DType, b: DType) -> DType:
    """The dtype that holds values of both (array API 2024.12, type promotion).

    Beyond the standard: float8 promotes to nothing; bool with anything gives the other; an integer with a float gives the
    float; float16 with bfloat16 gives float32; uint64 with a signed integer is an error.

    >>> promote(int8, uint8), promote(int64, float32), promote(float64, complex64)
    (monograph.int16, monograph.float32, monograph.complex128)
    """
    if a is b:
        return a
    if "float8" in (a.kind, b.kind):
        raise DTypeError(
            f"{a} and {b} have no common dtype: float8 is for storage. Convert with .astype() first"
        )
    if _KINDS.index(a.kind) > _KINDS.index(b.kind):
        a, b = b, a
    if a.kind == "bool" or (a.is_integer and b.is_inexact):
        return b
    if a.kind == b.kind:
        if a.bits == b.bits:  # float16 and bfloat16: neither holds the other
            return float32
        return a if a.bits > b.bits else b
    if a.kind == "int":  # and b is unsigned
        if a.bits > b.bits:
            return a
        if b.bits == 64:
            raise DTypeError(
                f"{a} and {b} have no common integer dtype; convert one with .astype()"
            )
        return _TABLE[f"int{2 * b.bits}"]
    # float with complex
    return complex128 if a is float64 else b


def result_type(*ds: DType) -> DType:
    """`promote` over several dtypes."""
    out = ds[0]
    for d in ds[1:]:
        out = promote(out, d)
    return out

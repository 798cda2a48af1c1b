"""Tensors made of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ._types import cast, is_array, made


def _full(size: Any, fill_value: Any, *, dtype: Any = None, **_: Any) -> Any:
    if dtype is None:
        dtype = {bool: "bool", int: "int64", complex: "complex64"}.get(type(fill_value), "float32")
    return mg.full(tuple(size), fill_value, dtype=dtype)


def _filled(value: Any) -> Callable:
    return lambda size, *args, dtype=None, **_: mg.full(
        tuple(size), value, dtype=dtype or "float32"
    )


def _like(value: Any) -> Callable:
    return lambda x, *, dtype=None, **_: mg.full_like(x, value, dtype=dtype)


def _new(value: Any) -> Callable:
    return lambda x, size, *args, dtype=None, **_: mg.full(
        tuple(size), value, dtype=dtype or x.dtype
    )


def _full_like(x: Any, fill_value: Any, *, dtype: Any = None, **_: Any) -> Any:
    return mg.full_like(x, fill_value, dtype=dtype)


def _fill(x: Any, value: Any) -> Any:
    return (
        mg.broadcast_to(cast(value, x.dtype), x.shape)
        if is_array(value)
        else mg.full_like(x, value)
    )


def _arange(start: Any, end: Any, step: Any = 1, *, dtype: Any = None, **_: Any) -> Any:
    whole = all(isinstance(v, int) for v in (start, end, step))
    made(int(abs((end - start) / step)))
    return mg.arange(start, end, step, dtype=dtype or ("int64" if whole else "float32"))


def _linspace(start: Any, end: Any, steps: int, *, dtype: Any = None, **_: Any) -> Any:
    return mg.linspace(start, end, *made(steps), dtype=dtype or "float32")


def _eye(n: int, m: int | None = None, *, dtype: Any = None, **_: Any) -> Any:
    return mg.eye(*made(n, n if m is None else m), dtype=dtype or "float32")


def _triangle_indices(of: Callable) -> Callable:
    def rule(row: int, col: int, offset: int = 0, *, dtype: Any = None, **_: Any) -> Any:
        made(row, col)
        return mg.asarray(np.stack(of(row, offset, col)).astype(dtype or "int64"))

    return rule


# what nobody has written is 0 here, as good as any other number
RULES: dict[str, Callable] = {
    "arange": lambda end, **kw: _arange(0, end, **kw), "arange.start": _arange,
    "arange.start_step": _arange, "empty": _filled(0), "empty_like": _like(0),
    "empty_permuted": _filled(0), "empty_strided": _filled(0), "eye": _eye, "fill": _fill, "full": _full,
    "full_like": _full_like, "linspace": _linspace, "new_empty": _new(0),
    "new_empty_strided": _new(0),
    "new_full": lambda x, size, fill_value, *, dtype=None, **_: mg.full(
        tuple(size), fill_value, dtype=dtype or x.dtype),
    "new_ones": _new(1), "new_zeros": _new(0), "ones": _filled(1), "ones_like": _like(1),
    "scalar_tensor": lambda s, *, dtype=None, **_: _full((), s, dtype=dtype or "float32"),
    "tril_indices": _triangle_indices(np.tril_indices),
    "triu_indices": _triangle_indices(np.triu_indices), "zero": _like(0), "zeros": _filled(0),
    "zeros_like": _like(0),
}  # fmt: skip

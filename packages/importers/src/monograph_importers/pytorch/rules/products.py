"""Products of matrices and vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg

from ._types import together
from .elementwise import _add, _mul


def _matmul(a: Any, b: Any) -> Any:
    return mg.matmul(*together(a, b))


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """``x [..., in]`` times ``weight [out, in]``."""
    out = mg.matmul(x, mg.matrix_transpose(weight))
    return out if bias is None else out + bias


def _addmm(x: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
    out = _mul(mg.matmul(a, b), alpha) if alpha != 1 else mg.matmul(a, b)
    # with beta 0 not even a NaN of x counts
    return out if beta == 0 else _add(out, x, alpha=beta)


def _outer(a: Any, b: Any) -> Any:
    return _mul(mg.expand_dims(a, axis=1), b)


def _einsum(equation: str, tensors: Any, *, path: Any = None) -> Any:
    return mg.einsum(equation.replace(" ", ""), *tensors)


def _bilinear(a: Any, b: Any, weight: Any, bias: Any = None) -> Any:
    out = mg.einsum("...i,kij,...j->...k", a, weight, b)
    return out if bias is None else out + bias


RULES: dict[str, Callable] = {
    "addmm": _addmm, "addmv": _addmm, "baddbmm": _addmm, "bilinear": _bilinear, "bmm": _matmul,
    "dot": _matmul, "einsum": _einsum, "linear": linear, "matmul": _matmul, "mm": _matmul,
    "mv": _matmul, "outer": _outer, "vdot": lambda a, b: mg.matmul(mg.conj(a), b),
}  # fmt: skip

"""Products of matrices."""

from __future__ import annotations

from typing import Any

import monograph as mg
import numpy as np

from ..._steps import eagerly
from ..rules import rule

_OPERANDS = 64  # of an equation that is tried before it is used


@rule("MatMul")
def matmul(a: Any, b: Any) -> Any:
    """The matrix product over the last two axes."""
    return mg.matmul(mg.asarray(a), mg.asarray(b))


@rule("Gemm", since=7)
def gemm(
    a: Any, b: Any, c: Any = None, *, alpha: float = 1.0, beta: float = 1.0, transA: int = 0,
    transB: int = 0,
) -> Any:  # fmt: skip
    """``alpha * A B + beta * C``."""
    a, b = (mg.matrix_transpose(x) if t else mg.asarray(x) for x, t in ((a, transA), (b, transB)))
    out = mg.matmul(a, b)
    out = out if alpha == 1 else mg.astype(alpha * out, a.dtype)
    if c is None or beta == 0:
        return out
    return out + (c if beta == 1 else mg.astype(beta * mg.asarray(c), a.dtype))


def _equation(text: str) -> None:
    """Raises what `einsum` does for any arrays: tried with axes of length 1."""
    terms = text.replace(" ", "").replace("...", "").partition("->")[0].split(",")
    if len(terms) <= _OPERANDS:
        eagerly(mg.einsum, text, *[np.ones((1,) * len(t), "float32") for t in terms])


@rule("Einsum", equation=_equation)
def einsum(*xs: Any, equation: str) -> Any:
    """A sum of products in Einstein's notation."""
    return mg.einsum(equation, *xs)


@rule("Det")
def det(x: Any) -> Any:
    """The determinant of square matrices."""
    return mg.linalg.det(x)

"""Forms of before operator set 7, where broadcasting had to be asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np

from ..rules import find, rule
from .elementwise import prelu
from .normalization import batch_normalization
from .products import gemm
from .shapes import reshape


def _broadcast(fn: Callable[..., Any]) -> Callable[..., Any]:
    """With the axes of ``b`` from ``axis`` of ``a`` on."""

    def old(a: Any, b: Any, *, broadcast: int = 0, axis: int | None = None) -> Any:
        a, b = mg.asarray(a), mg.asarray(b)
        if broadcast and axis is not None:
            at = axis % a.ndim
            b = mg.reshape(b, (*b.shape, *[1] * (a.ndim - at - b.ndim)))
        return fn(a, b)

    return old


for _name in ("Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less"):
    _now = find(_name, 7)
    assert _now is not None and _now.fn is not None
    rule(_name)(_broadcast(_now.fn))


@rule("Gemm")
def gemm_1(
    a: Any, b: Any, c: Any, *, alpha: float = 1.0, beta: float = 1.0, broadcast: int = 0, transA: int = 0,
    transB: int = 0,
) -> Any:  # fmt: skip
    """As now."""
    return gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)


@rule("BatchNormalization", state=(3, 4))
def batch_normalization_1(
    x: Any, scale: Any, bias: Any, mean: Any, var: Any, *, epsilon: float = 1e-5, is_test: int = 0,
    momentum: float = 0.9, spatial: int = 1,
) -> Any:  # fmt: skip
    """As now, never in training."""
    return batch_normalization(x, scale, bias, mean, var, epsilon=epsilon)


@rule("PRelu")
def prelu_1(x: Any, slope: Any) -> Any:
    """As now, with a slope per channel."""
    x, slope = mg.asarray(x), mg.asarray(slope)
    return prelu(x, mg.reshape(slope, (-1, *[1] * (x.ndim - 2))) if slope.ndim == 1 else slope)


@rule("Reshape")
def reshape_1(x: Any, *, shape: Any) -> Any:
    """As now, with an attribute."""
    return reshape(x, np.asarray(shape))

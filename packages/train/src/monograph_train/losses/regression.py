"""Losses of numbers: means of errors over the last axis, ``[batch, ..., outputs]`` to ``[batch, ...]``."""

from __future__ import annotations

import math
from typing import Any

import monograph as mg

from ._pair import EPSILON, mean, pair


def mean_squared_error(y_true: Any, y_pred: Any) -> mg.Array:
    """Mean of ``(y - p) ** 2``.

    >>> import monograph as mg
    >>> mean_squared_error(mg.tensor([[0.0, 1.0]]), mg.tensor([[0.0, 3.0]])).tolist()
    [2.0]
    """
    y_true, y_pred = pair(y_true, y_pred)
    return mean(mg.square(y_true - y_pred))


def mean_absolute_error(y_true: Any, y_pred: Any) -> mg.Array:
    """Mean of ``|y - p|``."""
    y_true, y_pred = pair(y_true, y_pred)
    return mean(mg.abs(y_true - y_pred))


def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> mg.Array:
    """Mean of ``100 |y - p| / |y|``."""
    y_true, y_pred = pair(y_true, y_pred)
    share = mg.abs(y_true - y_pred) / mg.maximum(mg.abs(y_true), EPSILON)
    return 100.0 * mean(share)


def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> mg.Array:
    """Mean of ``(log(1 + y) - log(1 + p)) ** 2``; what is below 0 counts as 0."""
    y_true, y_pred = (mg.log1p(mg.maximum(x, EPSILON)) for x in pair(y_true, y_pred))
    return mean(mg.square(y_true - y_pred))


def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> mg.Array:
    """Mean of ``error ** 2 / 2`` within ``delta``, linear beyond (Huber 1964)."""
    y_true, y_pred = pair(y_true, y_pred)
    far = mg.abs(y_pred - y_true)
    return mean(mg.where(far <= delta, 0.5 * mg.square(far), delta * far - 0.5 * delta**2))


def log_cosh(y_true: Any, y_pred: Any) -> mg.Array:
    """Mean of ``log(cosh(error))``: the square for small errors, the distance for large."""
    y_true, y_pred = pair(y_true, y_pred)
    error = y_pred - y_true
    return mean(error + mg.logaddexp(-2.0 * error, 0.0) - math.log(2.0))


def unit(x: mg.Array, axis: int) -> mg.Array:
    """``x`` at length 1 along ``axis``; zeros stay, with a gradient."""
    square = mg.sum(mg.square(x), axis=axis, keepdims=True)
    return x / mg.sqrt(mg.maximum(square, EPSILON**2))


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> mg.Array:
    """*Minus* the cosine of the angle between two vectors, so that less is nearer (as in Keras).

    >>> import monograph as mg
    >>> cosine_similarity(mg.tensor([[0.0, 2.0]]), mg.tensor([[0.0, 3.0]])).tolist()
    [-1.0]
    """
    y_true, y_pred = pair(y_true, y_pred)
    return -mg.sum(unit(y_true, axis) * unit(y_pred, axis), axis=axis)

"""Losses of overlap, for masks: ``[batch, ...]`` to ``[batch]``."""

from __future__ import annotations

from typing import Any

import monograph as mg

from ._pair import EPSILON, pair

Axis = int | tuple[int, ...] | None


def tversky(
    y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Axis = None
) -> mg.Array:
    """``1 - tp / (tp + alpha fp + beta fn)`` (Salehi et al. 2017).

    Keras 3.15 documents ``alpha`` as we do, but multiplies the false *negatives* by it.

    Args:
        y_true, y_pred: 0 to 1, ``[batch, ...]``.
        alpha: weight of false positives.
        beta: weight of false negatives.
        axis: what is summed over; None: every axis but the first (Keras: the first too).
    """
    y_true, y_pred = pair(y_true, y_pred)
    axes = tuple(range(1, y_pred.ndim)) if axis is None else axis
    both, extra, missed = (
        mg.sum(x, axis=axes)
        for x in (y_true * y_pred, y_pred * (1 - y_true), y_true * (1 - y_pred))
    )
    return 1 - both / (both + alpha * extra + beta * missed + EPSILON)


def dice(y_true: Any, y_pred: Any, axis: Axis = None) -> mg.Array:
    """``1 - 2 sum(y p) / (sum(y) + sum(p))`` (Milletari et al. 2016).

    Args:
        y_true, y_pred: 0 to 1, ``[batch, ...]``.
        axis: what is summed over; None: every axis but the first (Keras: the first too).

    >>> import monograph as mg
    >>> round(dice(mg.tensor([[1.0, 0.0]]), mg.tensor([[1.0, 1.0]])).item(), 6)
    0.333333
    """
    y_true, y_pred = pair(y_true, y_pred)
    axes = tuple(range(1, y_pred.ndim)) if axis is None else axis
    both, total = mg.sum(y_true * y_pred, axis=axes), mg.sum(y_true + y_pred, axis=axes)
    return 1 - 2 * both / (total + EPSILON)

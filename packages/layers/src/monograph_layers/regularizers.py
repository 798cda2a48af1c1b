"""Penalties on weights: ``value -> scalar``, given to a layer as ``kernel_regularizer=l2(1e-4)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg

Regularizer = Callable[[Any], Any] | None


def l1(rate: float = 0.01) -> Callable[[Any], Any]:
    """``rate * sum(|w|)``, as Keras's L1.

    >>> l1(0.5)(mg.asarray([1.0, -3.0])).item()
    2.0
    """
    return lambda w: rate * mg.sum(mg.abs(w))


def l2(rate: float = 0.01) -> Callable[[Any], Any]:
    """``rate * sum(w ** 2)``, as Keras's L2.

    >>> l2(0.5)(mg.asarray([1.0, -3.0])).item()
    5.0
    """
    return lambda w: rate * mg.sum(mg.square(w))


def l1_l2(rate1: float = 0.0, rate2: float = 0.0) -> Callable[[Any], Any]:
    """The sum of both penalties, as Keras's L1L2.

    >>> l1_l2(0.5, 0.5)(mg.asarray([1.0, -3.0])).item()
    7.0
    """
    return lambda w: l1(rate1)(w) + l2(rate2)(w)


def orthogonal_regularizer(factor: float = 0.01, mode: str = "rows") -> Callable[[Any], Any]:
    """``factor`` times the mean ``|cosine|`` of each two rows, or columns, of a matrix, as Keras's.

    Raises:
        ArgumentError: ``mode`` is neither ``"rows"`` nor ``"columns"``.
        ShapeError: the weight is no matrix.

    >>> orthogonal_regularizer(1.0)(mg.asarray([[2.0, 0.0], [3.0, 4.0]])).item()
    0.6...
    """
    if mode not in ("rows", "columns"):
        raise mg.tracing.at_user_line(
            mg.errors.ArgumentError(f"mode={mode!r} is neither 'rows' nor 'columns'")
        )

    def penalty(w: Any) -> Any:
        if w.ndim != 2:
            raise mg.tracing.at_user_line(
                mg.errors.ShapeError(f"orthogonal_regularizer needs a matrix, got shape {w.shape}")
            )
        w = w if mode == "rows" else w.T
        n = w.shape[0]
        length = mg.sqrt(mg.maximum(mg.sum(mg.square(w), axis=1, keepdims=True), 1e-24))
        unit = w / length
        apart = mg.where(mg.eye(n, dtype="bool"), 0.0, mg.abs(unit @ unit.T))
        return factor * mg.sum(apart) / max(n * (n - 1), 1)

    return penalty

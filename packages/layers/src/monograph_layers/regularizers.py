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

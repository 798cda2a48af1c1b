"""Layers that only act in training."""

from __future__ import annotations

from typing import Any

import monograph as mg


def dropout(scope: Any, x: Any, rate: float, *, training: bool = False) -> Any:
    """Zero each element with probability ``rate`` and scale the rest (Srivastava et al. 2014).

    Random numbers come from the store's state, so a run with the same seed repeats exactly, on
    every engine.

    Raises:
        ArgumentError: ``rate`` is not in ``[0, 1)``.
    """
    if not 0 <= rate < 1:
        raise mg.errors.ArgumentError(f"dropout {scope.path!r}: rate={rate} must be in [0, 1)")
    if not training or rate == 0:
        return x
    keep = mg.random.uniform(scope.key(), x.shape) >= rate
    return mg.where(keep, x / (1 - rate), 0.0)

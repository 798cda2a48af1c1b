"""Layers that only act in training."""

from __future__ import annotations

from typing import Any

import monograph as mg

from ._layer import layer, refuse


@layer
def dropout(scope: mg.Scope, x: Any, rate: float, *, training: bool = False) -> Any:
    """Zero each element with probability ``rate`` and scale the rest (Srivastava et al. 2014).

    Random numbers come from the store's state, so a run with the same seed repeats exactly, on
    every engine.

    Raises:
        ArgumentError: ``rate`` is not in ``[0, 1)``.

    >>> call = mg.Store(seed=0).bind(lambda s, x: dropout(s, x, 0.5, training=True), engine="numpy")
    >>> sorted(set(call(mg.ones((100,))).tolist()))
    [0.0, 2.0]
    """
    if not 0 <= rate < 1:
        refuse(scope, "dropout", f"rate={rate} must be in [0, 1)", mg.errors.ArgumentError)
    if not training or rate == 0:
        return x
    keep = mg.random.uniform(scope.key(), x.shape) >= rate
    return mg.where(keep, x / (1 - rate), 0.0)

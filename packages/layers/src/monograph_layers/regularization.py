"""Layers that add noise, or take something away, in training; and a penalty on activations.

Random numbers come from the store's state, so a run with the same seed repeats exactly, on every
engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import monograph as mg

from .activations import SELU_ALPHA, SELU_SCALE
from .authoring import layer, refuse
from .regularizers import l1_l2


def _keep(
    scope: mg.Scope, name: str, shape: Sequence[int | None] | None, x: Any, rate: float
) -> Any:
    """Bools that broadcast to ``x``, true with probability ``1 - rate``; axes of None are x's."""
    given = x.shape if shape is None else tuple(shape)
    if len(given) != x.ndim or any(n not in (None, 1, m) for n, m in zip(given, x.shape)):
        refuse(scope, name, f"noise_shape={given} does not broadcast to the input's {x.shape}")
    return (
        mg.random.uniform(scope.key(), [m if n is None else n for n, m in zip(given, x.shape)])
        >= rate
    )


def _off(scope: mg.Scope, name: str, rate: float, training: bool) -> bool:
    """Whether nothing happens; a ``rate`` out of range is an error even then."""
    if not 0 <= rate < 1:
        refuse(scope, name, f"rate={rate} must be in [0, 1)", mg.errors.ArgumentError)
    return not training or rate == 0


def _noise(scope: mg.Scope, x: Any) -> Any:
    """Standard normal numbers like ``x``, drawn in float32, for sums and products in ``x.compute``."""
    return mg.astype(mg.random.normal(scope.key(), x.shape), x.dtype.compute)


@layer
def dropout(
    scope: mg.Scope, x: Any, rate: float, *, noise_shape: Sequence[int | None] | None = None,
    training: bool = False,
) -> Any:  # fmt: skip
    """Zero each element with probability ``rate`` and scale the rest (Srivastava et al. 2014).

    Args:
        noise_shape: of the choices, as long as ``x.shape``: 1 where all of an axis goes or stays
            together, None or the full length elsewhere.

    Raises:
        ArgumentError: ``rate`` is not in ``[0, 1)``.
        ShapeError: ``noise_shape`` does not broadcast to ``x``.

    >>> call = mg.Store(seed=0).bind(lambda s, x: dropout(s, x, 0.5, training=True), engine="numpy")
    >>> sorted(set(call(mg.ones((100,))).tolist()))
    [0.0, 2.0]
    """
    if _off(scope, "dropout", rate, training):
        return x
    return mg.where(_keep(scope, "dropout", noise_shape, x, rate), x / (1 - rate), 0.0)


@layer
def spatial_dropout(scope: mg.Scope, x: Any, rate: float, *, training: bool = False) -> Any:
    """`dropout` of whole channels, as Keras's SpatialDropout1D, 2D and 3D (Tompson et al. 2015).

    Args:
        x: ``[batch, *spatial, channels]``.

    >>> f = mg.Store(seed=0).bind(lambda s, x: spatial_dropout(s, x, 0.5, training=True), "numpy")
    >>> sorted(set(f(mg.ones((1, 4, 9))).sum(axis=1).tolist()[0]))
    [0.0, 8.0]
    """
    if x.ndim < 3:
        refuse(scope, "spatial_dropout", f"needs [batch, *spatial, channels], got shape {x.shape}")
    places = (1,) * (x.ndim - 2)
    return dropout(scope, x, rate, noise_shape=(None, *places, None), training=training)


@layer
def drop_path(scope: mg.Scope, x: Any, rate: float, *, training: bool = False) -> Any:
    """`dropout` of whole examples: stochastic depth, for the branch of a residual (Huang et al. 2016).

    Args:
        x: ``[batch, ...]``.

    >>> f = mg.Store(seed=0).bind(lambda s, x: x + drop_path(s, 3 * x, 0.5, training=True), "numpy")
    >>> sorted(set(f(mg.ones((20, 1))).tolist()[i][0] for i in range(20)))
    [1.0, 7.0]
    """
    return dropout(scope, x, rate, noise_shape=(None, *(1,) * (x.ndim - 1)), training=training)


@layer
def gaussian_dropout(scope: mg.Scope, x: Any, rate: float, *, training: bool = False) -> Any:
    """Multiply by normal numbers of mean 1 and variance ``rate / (1 - rate)``, as Keras.

    Srivastava et al. 2014.

    Raises:
        ArgumentError: ``rate`` is not in ``[0, 1)``.

    >>> f = mg.Store(seed=0).bind(lambda s, x: gaussian_dropout(s, x, 0.5, training=True), "numpy")
    >>> abs(f(mg.ones((1000,))).mean().item() - 1.0) < 0.1
    True
    """
    if _off(scope, "gaussian_dropout", rate, training):
        return x
    return mg.astype(x * (1.0 + math.sqrt(rate / (1.0 - rate)) * _noise(scope, x)), x.dtype)


@layer
def gaussian_noise(scope: mg.Scope, x: Any, stddev: float, *, training: bool = False) -> Any:
    """Add normal numbers of standard deviation ``stddev``, as Keras.

    Raises:
        ArgumentError: ``stddev`` is negative.

    >>> f = mg.Store(seed=0).bind(lambda s, x: gaussian_noise(s, x, 0.1, training=True), "numpy")
    >>> abs(f(mg.zeros((1000,))).mean().item()) < 0.02
    True
    """
    if stddev < 0:
        refuse(scope, "gaussian_noise", f"stddev={stddev} is negative", mg.errors.ArgumentError)
    if not training or stddev == 0:
        return x
    return mg.astype(x + stddev * _noise(scope, x), x.dtype)


@layer
def alpha_dropout(
    scope: mg.Scope, x: Any, rate: float, *, noise_shape: Sequence[int | None] | None = None,
    training: bool = False,
) -> Any:  # fmt: skip
    """Dropout that keeps mean and variance of `selu` activations (Klambauer et al. 2017), as Keras.

    Dropped elements get SELU's lowest value, then all are scaled and shifted. Options as of `dropout`.

    >>> f = mg.Store(seed=0).bind(lambda s, x: alpha_dropout(s, x, 0.5, training=True), "numpy")
    >>> len(set(f(mg.ones((100,))).tolist()))
    2
    """
    if _off(scope, "alpha_dropout", rate, training):
        return x
    low = -SELU_ALPHA * SELU_SCALE
    factor = ((1 - rate) * (1 + rate * low**2)) ** -0.5
    kept = _keep(scope, "alpha_dropout", noise_shape, x, rate)
    values = mg.astype(x, x.dtype.compute)
    return mg.astype(factor * mg.where(kept, values, low) - factor * low * rate, x.dtype)


@layer
def activity_regularization(scope: mg.Scope, x: Any, *, l1: float = 0.0, l2: float = 0.0) -> Any:
    """``x`` itself; per example, ``l1 * sum(|x|) + l2 * sum(x ** 2)`` goes to ``scope.losses``, as Keras.

    Args:
        x: ``[batch, ...]``.

    >>> def model(scope, x):
    ...     return activity_regularization(scope, x, l2=0.5), scope.losses
    >>> mg.Store(seed=0).bind(model, engine="numpy")(mg.asarray([[2.0], [4.0]]))[1][0].item()
    5.0
    """
    scope.add_loss(l1_l2(l1, l2)(mg.astype(x, x.dtype.compute)) / max(x.shape[0], 1))
    return x

"""Initializers: ``(key, shape, dtype) -> array``. Fans are counted as Keras counts them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg

Init = Callable[[Any, tuple, Any], Any]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Inputs and outputs per unit of a kernel ``[*spatial, in, out]``.

    >>> fans((3, 3, 8, 16))
    (72, 144)
    """
    if len(shape) < 2:
        return (shape[0], shape[0]) if shape else (1, 1)
    field = math.prod(shape[:-2])
    return shape[-2] * field, shape[-1] * field


def _uniform(scale: float, fan: Callable[[int, int], float]) -> Init:
    def init(key: Any, shape: tuple, dtype: Any) -> Any:
        limit = math.sqrt(3.0 * scale / max(1.0, fan(*fans(shape))))
        return mg.random.uniform(key, shape, dtype, -limit, limit)

    return init


def _normal(scale: float, fan: Callable[[int, int], float]) -> Init:
    def init(key: Any, shape: tuple, dtype: Any) -> Any:
        # cutting a normal at two deviations leaves 0.8796 of its spread; Keras corrects for it
        std = math.sqrt(scale / max(1.0, fan(*fans(shape)))) / 0.87962566103423978
        return mg.random.truncated_normal(key, -2.0, 2.0, shape, dtype) * std

    return init


glorot_uniform: Init = _uniform(1.0, lambda i, o: (i + o) / 2)
"""Uniform of variance ``2 / (in + out)`` (Glorot and Bengio 2010); Keras's default."""
glorot_normal: Init = _normal(1.0, lambda i, o: (i + o) / 2)
"""Truncated normal of variance ``2 / (in + out)`` (Glorot and Bengio 2010)."""
he_uniform: Init = _uniform(2.0, lambda i, o: i)
"""Uniform of variance ``2 / in`` (He et al. 2015), for ReLU."""
he_normal: Init = _normal(2.0, lambda i, o: i)
"""Truncated normal of variance ``2 / in`` (He et al. 2015), for ReLU."""
lecun_normal: Init = _normal(1.0, lambda i, o: i)
"""Truncated normal of variance ``1 / in`` (LeCun et al. 1998)."""


def uniform(minval: float, maxval: float) -> Init:
    """Uniform in ``[minval, maxval)``."""
    return lambda key, shape, dtype: mg.random.uniform(key, shape, dtype, minval, maxval)


def zeros(key: Any, shape: tuple, dtype: Any) -> Any:
    """All zeros."""
    return mg.zeros(shape, dtype=dtype)


def ones(key: Any, shape: tuple, dtype: Any) -> Any:
    """All ones."""
    return mg.ones(shape, dtype=dtype)

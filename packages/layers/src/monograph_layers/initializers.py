"""Initializers: ``(key, shape, dtype) -> array``. Fans are counted as Keras counts them.

16-bit numbers are drawn in float32 and rounded once.
"""

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


def zeros(key: Any, shape: tuple, dtype: Any) -> Any:
    """All zeros."""
    return mg.zeros(shape, dtype=dtype)


def ones(key: Any, shape: tuple, dtype: Any) -> Any:
    """All ones."""
    return mg.ones(shape, dtype=dtype)


def constant(value: Any = 0.0) -> Init:
    """``value`` everywhere; an array is broadcast to the shape.

    >>> constant(2.0)(None, (2,), "float32").tolist()
    [2.0, 2.0]
    """
    return lambda key, shape, dtype: mg.broadcast_to(mg.astype(mg.asarray(value), dtype), shape)


def identity(gain: float = 1.0) -> Init:
    """``gain`` on the diagonal of a matrix ``[rows, columns]``, else 0."""

    def init(key: Any, shape: tuple, dtype: Any) -> Any:
        if len(shape) != 2:
            raise _shape_error("identity", "a matrix", shape)
        return mg.eye(*shape, dtype=dtype) * gain

    return init


def uniform(minval: float = -0.05, maxval: float = 0.05) -> Init:
    """Uniform in ``[minval, maxval)``; Keras's random_uniform."""
    return lambda key, shape, dtype: mg.random.uniform(key, shape, dtype, minval, maxval)


def normal(mean: float = 0.0, stddev: float = 0.05) -> Init:
    """Normal of that mean and standard deviation; Keras's random_normal."""
    return _scaled(mg.random.normal, mean, stddev)


def truncated_normal(mean: float = 0.0, stddev: float = 0.05) -> Init:
    """`normal`, drawn within two of its standard deviations, which leaves 0.88 of its spread."""
    return _scaled(_cut, mean, stddev)


def _cut(key: Any, shape: tuple, dtype: Any) -> Any:
    return mg.random.truncated_normal(key, -2.0, 2.0, shape, dtype)


def _scaled(draw: Callable, mean: float, stddev: float) -> Init:
    def init(key: Any, shape: tuple, dtype: Any) -> Any:
        d = mg.dtypes.dtype(dtype)
        out = draw(key, shape, d.compute) * stddev
        return mg.astype(out + mean if mean else out, d)

    return init


# what cutting at two deviations leaves of a normal's spread
_CUT_SPREAD = 0.87962566103423978
_FANS: dict[str, Callable[[int, int], float]] = {
    "fan_in": lambda i, o: i, "fan_out": lambda i, o: o, "fan_avg": lambda i, o: (i + o) / 2,
}  # fmt: skip
_DRAWS: dict[str, Callable[[float], Init]] = {
    "truncated_normal": lambda std: truncated_normal(0.0, std / _CUT_SPREAD),
    "untruncated_normal": lambda std: normal(0.0, std),
    "uniform": lambda std: uniform(-math.sqrt(3) * std, math.sqrt(3) * std),
}


def variance_scaling(
    scale: float = 1.0, mode: str = "fan_in", distribution: str = "truncated_normal"
) -> Init:
    """Random numbers of variance ``scale / fan``.

    Args:
        mode: which fan: ``"fan_in"``, ``"fan_out"`` or their mean ``"fan_avg"``; see `fans`.
        distribution: ``"truncated_normal"``, ``"untruncated_normal"`` or ``"uniform"``.

    Raises:
        ArgumentError: an unknown mode or distribution, or a scale that is not positive.

    >>> variance_scaling(2.0, "fan_out")(mg.random.key(0), (3, 3, 8, 16), "float32").shape
    (3, 3, 8, 16)
    """
    if scale <= 0 or mode not in _FANS or distribution not in _DRAWS:
        raise mg.tracing.at_user_line(
            mg.errors.ArgumentError(
                f"variance_scaling needs scale > 0, a mode of {', '.join(_FANS)} and a distribution of "
                f"{', '.join(_DRAWS)}; got {scale}, {mode!r}, {distribution!r}"
            )
        )

    def init(key: Any, shape: tuple, dtype: Any) -> Any:
        fan = max(1.0, _FANS[mode](*fans(shape)))
        return _DRAWS[distribution](math.sqrt(scale / fan))(key, shape, dtype)

    return init


glorot_uniform: Init = variance_scaling(1.0, "fan_avg", "uniform")
"""Uniform of variance ``2 / (in + out)`` (Glorot and Bengio 2010); Keras's default."""
glorot_normal: Init = variance_scaling(1.0, "fan_avg")
"""Truncated normal of variance ``2 / (in + out)`` (Glorot and Bengio 2010)."""
he_uniform: Init = variance_scaling(2.0, "fan_in", "uniform")
"""Uniform of variance ``2 / in`` (He et al. 2015), for ReLU."""
he_normal: Init = variance_scaling(2.0, "fan_in")
"""Truncated normal of variance ``2 / in`` (He et al. 2015), for ReLU."""
lecun_uniform: Init = variance_scaling(1.0, "fan_in", "uniform")
"""Uniform of variance ``1 / in`` (LeCun et al. 1998)."""
lecun_normal: Init = variance_scaling(1.0, "fan_in")
"""Truncated normal of variance ``1 / in`` (LeCun et al. 1998); for SELU."""


def orthogonal(gain: float = 1.0) -> Init:
    """``gain`` times a random matrix with orthonormal columns, or rows if they are fewer.

    Saxe et al. 2013. A kernel ``[..., out]`` is seen as a matrix of ``out`` columns.

    >>> w = orthogonal()(mg.random.key(0), (2, 3), "float32")
    >>> mg.round(mg.abs(w @ w.T)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    def init(key: Any, shape: tuple, dtype: Any) -> Any:
        if len(shape) < 2:
            raise _shape_error("orthogonal", "two axes or more", shape)
        d = mg.dtypes.dtype(dtype)
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = (max(rows, columns), min(rows, columns))
        q, r = mg.linalg.qr(mg.random.normal(key, tall, d.compute))
        # with a positive diagonal of r, q is spread evenly over all orthogonal matrices
        q = q * mg.where(mg.linalg.diagonal(r) < 0, -1.0, 1.0)
        q = q.T if rows < columns else q
        return mg.astype(mg.reshape(q * gain, shape), d)

    return init


def _shape_error(name: str, needs: str, shape: tuple) -> Exception:
    return mg.tracing.at_user_line(
        mg.errors.ShapeError(f"the initializer {name} needs {needs}, got shape {shape}")
    )

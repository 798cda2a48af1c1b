"""Activations by Keras's names: ``dense(scope, x, 10, activation="relu")``, or any function.

One with options is a function to be called or made partial:
``activation=functools.partial(leaky_relu, negative_slope=0.1)``. 16-bit floats are computed in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import monograph as mg

from .authoring import layer
from .initializers import Init, zeros
from .regularizers import Regularizer

Activation = str | Callable[[Any], Any] | None

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "exponential": mg.exp, "gelu": mg.gelu, "linear": lambda x: x, "log_softmax": mg.log_softmax,
    "sigmoid": mg.sigmoid, "silu": mg.silu, "softmax": mg.softmax, "swish": mg.silu,
    "tanh": mg.tanh,
}  # fmt: skip
"""Every activation that can be given by its name."""


def _named(fn: Callable) -> Callable:
    """Put ``fn`` into the table, computing in float32 where ``x`` has 16 bits."""

    @functools.wraps(fn)
    def call(x: Any, /, *args: Any, **options: Any) -> Any:
        x = mg.asarray(x)
        return mg.astype(fn(mg.astype(x, x.dtype.compute), *args, **options), x.dtype)

    ACTIVATIONS[fn.__name__] = call
    return call


@_named
def relu(
    x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Any:
    """``max(x, 0)``; beyond ``threshold`` only, up to ``max_value``, sloping below, as in Keras.

    >>> relu(mg.asarray([-2.0, 1.0, 9.0]), negative_slope=0.5, max_value=6.0).tolist()
    [-1.0, 1.0, 6.0]
    """
    y = mg.where(x > threshold, x, 0.0) if threshold else x
    if max_value is not None:
        y = mg.hard_tanh(y, 0.0, max_value)
    elif not threshold:
        y = mg.relu(y)
    return y - negative_slope * mg.relu(threshold - x) if negative_slope else y


@_named
def relu6(x: Any) -> Any:
    """`relu` up to 6 (Krizhevsky 2010)."""
    return mg.relu6(x)


@_named
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """``x`` above 0, ``negative_slope * x`` below (Maas et al. 2013)."""
    return mg.where(x > 0, x, negative_slope * x)


@_named
def elu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` above 0, ``alpha * (exp(x) - 1)`` below (Clevert et al. 2016)."""
    return mg.where(x > 0, x, alpha * mg.expm1(mg.minimum(x, 0.0)))


@_named
def selu(x: Any) -> Any:
    """`elu`, scaled so that activations normalise themselves (Klambauer et al. 2017)."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@_named
def celu(x: Any, alpha: float = 1.0) -> Any:
    """``x`` above 0, ``alpha * (exp(x / alpha) - 1)`` below (Barron 2017)."""
    return mg.where(x > 0, x, alpha * mg.expm1(mg.minimum(x, 0.0) / alpha))


@_named
def glu(x: Any, axis: int = -1) -> Any:
    """``a * sigmoid(b)`` for the two halves of ``x`` along ``axis`` (Dauphin et al. 2017).

    >>> glu(mg.asarray([3.0, 0.0])).tolist()
    [1.5]
    """
    a, b = mg.split(x, 2, axis=axis)
    return a * mg.sigmoid(b)


@_named
def softplus(x: Any) -> Any:
    """``log(1 + exp(x))``."""
    return mg.logaddexp(x, 0.0)


@_named
def softsign(x: Any) -> Any:
    """``x / (1 + |x|)``."""
    return x / (1.0 + mg.abs(x))


@_named
def log_sigmoid(x: Any) -> Any:
    """Logarithm of the sigmoid, without its underflow."""
    return -softplus(-x)


@_named
def mish(x: Any) -> Any:
    """``x * tanh(softplus(x))`` (Misra 2019)."""
    return x * mg.tanh(softplus(x))


@_named
def squareplus(x: Any, b: float = 4.0) -> Any:
    """``(x + sqrt(x ** 2 + b)) / 2`` (Barron 2021)."""
    return (x + mg.sqrt(mg.square(x) + b)) / 2.0


@_named
def hard_sigmoid(x: Any) -> Any:
    """``x / 6 + 1 / 2``, cut to ``[0, 1]``."""
    return mg.hard_tanh(x / 6.0 + 0.5, 0.0, 1.0)


@_named
def hard_silu(x: Any) -> Any:
    """``x * hard_sigmoid(x)`` (Howard et al. 2019), also called hard swish."""
    return x * hard_sigmoid(x)


ACTIVATIONS["hard_swish"] = hard_silu


@_named
def hard_tanh(x: Any) -> Any:
    """``x`` cut to ``[-1, 1]``."""
    return mg.hard_tanh(x)


@_named
def tanh_shrink(x: Any) -> Any:
    """``x - tanh(x)``."""
    return x - mg.tanh(x)


@_named
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """``x`` moved towards 0 by ``threshold``, 0 where it would cross."""
    return mg.relu(x - threshold) - mg.relu(-x - threshold)


@_named
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """``x`` where it is farther than ``threshold`` from 0, else 0."""
    return mg.where(mg.abs(x) > threshold, x, 0.0)


def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """``x`` above ``threshold``, else ``default_value``; it has no name, as it needs its options."""
    x = mg.asarray(x)
    return mg.where(x > threshold, x, default_value)


@_named
def sparse_plus(x: Any) -> Any:
    """0 up to -1, ``(x + 1) ** 2 / 4`` up to 1, then ``x`` (Martins and Astudillo 2016)."""
    return mg.where(x >= 1, x, mg.square(mg.clip(x, -1.0, 1.0) + 1.0) / 4.0)


@_named
def sparse_sigmoid(x: Any) -> Any:
    """``(x + 1) / 2``, cut to ``[0, 1]`` (Martins and Astudillo 2016)."""
    return mg.clip((x + 1.0) / 2.0, 0.0, 1.0)


@_named
def sparsemax(x: Any, axis: int = -1) -> Any:
    """The distribution nearest to ``x``: ``max(x - tau, 0)`` with a sum of 1 along ``axis``.

    Martins and Astudillo 2016.

    >>> sparsemax(mg.asarray([3.0, 2.5, 0.0])).tolist()
    [0.75, 0.25, 0.0]
    """
    x = mg.moveaxis(x, axis, -1)
    falling = mg.sort(x, axis=-1, descending=True)
    over, count = mg.cumulative_sum(falling, axis=-1) - 1.0, mg.arange(1, x.shape[-1] + 1)
    kept = falling * count > over
    tau = mg.sum(mg.where(kept, falling, 0.0), axis=-1, keepdims=True) - 1.0
    y = mg.relu(x - tau / mg.sum(mg.astype(kept, x.dtype), axis=-1, keepdims=True))
    return mg.moveaxis(y, -1, axis)


def activate(x: Any, activation: Activation) -> Any:
    """``activation(x)``, the activation given by name or as a function; None is none.

    Raises:
        ArgumentError: no activation of this name.

    >>> activate(mg.asarray([-1.0, 2.0]), "relu").tolist()
    [0.0, 2.0]
    """
    if activation is None:
        return x
    if callable(activation):
        return activation(x)
    if activation not in ACTIVATIONS:
        raise mg.tracing.at_user_line(
            mg.errors.ArgumentError(
                f"activation={activation!r} is none of {', '.join(sorted(ACTIVATIONS))}; a function "
                f"of one array is welcome too"
            )
        )
    return ACTIVATIONS[activation](x)


@layer
def prelu(
    scope: mg.Scope, x: Any, *, alpha_initializer: Init = zeros,
    alpha_regularizer: Regularizer = None, shared_axes: Sequence[int] = (),
) -> Any:  # fmt: skip
    """``x`` above 0, ``alpha * x`` below, with a learned ``alpha`` (He et al. 2015), as Keras's PReLU.

    Args:
        scope: holds ``alpha``, of ``x``'s shape but for the batch, and 1 along ``shared_axes``.
        x: ``[batch, ...]``.
        shared_axes: of ``x``, each 1 or more: ``(1, 2)`` shares ``alpha`` over an image's places.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda s, x: prelu(s, x, shared_axes=(1, 2)), engine="numpy")
    >>> call(mg.ones((1, 4, 4, 3))).shape, store["alpha"].shape
    ((1, 4, 4, 3), (1, 1, 3))
    """
    shared = {a % x.ndim for a in shared_axes}
    shape = tuple(1 if a in shared else n for a, n in enumerate(x.shape) if a)
    alpha = scope.parameter("alpha", shape, alpha_initializer, x.dtype, alpha_regularizer)
    return mg.relu(x) - alpha * mg.relu(-x)

"""Activations by Keras's names: ``dense(scope, x, 10, activation="relu")``, or any function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg

Activation = str | Callable[[Any], Any] | None

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": mg.gelu,
    "linear": lambda x: x,
    "relu": mg.relu,
    "sigmoid": mg.sigmoid,
    "silu": mg.silu,
    "softmax": mg.softmax,
    "tanh": mg.tanh,
}


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

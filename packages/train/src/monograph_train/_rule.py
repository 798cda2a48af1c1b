"""What optimizers have in common: their state in a scope, learning rates, checks of options."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import monograph as mg
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .schedules import Adjustable

Grads = dict[str, Any]
Optimizer = Callable[[Any, Grads], None]  # (scope, {path: gradient}), inside the traced step
Rate = float | Callable[[Any], Any] | Adjustable
State = dict[str, Any]
# (parameter, gradient, moments, learning rate, number of the step from 1) -> (parameter, moments)
Rule = Callable[[Any, Any, State, Any, Any], tuple[Any, State]]
# name -> first value, of the parameter's shape; or name -> (first value, shape)
Moments = Callable[[tuple[int, ...]], dict[str, tuple[float, tuple[int, ...]]]]


def check(**options: Any) -> None:
    """Refuse options out of range: ``beta...``, ``rho`` and the like in [0, 1), others from 0.

    Raises:
        ArgumentError: names the option, its value and its range.
    """
    for name, value in options.items():
        if callable(value) or isinstance(value, Adjustable):
            continue
        below = 1.0 if name.startswith(("beta", "rho", "alpha", "decay")) else math.inf
        if not 0 <= value < below:
            wanted = "at least 0 and below 1" if below == 1 else "finite and at least 0"
            raise at_user_line(ArgumentError(f"{name}={value} must be {wanted}"))


def begin(scope: Any, grads: Grads, learning_rate: Rate) -> tuple[Any, Any]:
    """Count an update: the learning rate of it (float32), and its number from 1 (float32).

    Raises:
        ArgumentError: there are no gradients.
    """
    if not grads:
        raise at_user_line(
            ArgumentError(
                "the optimizer got no gradients: the loss reads no trainable variable, or all are "
                "in another group"
            )
        )
    step = scope.variable("step", (), 0, "int32")
    before = step.value
    step.assign(before + 1)
    if isinstance(learning_rate, Adjustable):
        rate = scope.variable("learning_rate", (), learning_rate.first).value
    else:
        rate = learning_rate(before) if callable(learning_rate) else learning_rate
    return mg.astype(mg.asarray(rate), "float32"), mg.astype(step.value, "float32")


def wide(x: Any) -> Any:
    """In float32 at least: small changes of a 16-bit parameter would be lost on the way."""
    return mg.astype(x, x.dtype.compute)


def penalised(scope: Any, grads: Grads, weight_decay: float) -> Grads:
    """The gradients of the loss and of ``weight_decay / 2 * sum(p ** 2)``."""
    if not weight_decay:
        return grads
    return {p: decayed(wide(g), wide(scope.read(p)), weight_decay) for p, g in grads.items()}


def decayed(change: Any, p: Any, weight_decay: float) -> Any:
    """The change with that of weight decay."""
    return change + weight_decay * p if weight_decay else change


def moments(scope: Any, name: str, likes: dict[str, Any], first: float = 0.0) -> list[Any]:
    """A variable ``path/name`` beside each of the arrays, of its shape."""
    return [scope.variable(f"{p}/{name}", x.shape, first, x.dtype) for p, x in likes.items()]


def like_parameter(**first: float) -> Moments:
    """Moments of the parameter's shape, by name with their first values."""
    return lambda shape: {name: (value, shape) for name, value in first.items()}


def per_parameter(
    rule: Rule, state: Moments, learning_rate: Rate, weight_decay: float = 0.0
) -> Optimizer:
    """An optimizer that treats each parameter by itself.

    Args:
        weight_decay: added to the gradient, times the parameter (an L2 penalty, as in PyTorch).
    """

    def update(scope: Any, grads: Grads) -> None:
        rate, t = begin(scope, grads, learning_rate)
        grads = penalised(scope, grads, weight_decay)
        for path, gradient in grads.items():
            before = scope.read(path)
            p, g = wide(before), wide(gradient)
            variables = {
                name: scope.variable(f"{path}/{name}", shape, first, p.dtype)
                for name, (first, shape) in state(p.shape).items()
            }
            values = {name: v.value for name, v in variables.items()}
            new, changed = rule(p, g, values, mg.astype(rate, p.dtype), mg.astype(t, p.dtype))
            scope.assign(path, mg.astype(new, before.dtype))
            for name, value in changed.items():
                variables[name].assign(value)

    return update


def fused(
    op: Callable, scalars: Sequence[Any], names: Sequence[str], scope: Any, grads: Grads,
    **attrs: Any,
) -> None:  # fmt: skip
    """Run ``op``, which updates all parameters of a dtype and their moments in one node."""
    before = {path: scope.read(path) for path in grads}
    for dtype in dict.fromkeys(x.dtype.compute for x in before.values()):
        params = {p: wide(x) for p, x in before.items() if x.dtype.compute is dtype}
        kept = [v for name in names for v in moments(scope, name, params)]
        n = len(params)
        out = op(
            *scalars, *params.values(), *[wide(grads[p]) for p in params], *[v.value for v in kept],
            count=n, **attrs,
        )  # fmt: skip
        for path, new in zip(params, out[:n]):
            scope.assign(path, mg.astype(new, before[path].dtype))
        for variable, new in zip(kept, out[n:]):
            variable.assign(new)


def ema(old: Any, new: Any, keep: float) -> Any:
    """``keep`` of the old and the rest of the new."""
    return old * keep + new * (1 - keep)


def correction(beta: float, t: Any) -> Any:
    """``1 - beta ** t``: what an average that began with 0 has seen, exact near 0."""
    return -mg.expm1(t * math.log(beta)) if beta else mg.ones_like(t)


def length(x: Any) -> Any:
    """The root of the sum of squares over all elements; 0-d."""
    return mg.sqrt(mg.sum(mg.square(x)))

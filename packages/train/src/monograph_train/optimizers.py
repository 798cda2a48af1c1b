"""Optimizers: functions of a scope and gradients by path; their moments are variables too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg

Optimizer = Callable[[Any, dict[str, Any]], None]


def _moments(scope: Any, name: str, grads: dict[str, Any]) -> list[Any]:
    return [scope.variable(f"{p}/{name}", g.shape, 0.0, g.dtype) for p, g in grads.items()]


def _assign(variables: list[Any], values: Any) -> None:
    for v, x in zip(variables, values):
        v.assign(x)


def sgd(learning_rate: float = 0.01, momentum: float = 0.0, nesterov: bool = False) -> Optimizer:
    """Gradient descent with momentum, as `torch.optim.SGD`.

    Returns:
        ``update(scope, {path: gradient})``, to be called inside the traced step.
    """

    def update(scope: Any, grads: dict[str, Any]) -> None:
        params = [scope.read(p) for p in grads]
        moments = _moments(scope, "momentum", grads) if momentum else []
        n = len(params)
        out = mg.ops.sgd_update(
            mg.asarray(learning_rate, dtype="float32"),
            *params, *grads.values(), *[m.value for m in moments],
            momentum=momentum, nesterov=nesterov, count=n,
        )  # fmt: skip
        for path, new in zip(grads, out[:n]):
            scope.assign(path, new)
        _assign(moments, out[n:])

    return update


def adam(
    learning_rate: float = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8
) -> Optimizer:
    """Adam (Kingma and Ba 2015), as `torch.optim.Adam`; one fused update where the engine has it.

    Returns:
        ``update(scope, {path: gradient})``, to be called inside the traced step.
    """

    def update(scope: Any, grads: dict[str, Any]) -> None:
        params = [scope.read(p) for p in grads]
        first, second = _moments(scope, "m", grads), _moments(scope, "v", grads)
        step = scope.variable("step", (), 0.0)
        step.assign(step.value + 1.0)
        n = len(params)
        out = mg.ops.adam_update(
            mg.asarray(learning_rate, dtype="float32"), step.value,
            *params, *grads.values(), *[m.value for m in first], *[v.value for v in second],
            beta1=beta1, beta2=beta2, epsilon=epsilon, count=n,
        )  # fmt: skip
        for path, new in zip(grads, out[:n]):
            scope.assign(path, new)
        _assign(first, out[n : 2 * n])
        _assign(second, out[2 * n :])

    return update

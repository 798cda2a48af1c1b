"""Optimizers: ``update(scope, {path: gradient})``; their moments are variables of the scope.

Call one inside the traced step, as `Trainer` does with the gradients of `Scope.value_and_grad`:

>>> import monograph as mg
>>> optimizer = sgd(learning_rate=0.5)
>>> def step(scope, x):
...     loss = lambda: (scope.parameter("w", (), 1.0) * x) ** 2
...     value, grads = scope.value_and_grad(loss)()
...     optimizer(scope / "optimizer", grads)
...     return value
>>> store = mg.Store()
>>> store.bind(step)(mg.tensor(0.5)).item(), store["w"].item(), sorted(store)
(0.25, 0.75, ['optimizer/step', 'w'])

``learning_rate`` is a number, a schedule (`monograph_train.schedules`), or `adjustable`. Defaults and
names are PyTorch's where PyTorch has the optimizer. Parameters of 16 bits are updated in float32,
where their moments are kept. Wrappers are in `monograph_train.wrappers`.

All raise `ArgumentError` for a negative learning rate, averages' weights outside [0, 1), and when
there are no gradients.
"""

from __future__ import annotations

import math
from typing import Any

import monograph as mg

from ._rule import (
    Grads,
    Optimizer,
    Rate,
    State,
    begin,
    check,
    correction,
    decayed,
    ema,
    fused,
    length,
    like_parameter,
    penalised,
    per_parameter,
)

__all__ = [
    "adadelta", "adafactor", "adagrad", "adam", "adamax", "adamw", "lamb", "lion", "nadam",
    "rmsprop", "sgd",
]  # fmt: skip


def sgd(
    learning_rate: Rate = 0.01, momentum: float = 0.0, nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:  # fmt: skip
    """Gradient descent with momentum, as ``torch.optim.SGD``; one fused update where there is one.

    Args:
        weight_decay: an L2 penalty, added to the gradient.
    """
    check(learning_rate=learning_rate, momentum=momentum, weight_decay=weight_decay)

    def update(scope: Any, grads: Grads) -> None:
        rate, _ = begin(scope, grads, learning_rate)
        grads = penalised(scope, grads, weight_decay)
        fused(
            mg.ops.sgd_update, [rate], ["momentum"] if momentum else [], scope, grads,
            momentum=momentum, nesterov=nesterov and bool(momentum),
        )  # fmt: skip

    return update


def adam(
    learning_rate: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:  # fmt: skip
    """Adam (Kingma and Ba 2015), as ``torch.optim.Adam``; one fused update where there is one.

    Args:
        epsilon: added to the root of the second moment (Keras's default is 1e-7).
        weight_decay: an L2 penalty, added to the gradient; `adamw` decouples it.
    """
    check(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    check(weight_decay=weight_decay)

    inner = adamw(learning_rate, beta1, beta2, epsilon, 0.0)
    return lambda scope, grads: inner(scope, penalised(scope, grads, weight_decay))


def adamw(
    learning_rate: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
    weight_decay: float = 0.01,
) -> Optimizer:  # fmt: skip
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), as ``torch.optim.AdamW``.

    Args:
        weight_decay: times the learning rate, the share of a parameter that each step takes away.
    """
    check(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    check(weight_decay=weight_decay)

    def update(scope: Any, grads: Grads) -> None:
        fused(
            mg.ops.adam_update, begin(scope, grads, learning_rate), ["m", "v"], scope, grads,
            beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay,
        )  # fmt: skip

    return update


def adamax(
    learning_rate: Rate = 2e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:  # fmt: skip
    """Adam by the largest gradient instead of the second moment, as ``torch.optim.Adamax``."""
    check(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    check(weight_decay=weight_decay)

    def rule(p: Any, g: Any, s: State, rate: Any, t: Any) -> tuple[Any, State]:
        m = ema(s["m"], g, beta1)
        u = mg.maximum(s["u"] * beta2, mg.abs(g) + epsilon)
        return p - rate / correction(beta1, t) * (m / u), {"m": m, "u": u}

    return per_parameter(rule, like_parameter(m=0.0, u=0.0), learning_rate, weight_decay)


def nadam(
    learning_rate: Rate = 2e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-8,
    weight_decay: float = 0.0, momentum_decay: float = 4e-3,
) -> Optimizer:  # fmt: skip
    """Adam with Nesterov's momentum (Dozat 2016), as ``torch.optim.NAdam``."""
    check(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    check(weight_decay=weight_decay, momentum_decay=momentum_decay)

    def weight(t: Any) -> Any:
        return beta1 * (1 - 0.5 * mg.exp(t * (momentum_decay * math.log(0.96))))

    def rule(p: Any, g: Any, s: State, rate: Any, t: Any) -> tuple[Any, State]:
        now, following = weight(t), weight(t + 1)
        product = s["product"] * now
        m, v = ema(s["m"], g, beta1), ema(s["v"], g * g, beta2)
        root = mg.sqrt(v / correction(beta2, t)) + epsilon
        ahead = (1 - now) / (1 - product) * g + following / (1 - product * following) * m
        return p - rate * ahead / root, {"m": m, "v": v, "product": product}

    return per_parameter(
        rule,
        lambda shape: {"m": (0.0, shape), "v": (0.0, shape), "product": (1.0, ())},
        learning_rate,
        weight_decay,
    )


def rmsprop(
    learning_rate: Rate = 0.01, alpha: float = 0.99, epsilon: float = 1e-8, momentum: float = 0.0,
    centered: bool = False, weight_decay: float = 0.0,
) -> Optimizer:  # fmt: skip
    """Steps over the root of the mean square (Tieleman and Hinton 2012), as ``torch.optim.RMSprop``.

    Args:
        alpha: what the mean square keeps at each step (Keras: ``rho``, 0.9).
        epsilon: added to the root (Keras adds it under the root).
        centered: divide by the deviation instead: the mean square less the square of the mean.
    """
    check(learning_rate=learning_rate, alpha=alpha, epsilon=epsilon, momentum=momentum)
    check(weight_decay=weight_decay)

    def rule(p: Any, g: Any, s: State, rate: Any, t: Any) -> tuple[Any, State]:
        new = {"v": ema(s["v"], g * g, alpha)}
        square = new["v"]
        if centered:
            new["mean"] = ema(s["mean"], g, alpha)
            # rounding must not make it negative where gradients hardly vary
            square = mg.maximum(square - new["mean"] * new["mean"], 0.0)
        change = g / (mg.sqrt(square) + epsilon)
        if momentum:
            change = new["momentum"] = s["momentum"] * momentum + change
        return p - rate * change, new

    names = ["v", *(["mean"] if centered else []), *(["momentum"] if momentum else [])]
    return per_parameter(
        rule, like_parameter(**dict.fromkeys(names, 0.0)), learning_rate, weight_decay
    )


def adagrad(
    learning_rate: Rate = 0.01, initial_accumulator_value: float = 0.0, epsilon: float = 1e-10,
    weight_decay: float = 0.0,
) -> Optimizer:  # fmt: skip
    """Steps over the root of the sum of squares (Duchi et al. 2011), as ``torch.optim.Adagrad``."""
    check(learning_rate=learning_rate, epsilon=epsilon, weight_decay=weight_decay)
    check(initial_accumulator_value=initial_accumulator_value)

    def rule(p: Any, g: Any, s: State, rate: Any, t: Any) -> tuple[Any, State]:
        total = s["sum"] + g * g
        return p - rate * g / (mg.sqrt(total) + epsilon), {"sum": total}

    return per_parameter(
        rule, like_parameter(sum=initial_accumulator_value), learning_rate, weight_decay
    )


def adadelta(
    learning_rate: Rate = 1.0, rho: float = 0.9, epsilon: float = 1e-6, weight_decay: float = 0.0
) -> Optimizer:
    """Steps as large as the mean of those before (Zeiler 2012), as ``torch.optim.Adadelta``."""
    check(learning_rate=learning_rate, rho=rho, epsilon=epsilon, weight_decay=weight_decay)

    def rule(p: Any, g: Any, s: State, rate: Any, t: Any) -> tuple[Any, State]:
        v = ema(s["v"], g * g, rho)
        change = mg.sqrt(s["change"] + epsilon) / mg.sqrt(v + epsilon) * g
        return p - rate * change, {"v": v, "change": ema(s["change"], change * change, rho)}

    return per_parameter(rule, like_parameter(v=0.0, change=0.0), learning_rate, weight_decay)


def lion(
    learning_rate: Rate = 1e-4, beta1: float = 0.9, beta2: float = 0.99, weight_decay: float = 0.0
) -> Optimizer:
    """The sign of the momentum (Chen et al. 2023), as ``optax.lion``; decay is decoupled."""
    check(learning_rate=learning_rate, beta1=beta1, beta2=beta2, weight_decay=weight_decay)

    def rule(p: Any, g: Any, s: State, rate: Any, t: Any) -> tuple[Any, State]:
        change = decayed(mg.sign(ema(s["m"], g, beta1)), p, weight_decay)
        return p - rate * change, {"m": ema(s["m"], g, beta2)}

    return per_parameter(rule, like_parameter(m=0.0), learning_rate)


def lamb(
    learning_rate: Rate = 1e-3, beta1: float = 0.9, beta2: float = 0.999, epsilon: float = 1e-6,
    weight_decay: float = 0.0,
) -> Optimizer:  # fmt: skip
    """Adam with each step as long as its parameter (You et al. 2020), as ``optax.lamb``.

    For large batches; decay is a part of the step whose length is set.
    """
    check(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    check(weight_decay=weight_decay)

    def rule(p: Any, g: Any, s: State, rate: Any, t: Any) -> tuple[Any, State]:
        m, v = ema(s["m"], g, beta1), ema(s["v"], g * g, beta2)
        root = mg.sqrt(v / correction(beta2, t)) + epsilon
        change = decayed(m / correction(beta1, t) / root, p, weight_decay)
        long, step = length(p), length(change)
        known = mg.logical_and(long > 0, step > 0)
        trust = mg.where(known, long / mg.where(known, step, 1.0), 1.0)
        return p - rate * trust * change, {"m": m, "v": v}

    return per_parameter(rule, like_parameter(m=0.0, v=0.0), learning_rate)


def adafactor(
    learning_rate: Rate = 0.01, beta2_decay: float = -0.8, epsilon1: float | None = None,
    epsilon2: float = 1e-3, clip_threshold: float = 1.0, weight_decay: float = 0.0,
) -> Optimizer:  # fmt: skip
    """Adam without momentum and with a second moment of rows and columns only (Shazeer and Stern 2018).

    As ``torch.optim.Adafactor``: the last two axes are factored, so that a kernel ``[in, out]`` needs
    ``in + out`` numbers; steps are relative to the size of the parameter, and decay is decoupled.

    Args:
        learning_rate: at most this; ``1 / sqrt(step)`` where that is less.
        beta2_decay: the second moment forgets ``step ** beta2_decay`` at each step.
        epsilon1: the least second moment's root; None: the dtype's machine epsilon.
        epsilon2: the least size of a parameter that steps are relative to.
        clip_threshold: the largest root mean square of a step.
    """
    check(learning_rate=learning_rate, epsilon2=epsilon2, weight_decay=weight_decay)
    check(clip_threshold=clip_threshold)

    def state(shape: tuple[int, ...]) -> dict[str, Any]:
        if len(shape) < 2:
            return {"v": (0.0, shape)}
        return {"row": (0.0, (*shape[:-1], 1)), "column": (0.0, (*shape[:-2], 1, shape[-1]))}

    def rule(p: Any, g: Any, s: State, rate: Any, t: Any) -> tuple[Any, State]:
        least = mg.finfo(p.dtype).eps if epsilon1 is None else epsilon1
        size = math.sqrt(max(p.size, 1))
        forget = t**beta2_decay
        seen = {
            k: mg.mean(g * g, axis=axis, keepdims=True) if axis else g * g
            for k, axis in (("v", 0), ("row", -1), ("column", -2))
            if k in s
        }
        new = {k: s[k] + forget * (x - s[k]) for k, x in seen.items()}
        if "v" in new:
            v = new["v"]
        else:
            rows = mg.mean(new["row"], axis=-2, keepdims=True)
            v = new["row"] * new["column"] / mg.maximum(rows, least)
        change = g / mg.sqrt(mg.maximum(v, least * least))
        change = change / mg.maximum(length(change) / (size * clip_threshold), 1.0)
        rho = mg.minimum(rate, 1 / mg.sqrt(t)) * mg.maximum(length(p) / size, epsilon2)
        return p * (1 - rate * weight_decay) - rho * change, new

    return per_parameter(rule, state, learning_rate)

"""Optimizers of optimizers: clipping, groups, accumulation, averages. Each is ``update(scope, grads)``.

>>> from monograph_train.optimizers import adamw, sgd
>>> optimizer = clip_by_global_norm(
...     groups([("*/bias", sgd(0.1)), ("head/*", adamw(1e-3)), ("*", frozen())]), 1.0
... )
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any

import monograph as mg
from monograph.errors import ArgumentError, VariableError
from monograph.tracing import at_user_line

from ._rule import Grads, Optimizer, check, ema, length, moments, wide

__all__ = [
    "accumulate", "average", "averaged", "centralize", "clip_by_global_norm", "clip_by_norm",
    "clip_by_value", "frozen", "global_norm", "groups", "lookahead", "swapped",
]  # fmt: skip


def _changed(optimizer: Optimizer, change: Callable[[Any], Any]) -> Optimizer:
    """``optimizer`` given ``change(gradient)`` of each."""
    return lambda scope, grads: optimizer(scope, {p: change(g) for p, g in grads.items()})


def clip_by_value(optimizer: Optimizer, limit: float) -> Optimizer:
    """Hold each element of a gradient in ``-limit .. limit``."""
    check(limit=limit)
    return _changed(optimizer, lambda g: mg.clip(g, -limit, limit))


def clip_by_norm(optimizer: Optimizer, limit: float) -> Optimizer:
    """Shorten each gradient to a norm of ``limit``, if it is longer."""
    check(limit=limit)

    def clip(g: Any) -> Any:
        return mg.astype(wide(g) * _shrink(length(wide(g)), limit), g.dtype)

    return _changed(optimizer, clip)


def clip_by_global_norm(optimizer: Optimizer, limit: float) -> Optimizer:
    """Shorten all gradients together to a norm of ``limit``, if it is longer (Pascanu et al. 2013)."""
    check(limit=limit)

    def update(scope: Any, grads: Grads) -> None:
        optimizer(scope, _scaled(grads, _shrink(global_norm(grads), limit)))

    return update


def global_norm(grads: Grads) -> Any:
    """The norm of all gradients as one vector; a 0-d float.

    >>> global_norm({"w": mg.tensor([3.0]), "b": mg.tensor(4.0)}).item()
    5.0
    """
    return mg.sqrt(sum(mg.astype(mg.sum(mg.square(wide(g))), "float32") for g in grads.values()))


def _shrink(norm: Any, limit: float) -> Any:
    return mg.where(norm > limit, limit / mg.where(norm > limit, norm, 1.0), 1.0)


def _scaled(grads: Grads, factor: Any) -> Grads:
    return {p: mg.astype(wide(g) * factor, g.dtype) for p, g in grads.items()}


def centralize(optimizer: Optimizer) -> Optimizer:
    """Take from each kernel's gradient its mean over all axes but the last (Yong et al. 2020)."""

    def centered(g: Any) -> Any:
        if g.ndim < 2:
            return g
        return g - mg.mean(g, axis=tuple(range(g.ndim - 1)), keepdims=True)

    return _changed(optimizer, centered)


def frozen() -> Optimizer:
    """No update: parameters stay as they are."""
    return lambda scope, grads: None


def groups(members: Sequence[tuple[str, Optimizer]]) -> Optimizer:
    """Another optimizer for each group of parameters; a parameter belongs to the first that matches.

    So weight decay or a learning rate of its own is given to some, and none to others.

    Args:
        members: pairs of a pattern of paths (`fnmatch`: ``*`` matches slashes too) and an optimizer,
            whose state is under ``group0``, ``group1``, ... in that order.

    Raises:
        ArgumentError: while tracing, for parameters that no pattern matches, or a pattern that
            matches no parameter; the message lists them.
    """

    def update(scope: Any, grads: Grads) -> None:
        shares: list[Grads] = [{} for _ in members]
        lost = []
        for path, g in grads.items():
            for (pattern, _), share in zip(members, shares):
                if fnmatchcase(path, pattern):
                    share[path] = g
                    break
            else:
                lost.append(path)
        if lost:
            raise at_user_line(
                ArgumentError(
                    f"no group's pattern matches {', '.join(lost)}; add a group for them, or "
                    f"('*', frozen()) at the end"
                )
            )
        for i, ((pattern, optimizer), share) in enumerate(zip(members, shares)):
            if share:
                optimizer(scope / f"group{i}", share)
            elif not any(fnmatchcase(p, pattern) for p in grads):
                raise at_user_line(
                    ArgumentError(
                        f"the group {pattern!r} matches none of the parameters {', '.join(grads)}"
                    )
                )

    return update


def accumulate(optimizer: Optimizer, steps: int) -> Optimizer:
    """Update once every ``steps`` calls, with the mean of their gradients.

    Calls in between change nothing but the sums, and a schedule counts updates only. With batches of
    one size, this is training on batches ``steps`` times as large.

    Raises:
        ArgumentError: ``steps`` is below 1.
    """
    if steps < 1:
        raise ArgumentError(f"steps={steps} must be at least 1")

    def update(scope: Any, grads: Grads) -> None:
        sums = moments(scope, "sum", {p: wide(g) for p, g in grads.items()})
        count = scope.variable("accumulated", (), 0, "int32")
        for total, g in zip(sums, grads.values()):
            total.assign(total.value + wide(g))
        count.assign(count.value + 1)

        def apply() -> None:
            means = {
                p: mg.astype(total.value / steps, g.dtype)
                for (p, g), total in zip(grads.items(), sums)
            }
            optimizer(scope, means)
            for total in (*sums, count):
                total.assign(mg.zeros_like(total.value))

        scope.cond(count.value == steps, apply)

    return update


def average(optimizer: Optimizer, decay: float = 0.999) -> Optimizer:
    """Keep a running mean of each parameter beside it: ``decay`` of the mean, the rest of the new.

    As Keras's ``use_ema``: the first update takes the parameter as it is. `averaged` reads the
    means, `swapped` puts them in place for evaluation. It goes outside of other wrappers, but inside
    `accumulate`, whose calls are not all updates.
    """
    check(decay=decay)

    def update(scope: Any, grads: Grads) -> None:
        optimizer(scope, grads)
        params = {p: wide(scope.read(p)) for p in grads}
        count = scope.variable("averages", (), 0, "int32")
        for mean, p in zip(moments(scope, "average", params), params.values()):
            mean.assign(mg.where(count.value == 0, p, ema(mean.value, p, decay)))
        count.assign(mg.minimum(count.value + 1, 1))

    return update


def lookahead(optimizer: Optimizer, steps: int = 5, alpha: float = 0.5) -> Optimizer:
    """Every ``steps`` updates go back to ``alpha`` of the way (Zhang et al. 2019)."""
    check(alpha=alpha)
    if steps < 1:
        raise ArgumentError(f"steps={steps} must be at least 1")

    def update(scope: Any, grads: Grads) -> None:
        start = {p: wide(scope.read(p)) for p in grads}
        slow = moments(scope, "slow", start)
        count = scope.variable("lookahead", (), 0, "int32")
        for kept, p in zip(slow, start.values()):
            kept.assign(mg.where(count.value == 0, p, kept.value))
        optimizer(scope, grads)
        count.assign(count.value + 1)

        def back() -> None:
            for kept, path in zip(slow, grads):
                fast = scope.read(path)
                kept.assign(kept.value + alpha * (wide(fast) - kept.value))
                scope.assign(path, mg.astype(kept.value, fast.dtype))
            count.assign(mg.zeros_like(count.value))

        scope.cond(count.value == steps, back)

    return update


def averaged(store: mg.Store, path: str = "optimizer") -> dict[str, mg.Tensor]:
    """The running means that `average` keeps, by their parameters' paths.

    Args:
        path: of the scope that the optimizer was called with.

    Raises:
        VariableError: there are none below ``path``.
    """
    found = {p: f"{path}/{p}/average" for p in store.trainable}
    out = {p: store[mean] for p, mean in found.items() if mean in store}
    if not out:
        raise VariableError(
            f"there are no averages under {path!r}: wrap the optimizer in average(...) and train"
        )
    return {p: mg.tensor(x, dtype=store.spec(p).dtype) for p, x in out.items()}


@contextmanager
def swapped(store: mg.Store, path: str = "optimizer") -> Iterator[None]:
    """Inside the ``with``, parameters have the values of their running means.

    ``with swapped(trainer.store): trainer.evaluate(...)``. Afterwards, and after an error, they are
    as before; do not train inside.
    """
    means = averaged(store, path)
    before = {p: store[p] for p in means}
    try:
        for p, mean in means.items():
            store[p] = mean
        yield
    finally:
        for p, value in before.items():
            store[p] = value

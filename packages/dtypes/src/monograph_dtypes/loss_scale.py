"""Loss scaling (Micikevicius et al. 2018): what float16 needs so that small gradients do not vanish.

The loss is multiplied by a scale and the gradients are divided by it. A scale that is too large
overflows them: such a step is skipped as a whole, and the scale falls.

    def step(scope, x, y):
        def forward():
            loss = ...
            return scaling.scale(scope, loss), loss

        (_, loss), grads = scope.value_and_grad(forward, has_aux=True)()
        scaling.apply(scope, grads, lambda g: optimizer(scope / "optimizer", g))
        return loss
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import monograph as mg

Update = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True)
class StaticLossScale:
    """A scale that stays; steps whose gradients overflow are skipped.

    >>> scaling = StaticLossScale(1024.0)
    >>> def step(scope, x):
    ...     loss = lambda: scaling.scale(scope, scope.parameter("w", (), 3.0) * x)
    ...     value, grads = scope.value_and_grad(loss)()
    ...     scaling.apply(scope, grads, lambda g: scope.assign("w", scope.read("w") - g["w"]))
    ...     return scope.read("w")
    >>> step = mg.Store().bind(step, engine="numpy")
    >>> step(mg.tensor(1.0)).item(), step(mg.tensor(float("inf"))).item()
    (2.0, 2.0)
    """

    initial: float

    def value(self, scope: mg.Scope) -> Any:
        """The scale now, a float32 scalar."""
        return mg.asarray(self.initial, dtype="float32")

    def scale(self, scope: mg.Scope, loss: Any) -> Any:
        """``loss`` times the scale, in float32 at least: what to differentiate.

        Args:
            scope: the same that `apply` gets; variables are kept below it in ``loss_scale``.
            loss: a scalar.
        """
        wide = mg.astype(loss, loss.dtype.compute)
        return wide * mg.astype(self.value(scope), wide.dtype)

    def apply(self, scope: mg.Scope, grads: dict[str, Any], update: Update) -> Any:
        """Divide the gradients by the scale, and run ``update(grads)`` if all are finite.

        If one is not, this call of the traced function has changed no variable, those assigned
        before (such as batch statistics) included; only the scale moves.

        Args:
            grads: by path, of the scaled loss.
            update: assigns variables, as an optimizer does.

        Returns:
            Whether all gradients were finite, a 0-d bool.
        """
        scale, finite = self.value(scope), all_finite(grads)

        def happen() -> None:
            update({path: _divided(g, scale) for path, g in grads.items()})

        scope.cond(finite, happen, undo=True)
        self._adjust(scope, finite)
        return finite

    def _adjust(self, scope: mg.Scope, finite: Any) -> None:
        pass


@dataclass(frozen=True)
class DynamicLossScale(StaticLossScale):
    """A scale that falls when gradients overflow and rises after a while without.

    Args:
        initial: the first scale.
        growth_interval: after so many good steps in a row it is multiplied by ``factor``.
        factor: by which it is divided when gradients overflow; a power of two rounds nothing.
        min: below which it does not fall.

    With these defaults but ``initial`` it moves as ``torch.amp.GradScaler``; `apply` counts.
    """

    initial: float = 2.0**15
    growth_interval: int = 2000
    factor: float = 2.0
    min: float = 1.0

    def value(self, scope: mg.Scope) -> Any:
        """The scale now, a float32 scalar."""
        return self._variables(scope)[0].value

    def _variables(self, scope: mg.Scope) -> tuple[Any, Any]:
        mine = scope.shared("loss_scale")
        return mine.variable("scale", (), self.initial), mine.variable("good_steps", (), 0, "int32")

    def _adjust(self, scope: mg.Scope, finite: Any) -> None:
        scale, good = self._variables(scope)
        now, count = scale.value, good.value + 1
        rises = count >= self.growth_interval
        larger = now * self.factor
        up = mg.where(rises & mg.isfinite(larger), larger, now)
        down = mg.maximum(now / self.factor, self.min)
        scale.assign(mg.where(finite, up, down))
        good.assign(mg.where(finite & ~rises, count, 0))


def all_finite(arrays: Any) -> Any:
    """Whether every element of every floating array of a tree is finite, a 0-d bool.

    >>> all_finite({"a": mg.tensor([1.0, 2.0]), "b": mg.tensor(float("nan"))}).item()
    False
    """
    # one pass over each, and one number in the end: NaN and infinity reach the maximum
    largest = [mg.max(mg.abs(x)) for x in mg.tree.leaves(arrays) if x.size]
    return mg.isfinite(mg.max(mg.stack(largest))) if largest else mg.asarray(True)


def _divided(g: Any, scale: Any) -> Any:
    """``g / scale`` in ``g``'s dtype, computed in float32 at least: the quotient may be small."""
    wide = g.dtype.compute
    return mg.astype(mg.astype(g, wide) / mg.astype(scale, wide), g.dtype)

"""Losses of a classifier."""

from __future__ import annotations

from typing import Any

import monograph as mg

from ..rules import rule

_REDUCTIONS = ("none", "mean", "sum")


@rule("NegativeLogLikelihoodLoss", reduction=_REDUCTIONS)
def negative_log_likelihood_loss(
    x: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """``-weight * x`` at each target: ``x [batch, classes, ...]``, targets ``[batch, ...]``."""
    x, target = mg.asarray(x), mg.asarray(target)
    classes = x.shape[1]
    skipped = (
        mg.zeros(target.shape, dtype="bool") if ignore_index is None else target == ignore_index
    )
    safe = mg.where(skipped, 0, target)
    picked = mg.squeeze(mg.take_along_axis(x, mg.expand_dims(safe, axis=1), axis=1), axis=1)
    each = mg.ones((classes,), dtype=x.dtype) if weight is None else mg.asarray(weight)
    scale = mg.where(skipped, mg.zeros((), dtype=x.dtype), mg.take(each, safe, axis=0))
    loss = -picked * scale
    if reduction == "none":
        return loss
    total = mg.sum(loss)
    return total if reduction == "sum" else total / mg.sum(scale)


@rule("SoftmaxCrossEntropyLoss", reduction=_REDUCTIONS)
def softmax_cross_entropy_loss(
    x: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Any:
    """The loss above of the logarithm of a softmax, which is the second result."""
    logs = mg.log_softmax(x, axis=1)
    loss = negative_log_likelihood_loss(
        logs, target, weight, ignore_index=ignore_index, reduction=reduction
    )
    return loss, logs

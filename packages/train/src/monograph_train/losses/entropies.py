"""Losses of probabilities and counts: cross-entropies, focal ones, divergences."""

from __future__ import annotations

from typing import Any

import monograph as mg

from ._pair import EPSILON, class_ids, mean, pair


def _probability(p: mg.Array) -> mg.Array:
    return mg.clip(p, EPSILON, 1 - EPSILON)


def _distribution(p: mg.Array, axis: int) -> mg.Array:
    return _probability(p / mg.sum(p, axis=axis, keepdims=True))


def _smooth(y_true: mg.Array, amount: float, classes: int) -> mg.Array:
    """Labels moved towards all classes alike by ``amount``."""
    return y_true * (1 - amount) + amount / classes if amount else y_true


def _binary(y_true: mg.Array, p: mg.Array) -> mg.Array:
    p = _probability(p)
    return -(y_true * mg.log(p) + (1 - y_true) * mg.log(1 - p))


def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0,
    axis: int = -1,
) -> mg.Array:  # fmt: skip
    """``-(y log p + (1 - y) log(1 - p))``, its mean along ``axis``.

    Args:
        y_true: 0 and 1, or probabilities, ``[batch, ..., outputs]``.
        y_pred: probabilities, with ``from_logits`` their logits, of the same shape.
        label_smoothing: moves labels towards 1/2 by this share.

    Returns:
        ``[batch, ...]``.

    >>> import monograph as mg
    >>> binary_crossentropy(mg.tensor([[0.0, 1.0]]), mg.zeros((1, 2)), from_logits=True).tolist()
    [0.693...]
    """
    y_true, y_pred = pair(y_true, y_pred)
    y_true = _smooth(y_true, label_smoothing, 2)
    # log(1 + exp(x)) - x y: the logits' way is finite for every x
    each = mg.logaddexp(y_pred, 0.0) - y_true * y_pred if from_logits else _binary(y_true, y_pred)
    return mean(each, axis=axis)


def binary_focal_crossentropy(
    y_true: Any, y_pred: Any, apply_class_balancing: bool = False, alpha: float = 0.25,
    gamma: float = 2.0, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1,
) -> mg.Array:  # fmt: skip
    """Binary cross-entropy, times ``(1 - p of the truth) ** gamma`` (Lin et al. 2017).

    Args:
        apply_class_balancing: weigh positives by ``alpha`` and negatives by ``1 - alpha``.

    Returns:
        ``[batch, ...]``: the mean along ``axis``.
    """
    y_true, p = pair(y_true, y_pred)
    y_true = _smooth(y_true, label_smoothing, 2)
    p = mg.sigmoid(p) if from_logits else p
    hard = 1 - (y_true * p + (1 - y_true) * (1 - p))
    each = hard**gamma * _binary(y_true, p)
    if apply_class_balancing:
        each = each * (y_true * alpha + (1 - y_true) * (1 - alpha))
    return mean(each, axis=axis)


def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0,
    axis: int = -1,
) -> mg.Array:  # fmt: skip
    """``-sum(y log p)`` along ``axis``.

    Args:
        y_true: one-hot or probabilities, ``[batch, ..., classes]``.
        y_pred: probabilities (scaled to a sum of 1), or logits, of the same shape.
        label_smoothing: moves labels towards ``1 / classes`` by this share.

    Returns:
        ``[batch, ...]``.

    >>> import monograph as mg
    >>> categorical_crossentropy(mg.tensor([[0.0, 1.0]]), mg.tensor([[0.5, 0.5]])).tolist()
    [0.693...]
    """
    y_true, y_pred = pair(y_true, y_pred)
    y_true = _smooth(y_true, label_smoothing, y_true.shape[axis])
    low = mg.log_softmax(y_pred, axis=axis) if from_logits else mg.log(_distribution(y_pred, axis))
    # chosen, not multiplied by 0: a class that is not asked for may have a logit of -inf
    return -mg.sum(mg.where(y_true == 0, 0.0, y_true * low), axis=axis)


def categorical_focal_crossentropy(
    y_true: Any, y_pred: Any, alpha: Any = 0.25, gamma: float = 2.0, from_logits: bool = False,
    label_smoothing: float = 0.0, axis: int = -1,
) -> mg.Array:  # fmt: skip
    """``-sum(alpha (1 - p) ** gamma y log p)`` along ``axis`` (Lin et al. 2017).

    Args:
        alpha: a weight for all classes, or one each, which broadcasts to ``y_pred``.

    Returns:
        ``[batch, ...]``.
    """
    y_true, y_pred = pair(y_true, y_pred)
    y_true = _smooth(y_true, label_smoothing, y_true.shape[axis])
    p = _distribution(mg.softmax(y_pred, axis=axis) if from_logits else y_pred, axis)
    return -mg.sum(mg.asarray(alpha) * (1 - p) ** gamma * y_true * mg.log(p), axis=axis)


def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, ignore_class: int | None = None,
    axis: int = -1,
) -> mg.Array:  # fmt: skip
    """``-log p[label]``; one fused operation for logits, where the engine has it.

    Args:
        y_true: class indices ``[batch, ...]`` (or ``[batch, ..., 1]``); `check_labels` finds those
            out of range, for which the loss is 0.
        y_pred: probabilities (scaled to a sum of 1), or logits, ``[batch, ..., classes]``.
        ignore_class: a label whose loss is 0. It still counts in a mean: where it shall not, give
            it a sample weight of 0.

    Returns:
        ``[batch, ...]``.

    >>> import monograph as mg
    >>> loss = sparse_categorical_crossentropy(mg.tensor([1, 0]), mg.zeros((2, 4)), from_logits=True)
    >>> loss.tolist()
    [1.386..., 1.386...]
    """
    labels, y_pred = class_ids(y_true, y_pred, axis, ignore_class)
    if ignore_class is not None:
        labels = mg.where(labels == ignore_class, -1, labels)
    if from_logits:
        return mg.cross_entropy(y_pred, labels)
    return nll(labels, mg.log(_distribution(y_pred, -1)))


def nll(y_true: Any, y_pred: Any) -> mg.Array:
    """Negative log-likelihood, ``-y_pred[label]``, as PyTorch's ``nll_loss``.

    Args:
        y_true: class indices ``[batch, ...]``.
        y_pred: logarithms of probabilities ``[batch, ..., classes]``.

    Returns:
        ``[batch, ...]``.
    """
    labels, low = class_ids(y_true, y_pred)
    own = mg.one_hot(labels, low.shape[-1], dtype=mg.bool)
    return -mg.sum(mg.where(own, low, 0.0), axis=-1)


def kl_divergence(y_true: Any, y_pred: Any) -> mg.Array:
    """``sum(y log(y / p))`` of two distributions over the last axis."""
    y_true, y_pred = (mg.clip(x, EPSILON, 1.0) for x in pair(y_true, y_pred))
    return mg.sum(y_true * mg.log(y_true / y_pred), axis=-1)


def poisson(y_true: Any, y_pred: Any) -> mg.Array:
    """Mean of ``p - y log p`` over the last axis: counts ``y`` where ``p`` are expected."""
    y_true, y_pred = pair(y_true, y_pred)
    return mean(y_pred - y_true * mg.log(y_pred + EPSILON))

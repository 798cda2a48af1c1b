"""Losses and metrics: ``(predictions, targets) -> scalar`` means over the batch."""

from __future__ import annotations

from typing import Any

import monograph as mg


def sparse_categorical_crossentropy(logits: Any, labels: Any) -> Any:
    """Mean of ``-log softmax(logits)[label]``.

    Args:
        logits: ``[batch, classes]``.
        labels: integers ``[batch]``.
    """
    return mg.mean(mg.cross_entropy(logits, labels))


def mean_squared_error(predictions: Any, targets: Any) -> Any:
    """Mean of squared differences over every element."""
    return mg.mean((predictions - targets) ** 2)


def accuracy(logits: Any, labels: Any) -> Any:
    """Share of rows whose largest logit is the label's.

    >>> accuracy(mg.asarray([[0.0, 1.0], [2.0, 1.0]]), mg.asarray([1, 1])).item()
    0.5
    """
    return mg.mean(mg.astype(mg.argmax(logits, axis=-1) == labels, mg.float32))

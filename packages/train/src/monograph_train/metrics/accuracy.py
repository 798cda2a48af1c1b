"""Shares of right answers: functions ``(y_true, y_pred) -> [batch, ...]`` of 0 and 1."""

from __future__ import annotations

from typing import Any

import monograph as mg

from ..losses._pair import class_ids, pair


def accuracy(y_true: Any, y_pred: Any) -> mg.Array:
    """Whether each answer is right; the shapes tell which answers these are, as in Keras.

    Predictions of one output are `binary_accuracy`, class indices as labels
    `sparse_categorical_accuracy`, one-hot labels `categorical_accuracy`.

    >>> import monograph as mg
    >>> accuracy(mg.tensor([1, 1]), mg.tensor([[0.0, 1.0], [2.0, 1.0]])).tolist()
    [1.0, 0.0]
    """
    true, pred = mg.asarray(y_true), mg.asarray(y_pred)
    if pred.ndim < 2 or pred.shape[-1] == 1:
        return binary_accuracy(true, pred)
    if true.ndim < pred.ndim or true.shape[-1] == 1:
        return sparse_categorical_accuracy(true, pred)
    return categorical_accuracy(true, pred)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> mg.Array:
    """Whether ``y_pred > threshold`` says what ``y_true`` (0 or 1) does, elementwise.

    For logits the threshold is 0: ``partial(binary_accuracy, threshold=0.0)``.
    """
    y_true, y_pred = pair(y_true, y_pred)
    return _number(mg.astype(y_pred > threshold, y_true.dtype) == y_true)


def categorical_accuracy(y_true: Any, y_pred: Any) -> mg.Array:
    """Whether the largest of ``[batch, ..., classes]`` is where the one-hot label has its own."""
    y_true, y_pred = pair(y_true, y_pred)
    return _number(mg.argmax(y_true, axis=-1) == mg.argmax(y_pred, axis=-1))


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> mg.Array:
    """Whether the largest of ``[batch, ..., classes]`` stands at the label, an index ``[batch, ...]``."""
    labels, y_pred = class_ids(y_true, y_pred)
    return _number(mg.argmax(y_pred, axis=-1) == labels)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> mg.Array:
    """`sparse_top_k_categorical_accuracy` of one-hot labels ``[batch, ..., classes]``."""
    y_true, y_pred = pair(y_true, y_pred)
    return sparse_top_k_categorical_accuracy(mg.argmax(y_true, axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> mg.Array:
    """Whether fewer than ``k`` classes score higher than the label's.

    >>> import monograph as mg
    >>> scores = mg.tensor([[0.1, 0.7, 0.2]] * 3)
    >>> sparse_top_k_categorical_accuracy(mg.tensor([0, 1, 2]), scores, k=2).tolist()
    [0.0, 1.0, 1.0]
    """
    labels, y_pred = class_ids(y_true, y_pred)
    classes = y_pred.shape[-1]
    own = mg.take_along_axis(y_pred, mg.clip(labels, 0, classes - 1)[..., None], axis=-1)
    better = mg.count_nonzero(y_pred > own, axis=-1)
    known = mg.logical_and(labels >= 0, labels < classes)
    return _number(mg.logical_and(better < k, known))


def _number(right: mg.Array) -> mg.Array:
    return mg.astype(right, "float32")

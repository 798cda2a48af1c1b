"""Metrics of right and wrong decisions: counts, precision, recall, F-scores, areas under curves.

`precision()` and its like are made by a call, as their state is more than one sum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError

from ..losses._pair import EPSILON, pair
from .metric import Metric, State, ratio, weights

Thresholds = float | Sequence[float] | None
COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


def _counts(
    thresholds: Any, class_id: int | None = None, top_k: int | None = None,
    from_logits: bool = False, multi_label: bool = False,
) -> Callable:  # fmt: skip
    """A measure: the four counts at each threshold; ``y_pred > t`` is positive.

    They are ``[thresholds]``, or with ``multi_label`` ``[thresholds, labels]``.
    """
    line = np.sort(np.asarray(thresholds, np.float32))
    n = len(line)

    def measure(y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        y_true, y_pred = pair(y_true, y_pred)
        w = weights(sample_weight, y_pred.shape, y_pred.dtype)
        if top_k is not None:
            y_pred = mg.where(_in_top(y_pred, top_k), y_pred, -np.inf)
        if class_id is not None:
            y_true, y_pred, w = (x[..., class_id] for x in (y_true, y_pred, w))
        if from_logits:
            y_pred = mg.sigmoid(y_pred)
        labels = y_pred.shape[-1] if multi_label else 1
        # how many thresholds each prediction exceeds: sorting them into bins costs log(thresholds)
        above = mg.searchsorted(mg.astype(mg.asarray(line), w.dtype), mg.reshape(y_pred, -1))
        bins = mg.reshape(above, (-1, labels)) + mg.arange(labels) * (n + 1)

        def over(x: mg.Array) -> tuple[mg.Array, mg.Array]:
            x = mg.segment_sum(mg.reshape(x, -1), mg.reshape(bins, -1), labels * (n + 1))
            up_to = mg.cumulative_sum(mg.reshape(x, (labels, n + 1)), axis=1)
            found, missed = up_to[:, -1:] - up_to[:, :-1], up_to[:, :-1]
            if multi_label:
                return mg.matrix_transpose(found), mg.matrix_transpose(missed)
            return found[0], missed[0]

        positive = mg.astype(y_true != 0, w.dtype)
        (tp, fn), (fp, tn) = over(w * positive), over(w * (1 - positive))
        return dict(zip(COUNTS, (tp, fp, tn, fn)))

    return measure


def _in_top(x: mg.Array, k: int) -> mg.Array:
    """Which of the last axis are its ``k`` largest."""
    return mg.any(mg.one_hot(mg.top_k(x, k)[1], x.shape[-1], dtype=mg.bool), axis=-2)


def _decision(
    name: str, value: Callable[..., Any], thresholds: Thresholds, class_id: int | None = None,
    top_k: int | None = None,
) -> Metric:  # fmt: skip
    """A metric of the counts at ``thresholds``: a number for one of them, else ``[thresholds]``."""
    given = 0.5 if thresholds is None else thresholds
    line = np.atleast_1d(np.asarray(given, "float64"))
    if ((line < 0) | (line > 1)).any() or not len(line):
        raise ArgumentError(f"{name}: thresholds={thresholds} must be in 0 .. 1")
    if top_k is not None and thresholds is None:
        line = np.asarray([-1e10])  # all of the top are positive
    order = np.argsort(np.argsort(line, kind="stable"), kind="stable")

    def result(state: State) -> Any:
        out = value(*(state[k] for k in COUNTS))
        return out[0] if len(line) == 1 else mg.take(out, mg.asarray(order), axis=0)

    return Metric(name, _counts(line, class_id, top_k), result)


def precision(
    thresholds: Thresholds = None, top_k: int | None = None, class_id: int | None = None,
    name: str = "precision",
) -> Metric:  # fmt: skip
    """Of what was called positive, the share that is; 0 if nothing was.

    Args:
        thresholds: ``y_pred > threshold`` is positive, 0.5 by default; several give several values.
        top_k: call the ``k`` largest of the last axis positive (those above a given threshold).
        class_id: look at this one of the last axis.

    >>> import monograph as mg
    >>> p = precision()
    >>> p.result(p.measure(mg.tensor([0, 1, 1]), mg.tensor([0.9, 0.8, 0.1]))).item()
    0.5
    """
    return _decision(name, _SHARES["precision"], thresholds, class_id, top_k)


def recall(
    thresholds: Thresholds = None, top_k: int | None = None, class_id: int | None = None,
    name: str = "recall",
) -> Metric:  # fmt: skip
    """Of what is positive, the share that was found; arguments as `precision`."""
    return _decision(name, _SHARES["recall"], thresholds, class_id, top_k)


def true_positives(thresholds: Thresholds = None, name: str = "true_positives") -> Metric:
    """How many positives were found (their weight)."""
    return _decision(name, lambda tp, fp, tn, fn: tp, thresholds)


def false_positives(thresholds: Thresholds = None, name: str = "false_positives") -> Metric:
    """How many negatives were called positive."""
    return _decision(name, lambda tp, fp, tn, fn: fp, thresholds)


def true_negatives(thresholds: Thresholds = None, name: str = "true_negatives") -> Metric:
    """How many negatives were told."""
    return _decision(name, lambda tp, fp, tn, fn: tn, thresholds)


def false_negatives(thresholds: Thresholds = None, name: str = "false_negatives") -> Metric:
    """How many positives were missed."""
    return _decision(name, lambda tp, fp, tn, fn: fn, thresholds)


def _even(num_thresholds: int, beyond: float = 0.0) -> list[float]:
    if num_thresholds < 2:
        raise ArgumentError(f"num_thresholds={num_thresholds} must be at least 2")
    inner = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
    return [0.0 - beyond, *inner, 1.0 + beyond]


# shares of the four counts, in the order of COUNTS
_SHARES: dict[str, Callable] = {
    "precision": lambda tp, fp, tn, fn: ratio(tp, tp + fp),
    "recall": lambda tp, fp, tn, fn: ratio(tp, tp + fn),
    "specificity": lambda tp, fp, tn, fn: ratio(tn, tn + fp),
}


def _best(wanted: str, held: str, least: float, num_thresholds: int, name: str) -> Metric:
    """The largest of one share among even thresholds at which another is at ``least``; else 0."""
    if not 0 <= least <= 1:
        raise ArgumentError(f"{name}: {least} must be in 0 .. 1")

    def result(state: State) -> Any:
        counts = [state[k] for k in COUNTS]
        return mg.max(mg.where(_SHARES[held](*counts) >= least, _SHARES[wanted](*counts), 0.0))

    return Metric(name, _counts(_even(num_thresholds)), result)


def specificity_at_sensitivity(
    sensitivity: float, num_thresholds: int = 200, name: str = "specificity_at_sensitivity"
) -> Metric:
    """The best specificity among thresholds that reach this sensitivity (recall)."""
    return _best("specificity", "recall", sensitivity, num_thresholds, name)


def sensitivity_at_specificity(
    specificity: float, num_thresholds: int = 200, name: str = "sensitivity_at_specificity"
) -> Metric:
    """The best sensitivity (recall) among thresholds that reach this specificity."""
    return _best("recall", "specificity", specificity, num_thresholds, name)


def precision_at_recall(
    recall: float, num_thresholds: int = 200, name: str = "precision_at_recall"
) -> Metric:
    """The best precision among thresholds that reach this recall."""
    return _best("precision", "recall", recall, num_thresholds, name)


def recall_at_precision(
    precision: float, num_thresholds: int = 200, name: str = "recall_at_precision"
) -> Metric:
    """The best recall among thresholds that reach this precision."""
    return _best("recall", "precision", precision, num_thresholds, name)


def auc(
    num_thresholds: int = 200, curve: str = "ROC", summation_method: str = "interpolation",
    name: str = "auc", multi_label: bool = False, from_logits: bool = False,
) -> Metric:  # fmt: skip
    """Area under a curve, from the counts at ``num_thresholds`` even thresholds, as in Keras.

    Args:
        curve: ``"ROC"`` (recall over false-positive rate) or ``"PR"`` (precision over recall).
        summation_method: between thresholds ``"interpolation"`` (of PR curves by Davis and
            Goadrich 2006), ``"minoring"`` or ``"majoring"``.
        multi_label: the mean of the areas of each of the last axis, else one area of all.
        from_logits: take the predictions' sigmoid first.

    Raises:
        ArgumentError: a curve or method that is none of these.

    >>> import monograph as mg
    >>> a = auc()
    >>> a.result(a.measure(mg.tensor([0, 0, 1, 1]), mg.tensor([0.1, 0.4, 0.35, 0.8]))).item()
    0.75
    """
    heights = {
        "interpolation": lambda a, b: (a + b) / 2,
        "minoring": mg.minimum,
        "majoring": mg.maximum,
    }
    if curve not in ("ROC", "PR"):
        raise ArgumentError(f"curve={curve!r} is neither 'ROC' nor 'PR'")
    if summation_method not in heights:
        raise ArgumentError(f"summation_method={summation_method!r} is none of {list(heights)}")

    def result(state: State) -> Any:
        tp, fp, tn, fn = (state[k] for k in COUNTS)
        if curve == "PR" and summation_method == "interpolation":
            return _interpolated(tp, fp, fn)
        found = ratio(tp, tp + fn)
        x, y = (ratio(fp, fp + tn), found) if curve == "ROC" else (found, ratio(tp, tp + fp))
        return _area((x[:-1] - x[1:]) * heights[summation_method](y[:-1], y[1:]))

    line = _even(num_thresholds, EPSILON)
    return Metric(name, _counts(line, from_logits=from_logits, multi_label=multi_label), result)


def _area(parts: Any) -> Any:
    return mg.mean(mg.sum(parts, axis=0))  # of the labels, where there are several


def _interpolated(tp: Any, fp: Any, fn: Any) -> Any:
    """The PR area where true positives, not precision, are linear between two thresholds."""
    p = tp + fp
    dtp, dp = tp[:-1] - tp[1:], p[:-1] - p[1:]
    slope = ratio(dtp, mg.maximum(dp, 0.0))
    intercept = tp[1:] - slope * p[1:]
    known = mg.logical_and(p[:-1] > 0, p[1:] > 0)
    growth = mg.where(known, ratio(p[:-1], p[1:]), 1.0)
    return _area(ratio(slope * (dtp + intercept * mg.log(growth)), tp[1:] + fn[1:]))


def fbeta_score(
    average: str | None = None, beta: float = 1.0, threshold: float | None = None,
    name: str = "fbeta_score",
) -> Metric:  # fmt: skip
    """``(1 + beta^2) precision recall / (beta^2 precision + recall)`` per class.

    Args:
        average: None: one number per class; ``"macro"``: their mean; ``"weighted"``: weighted by
            the number of labels; ``"micro"``: of all classes' counts together.
        threshold: above it a class is predicted; None: the largest of each row is.

    `measure` takes one-hot (or multi-hot) labels and scores, ``[batch, classes]``.

    Raises:
        ArgumentError: another average, or ``beta`` not above 0.
    """
    if average not in (None, "macro", "micro", "weighted"):
        raise ArgumentError(f"average={average!r} is none of None, 'macro', 'micro', 'weighted'")
    if beta <= 0:
        raise ArgumentError(f"beta={beta} must be above 0")
    axis = None if average == "micro" else 0

    def measure(y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        y_true, y_pred = pair(y_true, y_pred)
        if threshold is None:
            top = mg.max(y_pred, axis=-1, keepdims=True)
            told = mg.logical_and(y_pred >= top, mg.abs(y_pred) > 1e-9)
        else:
            told = y_pred > threshold
        told = mg.astype(told, y_pred.dtype)
        w = weights(sample_weight, y_pred.shape, y_pred.dtype)
        parts = (told * y_true, told * (1 - y_true), (1 - told) * y_true)
        names = ("true_positives", "false_positives", "false_negatives")
        return {k: mg.sum(w * x, axis=axis) for k, x in zip(names, parts)}

    def result(state: State) -> Any:
        tp, fp, fn = (
            state[f"{k}"] for k in ("true_positives", "false_positives", "false_negatives")
        )
        p, r = tp / (tp + fp + EPSILON), tp / (tp + fn + EPSILON)
        score = (1 + beta**2) * p * r / (beta**2 * p + r + EPSILON)
        if average == "weighted":
            return mg.sum(score * (tp + fn)) / (mg.sum(tp + fn) + EPSILON)
        return mg.mean(score) if average == "macro" else score

    return Metric(name, measure, result)


def f1_score(
    average: str | None = None, threshold: float | None = None, name: str = "f1_score"
) -> Metric:
    """`fbeta_score` with ``beta=1``: the harmonic mean of precision and recall."""
    return fbeta_score(average, 1.0, threshold, name)


def confusion_matrix(
    num_classes: int, ignore_class: int | None = None, sparse_y_true: bool = True,
    sparse_y_pred: bool = True, name: str = "confusion_matrix",
) -> Metric:  # fmt: skip
    """``[true class, predicted class]``: how often (with what weight) each pair occurs.

    Args:
        ignore_class: a true class that does not count; nor do those out of range.
        sparse_y_true, sparse_y_pred: whether they are class indices ``[batch, ...]``, else one-hot
            or scores ``[batch, ..., num_classes]``, of which the largest is taken.

    >>> import monograph as mg
    >>> m = confusion_matrix(2)
    >>> m.measure(mg.tensor([0, 1, 1]), mg.tensor([0, 0, 1]))["matrix"].tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    n = num_classes

    def ids(x: Any, sparse: bool) -> mg.Array:
        return mg.astype(mg.asarray(x) if sparse else mg.argmax(x, axis=-1), "int64")

    def measure(y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        true, told = ids(y_true, sparse_y_true), ids(y_pred, sparse_y_pred)
        pair(true, told)
        w = weights(sample_weight, true.shape, "float32")
        counts = mg.logical_and(_within(true, n), _within(told, n))
        if ignore_class is not None:
            counts = mg.logical_and(counts, true != ignore_class)
        at = mg.where(counts, true * n + told, n * n)  # out of range: segment_sum skips it
        total = mg.segment_sum(mg.reshape(w, -1), mg.reshape(at, -1), n * n)
        return {"matrix": mg.reshape(total, (n, n))}

    return Metric(name, measure, lambda state: state["matrix"])


def _within(ids: mg.Array, n: int) -> mg.Array:
    return mg.logical_and(ids >= 0, ids < n)


def mean_iou(
    num_classes: int, ignore_class: int | None = None, sparse_y_true: bool = True,
    sparse_y_pred: bool = True, name: str = "mean_iou",
) -> Metric:  # fmt: skip
    """Intersection over union, its mean over the classes that occur; arguments as `confusion_matrix`."""

    def result(state: State) -> Any:
        m = state["matrix"]
        both = mg.sum(m * mg.eye(num_classes), axis=0)
        either = mg.sum(m, axis=0) + mg.sum(m, axis=1) - both
        return mg.sum(ratio(both, either)) / (mg.count_nonzero(either) + EPSILON)

    matrix = confusion_matrix(num_classes, ignore_class, sparse_y_true, sparse_y_pred)
    return Metric(name, matrix.measure, result)

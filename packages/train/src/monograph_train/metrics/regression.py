"""Metrics of numbers beyond the mean of a loss."""

from __future__ import annotations

from typing import Any

import monograph as mg
from monograph.errors import ArgumentError

from ..losses._pair import pair
from ..losses.regression import unit
from .metric import Metric, State, mean, ratio, weights


def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> mg.Array:
    """The cosine of the angle between two vectors, per sample: 1 where they point the same way."""
    y_true, y_pred = pair(y_true, y_pred)
    return mg.sum(unit(y_true, axis) * unit(y_pred, axis), axis=axis)


def pearson_correlation(y_true: Any, y_pred: Any, axis: int = -1) -> mg.Array:
    """The correlation of labels and predictions along ``axis``, per sample; 0 for constant ones.

    >>> import monograph as mg
    >>> r = pearson_correlation(mg.tensor([[0.0, 1.0, 2.0]]), mg.tensor([[3.0, 5.0, 7.0]]))
    >>> round(r.item(), 6)
    1.0
    """
    y_true, y_pred = (x - mg.mean(x, axis=axis, keepdims=True) for x in pair(y_true, y_pred))
    return mg.sum(unit(y_true, axis) * unit(y_pred, axis), axis=axis)


def _squared_error(y_true: Any, y_pred: Any) -> mg.Array:
    y_true, y_pred = pair(y_true, y_pred)
    return mg.square(y_true - y_pred)


def root_mean_squared_error(name: str = "root_mean_squared_error") -> Metric:
    """The root of the mean of squared errors over all batches.

    >>> import monograph as mg
    >>> m = root_mean_squared_error()
    >>> m.result(m.measure(mg.tensor([0.0, 0.0]), mg.tensor([1.0, 7.0]))).item()
    5.0
    """
    return mean(_squared_error, name, mg.sqrt)


def r2_score(class_aggregation: str | None = "uniform_average", name: str = "r2_score") -> Metric:
    """The coefficient of determination: ``1 - squared errors / squared distances from the mean``.

    Its sums are float64, as the variance is a small difference of large ones.

    Args:
        class_aggregation: ``"uniform_average"`` over outputs, ``"variance_weighted_average"``, or
            None: one number per output. An output of constant labels gives 0.

    `measure` takes ``[batch, outputs]``, or ``[batch]``.

    Raises:
        ArgumentError: another aggregation.
    """
    known = (None, "uniform_average", "variance_weighted_average")
    if class_aggregation not in known:
        raise ArgumentError(f"class_aggregation={class_aggregation!r} is none of {known}")

    def measure(y_true: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        y_true, y_pred = (mg.astype(x, "float64") for x in pair(y_true, y_pred))
        w = weights(sample_weight, y_true.shape, "float64")
        parts = {
            "count": w,
            "sum": w * y_true,
            "squared_sum": w * y_true**2,
            "residual": w * (y_true - y_pred) ** 2,
        }
        return {k: mg.sum(x, axis=0) for k, x in parts.items()}

    def result(state: State) -> Any:
        spread = state["squared_sum"] - ratio(state["sum"] ** 2, state["count"])
        scores = mg.where(spread == 0, 0.0, 1 - ratio(state["residual"], spread))
        if class_aggregation == "variance_weighted_average":
            scores = ratio(mg.sum(spread * scores), mg.sum(spread))
        elif class_aggregation == "uniform_average":
            scores = mg.mean(scores)
        return mg.astype(scores, "float32")

    return Metric(name, measure, result)

"""Metrics, with Keras's names and defaults.

A metric is a function ``(y_true, y_pred) -> one number per sample``, whose mean is reported, or a
`Metric`, which says what is summed over batches and what the sums come to. Functions of this module
without ``y_true``, such as `precision` and `auc`, make a `Metric`.
"""

from ..losses import (
    binary_crossentropy,
    categorical_crossentropy,
    categorical_hinge,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from .accuracy import (
    accuracy,
    binary_accuracy,
    categorical_accuracy,
    sparse_categorical_accuracy,
    sparse_top_k_categorical_accuracy,
    top_k_categorical_accuracy,
)
from .confusion import (
    auc,
    confusion_matrix,
    f1_score,
    false_negatives,
    false_positives,
    fbeta_score,
    mean_iou,
    precision,
    precision_at_recall,
    recall,
    recall_at_precision,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
    true_negatives,
    true_positives,
)
from .metric import Metric, as_metric, mean, merge
from .regression import (
    cosine_similarity,
    pearson_correlation,
    r2_score,
    root_mean_squared_error,
)

__all__ = [
    "Metric", "accuracy", "as_metric", "auc", "binary_accuracy", "binary_crossentropy",
    "categorical_accuracy", "categorical_crossentropy", "categorical_hinge", "confusion_matrix",
    "cosine_similarity", "f1_score", "false_negatives", "false_positives", "fbeta_score", "hinge",
    "huber", "kl_divergence", "log_cosh", "mean", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_iou", "mean_squared_error",
    "mean_squared_logarithmic_error", "merge", "pearson_correlation", "poisson", "precision",
    "precision_at_recall", "r2_score", "recall", "recall_at_precision", "sensitivity_at_specificity", "root_mean_squared_error", "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy", "sparse_top_k_categorical_accuracy",
    "specificity_at_sensitivity", "squared_hinge", "top_k_categorical_accuracy", "true_negatives",
    "true_positives",
]  # fmt: skip

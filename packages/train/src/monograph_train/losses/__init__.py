"""Losses: ``loss(y_true, y_pred) -> one number per sample``, with Keras's names and defaults.

Options are bound with `functools.partial`:

>>> from functools import partial
>>> loss = partial(sparse_categorical_crossentropy, from_logits=True)

Predictions are ``[batch, ..., features]``, results ``[batch, ...]``; means of errors also take one
output per sample, ``[batch]``, and give ``[batch]``. 16-bit predictions are taken to
float32 first. Labels of another shape than the loss needs are a `ShapeError`: nothing broadcasts.
"""

from ._pair import check_labels
from .entropies import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    kl_divergence,
    nll,
    poisson,
    sparse_categorical_crossentropy,
)
from .margins import (
    categorical_hinge,
    circle,
    contrastive,
    hinge,
    margin_ranking,
    self_adversarial,
    squared_hinge,
    triplet_margin,
    triplet_semi_hard,
)
from .overlap import dice, tversky
from .regression import (
    cosine_similarity,
    huber,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
)

__all__ = [
    "binary_crossentropy", "binary_focal_crossentropy", "categorical_crossentropy",
    "categorical_focal_crossentropy", "categorical_hinge", "check_labels", "circle", "contrastive",
    "cosine_similarity", "dice", "hinge", "huber", "kl_divergence", "log_cosh", "margin_ranking",
    "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error",
    "mean_squared_logarithmic_error", "nll", "poisson", "self_adversarial",
    "sparse_categorical_crossentropy", "squared_hinge", "triplet_margin", "triplet_semi_hard",
    "tversky",
]  # fmt: skip

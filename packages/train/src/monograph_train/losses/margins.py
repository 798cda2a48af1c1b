"""Losses with a margin: hinges, distances of embeddings, and what is true ranked above what is not."""

from __future__ import annotations

from typing import Any

import monograph as mg
from monograph.errors import ShapeError
from monograph.tracing import at_user_line

from ._pair import mean, pair, wide


def _short(y_true: Any, y_pred: Any) -> mg.Array:
    """How much the margin of 1 is missed by; labels of 0 are taken for -1."""
    y_true, y_pred = pair(y_true, y_pred)
    return mg.relu(1 - mg.where(y_true == 0, -1.0, y_true) * y_pred)


def hinge(y_true: Any, y_pred: Any) -> mg.Array:
    """Mean of ``max(1 - y p, 0)`` over the last axis; labels -1 and 1, or 0 and 1.

    >>> import monograph as mg
    >>> hinge(mg.tensor([[1.0, 0.0]]), mg.tensor([[0.5, 0.5]])).tolist()
    [1.0]
    """
    return mean(_short(y_true, y_pred))


def squared_hinge(y_true: Any, y_pred: Any) -> mg.Array:
    """Mean of ``max(1 - y p, 0) ** 2`` over the last axis; labels -1 and 1, or 0 and 1."""
    return mean(mg.square(_short(y_true, y_pred)))


def categorical_hinge(y_true: Any, y_pred: Any) -> mg.Array:
    """``max(1 + best wrong score - right score, 0)``; ``y_true`` is one-hot.

    Args:
        y_true, y_pred: ``[batch, ..., classes]``.
    """
    y_true, y_pred = pair(y_true, y_pred)
    right = mg.sum(y_true * y_pred, axis=-1)
    wrong = mg.max((1 - y_true) * y_pred, axis=-1)
    return mg.relu(wrong - right + 1)


def contrastive(y_true: Any, y_pred: Any, margin: float = 1.0) -> mg.Array:
    """``y d ** 2 + (1 - y) max(margin - d, 0) ** 2`` (Hadsell et al. 2006, without its halves).

    Args:
        y_true: 1 for a pair of the same kind, 0 for one of different kinds, ``[batch]``.
        y_pred: the pair's distance, ``[batch]``.

    >>> import monograph as mg
    >>> contrastive(mg.tensor([1, 0]), mg.tensor([0.5, 0.5])).tolist()
    [0.25, 0.25]
    """
    y, d = pair(y_true, y_pred)
    return y * mg.square(d) + (1 - y) * mg.square(mg.relu(margin - d))


def triplet_margin(
    anchor: Any, positive: Any, negative: Any, margin: float = 1.0, swap: bool = False,
    epsilon: float = 1e-6,
) -> mg.Array:  # fmt: skip
    """``max(d(anchor, positive) - d(anchor, negative) + margin, 0)``, as ``TripletMarginLoss``.

    Args:
        anchor, positive, negative: ``[batch, features]``.
        swap: take the negative's distance to the positive where that is smaller (Balntas 2016).
        epsilon: added to each difference, as PyTorch does.

    Returns:
        ``[batch]``.
    """
    positive, anchor = pair(positive, anchor)
    negative, _ = pair(negative, anchor)

    def distance(a: mg.Array, b: mg.Array) -> mg.Array:
        return mg.sqrt(mg.sum(mg.square(a - b + epsilon), axis=-1))

    far = distance(anchor, negative)
    if swap:
        far = mg.minimum(far, distance(positive, negative))
    return mg.relu(distance(anchor, positive) - far + margin)


def triplet_semi_hard(y_true: Any, y_pred: Any, margin: float = 1.0) -> mg.Array:
    """Triplets found in the batch (Schroff et al. 2015, FaceNet).

    For each pair of a class, the nearest embedding of another class that is farther away than the
    pair's partner; where there is none, the farthest of another class.

    Args:
        y_true: class indices ``[batch]``.
        y_pred: embeddings ``[batch, features]``, of length 1.

    Returns:
        ``[batch]``: per anchor the mean over its pairs, 0 for one without a partner.
    """
    apart, same = _squared_distances(y_true, y_pred)
    other = mg.logical_not(mg.logical_or(same, mg.eye(same.shape[0], dtype=mg.bool)))
    # axes: anchor, partner, candidate
    farther = mg.logical_and(other[:, None, :], apart[:, None, :] > apart[:, :, None])
    top = mg.max(apart) + 1
    nearest = mg.min(mg.where(farther, apart[:, None, :], top), axis=-1)
    farthest = mg.max(mg.where(other, apart, 0.0), axis=-1, keepdims=True)
    against = mg.where(mg.any(farther, axis=-1), nearest, farthest)
    each = mg.where(same, mg.relu(apart - against + margin), 0.0)
    count = mg.sum(mg.astype(same, each.dtype), axis=-1)
    return mg.sum(each, axis=-1) / mg.maximum(count, 1.0)


def circle(
    y_true: Any, y_pred: Any, remove_diagonal: bool = True, gamma: float = 80.0, margin: float = 0.4
) -> mg.Array:
    """Circle loss (Sun et al. 2020): similar pairs weigh less the better they are already.

    Args:
        y_true: class indices ``[batch]``.
        y_pred: embeddings ``[batch, features]``, of length 1.
        remove_diagonal: whether an embedding is no partner of itself.

    Returns:
        ``[batch]``; 0 where the batch has no partner, or no other class.
    """
    labels, x = _embeddings(y_true, y_pred)
    same = labels[:, None] == labels[None, :]
    own = mg.eye(x.shape[0], dtype=mg.bool)
    near = mg.logical_and(same, mg.logical_not(own)) if remove_diagonal else same
    apart = mg.relu(1 - x @ mg.matrix_transpose(x))
    pull = gamma * (margin + apart) * (apart - margin)
    push = gamma * mg.relu(1 + margin - apart) * (1 - margin - apart)
    low = -1e30  # of what is no pair: -inf would make gradients of rows without pairs NaN
    total = mg.logsumexp(mg.where(near, pull, low), axis=1)
    total = total + mg.logsumexp(mg.where(same, low, push), axis=1)
    return mg.logaddexp(total, 0.0)


def margin_ranking(positive: Any, negative: Any, margin: float = 1.0) -> mg.Array:
    """``max(margin - positive + negative, 0)``, the mean over each sample's negatives.

    As PyTorch's ``MarginRankingLoss`` with targets of 1; what TransE is trained with (Bordes et al. 2013).

    Args:
        positive: scores of what is true ``[batch]``; higher is better.
        negative: of what is not, ``[batch, negatives]`` or ``[batch]``.

    Returns:
        ``[batch]``.

    >>> import monograph as mg
    >>> margin_ranking(mg.tensor([2.0]), mg.tensor([[0.5, 1.5]])).tolist()
    [0.25]
    """
    positive, negative = _ranked(positive, negative)
    return mg.mean(mg.relu(margin - positive[:, None] + negative), axis=-1)


def self_adversarial(
    positive: Any, negative: Any, margin: float = 9.0, temperature: float = 1.0
) -> mg.Array:
    """Negatives weighed by how true they seem (Sun et al. 2019, "RotatE").

    ``-log s(margin + positive) - sum of w log s(-margin - negative)`` with the sigmoid ``s`` and ``w =
    softmax(temperature * negative)``, through which no gradient flows.

    Args:
        positive: scores of what is true ``[batch]``: negative distances, for RotatE and TransE.
        negative: of what is not, ``[batch, negatives]`` or ``[batch]``.

    Returns:
        ``[batch]``.

    >>> import monograph as mg
    >>> self_adversarial(mg.tensor([-9.0]), mg.tensor([[-9.0, -9.0]])).tolist()
    [1.386...]
    """
    positive, negative = _ranked(positive, negative)
    weights = mg.stop_gradient(mg.softmax(temperature * negative, axis=-1))
    wrong = mg.sum(weights * mg.logaddexp(margin + negative, 0.0), axis=-1)
    return mg.logaddexp(-margin - positive, 0.0) + wrong


def _ranked(positive: Any, negative: Any) -> tuple[mg.Array, mg.Array]:
    positive, negative = wide(positive), wide(negative)
    if negative.ndim == 1:
        negative = negative[:, None]
    if positive.ndim != 1 or negative.ndim != 2 or negative.shape[0] != positive.shape[0]:
        raise at_user_line(
            ShapeError(
                f"positive has shape {positive.shape}, negative {negative.shape}; needs [batch] and "
                f"[batch, negatives]"
            )
        )
    return positive, mg.astype(negative, positive.dtype)


def _embeddings(y_true: Any, y_pred: Any) -> tuple[mg.Array, mg.Array]:
    labels, x = mg.asarray(y_true), wide(y_pred)
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise at_user_line(
            ShapeError(
                f"y_true has shape {labels.shape}, y_pred {x.shape}; needs class indices [batch] "
                f"and embeddings [batch, features]"
            )
        )
    return labels, x


def _squared_distances(y_true: Any, y_pred: Any) -> tuple[mg.Array, mg.Array]:
    """``[batch, batch]``: squared distances, and which are pairs of one class."""
    labels, x = _embeddings(y_true, y_pred)
    apart = mg.sum(mg.square(x[:, None, :] - x[None, :, :]), axis=-1)
    own = mg.eye(x.shape[0], dtype=mg.bool)
    return apart, mg.logical_and(labels[:, None] == labels[None, :], mg.logical_not(own))

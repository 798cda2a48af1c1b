"""Losses that engines have natively."""

from __future__ import annotations

import numpy as np

from ..dtypes import int64
from ..errors import DTypeError, ShapeError
from ..op import Sample, composite
from ._build import zeros_like
from ._infer import check_kind
from ._samples import draw
from ._wide import as_like, widened
from .activations import log_softmax, softmax
from .logic import compare, select
from .reductions import reduce_sum, spread
from .shape import iota
from .structural import broadcast_in_dim, convert


def _cross_entropy(logits, labels):
    check_kind(logits, "float")
    if not labels.dtype.is_integer:
        raise DTypeError(f"labels are {labels}; needs integer class indices")
    if logits.ndim < 1 or labels.shape != logits.shape[:-1]:
        raise ShapeError(
            f"logits {logits.shape} need labels of shape {logits.shape[:-1]}, got {labels.shape}"
        )
    return logits.with_(labels.shape)


def at_label(labels, shape):
    """Where each row's label stands, as bool ``[..., classes]``."""
    labels = convert(labels, dtype=int64)  # a narrow label type cannot count the classes
    classes = iota(shape=shape, dtype=int64, axis=len(shape) - 1)
    at = broadcast_in_dim(labels, shape=shape, dims=tuple(range(labels.ndim)))
    return compare(classes, at, direction="EQ")


def _entropy_samples(d, rng):
    for shape in ((3, 4), (2, 2, 3), (0, 3)):
        labels = rng.integers(0, shape[-1], shape[:-1])
        yield Sample((draw(d, rng, shape), labels.astype("int64")))
    impossible = draw(d, rng, (2, 3))
    impossible[:, 0] = -np.inf
    yield Sample((impossible, np.array([1, 0])), grad=False)
    yield Sample((draw(d, rng, (3, 2)), np.array([-1, 1, 2])))


@composite(
    infer=_cross_entropy,
    vjp=lambda g, y, logits, labels: (cross_entropy_backward(g, logits, labels), None),
    samples=_entropy_samples,
)
def cross_entropy(logits, labels):
    """``-log softmax(logits)[label]`` per row: ``[..., classes]``, ``[...]`` to ``[...]``.

    A label out of range gives 0, an impossible one (a logit of -inf) infinity.
    """
    low = log_softmax(widened(logits), axis=logits.ndim - 1)
    # chosen, not multiplied by 0 and 1: other classes may be impossible, and 0 * -inf is NaN
    own = select(at_label(labels, low.shape), low, zeros_like(low))
    return as_like(-reduce_sum(own, axes=(logits.ndim - 1,)), logits)


@composite(
    infer=lambda g, logits, labels: logits,
    samples=lambda d, rng: (
        Sample((draw(d, rng, s.operands[1].shape), *s.operands)) for s in _entropy_samples(d, rng)
    ),
)
def cross_entropy_backward(g, logits, labels):
    """The cotangent of `cross_entropy`'s logits."""
    w, axes = widened(logits), (logits.ndim - 1,)
    hot = convert(at_label(labels, w.shape), dtype=w.dtype)
    hits = spread(reduce_sum(hot, axes=axes), w, axes)
    return as_like((softmax(w, axis=axes[0]) * hits - hot) * spread(widened(g), w, axes), logits)

"""Random numbers: of the store's own state, or of a node's seed, then the same at every call."""

from __future__ import annotations

from typing import Any

import monograph as mg
import numpy as np

from ..interpret import sized
from ..rules import rule
from ..tensors import computable, element_type


def _uniform(key: Any, shape: Any, dtype: Any, low: float, high: float) -> Any:
    return mg.random.uniform(key, shape, dtype, low, high)


def _normal(key: Any, shape: Any, dtype: Any, mean: float, scale: float) -> Any:
    return mg.astype(mg.random.normal(key, shape, dtype) * scale + mean, dtype)


@rule("RandomUniform", dtype=computable)
def random_uniform(
    *,
    shape: Any,
    dtype: int = 1,
    high: float = 1.0,
    low: float = 0.0,
    seed: float | None = None,
    step: Any,
) -> Any:
    """Uniform numbers."""
    return _uniform(step.key(seed), sized(shape), element_type(dtype), low, high)


@rule("RandomUniformLike", shape_only=True, dtype=computable)
def random_uniform_like(
    x: Any, *, dtype: int | None = None, high: float = 1.0, low: float = 0.0, seed: float | None = None,
    step: Any,
) -> Any:  # fmt: skip
    """Uniform numbers in the shape of ``x``."""
    kind = mg.Spec.of(x).dtype if dtype is None else element_type(dtype)
    return _uniform(step.key(seed), x.shape, kind, low, high)


@rule("RandomNormal", dtype=computable)
def random_normal(
    *,
    shape: Any,
    dtype: int = 1,
    mean: float = 0.0,
    scale: float = 1.0,
    seed: float | None = None,
    step: Any,
) -> Any:
    """Normal numbers."""
    return _normal(step.key(seed), sized(shape), element_type(dtype), mean, scale)


@rule("RandomNormalLike", shape_only=True, dtype=computable)
def random_normal_like(
    x: Any, *, dtype: int | None = None, mean: float = 0.0, scale: float = 1.0, seed: float | None = None,
    step: Any,
) -> Any:  # fmt: skip
    """Normal numbers in the shape of ``x``."""
    kind = mg.Spec.of(x).dtype if dtype is None else element_type(dtype)
    return _normal(step.key(seed), x.shape, kind, mean, scale)


@rule("Bernoulli", dtype=computable)
def bernoulli(x: Any, *, dtype: int | None = None, seed: float | None = None, step: Any) -> Any:
    """1 with the probability ``x``, else 0."""
    x = mg.asarray(x)
    drawn = mg.random.uniform(step.key(seed), x.shape) < mg.astype(x, mg.float32)
    return mg.astype(drawn, x.dtype if dtype is None else element_type(dtype))


@rule("Multinomial", dtype=computable)
def multinomial(
    x: Any, *, dtype: int = 6, sample_size: int = 1, seed: float | None = None, step: Any
) -> Any:
    """Classes drawn by unnormalised log-probabilities ``x [batch, classes]``: ``[batch, sample_size]``."""
    x = mg.asarray(x)
    many = mg.broadcast_to(mg.expand_dims(x, axis=1), sized((x.shape[0], sample_size, x.shape[1])))
    return mg.astype(mg.random.categorical(step.key(seed), many), element_type(dtype))


@rule("Dropout", since=12, known=(2,))
def dropout(
    x: Any,
    ratio: Any = None,
    training: Any = None,
    *,
    seed: int | None = None,
    outputs: int = 1,
    step: Any,
) -> Any:
    """In training some numbers become 0 and the others grow (Srivastava et al. 2014)."""
    x = mg.asarray(x)
    share = mg.asarray(np.float32(0.5) if ratio is None else ratio)
    if training is None or not np.asarray(training).item():
        return x, mg.full(x.shape, True)
    kept = mg.random.uniform(step.key(seed), x.shape) >= mg.astype(share, mg.float32)
    return mg.where(kept, x / (1 - mg.astype(share, x.dtype)), 0), kept


@rule("Dropout")
def dropout_1(x: Any, *, ratio: float = 0.5, is_test: int = 1) -> Any:
    """As above, never in training."""
    return mg.asarray(x), mg.full(x.shape, True)

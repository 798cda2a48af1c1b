"""Dense layers and embeddings."""

from __future__ import annotations

from typing import Any

import monograph as mg

from .initializers import Init, glorot_uniform, zeros


def dense(
    scope: Any, x: Any, units: int, *, use_bias: bool = True,
    kernel_init: Init = glorot_uniform, bias_init: Init = zeros,
) -> Any:  # fmt: skip
    """``x @ kernel + bias`` over the last axis, as Keras's Dense.

    Args:
        scope: holds ``kernel [in, units]`` and ``bias [units]``.
        x: ``[..., in]``.

    Returns:
        ``[..., units]``.

    >>> store = mg.Store(seed=0)
    >>> layer = store.bind(lambda scope, x: dense(scope / "logits", x, 10), engine="numpy")
    >>> layer(mg.ones((2, 4))).shape, list(store)
    ((2, 10), ['logits/bias', 'logits/kernel'])
    """
    if x.ndim < 1:
        raise mg.errors.ShapeError(
            f"dense {scope.path!r} needs an input with at least one axis, got {x.spec}"
        )
    y = x @ scope.parameter("kernel", (x.shape[-1], units), kernel_init, x.dtype)
    return y + scope.parameter("bias", (units,), bias_init, x.dtype) if use_bias else y


def _small_uniform(key: Any, shape: tuple, dtype: Any) -> Any:
    return mg.random.uniform(key, shape, dtype, -0.05, 0.05)


def embedding(
    scope: Any, ids: Any, vocabulary: int, features: int, *, init: Init = _small_uniform,
    dtype: Any = "float32",
) -> Any:  # fmt: skip
    """A row of ``embeddings [vocabulary, features]`` per id, as Keras's Embedding.

    Args:
        ids: integers ``[...]``, each in ``0 .. vocabulary - 1``.

    Returns:
        ``[..., features]``.
    """
    if not ids.dtype.is_integer:
        raise mg.errors.DTypeError(f"embedding {scope.path!r} needs integer ids, got {ids.spec}")
    return mg.take(scope.parameter("embeddings", (vocabulary, features), init, dtype), ids, axis=0)

"""Dense layers and embeddings."""

from __future__ import annotations

from typing import Any

import monograph as mg

from .activations import Activation, activate
from .authoring import layer, refuse
from .initializers import Init, glorot_uniform, uniform, zeros
from .regularizers import Regularizer

SMALL = uniform(-0.05, 0.05)  # what Keras starts embeddings with


@layer
def dense(
    scope: mg.Scope, x: Any, units: int, *, activation: Activation = None, use_bias: bool = True,
    kernel_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
    kernel_regularizer: Regularizer = None, bias_regularizer: Regularizer = None,
) -> Any:  # fmt: skip
    """``activation(x @ kernel + bias)`` over the last axis, as Keras's Dense.

    Args:
        scope: holds ``kernel [in, units]`` and ``bias [units]``.
        x: ``[..., in]``.

    Returns:
        ``[..., units]``.

    Raises:
        ShapeError: ``x`` is a scalar.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, x: dense(scope / "logits", x, 10), engine="numpy")
    >>> call(mg.ones((2, 4))).shape, list(store)
    ((2, 10), ['logits/bias', 'logits/kernel'])
    """
    if x.ndim < 1:
        refuse(scope, "dense", f"needs an input with at least one axis, got {x.spec}")
    shape = (x.shape[-1], units)
    y = x @ scope.parameter("kernel", shape, kernel_initializer, x.dtype, kernel_regularizer)
    if use_bias:
        y = y + scope.parameter("bias", (units,), bias_initializer, x.dtype, bias_regularizer)
    return activate(y, activation)


@layer
def embedding(
    scope: mg.Scope, ids: Any, input_dim: int, output_dim: int, *,
    embeddings_initializer: Init = SMALL, embeddings_regularizer: Regularizer = None,
    dtype: Any = "float32",
) -> Any:  # fmt: skip
    """A row of ``embeddings [input_dim, output_dim]`` per id, as Keras's Embedding.

    Args:
        ids: integers ``[...]``, each in ``0 .. input_dim - 1``.
        dtype: of the rows; a policy's ``param`` goes before it.

    Returns:
        ``[..., output_dim]``.

    Raises:
        DTypeError: ``ids`` are no integers.

    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, ids: embedding(scope / "words", ids, 100, 8), engine="numpy")
    >>> call(mg.asarray([[3, 14, 15]])).shape
    (1, 3, 8)
    """
    if not ids.dtype.is_integer:
        refuse(scope, "embedding", f"needs integer ids, got {ids.spec}", mg.errors.DTypeError)
    rows = scope.parameter(
        "embeddings", (input_dim, output_dim), embeddings_initializer, dtype, embeddings_regularizer
    )
    return mg.take(rows, ids, axis=0)

"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import normal

from ._decoding import ACTIVATIONS, Cache, logits, merge_heads, reading, split_heads

SMALL = normal(stddev=0.02)


def gpt2(
    scope: mg.Scope, ids: Any, attention_mask: Any = None, positions: Any = None, *,
    vocabulary: int = 50257, context: int = 1024, features: int = 768, layers: int = 12,
    heads: int = 12, inner: int | None = None, activation: str = "gelu_tanh",
    epsilon: float = 1e-5, tied: bool = True, include_top: bool = True, last: bool = False,
    dropout: float = 0.0, training: bool = False, cache: Cache | int | None = None,
    dtype: Any = "float32",
) -> Any:  # fmt: skip
    """GPT-2: learned positions, normalisation before each part, tied embeddings; 124M by default.

    Args:
        scope: holds ``embedding/embeddings [vocabulary, features]``, ``positions/embeddings [context,
            features]``; for each ``block1`` and so on ``attention_norm``, ``attention/qkv``,
            ``attention/output``, ``feed_forward_norm``, ``feed_forward/up``, ``feed_forward/down``;
            ``norm``; and ``logits/kernel`` unless ``tied``.
        ids: integers ``[batch, length]``.
        attention_mask: ``[batch, length]``, 0 where a token is padding, which nobody sees.
        positions: ``[length]`` or ``[batch, length]``; by default columns are counted.
        inner: features between the two feed-forward layers, ``4 * features`` by default.
        include_top: whether to end with the logits.
        last: whether to end with the last place only.
        dropout: of embeddings, attention weights and each part's result, in training.
        cache: how many tokens a new one shall hold, or that of the call before, whose tokens come
            first.

    Returns:
        ``[batch, length, vocabulary]``, or ``[batch, length, features]`` without the top; and the new
        cache, where one was asked for.

    Raises:
        ShapeError: ``ids`` are longer than ``context`` or the cache.

    >>> options = dict(vocabulary=20, context=8, features=4, layers=1, heads=2)
    >>> call = mg.Store(seed=0).bind(gpt2, engine="numpy", **options)
    >>> call(mg.asarray([[1, 2, 3]])).shape
    (1, 3, 20)
    """
    if ids.shape[-1] > context:
        raise mg.tracing.at_user_line(
            mg.errors.ShapeError(f"{ids.shape[-1]} tokens, but the model has {context} positions")
        )

    def drop(scope: mg.Scope, x: Any) -> Any:
        return nn.dropout(scope, x, dropout, training=training)

    def norm(scope: mg.Scope, x: Any) -> Any:
        return nn.layer_norm(scope, x, epsilon=epsilon)

    def dense(scope: mg.Scope, x: Any, units: int, activation: Any = None) -> Any:
        return nn.dense(scope, x, units, activation=activation, kernel_initializer=SMALL)

    def attention(scope: mg.Scope, x: Any, cached: Any) -> Any:
        qkv = mg.split(dense(scope / "qkv", x, 3 * features), 3, axis=-1)
        y, _, cached = nn.attend(
            *[split_heads(a, heads) for a in qkv], key_mask=seen.key_mask, use_causal_mask=True,
            cache=cached, dropout=(lambda w: drop(scope, w)) if training and dropout else None,
        )  # fmt: skip
        return drop(scope, dense(scope / "output", merge_heads(y), features)), cached

    def feed_forward(scope: mg.Scope, x: Any) -> Any:
        x = dense(scope / "up", x, inner or 4 * features, ACTIVATIONS.get(activation, activation))
        return drop(scope, dense(scope / "down", x, features))

    seen = reading(
        scope, ids, attention_mask, positions, cache, layers, heads, features // heads, dtype
    )
    places = (scope / "positions").parameter("embeddings", (context, features), SMALL, dtype)
    words = nn.embedding(
        scope.shared("embedding"), ids, vocabulary, features, embeddings_initializer=SMALL,
        dtype=dtype,
    )  # fmt: skip
    x = drop(scope, words + mg.take(places, seen.positions, axis=0))
    caches = []
    for i, cached in enumerate(seen.caches):
        block = scope / f"block{i + 1}"
        y, cached = attention(block / "attention", norm(block / "attention_norm", x), cached)
        x = x + y
        x = x + feed_forward(block / "feed_forward", norm(block / "feed_forward_norm", x))
        caches.append(cached)
    x = norm(scope / "norm", x[:, -1:] if last else x)
    y = logits(scope, x, vocabulary, tied, SMALL) if include_top else x
    after = seen.after(caches)
    return y if after is None else (y, after)

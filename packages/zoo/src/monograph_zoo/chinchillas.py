"""Chinchilla (Hoffmann et al. 2022): a decoder like Gopher (Rae et al. 2021)."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import variance_scaling

from ._decoding import Cache, logits, reading

INIT = variance_scaling(1.0, "fan_in", "truncated_normal")


def chinchilla(
    scope: mg.Scope, ids: Any, attention_mask: Any = None, positions: Any = None, *,
    vocabulary: int = 32_000, features: int = 8192, layers: int = 80, heads: int = 64,
    key_dim: int = 128, inner: int | None = None, epsilon: float = 1e-6, dropout: float = 0.0,
    include_top: bool = True, last: bool = False, training: bool = False,
    cache: Cache | int | None = None, dtype: Any = "float32",
) -> Any:  # fmt: skip
    """Chinchilla: RMS norm, relative attention (Dai et al. 2019), tied embeddings; 70B by default.

    Args:
        scope: holds ``embedding/embeddings [vocabulary, features]``; for each ``block1`` and so on
            ``attention_norm``, ``attention`` (that of `monograph_layers.multi_head_attention`),
            ``feed_forward_norm``, ``feed_forward/up``, ``feed_forward/down``; and ``norm``.
        ids: integers ``[batch, length]``.
        attention_mask: ``[batch, length]``, 0 where a token is padding, which nobody sees.
        positions: are not used: all is relative. It is there so that all decoders are called alike.
        inner: features between the two feed-forward layers, ``4 * features`` by default.
        dropout: of embeddings, attention weights and each part's result, in training.
        include_top: whether to end with the logits.
        last: whether to end with the last place only.
        cache: how many tokens a new one shall hold, or that of the call before, whose tokens come
            first.

    Returns:
        ``[batch, length, vocabulary]``, or ``[batch, length, features]`` without the top; and the new
        cache, where one was asked for.

    Raises:
        ShapeError: an odd number of features, or more ``ids`` than the cache holds.

    >>> options = dict(vocabulary=20, features=8, layers=1, heads=2, key_dim=4)
    >>> call = mg.Store(seed=0).bind(chinchilla, engine="numpy", **options)
    >>> call(mg.asarray([[1, 2, 3]])).shape
    (1, 3, 20)
    """
    inner = inner or 4 * features

    def drop(x: Any) -> Any:
        return nn.dropout(scope, x, dropout, training=training)

    def norm(scope: mg.Scope, x: Any) -> Any:
        return nn.rms_norm(scope, x, epsilon=epsilon)

    def attention(scope: mg.Scope, x: Any, cached: Any) -> tuple[Any, Any]:
        y = nn.multi_head_attention(
            scope, x, num_heads=heads, key_dim=key_dim, relative=True, use_causal_mask=True,
            key_mask=seen.key_mask, dropout=dropout, training=training, cache=cached,
            kernel_initializer=INIT,
        )  # fmt: skip
        return (y, None) if cached is None else y

    def feed_forward(scope: mg.Scope, x: Any) -> Any:
        x = nn.dense(scope / "up", x, inner, activation=mg.gelu, kernel_initializer=INIT)
        return nn.dense(scope / "down", x, features, kernel_initializer=INIT)

    seen = reading(ids, attention_mask, positions, cache, layers, heads, key_dim, dtype)
    x = drop(
        nn.embedding(
            scope.shared("embedding"), ids, vocabulary, features, embeddings_initializer=INIT,
            dtype=dtype,
        )
    )  # fmt: skip
    caches = []
    for i in range(layers):
        block = scope / f"block{i + 1}"
        y, cached = attention(block / "attention", norm(block / "attention_norm", x), seen.cache(i))
        x = x + drop(y)
        y = feed_forward(block / "feed_forward", norm(block / "feed_forward_norm", x))
        x = x + drop(y)
        caches.append(cached)
    x = norm(scope / "norm", x[:, -1:] if last else x)
    y = logits(scope, x, vocabulary, True, INIT) if include_top else x
    return seen.told(y, caches)


def chinchilla_parameters(
    vocabulary: int, features: int, layers: int, heads: int, key_dim: int, inner: int | None = None
) -> int:
    """How many numbers such a model has, as the paper counts them: without the norms' scales.

    >>> round(chinchilla_parameters(**chinchillas[44]) / 1e6)
    44
    """
    inner, width = inner or 4 * features, heads * key_dim
    attention = 5 * features * width + 5 * width + features  # query, key, value, output, relative
    feed_forward = 2 * features * inner + inner + features
    return layers * (attention + feed_forward) + vocabulary * features


_TABLE = {  # features, key_dim, heads, layers
    44: (512, 64, 8, 8),
    57: (576, 64, 9, 9),
    74: (640, 64, 10, 10),
    90: (640, 64, 10, 13),
    106: (640, 64, 10, 16),
    117: (768, 64, 12, 12),
    140: (768, 64, 12, 15),
    163: (768, 64, 12, 18),
    175: (896, 64, 14, 14),
    196: (896, 64, 14, 16),
    217: (896, 64, 14, 18),
    251: (1024, 64, 16, 16),
    278: (1024, 64, 16, 18),
    306: (1024, 64, 16, 20),
    425: (1280, 128, 10, 18),
    489: (1280, 128, 10, 21),
    509: (1408, 128, 11, 18),
    552: (1280, 128, 10, 24),
    587: (1408, 128, 11, 21),
    632: (1536, 128, 12, 19),
    664: (1408, 128, 11, 24),
    724: (1536, 128, 12, 22),
    816: (1536, 128, 12, 25),
    893: (1792, 128, 14, 20),
    1018: (1792, 128, 14, 23),
    1143: (1792, 128, 14, 26),
    1266: (2048, 128, 16, 22),
    1424: (2176, 128, 17, 22),
    1429: (2048, 128, 16, 25),
    1593: (2048, 128, 16, 28),
    1609: (2176, 128, 17, 25),
    1731: (2304, 128, 18, 24),
    1794: (2176, 128, 17, 28),
    2007: (2304, 128, 18, 28),
    2283: (2304, 128, 18, 32),
    2298: (2560, 128, 20, 26),
    2639: (2560, 128, 20, 30),
    2980: (2560, 128, 20, 34),
    3530: (2688, 128, 22, 36),
    3802: (2816, 128, 22, 36),
    4084: (2944, 128, 22, 36),
    4516: (3072, 128, 24, 36),
    6796: (3584, 128, 28, 40),
    9293: (4096, 128, 32, 42),
    11452: (4352, 128, 32, 47),
    12295: (4608, 128, 36, 44),
    12569: (4608, 128, 32, 47),
    13735: (4864, 128, 32, 47),
    14940: (4992, 128, 32, 49),
    16183: (5120, 128, 40, 47),
}

chinchillas: dict[int, dict[str, int]] = {
    millions: dict(vocabulary=32_000, features=f, key_dim=k, heads=h, layers=n)
    for millions, (f, k, h, n) in _TABLE.items()
}
"""Options of the paper's 50 models (Table A9), by their millions of parameters."""

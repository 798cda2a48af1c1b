"""Decoders of Llama's kind (Touvron et al. 2023): also SmolLM2, Mistral, Qwen 2 and 3, Gemma 1 to 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import normal, ones, zeros

from ._decoding import Cache, logits, merge_heads, reading, split_heads
from ._rotary import frequencies

SMALL = normal(stddev=0.02)


def llama(
    scope: mg.Scope, ids: Any, attention_mask: Any = None, positions: Any = None, *,
    vocabulary: int, features: int, layers: int, heads: int, inner: int, kv_heads: int | None = None,
    key_dim: int | None = None, rotary: Mapping[str, Any] | Sequence[Mapping[str, Any]] = (),
    window: int | Sequence[int | None] | None = None, activation: Callable[[Any], Any] = mg.silu,
    epsilon: float = 1e-6, qkv_bias: bool = False, output_bias: bool = False,
    feed_forward_bias: bool = False, query_norm: bool = False, post_norms: bool = False,
    norm_offset: float = 0.0, embedding_scale: float = 1.0, attention_scale: float | None = None,
    attention_cap: float | None = None, logits_cap: float | None = None, tied: bool = False,
    include_top: bool = True, last: bool = False, cache: Cache | int | None = None,
    dtype: Any = "float32",
) -> Any:  # fmt: skip
    """A decoder of Llama's kind: RMS norm, rotary positions, grouped queries, gated feed-forward.

    Args:
        scope: holds ``embedding/embeddings [vocabulary, features]``; for each ``block1`` and so on
            ``attention_norm``, ``attention/query``, ``key``, ``value``, ``output``,
            ``feed_forward_norm``, ``feed_forward/gate``, ``up``, ``down``, and what the options add;
            ``norm``; and ``logits/kernel`` unless ``tied``.
        ids: integers ``[batch, length]``.
        attention_mask: ``[batch, length]``, 0 where a token is padding, which nobody sees.
        positions: ``[length]`` or ``[batch, length]``; by default columns are counted.
        inner: features between the feed-forward layers.
        kv_heads: divides ``heads``, which it is by default.
        key_dim: features of a head, ``features / heads`` by default.
        rotary: ``rope_theta`` and so on, as in Hugging Face's ``rope_parameters``: for all layers, or
            one for each. By default ``rope_theta`` is 10,000.
        window: how many tokens back a query sees, itself included: for all layers, or one for each.
        qkv_bias, output_bias, feed_forward_bias: whether those projections have biases.
        query_norm: whether queries and keys are normalised before they are rotated (Qwen 3, Gemma 3).
        post_norms: whether each part's result is normalised too (Gemma 2 and 3).
        norm_offset: is added to the norms' scales (Gemma: 1).
        embedding_scale: embeddings are multiplied by it (Gemma: the root of ``features``).
        attention_scale: of the scores, ``1 / sqrt(key_dim)`` by default.
        attention_cap, logits_cap: soft caps, ``cap * tanh(x / cap)`` (Gemma 2).
        include_top: whether to end with the logits.
        last: whether to end with the last place only.
        cache: how many tokens a new one shall hold, or that of the call before, whose tokens come
            first.

    Returns:
        ``[batch, length, vocabulary]``, or ``[batch, length, features]`` without the top; and the new
        cache, where one was asked for.

    Raises:
        ShapeError: heads that do not divide, or more ``ids`` than the cache holds.
        ArgumentError: rotary positions of an unknown type.

    >>> options = dict(vocabulary=20, features=8, layers=1, heads=4, kv_heads=2, inner=16)
    >>> call = mg.Store(seed=0).bind(llama, engine="numpy", **options)
    >>> call(mg.asarray([[1, 2, 3]])).shape
    (1, 3, 20)
    """
    kv_heads, key_dim = kv_heads or heads, key_dim or features // heads
    rotary = rotary or {"rope_theta": 10_000.0}
    for name, each in (("rotary", rotary), ("window", window)):
        if isinstance(each, Sequence) and len(each) != layers:
            raise mg.tracing.at_user_line(
                mg.errors.ArgumentError(f"{name} has {len(each)} entries for {layers} layers")
            )

    def norm(scope: mg.Scope, x: Any) -> Any:
        if norm_offset:
            scope = scope.mapped(lambda scope, name, value: value + norm_offset)
        first = zeros if norm_offset else ones
        return nn.rms_norm(scope, x, epsilon=epsilon, scale_initializer=first)

    def dense(scope: mg.Scope, x: Any, units: int, bias: bool, activation: Any = None) -> Any:
        return nn.dense(
            scope, x, units, activation=activation, use_bias=bias, kernel_initializer=SMALL
        )

    def attention(scope: mg.Scope, x: Any, layer: int) -> Any:
        q, k, v = (
            split_heads(dense(scope / name, x, n * key_dim, qkv_bias), n)
            for name, n in (("query", heads), ("key", kv_heads), ("value", kv_heads))
        )
        if query_norm:
            q, k = norm(scope / "query_norm", q), norm(scope / "key_norm", k)
        waves, amplitude = frequencies(_at(rotary, layer), key_dim)
        q, k = (
            nn.rotary_embedding(scope, a, positions=seen.positions, frequencies=waves)
            for a in (q, k)
        )
        y, _, cached = nn.attend(
            q, k, v, key_mask=seen.key_mask, use_causal_mask=True, sliding_window=_at(window, layer),
            cache=seen.cache(layer), scale=scale * amplitude**2, soft_cap=attention_cap,
        )  # fmt: skip
        return dense(scope / "output", merge_heads(y), features, output_bias), cached

    def feed_forward(scope: mg.Scope, x: Any) -> Any:
        gate = dense(scope / "gate", x, inner, feed_forward_bias, activation)
        x = gate * dense(scope / "up", x, inner, feed_forward_bias)
        return dense(scope / "down", x, features, feed_forward_bias)

    def after(scope: mg.Scope, y: Any) -> Any:
        return norm(scope, y) if post_norms else y

    scale = 1 / math.sqrt(key_dim) if attention_scale is None else attention_scale
    seen = reading(ids, attention_mask, positions, cache, layers, kv_heads, key_dim, dtype)
    x = nn.embedding(
        scope.shared("embedding"), ids, vocabulary, features, embeddings_initializer=SMALL,
        dtype=dtype,
    )  # fmt: skip
    x = x if embedding_scale == 1 else x * embedding_scale
    caches = []
    for i in range(layers):
        block = scope / f"block{i + 1}"
        y, cached = attention(block / "attention", norm(block / "attention_norm", x), i)
        x = x + after(block / "attention_post_norm", y)
        y = feed_forward(block / "feed_forward", norm(block / "feed_forward_norm", x))
        x = x + after(block / "feed_forward_post_norm", y)
        caches.append(cached)
    x = norm(scope / "norm", x[:, -1:] if last else x)
    y = logits(scope, x, vocabulary, tied, SMALL) if include_top else x
    if include_top and logits_cap:
        y = mg.tanh(y / logits_cap) * logits_cap
    return seen.told(y, caches)


def _at(each: Any, layer: int) -> Any:
    """What one layer has, of one for all or one for each."""
    return each[layer] if isinstance(each, Sequence) else each

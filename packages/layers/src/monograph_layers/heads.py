"""Attention of heads that are projected already: masks, distances, soft caps, and a cache.

Axes: ``queries`` and ``keys`` are lengths; ``heads`` is a multiple of ``kv_heads``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import monograph as mg

from .authoring import KEPT


class AttentionCache(NamedTuple):
    """Keys and values seen so far, and how many: a tree of arrays to hand on from call to call."""

    key: Any
    value: Any
    position: Any


KEPT.add(AttentionCache)


def attention_cache(
    batch: int, length: int, kv_heads: int, key_dim: int, *, value_dim: int | None = None,
    dtype: Any = "float32",
) -> AttentionCache:  # fmt: skip
    """An empty cache for `multi_head_attention`, of a fixed length.

    Its position is an array, so one compiled step serves every position. It does not notice when it
    is full: make ``length`` as long as the longest sequence.

    >>> cache = attention_cache(1, 16, 2, 8)
    >>> cache.key.shape, cache.position.item()
    ((1, 16, 2, 8), 0)
    """
    return AttentionCache(
        mg.zeros((batch, length, kv_heads, key_dim), dtype=dtype),
        mg.zeros((batch, length, kv_heads, value_dim or key_dim), dtype=dtype),
        mg.zeros((), dtype="int32"),
    )


def attend(
    q: Any, k: Any, v: Any, masks: Sequence[Any] = (), *, key_mask: Any = None,
    use_causal_mask: bool = False, sliding_window: int | None = None,
    cache: AttentionCache | None = None, scale: float | None = None, soft_cap: float | None = None,
    dropout: Callable[[Any], Any] | None = None, return_attention_scores: bool = False,
) -> tuple[Any, Any, AttentionCache | None]:  # fmt: skip
    """What the heads of `multi_head_attention` see; for models that project them in their own way.

    Args:
        q: ``[batch, queries, heads, key_dim]``.
        k, v: ``[batch, keys, kv_heads, key_dim]`` and ``[..., value_dim]``.
        masks: each bools, true where a query may look, or floats that are added to the scores:
            ``[batch, queries, keys]`` or ``[batch, heads, queries, keys]``.
        key_mask: bools ``[batch, keys]``, false where no query may look. With a cache, ``keys`` is
            its length.
        use_causal_mask, sliding_window, cache: as of `multi_head_attention`.
        scale: of the scores; ``1 / sqrt(key_dim)`` by default.
        soft_cap: scores become ``soft_cap * tanh(scores / soft_cap)`` (Gemma 2, 2024).
        dropout: what is done to the weights ``[batch, heads, queries, keys]``.

    Returns:
        ``[batch, queries, heads, value_dim]``; the weights where they are asked for, else None; the
        new cache where one was given, else None.

    >>> q = mg.ones((1, 3, 2, 4))
    >>> heads, _, cache = attend(q, q, q, cache=attention_cache(1, 8, 2, 4))
    >>> heads.shape, cache.position.item()
    ((1, 3, 2, 4), 3)
    """
    start: Any = 0 if cache is None else cache.position
    if cache is not None:
        k, v, cache = _extended(cache, k, v)
    seen = _seen(q, k, start, cache is not None, use_causal_mask, sliding_window)
    seen += [] if key_mask is None else [key_mask[:, None, None, :]]
    seen += [_over_heads(m) for m in masks if m.dtype.kind == "bool"]
    added = [_over_heads(m) for m in masks if m.dtype.kind != "bool"]
    is_causal = use_causal_mask and cache is None
    if return_attention_scores or dropout or soft_cap:
        weights = _softmax(q, k, seen, added, is_causal, scale, soft_cap)
        heads = _weighted(dropout(weights) if dropout else weights, v)
        return heads, weights if return_attention_scores else None, cache
    mask = _joined(seen, added)
    return mg.attention(q, k, v, mask=mask, is_causal=is_causal, scale=scale), None, cache


def _over_heads(mask: Any) -> Any:
    """A mask without an axis of heads gets one."""
    return mask[:, None] if mask.ndim == 3 else mask


def _extended(cache: AttentionCache, k: Any, v: Any) -> tuple[Any, Any, AttentionCache]:
    """The cache's keys and values with the new ones at its position, and the cache of them."""
    first = mg.zeros((), dtype="int32")
    at = (first, cache.position, first, first)
    keys, values = (
        mg.ops.dynamic_update_slice(kept, mg.astype(new, kept.dtype), *at)
        for kept, new in ((cache.key, k), (cache.value, v))
    )
    after = AttentionCache(keys, values, cache.position + k.shape[1])
    return mg.astype(keys, k.dtype), mg.astype(values, v.dtype), after


def _seen(q: Any, k: Any, start: Any, cached: bool, causal: bool, window: int | None) -> list[Any]:
    """Masks by distance ``[1, 1, queries, keys]``; without a cache the causal one is left to the op."""
    if not cached and window is None:
        return []
    here = mg.arange(q.shape[1], dtype="int32")[:, None] + start
    there = mg.arange(k.shape[1], dtype="int32")[None, :]
    out = [] if window is None else [mg.abs(here - there) < window]
    if cached:  # what lies beyond has not been written
        out.append(there <= (here if causal else start + q.shape[1] - 1))
    return [mg.reshape(m, (1, 1, *m.shape)) for m in out]


def _joined(seen: Sequence[Any], added: Sequence[Any]) -> Any:
    """One mask of several bool ones and what is added to the scores."""
    mask = functools.reduce(mg.logical_and, seen) if seen else None
    if not added:
        return mask
    bias = functools.reduce(mg.add, added)
    return bias if mask is None else mg.where(mask, bias, -math.inf)


def _softmax(
    q: Any, k: Any, seen: Sequence[Any], added: Sequence[Any], is_causal: bool,
    scale: float | None, soft_cap: float | None,
) -> Any:  # fmt: skip
    """The attention's weights ``[batch, heads, queries, keys]``, zeros where nothing may be seen."""
    wide = q.dtype.compute
    k = mg.repeat(k, q.shape[2] // k.shape[2], axis=2)
    q = mg.astype(q, wide) * (1 / math.sqrt(max(q.shape[3], 1)) if scale is None else scale)
    scores = mg.einsum("bqhd,bkhd->bhqk", q, mg.astype(k, wide))
    if soft_cap:
        scores = mg.tanh(scores / soft_cap) * soft_cap
    for m in added:
        scores = scores + mg.astype(m, wide)
    seen = [*seen, lower(scores)] if is_causal else seen
    return mg.astype(masked_softmax(scores, seen), k.dtype)


def lower(scores: Any) -> Any:
    """Bools ``[queries, keys]``: query ``i`` may see keys ``0..i``."""
    return mg.tril(mg.ones(scores.shape[-2:], dtype="bool"))


def masked_softmax(scores: Any, seen: Sequence[Any]) -> Any:
    """Over the last axis; zeros where a mask is false or the score -inf, and no NaN where all are."""
    low = -0.5 * mg.finfo(scores.dtype).max
    for m in seen:
        scores = mg.where(m, scores, low)
    return mg.where(scores <= low, 0.0, mg.softmax(mg.maximum(scores, low), axis=-1))


def _weighted(weights: Any, v: Any) -> Any:
    """``[batch, queries, heads, values]``."""
    v = mg.repeat(v, weights.shape[1] // v.shape[2], axis=2)
    return mg.einsum("bhqk,bkhd->bqhd", weights, v)

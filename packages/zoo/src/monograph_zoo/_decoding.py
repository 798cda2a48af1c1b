"""What decoders have in common: the cache of what was read, and the logits at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import monograph as mg
import monograph_layers as nn
from monograph.importing import Input


class Cache(NamedTuple):
    """What a decoder has read: a tree of arrays to hand on from call to call.

    Attributes:
        layers: keys and values of each.
        mask: bools ``[batch, length]``, true where a token was read that is no padding.
    """

    layers: tuple[nn.AttentionCache, ...]
    mask: Any


class Reading(NamedTuple):
    """How a decoder's layers shall look at the tokens of one call.

    Attributes:
        positions: of the tokens, ``[length]`` or ``[batch, length]``.
        key_mask: bools ``[batch, keys]``, or None where all may be seen.
        caches: one for each layer; None where there is no cache.
    """

    positions: Any
    key_mask: Any
    caches: Sequence[nn.AttentionCache] | None

    def cache(self, layer: int) -> nn.AttentionCache | None:
        """That of one layer."""
        return None if self.caches is None else self.caches[layer]

    def told(self, y: Any, caches: list[Any]) -> Any:
        """A decoder's result: ``y``, and where there was a cache, that with the layers' new ones."""
        return y if self.caches is None else (y, Cache(tuple(caches), self.key_mask))


def reading(
    ids: Any, attention_mask: Any, positions: Any, cache: Cache | int | None, layers: int, kv_heads: int, key_dim: int, dtype: Any,
) -> Reading:  # fmt: skip
    """The options that every decoder takes, made ready for its layers.

    Args:
        ids: integers ``[batch, length]``.
        attention_mask: ``[batch, length]``, not 0 where a token is no padding.
        positions: ``[length]`` or ``[batch, length]``; by default tokens are counted from the first
            column of all that was read, padding too.
        cache: of the call before; or how many tokens a new one shall hold.

    Raises:
        ShapeError: ``ids`` have other axes, or are more than the cache holds.
    """
    if ids.ndim != 2 or not ids.dtype.is_integer:
        raise mg.tracing.at_user_line(
            mg.errors.ShapeError(f"a decoder reads integers [batch, length], got {ids.spec}")
        )
    batch, length = ids.shape
    mask = None if attention_mask is None else mg.astype(attention_mask, mg.bool)
    start: Any = 0
    caches = None
    if cache is not None:
        if isinstance(cache, int):
            empty = nn.attention_cache(batch, cache, kv_heads, key_dim, dtype=dtype)
            cache = Cache((empty,) * layers, mg.zeros((batch, cache), dtype=mg.bool))
        if length > cache.mask.shape[1]:
            raise mg.tracing.at_user_line(
                mg.errors.ShapeError(
                    f"{length} tokens in a cache of {cache.mask.shape[1]}; make a longer one"
                )
            )
        caches, start = cache.layers, cache.layers[0].position
        new = mg.ones((batch, length), dtype=mg.bool) if mask is None else mask
        zero = mg.zeros((), dtype="int32")
        mask = mg.ops.dynamic_update_slice(cache.mask, new, zero, start)
    if positions is None:
        positions = mg.arange(length, dtype="int32") + start
    return Reading(positions, mask, caches)


def split_heads(x: Any, heads: int) -> Any:
    """``[batch, length, features]`` as ``[batch, length, heads, features / heads]``."""
    return mg.reshape(x, (*x.shape[:2], heads, x.shape[2] // heads))


def merge_heads(x: Any) -> Any:
    """The way back from `split_heads`."""
    return mg.reshape(x, (*x.shape[:2], x.shape[2] * x.shape[3]))


def logits(scope: mg.Scope, x: Any, vocabulary: int, tied: bool, init: Any) -> Any:
    """Scores of every token, by the embeddings themselves (Press and Wolf 2017) or by ``logits/kernel``."""
    if not tied:
        return nn.dense(
            scope / "logits", x, vocabulary, use_bias=False, kernel_initializer=init
        )  # fmt: skip
    rows = scope.shared("embedding").parameter(
        "embeddings", (vocabulary, x.shape[-1]), init, x.dtype
    )
    return x @ mg.matrix_transpose(rows)


def gelu_tanh(x: Any) -> Any:
    """The approximation of `mg.gelu` by a hyperbolic tangent, which GPT-2 and Gemma were trained with."""
    return mg.gelu(x, approximate=True)


def text(options: Mapping[str, Any]) -> tuple[Input, ...]:
    """The inputs of every decoder of Hugging Face's."""
    shape = ("batch", "length")
    return (
        Input("input_ids", shape, mg.int32),
        Input("attention_mask", shape, mg.int32, optional=True),
        Input("position_ids", shape, mg.int32, optional=True),
    )

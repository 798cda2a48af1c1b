"""GPT-2 (Radford et al. 2019)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import normal

from ._decoding import Cache, gelu_tanh, logits, merge_heads, reading, split_heads, text
from .architectures import AS_IS, PYTORCH, Architecture, Maybe, activation, architectures

SMALL = normal(stddev=0.02)


def gpt2(
    scope: mg.Scope, ids: Any, attention_mask: Any = None, positions: Any = None, *,
    vocabulary: int = 50257, context: int = 1024, features: int = 768, layers: int = 12,
    heads: int = 12, inner: int | None = None, activation: Callable[[Any], Any] = gelu_tanh,
    epsilon: float = 1e-5, tied: bool = True, include_top: bool = True, last: bool = False,
    dropout: float = 0.1, embedding_dropout: float = 0.1, attention_dropout: float = 0.1,
    training: bool = False, cache: Cache | int | None = None, dtype: Any = "float32",
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
        dropout, embedding_dropout, attention_dropout: probabilities in training: of each part's
            result, of embeddings, of attention weights.
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

    def drop(scope: mg.Scope, x: Any, rate: float = dropout) -> Any:
        return nn.dropout(scope, x, rate, training=training)

    def norm(scope: mg.Scope, x: Any) -> Any:
        return nn.layer_norm(scope, x, epsilon=epsilon)

    def dense(scope: mg.Scope, x: Any, units: int, activation: Any = None) -> Any:
        return nn.dense(scope, x, units, activation=activation, kernel_initializer=SMALL)

    def thinned(weights: Any) -> Any:
        return drop(scope, weights, attention_dropout)

    def attention(scope: mg.Scope, x: Any, cached: Any) -> Any:
        qkv = mg.split(dense(scope / "qkv", x, 3 * features), 3, axis=-1)
        y, _, cached = nn.attend(
            *[split_heads(a, heads) for a in qkv], key_mask=seen.key_mask, use_causal_mask=True,
            cache=cached, dropout=thinned if training and attention_dropout else None,
        )  # fmt: skip
        return drop(scope, dense(scope / "output", merge_heads(y), features)), cached

    def feed_forward(scope: mg.Scope, x: Any) -> Any:
        x = dense(scope / "up", x, inner or 4 * features, activation)
        return drop(scope, dense(scope / "down", x, features))

    seen = reading(ids, attention_mask, positions, cache, layers, heads, features // heads, dtype)
    places = (scope / "positions").parameter("embeddings", (context, features), SMALL, dtype)
    words = nn.embedding(
        scope.shared("embedding"), ids, vocabulary, features, embeddings_initializer=SMALL,
        dtype=dtype,
    )  # fmt: skip
    x = drop(scope, words + mg.take(places, seen.positions, axis=0), embedding_dropout)
    caches = []
    for i in range(layers):
        block = scope / f"block{i + 1}"
        y = norm(block / "attention_norm", x)
        y, cached = attention(block / "attention", y, seen.cache(i))
        x = x + y
        x = x + feed_forward(block / "feed_forward", norm(block / "feed_forward_norm", x))
        caches.append(cached)
    x = norm(scope / "norm", x[:, -1:] if last else x)
    y = logits(scope, x, vocabulary, tied, SMALL) if include_top else x
    return seen.told(y, caches)


def _architecture(prefix: str, **more: Any) -> Architecture:
    return Architecture(
        more.pop("model", gpt2), text,
        options={
            "vocabulary": ("vocab_size", 50257), "context": ("n_positions", 1024),
            "features": ("n_embd", 768), "layers": ("n_layer", 12), "heads": ("n_head", 12),
            "inner": ("n_inner", Maybe(3072)), "epsilon": ("layer_norm_epsilon", 1e-5),
            "activation": ("activation_function", "gelu_new", activation),
            "dropout": ("resid_pdrop", 0.1), "embedding_dropout": ("embd_pdrop", 0.1),
            "attention_dropout": ("attn_pdrop", 0.1), "tied": ("tie_word_embeddings", True),
        },
        fixed={
            "scale_attn_weights": (True,), "scale_attn_by_inverse_layer_idx": (False,),
            "add_cross_attention": (False,),
        },
        rules=(
            (r"^logits/", "lm_head/"),
            (r"^(?!lm_head)", prefix),
            (r"embedding/", "wte/"),
            (r"positions/", "wpe/"),
            (r"block(\d+)/", r"h/<\1-1>/"),
            (r"attention_norm/", "ln_1/"),
            (r"feed_forward_norm/", "ln_2/"),
            (r"attention/qkv/", "attn/c_attn/"),
            (r"attention/output/", "attn/c_proj/"),
            (r"feed_forward/up/", "mlp/c_fc/"),
            (r"feed_forward/down/", "mlp/c_proj/"),
            (r"(?<!\w)norm/", "ln_f/"),
        ),
        leaves=((r"(?<!logits/)kernel$", "weight", AS_IS), *PYTORCH),  # Conv1D has [in, out]
        aliases=((r"^(transformer\.)?(?=wte|wpe|h\.|ln_f)", prefix.replace("/", ".")),),
        unused=(r"\.attn\.(masked_)?bias$",),
        **more,
    )  # fmt: skip


architectures |= {
    "GPT2LMHeadModel": _architecture(
        "transformer/", outputs=("logits",), tied={"lm_head.weight": "transformer.wte.weight"}
    ),
    "GPT2Model": _architecture(
        "", outputs=("last_hidden_state",), model=functools.partial(gpt2, include_top=False)
    ),
}

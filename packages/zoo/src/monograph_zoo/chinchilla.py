"""Chinchilla and Gopher (Hoffmann et al. 2022, Rae et al. 2021): a decoder with relative attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import monograph as mg
import monograph_layers as nn
from monograph_layers.initializers import truncated_normal

VOCABULARY = 32_000
"""Tokens of the paper's SentencePiece vocabulary."""


class Size(NamedTuple):
    """One model of the family: a row of the paper's Table A9."""

    d_model: int
    ffw_size: int
    kv_size: int
    n_heads: int
    n_layers: int

    def parameters(self, vocabulary: int = VOCABULARY) -> int:
        """How many parameters the paper counts: all but the scales of the norms.

        >>> f"{TABLE_A9[-1].parameters() / 1e6:.0f} million"
        '16183 million'
        """
        d, f, e = self.d_model, self.ffw_size, self.n_heads * self.kv_size
        attention = (
            5 * d * e + 5 * e + d
        )  # q, k, v, output, distances; biases of q, k, v, u, v, output
        return self.n_layers * (attention + 2 * d * f + f + d) + vocabulary * d


TABLE_A9: tuple[Size, ...] = tuple(
    Size(*row)
    for row in (
        (512, 2048, 64, 8, 8), (576, 2304, 64, 9, 9), (640, 2560, 64, 10, 10),
        (640, 2560, 64, 10, 13), (640, 2560, 64, 10, 16), (768, 3072, 64, 12, 12),
        (768, 3072, 64, 12, 15), (768, 3072, 64, 12, 18), (896, 3584, 64, 14, 14),
        (896, 3584, 64, 14, 16), (896, 3584, 64, 14, 18), (1024, 4096, 64, 16, 16),
        (1024, 4096, 64, 16, 18), (1024, 4096, 64, 16, 20), (1280, 5120, 128, 10, 18),
        (1280, 5120, 128, 10, 21), (1408, 5632, 128, 11, 18), (1280, 5120, 128, 10, 24),
        (1408, 5632, 128, 11, 21), (1536, 6144, 128, 12, 19), (1408, 5632, 128, 11, 24),
        (1536, 6144, 128, 12, 22), (1536, 6144, 128, 12, 25), (1792, 7168, 128, 14, 20),
        (1792, 7168, 128, 14, 23), (1792, 7168, 128, 14, 26), (2048, 8192, 128, 16, 22),
        (2176, 8704, 128, 17, 22), (2048, 8192, 128, 16, 25), (2048, 8192, 128, 16, 28),
        (2176, 8704, 128, 17, 25), (2304, 9216, 128, 18, 24), (2176, 8704, 128, 17, 28),
        (2304, 9216, 128, 18, 28), (2304, 9216, 128, 18, 32), (2560, 10240, 128, 20, 26),
        (2560, 10240, 128, 20, 30), (2560, 10240, 128, 20, 34), (2688, 10752, 128, 22, 36),
        (2816, 11264, 128, 22, 36), (2944, 11776, 128, 22, 36), (3072, 12288, 128, 24, 36),
        (3584, 14336, 128, 28, 40), (4096, 16384, 128, 32, 42), (4352, 17408, 128, 32, 47),
        (4608, 18432, 128, 36, 44), (4608, 18432, 128, 32, 47), (4864, 19456, 128, 32, 47),
        (4992, 19968, 128, 32, 49), (5120, 20480, 128, 40, 47),
    )
)  # fmt: skip
"""The 50 models that the paper trained, from 44 million to 16 billion parameters (its Table A9)."""

CHINCHILLA = Size(8192, 32768, 128, 64, 80)
"""The 70-billion model (Table 4)."""


def chinchilla(
    scope: mg.Scope, ids: Any, *caches: Any, size: Size, vocabulary: int = VOCABULARY,
    dropout: float = 0.0, training: bool = False,
) -> Any:  # fmt: skip
    """Logits of the next token at every place: Gopher's architecture, as Chinchilla has it.

    RMSNorm before each part, attention with Transformer-XL's relative positions, a feed-forward
    layer without a gate, and the embedding once more as the last layer's kernel.

    Args:
        scope: holds ``embedding``, ``layer1`` and so on, each with ``attention``, ``up``, ``down`` and
            their norms, and ``norm``.
        ids: tokens ``[batch, length]``, integers below ``vocabulary``.
        caches: one of `attention_cache` per layer, to go on where earlier ids ended.
        dropout: of each part's result, in training.

    Returns:
        ``[batch, length, vocabulary]``; with caches, then the new ones: ``(logits, caches)``.

    Raises:
        ArgumentError: another number of caches than layers.

    >>> tiny = Size(d_model=16, ffw_size=32, kv_size=8, n_heads=2, n_layers=2)
    >>> call = mg.Store(seed=0).bind(chinchilla, engine="numpy", size=tiny, vocabulary=50)
    >>> call(mg.asarray([[3, 14, 15]])).shape
    (1, 3, 50)
    """
    if caches and len(caches) != size.n_layers:
        raise mg.tracing.at_user_line(
            mg.errors.ArgumentError(f"{len(caches)} caches for {size.n_layers} layers")
        )
    embeddings = (scope / "embedding").parameter(
        "embeddings", (vocabulary, size.d_model), truncated_normal(stddev=0.02)
    )
    x, new = mg.take(embeddings, ids, axis=0), []
    for i in range(size.n_layers):
        layer = scope / f"layer{i + 1}"
        y = nn.multi_head_attention(
            layer / "attention", nn.rms_norm(layer / "attention_norm", x), num_heads=size.n_heads,
            key_dim=size.kv_size, relative=True, use_causal_mask=True,
            cache=caches[i] if caches else None,
        )  # fmt: skip
        if caches:
            y, cache = y
            new.append(cache)
        x = x + nn.dropout(layer / "attention_dropout", y, dropout, training=training)
        y = nn.dense(layer / "up", nn.rms_norm(layer / "norm", x), size.ffw_size)
        y = nn.dense(layer / "down", mg.gelu(y), size.d_model)
        x = x + nn.dropout(layer / "dropout", y, dropout, training=training)
    logits = nn.rms_norm(scope / "norm", x) @ mg.matrix_transpose(embeddings)
    return (logits, tuple(new)) if caches else logits


def caches(size: Size, batch: int, length: int) -> Sequence[Any]:
    """Empty caches of ``length`` tokens, one per layer, for `chinchilla`."""
    return tuple(
        nn.attention_cache(batch, length, size.n_heads, size.kv_size) for _ in range(size.n_layers)
    )

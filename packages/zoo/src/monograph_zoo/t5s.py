"""T5's encoder (Raffel et al. 2020), of its first release and of version 1.1 with gated units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import monograph as mg
import monograph_layers as nn
import numpy as np
from monograph.importing import Input

from .architectures import Architecture, activation, architectures


def relative_buckets(queries: int, keys: int, buckets: int = 32, farthest: int = 128) -> np.ndarray:
    """``int32[queries, keys]``: which of ``buckets`` a distance falls in, the later half for keys ahead.

    Half of each half are single distances, the others grow with the distance's logarithm.

    >>> relative_buckets(1, 6, buckets=8, farthest=16).tolist()
    [[0, 5, 6, 6, 6, 6]]
    """
    ahead = np.arange(keys)[None, :] - np.arange(queries)[:, None]
    half = buckets // 2
    single = half // 2
    distance = np.abs(ahead)
    # in float32, as the weights were trained: an edge between buckets may lie on a whole distance
    ratio = np.maximum(distance, 1).astype(np.float32) / np.float32(single)
    far = single + (np.log(ratio) / math.log(farthest / single) * (half - single)).astype(np.int32)
    bucket = np.where(distance < single, distance, np.minimum(far, half - 1))
    return (bucket + half * (ahead > 0)).astype(np.int32)


def t5_encoder(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, *, vocabulary: int = 32_128,
    features: int = 512, layers: int = 6, heads: int = 8, key_dim: int = 64, hidden: int = 2048,
    buckets: int = 32, farthest: int = 128, epsilon: float = 1e-6,
    activation: tuple[Callable[[Any], Any], bool] = (mg.relu, False), dropout: float = 0.1,
    training: bool = False,
) -> Any:  # fmt: skip
    """T5's encoder; the defaults are T5-small's, 35,330,816 parameters.

    Args:
        scope: holds transformers' names with "/" for ".", such as
            ``encoder/block/0/layer/0/SelfAttention/q/kernel``.
        input_ids: integers ``[batch, length]`` below ``vocabulary``.
        attention_mask: ``[batch, length]``, 0 (or false) where there is only padding.
        hidden: features between the dense layers of a block.
        buckets, farthest: of `relative_buckets`, whose biases all layers share.
        activation: of the dense layers, and whether it is a gate beside a linear one.

    Returns:
        ``[batch, length, features]``.

    >>> small = dict(vocabulary=99, features=8, layers=1, heads=2, key_dim=4, hidden=16)
    >>> mg.Store(seed=0).bind(t5_encoder, "numpy", **small)(mg.asarray([[1, 2, 3]])).shape
    (1, 3, 8)
    """

    def norm(scope: mg.Scope, x: Any) -> Any:
        return nn.rms_norm(scope, x, epsilon=epsilon)

    def drop(scope: mg.Scope, x: Any) -> Any:
        return nn.dropout(scope / "dropout", x, dropout, training=training)

    def dense(scope: mg.Scope, x: Any, units: int) -> Any:
        return nn.dense(scope, x, units, use_bias=False)

    def attention(scope: mg.Scope, x: Any, bias: Any) -> Any:
        q, k, v = (
            mg.reshape(dense(scope / n, x, heads * key_dim), (*x.shape[:2], heads, key_dim))
            for n in ("q", "k", "v")
        )
        y = mg.attention(q, k, v, mask=bias, scale=1.0)  # the weights were trained without a scale
        return dense(scope / "o", mg.reshape(y, (*x.shape[:2], heads * key_dim)), features)

    def feed_forward(scope: mg.Scope, x: Any) -> Any:
        act, gated = activation
        y = act(dense(scope / ("wi_0" if gated else "wi"), x, hidden))
        if gated:
            y = y * dense(scope / "wi_1", x, hidden)
        return dense(scope / "wo", drop(scope, y), features)

    stack, length = scope / "encoder", input_ids.shape[1]
    x = drop(stack, nn.embedding(scope / "shared", input_ids, vocabulary, features))
    table = mg.asarray(relative_buckets(length, length, buckets, farthest))
    at = stack / "block" / "0" / "layer" / "0" / "SelfAttention" / "relative_attention_bias"
    bias = mg.permute_dims(nn.embedding(at, table, buckets, heads), (2, 0, 1))[None]
    if attention_mask is not None:
        seen = mg.astype(attention_mask, "bool")[:, None, None, :]
        bias = mg.where(seen, bias, -math.inf)
    for i in range(layers):
        first, second = (stack / "block" / str(i) / "layer" / n for n in ("0", "1"))
        y = attention(first / "SelfAttention", norm(first / "layer_norm", x), bias)
        x = x + drop(first, y)
        y = feed_forward(second / "DenseReluDense", norm(second / "layer_norm", x))
        x = x + drop(second, y)
    return drop(stack / "final", norm(stack / "final_layer_norm", x))


def _projection(name: str) -> tuple[Callable[[Any], Any], bool]:
    """``"relu"`` or ``"gated-gelu"``, whose gelu is the one by tanh."""
    kind, _, rest = name.rpartition("-")
    if kind not in ("", "gated"):
        raise LookupError(name)
    return activation("gelu_new" if name == "gated-gelu" else rest), kind == "gated"


def _inputs(sizes: Mapping[str, Any]) -> tuple[Input, ...]:
    text = ("batch", "length")
    return (
        Input("input_ids", text, mg.int32),
        Input("attention_mask", text, mg.int32, optional=True),
    )


architectures["T5EncoderModel"] = Architecture(
    t5_encoder,
    _inputs,
    options={
        "vocabulary": ("vocab_size", 32_128),
        "features": ("d_model", 512),
        "layers": ("num_layers", 6),
        "heads": ("num_heads", 8),
        "key_dim": ("d_kv", 64),
        "hidden": ("d_ff", 2048),
        "buckets": ("relative_attention_num_buckets", 32),
        "farthest": ("relative_attention_max_distance", 128),
        "epsilon": ("layer_norm_epsilon", 1e-6),
        "activation": ("feed_forward_proj", "relu", _projection),
        "dropout": ("dropout_rate", 0.1),
    },
    outputs=("last_hidden_state",),
    tied={"encoder.embed_tokens.weight": "shared.weight"},
    unused=(r"^decoder\.", r"^lm_head\."),  # of the whole of T5
)

"""Vision Transformer (Dosovitskiy et al. 2021): the encoder, and its head for classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.importing import Input
from monograph_layers.initializers import normal

from .architectures import LABELS, Architecture, Maybe, activation, architectures


def vit(
    scope: mg.Scope, images: Any, *, patch: int = 16, features: int = 768, layers: int = 12,
    heads: int = 12, hidden: int = 3072, epsilon: float = 1e-12,
    activation: Callable[[Any], Any] = mg.gelu, dropout: float = 0.0,
    attention_dropout: float = 0.0, pooler: bool = True, pooled: int | None = None,
    pooler_activation: Callable[[Any], Any] = mg.tanh, training: bool = False,
) -> Any:  # fmt: skip
    """ViT's encoder; the defaults are ViT-B/16's, 86,389,248 parameters at 224x224.

    Args:
        scope: holds the published names with "/" for ".", such as
            ``encoder/layer/0/attention/attention/query/kernel``.
        images: ``[batch, height, width, channels]``; there is a learned position for each patch.
        patch: height and width of a patch.
        hidden: features between the two dense layers of a block.
        dropout, attention_dropout: probabilities in training.
        pooler: whether to give ``pooler_output`` of ``pooled`` features, made of the first token.

    Returns:
        ``{"last_hidden_state": [batch, 1 + patches, features], "pooler_output": [batch, pooled]}``.

    >>> call = mg.Store(seed=0).bind(vit, "numpy", features=8, layers=1, heads=2, hidden=16)
    >>> call(mg.ones((1, 32, 32, 3)))["last_hidden_state"].shape
    (1, 5, 8)
    """

    def norm(scope: mg.Scope, x: Any) -> Any:
        return nn.layer_norm(scope, x, epsilon=epsilon)

    def drop(scope: mg.Scope, x: Any) -> Any:
        return nn.dropout(scope / "dropout", x, dropout, training=training)

    start, small = scope / "embeddings", normal(0.02)
    at = start / "patch_embeddings" / "projection"
    x = nn.conv2d(at, images, features, patch, strides=patch)
    x = mg.reshape(x, (x.shape[0], x.shape[1] * x.shape[2], features))
    first = start.parameter("cls_token", (1, 1, features), small, x.dtype)
    x = mg.concat([mg.broadcast_to(first, (x.shape[0], 1, features)), x], axis=1)
    x = x + start.parameter("position_embeddings", (1, *x.shape[1:]), small, x.dtype)
    x = drop(start, x)
    for i in range(layers):
        block = scope / "encoder" / "layer" / str(i)
        y = nn.multi_head_attention(
            block / "attention" / "attention", norm(block / "layernorm_before", x),
            num_heads=heads, key_dim=features // heads, dropout=attention_dropout,
            training=training,
        )  # fmt: skip
        x = x + drop(block / "attention" / "output", y)
        y = norm(block / "layernorm_after", x)
        y = nn.dense(block / "intermediate" / "dense", y, hidden, activation=activation)
        x = x + drop(block / "output", nn.dense(block / "output" / "dense", y, features))
    x = norm(scope / "layernorm", x)
    out = {"last_hidden_state": x}
    if pooler:
        units = pooled or features
        last = scope / "pooler" / "dense"
        out["pooler_output"] = nn.dense(last, x[:, 0], units, activation=pooler_activation)
    return out


def vit_for_image_classification(
    scope: mg.Scope, images: Any, *, classes: int = 2, **options: Any
) -> Any:
    """Logits ``[batch, classes]``; the other arguments are those of `vit`."""
    x = vit(scope / "vit", images, pooler=False, **options)["last_hidden_state"]
    return nn.dense(scope / "classifier", x[:, 0], classes)


_OPTIONS = {
    "patch": ("patch_size", 16),
    "features": ("hidden_size", 768),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "hidden": ("intermediate_size", 3072),
    "epsilon": ("layer_norm_eps", 1e-12),
    "activation": ("hidden_act", "gelu", activation),
    "dropout": ("hidden_dropout_prob", 0.0),
    "attention_dropout": ("attention_probs_dropout_prob", 0.0),
}


def _inputs(sizes: Mapping[str, Any]) -> tuple[Input, ...]:
    shape = ("batch", sizes["image_size"], sizes["image_size"], sizes["num_channels"])
    return (Input("pixel_values", shape, mg.float32),)


def _architecture(model: Callable[..., Any], **more: Any) -> Architecture:
    return Architecture(
        model, _inputs,
        options=_OPTIONS | more.pop("options", {}),
        fixed={"qkv_bias": (True,)},
        sizes={"image_size": 224, "num_channels": 3},
        rules=(("attention/attention_output/", "output/dense/"),),
        aliases=(  # what transformers 5 calls its modules; its files have the published names
            (r"(^|\.)layers\.(\d+)\.", r"\1encoder.layer.\2."),
            (r"\.mlp\.fc1\.", ".intermediate.dense."),
            (r"\.mlp\.fc2\.", ".output.dense."),
            (r"\.attention\.q_proj\.", ".attention.attention.query."),
            (r"\.attention\.k_proj\.", ".attention.attention.key."),
            (r"\.attention\.v_proj\.", ".attention.attention.value."),
            (r"\.attention\.o_proj\.", ".attention.output.dense."),
            *more.pop("aliases", ()),
        ),
        **more,
    )  # fmt: skip


architectures |= {
    "ViTModel": _architecture(
        vit,
        outputs=("last_hidden_state", "pooler_output"),
        options={
            "pooled": ("pooler_output_size", Maybe(768)),
            "pooler_activation": ("pooler_act", "tanh", activation),
        },
        aliases=(("^vit\\.", ""),),  # of one with a head, which it leaves
        unused=(r"^classifier\.",),
    ),
    "ViTForImageClassification": _architecture(
        vit_for_image_classification, outputs=("logits",), options={"classes": LABELS}
    ),
}

"""BERT (Devlin et al. 2019): the encoder, and its heads for masked words and for classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.importing import Input

from .architectures import LABELS, Architecture, Maybe, activation, architectures


def bert(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
    vocabulary: int = 30_522, features: int = 768, layers: int = 12, heads: int = 12,
    hidden: int = 3072, positions: int = 512, token_types: int = 2, epsilon: float = 1e-12,
    padding: int | None = 0, counted: bool = False,
    activation: Callable[[Any], Any] = mg.gelu, dropout: float = 0.1,
    attention_dropout: float = 0.1, pooler: bool = True, training: bool = False,
) -> Any:  # fmt: skip
    """BERT's encoder; the defaults are BERT-base's, 109,482,240 parameters.

    Args:
        scope: holds transformers' names with "/" for ".", such as
            ``encoder/layer/0/attention/self/query/kernel``; variables are called as our layers do.
        input_ids: integers ``[batch, length]`` below ``vocabulary``.
        attention_mask: ``[batch, length]``, 0 (or false) where there is only padding.
        token_type_ids: integers ``[batch, length]`` below ``token_types``; zeros by default.
        hidden: features between the two dense layers of a block.
        positions: the longest length.
        padding: an id whose embedding sends no gradient back, as in PyTorch.
        counted: whether positions count the ids that are no padding, from ``padding + 1``, as in
            RoBERTa (Liu et al. 2019).
        dropout, attention_dropout: probabilities in training.
        pooler: whether to give ``pooler_output``, made of the first token.

    Returns:
        ``{"last_hidden_state": [batch, length, features], "pooler_output": [batch, features]}``.

    >>> call = mg.Store(seed=0).bind(
    ...     bert, "numpy", vocabulary=99, features=8, layers=1, heads=2, hidden=16
    ... )
    >>> call(mg.asarray([[1, 2, 3]]))["pooler_output"].shape
    (1, 8)
    """

    def norm(scope: mg.Scope, x: Any) -> Any:
        return nn.layer_norm(scope / "LayerNorm", x, epsilon=epsilon)

    def added(scope: mg.Scope, x: Any, y: Any) -> Any:
        """What both halves of a block end with: dropout, the shortcut, the norm."""
        return norm(scope, x + nn.dropout(scope / "dropout", y, dropout, training=training))

    def embedded(scope: mg.Scope, ids: Any, count: int) -> Any:
        x = nn.embedding(scope, ids, count, features)
        if padding is None:
            return x
        return mg.where((ids == padding)[..., None], mg.stop_gradient(x), x)

    words = scope / "embeddings"
    x = embedded(words / "word_embeddings", input_ids, vocabulary)
    types = mg.zeros_like(input_ids) if token_type_ids is None else token_type_ids
    x = x + nn.embedding(words / "token_type_embeddings", types, token_types, features)
    if counted:
        real = mg.astype(input_ids != padding, "int32")
        places = mg.cumulative_sum(real, axis=1) * real + padding
        x = x + embedded(words / "position_embeddings", places, positions)
    else:
        x = x + nn.position_embedding(words / "position_embeddings", x, positions)
    x = nn.dropout(words / "dropout", norm(words, x), dropout, training=training)
    mask = None if attention_mask is None else mg.astype(attention_mask, "bool")
    for i in range(layers):
        block = scope / "encoder" / "layer" / str(i)
        y = nn.multi_head_attention(
            block / "attention" / "self", x, num_heads=heads, key_dim=features // heads,
            dropout=attention_dropout, key_mask=mask, training=training,
        )  # fmt: skip
        x = added(block / "attention" / "output", x, y)
        y = nn.dense(block / "intermediate" / "dense", x, hidden, activation=activation)
        x = added(block / "output", x, nn.dense(block / "output" / "dense", y, features))
    out = {"last_hidden_state": x}
    if pooler:
        first = scope / "pooler" / "dense"
        out["pooler_output"] = nn.dense(first, x[:, 0], features, activation="tanh")
    return out


def bert_for_masked_lm(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
    vocabulary: int = 30_522, epsilon: float = 1e-12, activation: Callable[[Any], Any] = mg.gelu,
    **options: Any,
) -> Any:  # fmt: skip
    """Logits of words ``[batch, length, vocabulary]``; the arguments are those of `bert`.

    The last matrix is the words' embeddings, transposed.
    """
    x = bert(
        scope / "bert", input_ids, attention_mask, token_type_ids, vocabulary=vocabulary,
        epsilon=epsilon, activation=activation, pooler=False, **options,
    )["last_hidden_state"]  # fmt: skip
    head = scope / "cls" / "predictions"
    x = nn.dense(head / "transform" / "dense", x, x.shape[-1], activation=activation)
    x = nn.layer_norm(head / "transform" / "LayerNorm", x, epsilon=epsilon)
    words = (scope / "bert" / "embeddings").shared("word_embeddings")
    kernel = words.parameter("embeddings", (vocabulary, x.shape[-1]), dtype=x.dtype)
    return x @ kernel.T + head.parameter("bias", (vocabulary,), dtype=x.dtype)


def bert_for_sequence_classification(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
    classes: int = 2, dropout: float = 0.1, classifier_dropout: float | None = None,
    training: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Logits ``[batch, classes]``; the other arguments are those of `bert`."""
    x = bert(
        scope / "bert", input_ids, attention_mask, token_type_ids, dropout=dropout,
        training=training, **options,
    )  # fmt: skip
    rate = dropout if classifier_dropout is None else classifier_dropout
    y = nn.dropout(scope / "dropout", x["pooler_output"], rate, training=training)
    return nn.dense(scope / "classifier", y, classes)


def bert_for_token_classification(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
    classes: int = 2, dropout: float = 0.1, classifier_dropout: float | None = None,
    training: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Logits of each token ``[batch, length, classes]``; the other arguments are those of `bert`."""
    x = bert(
        scope / "bert", input_ids, attention_mask, token_type_ids, dropout=dropout, pooler=False,
        training=training, **options,
    )["last_hidden_state"]  # fmt: skip
    rate = dropout if classifier_dropout is None else classifier_dropout
    x = nn.dropout(scope / "dropout", x, rate, training=training)
    return nn.dense(scope / "classifier", x, classes)


def bert_for_question_answering(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None,
    **options: Any,
) -> dict[str, Any]:  # fmt: skip
    """Where in the text the answer starts and ends, logits ``[batch, length]``; as `bert` else."""
    x = bert(
        scope / "bert", input_ids, attention_mask, token_type_ids, pooler=False, **options
    )["last_hidden_state"]  # fmt: skip
    y = nn.dense(scope / "qa_outputs", x, 2)
    return {"start_logits": y[..., 0], "end_logits": y[..., 1]}


def _inputs(sizes: Mapping[str, Any]) -> tuple[Input, ...]:
    text = ("batch", "length")
    return (
        Input("input_ids", text, mg.int32),
        Input("attention_mask", text, mg.int32, optional=True),
        Input("token_type_ids", text, mg.int32, optional=True),
    )


_OPTIONS = {
    "vocabulary": ("vocab_size", 30_522),
    "features": ("hidden_size", 768),
    "layers": ("num_hidden_layers", 12),
    "heads": ("num_attention_heads", 12),
    "hidden": ("intermediate_size", 3072),
    "positions": ("max_position_embeddings", 512),
    "token_types": ("type_vocab_size", 2),
    "epsilon": ("layer_norm_eps", 1e-12),
    "padding": ("pad_token_id", Maybe(0, 0)),
    "activation": ("hidden_act", "gelu", activation),
    "dropout": ("hidden_dropout_prob", 0.1),
    "attention_dropout": ("attention_probs_dropout_prob", 0.1),
}


def architecture(model: Callable[..., Any], **more: Any) -> Architecture:
    """An entry for a model that is built like BERT."""
    return Architecture(
        model, _inputs,
        options=_OPTIONS | more.pop("options", {}),
        fixed={
            "is_decoder": (False,), "add_cross_attention": (False,),
            "position_embedding_type": ("absolute", None), **more.pop("fixed", {}),
        },
        rules=(("self/attention_output/", "output/dense/"),),
        aliases=(
            (r"LayerNorm\.gamma$", "LayerNorm.weight"), (r"LayerNorm\.beta$", "LayerNorm.bias"),
            *more.pop("aliases", ()),
        ),
        **more,
    )  # fmt: skip


architectures |= {
    "BertModel": architecture(
        bert,
        outputs=("last_hidden_state", "pooler_output"),
        aliases=(("^bert\\.", ""),),  # of one with a head, which it leaves
        unused=(r"^cls\.", r"^classifier\."),
    ),
    "BertForMaskedLM": architecture(
        bert_for_masked_lm,
        outputs=("logits",),
        fixed={"tie_word_embeddings": (True,)},
        unused=(r"^bert\.pooler\.", r"^cls\.seq_relationship\."),  # of the first training
        tied={
            "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
            "cls.predictions.decoder.bias": "cls.predictions.bias",
        },
    ),
    "BertForSequenceClassification": architecture(
        bert_for_sequence_classification,
        outputs=("logits",),
        options={"classes": LABELS, "classifier_dropout": ("classifier_dropout", Maybe(0.1))},
    ),
    "BertForTokenClassification": architecture(
        bert_for_token_classification,
        outputs=("logits",),
        options={"classes": LABELS, "classifier_dropout": ("classifier_dropout", Maybe(0.1))},
        unused=(r"^bert\.pooler\.",),
    ),
    "BertForQuestionAnswering": architecture(
        bert_for_question_answering,
        outputs=("start_logits", "end_logits"),
        unused=(r"^bert\.pooler\.",),
    ),
}

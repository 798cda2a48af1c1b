"""RoBERTa (Liu et al. 2019) and its kind of many languages: BERT with other positions and heads."""

from __future__ import annotations

from typing import Any

import monograph as mg
import monograph_layers as nn

from .architectures import LABELS, Maybe, architectures
from .berts import architecture, bert


def roberta(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
    vocabulary: int = 50_265, padding: int = 1, positions: int = 514, **options: Any,
) -> Any:  # fmt: skip
    """`bert` with positions that count the tokens which are no padding; it documents the arguments.

    >>> small = dict(features=8, layers=1, heads=2, hidden=16)
    >>> call = mg.Store(seed=0).bind(roberta, "numpy", vocabulary=99, **small)
    >>> call(mg.asarray([[0, 5, 2, 1]]))["last_hidden_state"].shape
    (1, 4, 8)
    """
    return bert(
        scope, input_ids, attention_mask, token_type_ids, vocabulary=vocabulary, padding=padding,
        positions=positions, counted=True, **options,
    )  # fmt: skip


def roberta_for_masked_lm(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
    vocabulary: int = 50_265, epsilon: float = 1e-12, **options: Any,
) -> Any:  # fmt: skip
    """Logits of words ``[batch, length, vocabulary]``; the arguments are those of `bert`.

    The last matrix is the words' embeddings, transposed.
    """
    x = roberta(
        scope / "roberta", input_ids, attention_mask, token_type_ids, vocabulary=vocabulary,
        epsilon=epsilon, pooler=False, **options,
    )["last_hidden_state"]  # fmt: skip
    head = scope / "lm_head"
    x = nn.dense(head / "dense", x, x.shape[-1], activation=mg.gelu)
    x = nn.layer_norm(head / "layer_norm", x, epsilon=epsilon)
    words = (scope / "roberta" / "embeddings").shared("word_embeddings")
    kernel = words.parameter("embeddings", (vocabulary, x.shape[-1]), dtype=x.dtype)
    return x @ kernel.T + head.parameter("bias", (vocabulary,), dtype=x.dtype)


def roberta_for_sequence_classification(
    scope: mg.Scope, input_ids: Any, attention_mask: Any = None, token_type_ids: Any = None, *,
    classes: int = 2, dropout: float = 0.1, classifier_dropout: float | None = None,
    training: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Logits ``[batch, classes]``; the other arguments are those of `bert`."""
    x = roberta(
        scope / "roberta", input_ids, attention_mask, token_type_ids, dropout=dropout, pooler=False,
        training=training, **options,
    )["last_hidden_state"]  # fmt: skip
    head, rate = scope / "classifier", dropout if classifier_dropout is None else classifier_dropout
    x = nn.dropout(head / "first", x[:, 0], rate, training=training)
    x = nn.dense(head / "dense", x, x.shape[-1], activation="tanh")
    x = nn.dropout(head / "second", x, rate, training=training)
    return nn.dense(head / "out_proj", x, classes)


_VOCABULARY = {"vocabulary": ("vocab_size", 50_265), "padding": ("pad_token_id", 1)}

for _kind in ("Roberta", "XLMRoberta"):
    architectures |= {
        f"{_kind}Model": architecture(
            roberta,
            outputs=("last_hidden_state", "pooler_output"),
            options=_VOCABULARY,
            aliases=((r"^roberta\.", ""),),  # of one with a head, which it leaves
            unused=(r"^lm_head\.", r"^classifier\."),
        ),
        f"{_kind}ForMaskedLM": architecture(
            roberta_for_masked_lm,
            outputs=("logits",),
            options=_VOCABULARY,
            fixed={"tie_word_embeddings": (True,)},
            tied={
                "lm_head.decoder.weight": "roberta.embeddings.word_embeddings.weight",
                "lm_head.decoder.bias": "lm_head.bias",
            },
        ),
        f"{_kind}ForSequenceClassification": architecture(
            roberta_for_sequence_classification,
            outputs=("logits",),
            options={
                **_VOCABULARY,
                "classes": LABELS,
                "classifier_dropout": ("classifier_dropout", Maybe(0.1)),
            },
        ),
    }

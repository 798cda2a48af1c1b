"""Scaled dot-product attention; torch has heads before the sequence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg

from .random import dropped


def _attention(
    q: Any, k: Any, v: Any, attn_mask: Any = None, dropout_p: float = 0.0, is_causal: bool = False, *,
    scale: float | None = None, enable_gqa: bool = False, key: Any = None,
) -> Any:  # fmt: skip
    lead = q.shape[:-2]
    q, k, v = (mg.reshape(x, (*_four(x.shape[:-2]), *x.shape[-2:])) for x in (q, k, v))
    if attn_mask is not None:
        attn_mask = mg.reshape(attn_mask, (*_four(attn_mask.shape[:-2]), *attn_mask.shape[-2:]))
    if key is not None:
        out = _dropping(q, k, v, attn_mask, dropout_p, is_causal, scale, key)
    else:
        x = (mg.swapaxes(x, 1, 2) for x in (q, k, v))
        out = mg.swapaxes(mg.attention(*x, mask=attn_mask, is_causal=is_causal, scale=scale), 1, 2)
    return mg.reshape(out, (*lead, *out.shape[-2:]))


def _four(lead: tuple[int, ...]) -> tuple[int, int]:
    """Leading axes as batch and heads."""
    return (math.prod(lead[:-1]), lead[-1]) if lead else (1, 1)


def _dropping(
    q: Any, k: Any, v: Any, mask: Any, p: float, causal: bool, scale: Any, key: Any
) -> Any:
    """The same with dropout of the weights, which no fused attention here has."""
    if q.shape[1] != k.shape[1]:
        k, v = (mg.repeat(x, q.shape[1] // k.shape[1], axis=1) for x in (k, v))
    scores = mg.matmul(q, mg.matrix_transpose(k)) * (scale or 1 / math.sqrt(q.shape[-1]))
    if causal:
        mask = mg.tril(mg.ones(scores.shape[-2:], dtype="bool"))
    if mask is None or mask.dtype.kind != "bool":
        weights = mg.softmax(scores if mask is None else scores + mask, axis=-1)
    else:  # a query that may look at nothing gets nothing, not NaN
        weights = mg.softmax(mg.where(mask, scores, mg.finfo(scores.dtype).min), axis=-1)
        weights = mg.where(mask, weights, 0.0)
    return mg.matmul(dropped(weights, p, key), v)


RULES: dict[str, Callable] = {"scaled_dot_product_attention": _attention}


def _drops(
    q: Any, k: Any, v: Any, attn_mask: Any = None, dropout_p: float = 0.0, *_: Any, **__: Any
) -> bool:
    return dropout_p > 0


DRAWS: dict[str, Callable[..., bool]] = {"scaled_dot_product_attention": _drops}

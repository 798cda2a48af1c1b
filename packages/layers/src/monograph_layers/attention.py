"""Multi-head attention: masks, grouped queries, rotary and relative positions, and decoding with a cache.

Axes: ``queries`` and ``keys`` are lengths; ``heads`` is a multiple of ``kv_heads``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import monograph as mg

from .authoring import layer, refuse
from .heads import AttentionCache, attend, lower, masked_softmax
from .initializers import Init, glorot_uniform, ones, zeros
from .positions import relative_encoding, rotated
from .regularization import dropout as drop
from .regularizers import Regularizer


@layer
def multi_head_attention(
    scope: mg.Scope, query: Any, value: Any = None, key: Any = None, *, num_heads: int, key_dim: int,
    value_dim: int | None = None, num_key_value_heads: int | None = None, dropout: float = 0.0,
    use_bias: bool = True, output_shape: int | Sequence[int] | None = None,
    attention_mask: Any = None, key_mask: Any = None, use_causal_mask: bool = False,
    sliding_window: int | None = None, use_gate: bool = False, rotary: float | None = None,
    relative: bool = False, cache: AttentionCache | None = None,
    return_attention_scores: bool = False, training: bool = False,
    kernel_initializer: Init = glorot_uniform, bias_initializer: Init = zeros,
    kernel_regularizer: Regularizer = None, bias_regularizer: Regularizer = None,
) -> Any:  # fmt: skip
    """Multi-head attention (Vaswani et al. 2017), as Keras's MultiHeadAttention.

    With fewer ``num_key_value_heads`` than heads it is Keras's GroupedQueryAttention (Ainslie et al.
    2023). A query that may look at no key gets zeros (Keras: the mean of all values).

    Args:
        scope: holds ``query/kernel [in, heads, key_dim]`` and ``query/bias [heads, key_dim]``; so for
            ``key``, ``value``, and with ``use_gate`` ``gate``; ``attention_output/kernel [heads,
            value_dim, *output_shape]``.
        query: ``[batch, queries, in]``.
        value, key: ``[batch, keys, in]``; by default the query, and the value.
        key_dim, value_dim: features of each head; ``value_dim`` is ``key_dim`` by default.
        dropout: of the attention's weights, in training.
        output_shape: ``query``'s features by default.
        attention_mask: bools, true where a query may look, or floats that are added to the scores:
            ``[batch, queries, keys]`` or ``[batch, heads, queries, keys]``.
        key_mask: bools ``[batch, keys]``, false where no query may look.
        use_causal_mask: query ``i`` sees keys ``0..i``; with a cache, all before it too.
        sliding_window: query ``i`` sees only keys nearer to it than this.
        use_gate: the heads' results are multiplied by ``sigmoid(query @ gate/kernel)``.
        rotary: the longest wavelength of rotary positions (LLaMA's ``rope_theta``, 10,000 in Su et al.
            2021); see `rotary_embedding`.
        relative: scores depend on the distance too, as in Transformer-XL (Dai et al. 2019) and
            Chinchilla: ``relative/kernel [in, heads, key_dim]`` projects sinusoids of distances,
            and ``content_bias``, ``position_bias [heads, key_dim]`` are its u and v.
        cache: of `attention_cache`: keys and values of ``query`` are added to it. For attention of a
            sequence to itself only.
        return_attention_scores: gives the weights ``[batch, heads, queries, keys]`` too.

    Returns:
        ``[batch, queries, *output_shape]``; then the weights, where asked for; then the new cache,
        where one was given.

    Raises:
        ShapeError: not three axes, heads that do not divide, or more queries than the cache holds.
        ArgumentError: a cache and another value than the query.

    >>> from monograph_layers import attention_cache
    >>> def model(scope, x, cache):
    ...     return multi_head_attention(scope, x, num_heads=4, key_dim=8, cache=cache)
    >>> step = mg.Store(seed=0).bind(model, engine="numpy")
    >>> y, cache = step(mg.ones((1, 1, 32)), attention_cache(1, 16, 4, 8))
    >>> y.shape, cache.position.item()
    ((1, 1, 32), 1)
    """
    name = "multi_head_attention"
    itself = value is None and key is None
    value = query if value is None else value
    key = value if key is None else key
    for what, x in (("query", query), ("value", value), ("key", key)):
        if x.ndim != 3:
            refuse(scope, name, f"{what} needs [batch, length, features], got shape {x.shape}")
    kv_heads = num_heads if num_key_value_heads is None else num_key_value_heads
    if kv_heads < 1 or num_heads % kv_heads:
        refuse(scope, name, f"{num_heads} heads are no multiple of {kv_heads} key and value heads")
    if cache is not None and not itself:
        refuse(
            scope, name, "with a cache, value and key are the query's own", mg.errors.ArgumentError
        )
    if relative and query.shape[-1] % 2:
        refuse(scope, name, f"relative=True needs an even number of features, got {query.shape}")
    width = key_dim if value_dim is None else value_dim
    weights = _Weights(
        use_bias, kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer
    )
    q = weights.heads(scope / "query", query, num_heads, key_dim)
    k = weights.heads(scope / "key", key, kv_heads, key_dim)
    v = weights.heads(scope / "value", value, kv_heads, width)

    start: Any = 0 if cache is None else cache.position
    if rotary is not None:
        q, k = (rotated(x, mg.arange(x.shape[1], dtype="int32") + start, rotary) for x in (q, k))
    if cache is not None and q.shape[1] > cache.key.shape[1]:
        refuse(scope, name, f"{q.shape[1]} queries in a cache of length {cache.key.shape[1]}")
    masks = [] if attention_mask is None else [attention_mask]
    if relative:
        keys, is_causal = (
            (k if cache is None else cache.key).shape[1],
            use_causal_mask and cache is None,
        )
        q, distant = _relative(scope, weights, query.shape[-1], q, keys, start, is_causal)
        masks.append(distant)
    thinned = None
    if training and dropout:
        thinned = lambda x: drop(scope.with_policy(None), x, dropout, training=True)  # noqa: E731
    heads, scores, cache = attend(
        q, k, v, masks, key_mask=key_mask, use_causal_mask=use_causal_mask, cache=cache,
        sliding_window=sliding_window, dropout=thinned, return_attention_scores=return_attention_scores,
    )  # fmt: skip
    if use_gate:
        heads = heads * mg.sigmoid(weights.heads(scope / "gate", query, num_heads, width))
    if output_shape is None:
        output_shape = query.shape[-1]
    out = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
    y = weights.project(scope / "attention_output", heads, 2, out)
    rest = [x for x in (scores, cache) if x is not None]
    return (y, *rest) if rest else y


class _Weights(NamedTuple):
    """How the projections' weights begin and are penalised."""

    use_bias: bool
    kernel_initializer: Init
    bias_initializer: Init
    kernel_regularizer: Regularizer
    bias_regularizer: Regularizer

    def project(self, scope: mg.Scope, x: Any, n: int, out: tuple[int, ...]) -> Any:
        """The last ``n`` axes of ``x`` to ``out``, by ``kernel [*those, *out]`` and ``bias [*out]``."""
        lead, shape = x.shape[:-n], x.shape[-n:]
        features, units = math.prod(shape), math.prod(out)
        kernel = self.kernel(scope, shape, out, x.dtype)
        y = mg.reshape(x, (*lead, features)) @ mg.reshape(kernel, (features, units))
        if self.use_bias:
            bias = scope.parameter(
                "bias", out, self.bias_initializer, x.dtype, self.bias_regularizer
            )
            y = y + mg.reshape(bias, (units,))
        return mg.reshape(y, (*lead, *out))

    def kernel(self, scope: mg.Scope, shape: tuple, out: tuple, dtype: Any) -> Any:
        def flat(key: Any, full: tuple, dtype: Any) -> Any:  # so fans are inputs and outputs
            matrix = (math.prod(shape), math.prod(out))
            return mg.reshape(self.kernel_initializer(key, matrix, dtype), full)

        return scope.parameter("kernel", (*shape, *out), flat, dtype, self.kernel_regularizer)

    def heads(self, scope: mg.Scope, x: Any, heads: int, features: int) -> Any:
        return self.project(scope, x, 1, (heads, features))


def _relative(
    scope: mg.Scope, weights: _Weights, features: int, q: Any, keys: int, start: Any, causal: bool
) -> tuple[Any, Any]:
    """``q + u``, and what ``(q + v)`` times the distances' projections adds to the scores."""
    queries, heads, key_dim = q.shape[1:]
    shape = (heads, key_dim)
    u, v = (
        scope.parameter(n, shape, weights.bias_initializer, q.dtype)
        for n in ("content_bias", "position_bias")
    )
    kernel = weights.kernel(scope / "relative", (features,), shape, q.dtype)
    # distances fall from that of the last query to the first key; a causal square needs none below 0
    count = queries + (1 if causal and queries == keys else keys)
    distances = start + (queries - 1) - mg.arange(count, dtype="int32")
    r = relative_encoding(distances, features, q.dtype)
    if queries < key_dim:  # decoding: to bring the few queries to r is cheaper than r to them
        towards = mg.einsum("bqhd,fhd->bqhf", q + v, kernel)
        scores = mg.einsum("bqhf,nf->bhqn", towards, r)
    else:
        scores = mg.einsum("bqhd,nhd->bhqn", q + v, mg.einsum("nf,fhd->nhd", r, kernel))
    # row i begins queries - 1 - i further right: the same numbers in rows that are one shorter
    flat = mg.reshape(scores, (*scores.shape[:2], queries * count))
    flat = flat[:, :, queries - 1 : queries - 1 + queries * (count - 1)]
    rows = mg.reshape(flat, (*scores.shape[:2], queries, count - 1))[..., :keys]
    return q + u, rows / math.sqrt(max(key_dim, 1))


def _attend(
    scope: mg.Scope, scores: Any, value: Any, *, key_mask: Any = None, use_causal_mask: bool = False,
    dropout: float = 0.0, return_attention_scores: bool = False, training: bool = False,
) -> Any:  # fmt: skip
    """What follows the scores ``[batch, queries, keys]``, by the options of both layers below."""
    seen = [lower(scores)] if use_causal_mask else []
    seen += [] if key_mask is None else [key_mask[:, None, :]]
    wide = mg.astype(scores, scores.dtype.compute)
    weights = mg.astype(masked_softmax(wide, seen), value.dtype)
    y = drop(scope.with_policy(None), weights, dropout, training=training) @ value
    return (y, weights) if return_attention_scores else y


def _sums(query: Any, key: Any) -> Any:
    """``[batch, queries, keys, features]``."""
    return query[:, :, None, :] + key[:, None, :, :]


@layer
def attention(
    scope: mg.Scope, query: Any, value: Any, key: Any = None, *, use_scale: bool = False,
    score_mode: str = "dot", training: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Attention by products of queries and keys (Luong et al. 2015), as Keras's Attention.

    Args:
        scope: holds ``scale []`` with ``use_scale``, ``concat_score_weight []`` with ``"concat"``.
        query: ``[batch, queries, features]``.
        value, key: ``[batch, keys, features]``; the key is the value by default.
        score_mode: ``"dot"``, or ``"concat"`` for the sum of ``tanh(query + key)``.
        options: ``key_mask`` (bools ``[batch, keys]``), ``use_causal_mask``, ``dropout`` of the weights
            in training, and ``return_attention_scores``, as of `multi_head_attention`.

    Returns:
        ``[batch, queries, features]``; a pair of it and the weights where they are asked for.

    Raises:
        ArgumentError: an unknown ``score_mode``.

    >>> call = mg.Store(seed=0).bind(attention, engine="numpy")
    >>> call(mg.ones((1, 2, 4)), mg.ones((1, 3, 4))).shape
    (1, 2, 4)
    """
    if score_mode not in ("dot", "concat"):
        words = f"score_mode={score_mode!r} is neither 'dot' nor 'concat'"
        refuse(scope, "attention", words, mg.errors.ArgumentError)
    key = value if key is None else key
    scale = scope.parameter("scale", (), ones, query.dtype) if use_scale else 1.0
    if score_mode == "dot":
        scores = query @ mg.matrix_transpose(key) * scale
    else:
        weight = scope.parameter("concat_score_weight", (), ones, query.dtype)
        scores = weight * mg.sum(mg.tanh(scale * _sums(query, key)), axis=-1)
    return _attend(scope, scores, value, training=training, **options)


@layer
def additive_attention(
    scope: mg.Scope, query: Any, value: Any, key: Any = None, *, use_scale: bool = True,
    training: bool = False, **options: Any,
) -> Any:  # fmt: skip
    """Attention by ``sum(scale * tanh(query + key))`` (Bahdanau et al. 2015), as Keras's AdditiveAttention.

    Args:
        scope: holds ``scale [features]`` with ``use_scale``.
        query: ``[batch, queries, features]``.
        value, key: ``[batch, keys, features]``; the key is the value by default.
        options: as of `attention`.

    Returns:
        ``[batch, queries, features]``; a pair of it and the weights where they are asked for.

    >>> call = mg.Store(seed=0).bind(additive_attention, engine="numpy")
    >>> call(mg.ones((1, 2, 4)), mg.ones((1, 3, 4))).shape
    (1, 2, 4)
    """
    terms = mg.tanh(_sums(query, value if key is None else key))
    if use_scale:
        shape = (query.shape[-1],)
        terms = terms * scope.parameter("scale", shape, glorot_uniform, query.dtype)
    return _attend(scope, mg.sum(terms, axis=-1), value, training=training, **options)

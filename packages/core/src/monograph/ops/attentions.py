"""Scaled dot-product attention and its gradients (Vaswani et al. 2017; grouped: Ainslie et al. 2023).

Axes: ``q [batch, queries, heads, features]``, ``k [batch, keys, kv_heads, features]``,
``v [batch, keys, kv_heads, values]``; ``heads`` is a multiple of ``kv_heads``, and each run of
``heads / kv_heads`` query heads shares one head of ``k`` and ``v``. An optional fourth operand, the
mask ``[batch, heads, queries, keys]`` with any axis 1, is bool (true: may look) or a number of
``q``'s dtype that is added to the score. ``is_causal``: query ``i`` sees keys ``0..i``, counted from
the front as in PyTorch, whatever the number of keys.

A query that may look at nothing gives zeros, as in PyTorch (jax.nn averages over all keys, or gives
NaN for a bias of -inf), and sends no gradient back. Its log-sum-exp is stored as 0: the weights
``exp(score - logsumexp)`` the backward takes up again are then 0 with no special case. Where numbers
such as -1e9 are added to all scores of a query, it gets the average of the values, but the log-sum-exp
cannot tell -1e9 from -1e9 + log(keys): its gradients are too large, as in PyTorch. Use a bool mask.
"""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import bool_, int32
from ..errors import DTypeError, ShapeError
from ..op import Sample, composite
from ..spec import Spec
from ._build import added, full
from ._infer import check_kind
from ._samples import draw
from ._wide import as_like, statistics_dtype, widened
from .linear import dot_general
from .logic import compare, select
from .reductions import reduce_max, reduce_sum, spread
from .shape import iota
from .structural import broadcast_in_dim, reshape, stop_gradient, transpose
from .transcendental import exponential, log

_AXES = {
    "q": ("batch", "queries", "heads", "features"),
    "k": ("batch", "keys", "kv_heads", "features"),
    "v": ("batch", "keys", "kv_heads", "values"),
}


def _check(q, k, v, mask):
    """The scores' shape ``[batch, heads, queries, keys]``."""
    check_kind(q, "float", "q")
    sizes: dict[str, tuple[int, str]] = {}
    for name, x in zip("qkv", (q, k, v)):
        if x.dtype is not q.dtype:
            raise DTypeError(f"q has dtype {q.dtype} and {name} {x.dtype}; they need one")
        if x.ndim != 4:
            raise ShapeError(f"{name} {x.shape} must have the axes [{', '.join(_AXES[name])}]")
        for axis, n in zip(_AXES[name], x.shape):
            seen, first = sizes.setdefault(axis, (n, name))
            if n != seen:
                raise ShapeError(f"axis {axis} is {seen} in {first} and {n} in {name}")
    heads, kv = sizes["heads"][0], sizes["kv_heads"][0]
    if heads % kv if kv else heads:
        raise ShapeError(f"q has {heads} heads, no multiple of the {kv} kv_heads of k and v")
    shape = (q.shape[0], heads, q.shape[1], k.shape[1])
    if len(mask) > 1:
        raise ShapeError(f"takes one mask at most, got {len(mask)}")
    for m in mask:
        if m.dtype is not bool_ and m.dtype is not q.dtype:
            raise DTypeError(
                f"the mask has dtype {m.dtype}; needs bool (true: may look) or, to be added to "
                f"the scores, {q.dtype}. Convert it with .astype()"
            )
        if m.ndim != 4 or any(n not in (1, full) for n, full in zip(m.shape, shape)):
            raise ShapeError(
                f"the mask {m.shape} does not broadcast to [batch, heads, queries, keys], here "
                f"{shape}"
            )
    return shape


def _infer(q, k, v, *mask, is_causal, scale):
    b, heads, queries, _ = _check(q, k, v, mask)
    out = Spec((b, queries, heads, v.shape[3]), q.dtype)
    return out, Spec((b, heads, queries), statistics_dtype(q))


def _grouped(x, kv):
    """``[batch, n, heads, f]`` as ``[batch, kv_heads, group, n, f]``, in the dtype to compute in."""
    b, n, heads, f = x.shape
    x = transpose(widened(x), permutation=(0, 2, 1, 3))
    return reshape(x, shape=(b, kv, heads // max(kv, 1), n, f))


def _flat(x):
    """``[batch, kv_heads, group, n, f]`` as ``[batch, n, heads, f]``."""
    b, kv, group, n, f = x.shape
    return transpose(reshape(x, shape=(b, kv * group, n, f)), permutation=(0, 2, 1, 3))


def _to_keys(x, keys, axis):
    """``x [batch, kv_heads, group, queries, n]`` times ``keys [batch, keys, kv_heads, features]``,
    summed over ``keys``' axis and ``x``'s last."""
    return dot_general(
        x, widened(keys), lhs_batching=(0, 1), rhs_batching=(0, 2),
        lhs_contracting=(4,), rhs_contracting=(axis,),
    )  # fmt: skip


def _from_queries(x, y):
    """``x`` times ``y``, both ``[batch, kv_heads, group, queries, ...]``, summed over group and
    queries: ``[batch, keys, kv_heads, f]``."""
    out = dot_general(
        x, y, lhs_batching=(0, 1), rhs_batching=(0, 1),
        lhs_contracting=(2, 3), rhs_contracting=(2, 3),
    )  # fmt: skip
    return transpose(out, permutation=(0, 2, 1, 3))


def _factor(q, scale):
    return 1 / math.sqrt(max(q.shape[3], 1)) if scale is None else scale


def _scores(q, k, mask, is_causal, scale):
    """``[batch, kv_heads, group, queries, keys]``, -inf where a query may not look."""
    kv = k.shape[2]
    scores = _to_keys(_grouped(q, kv) * _factor(q, scale), k, 3)
    b, _, group, queries, keys = scores.shape
    hidden = full(-math.inf, scores.spec)

    def over(m):
        m = broadcast_in_dim(m, shape=(b, kv * group, queries, keys), dims=(0, 1, 2, 3))
        return reshape(m, shape=scores.shape)

    for m in mask:
        scores = select(over(m), scores, hidden) if m.dtype is bool_ else scores + over(widened(m))
    if is_causal:
        query, key = (iota(shape=scores.shape, dtype=int32, axis=axis) for axis in (3, 4))
        scores = select(compare(query, key, direction="GE"), scores, hidden)
    return scores


def _per_query(x, like):
    """``[batch, heads, queries]`` over ``[batch, kv_heads, group, queries, n]``."""
    x = reshape(widened(x), shape=like.shape[:4])
    return broadcast_in_dim(x, shape=like.shape, dims=(0, 1, 2, 3))


def _pull_scores(ds, q, k, scale):
    """Cotangents of ``q`` and ``k`` from that of the scores."""
    factor = _factor(q, scale)
    dq = _flat(_to_keys(ds, k, 1) * factor)
    dk = _from_queries(ds, _grouped(q, k.shape[2])) * factor
    return as_like(dq, q), as_like(dk, k)


def _pull_mask(ds, mask):
    """Cotangent of an added mask from that of the scores."""
    b, kv, group, queries, keys = ds.shape
    ds = reshape(ds, shape=(b, kv * group, queries, keys))
    axes = tuple(i for i, n in enumerate(mask.shape) if n == 1 != ds.shape[i])
    return as_like(reshape(reduce_sum(ds, axes=axes), shape=mask.shape), mask)


def _vjp(g, y, q, k, v, *mask, is_causal, scale):
    attrs = {"is_causal": is_causal, "scale": scale}
    learned = [m for m in mask if m.dtype is not bool_]
    dq = dk = dv = dm = None
    if g[0] is not None:
        operands = (g[0], q, k, v, *y, *mask)
        dq, dk, dv = attention_backward(*operands, **attrs)
        dm = attention_mask_backward(*operands, **attrs) if learned else None
    if g[1] is not None:  # where a gradient is differentiated again
        weights, _ = _weights(q, k, y[1], mask, is_causal, scale)
        ds = weights * _per_query(g[1], weights)
        more = _pull_scores(ds, q, k, scale)
        dq, dk = added(dq, more[0]), added(dk, more[1])
        dm = added(dm, _pull_mask(ds, mask[0])) if learned else None
    return dq, dk, dv, *[dm for _ in mask]


def _samples(d, rng):
    for queries, keys, heads, kv, masked, attrs in (
        (3, 4, 2, 2, None, {}),
        (4, 3, 2, 1, None, {"is_causal": True, "scale": 0.5}),
        (3, 3, 4, 2, (2, 1, 3, 3), {"is_causal": True}),
        (2, 3, 2, 2, (1, 2, 2, 3), {}),
        (2, 0, 1, 1, None, {}),
    ):
        q, k, v = (
            draw(d, rng, (2, *shape))
            for shape in ((queries, heads, 3), (keys, kv, 3), (keys, kv, 3))
        )
        yield Sample((q, k, v), attrs)
        if masked:
            seen = rng.integers(0, 2, masked).astype(bool)
            seen[0, 0, 0] = False  # a query that may look at nothing
            yield Sample((q, k, v, seen), attrs)
            yield Sample((q, k, v, draw(d, rng, masked)), attrs)
    yield Sample(tuple(draw(d, rng, (0, n, 2, 3)) for n in (2, 4, 4)))
    yield Sample(tuple(draw(d, rng, (1, 2, 2, f)) for f in (3, 3, 2)))


@composite(infer=_infer, vjp=_vjp, samples=_samples, multi=True, ulps=16)
def attention(q, k, v, *mask, is_causal=False, scale=None):
    """``softmax(q k^T * scale + mask) v`` over the keys; ``scale`` is ``1 / sqrt(features)`` if None.

    Yields the result ``[batch, queries, heads, values]`` and, for the backward, the scores'
    log-sum-exp ``[batch, heads, queries]``. For axes, masks and what a query that may look at
    nothing gets, see the top of the module.
    """
    scores = _scores(q, k, mask, is_causal, scale)
    top = reduce_max(scores, axes=(4,))
    none = compare(top, full(-math.inf, top.spec), direction="EQ")
    top = stop_gradient(select(none, full(0, top.spec), top))
    e = exponential(scores - spread(top, scores, (4,)))
    total = select(none, full(1, top.spec), reduce_sum(e, axes=(4,)))
    out = _to_keys(e, v, 1)
    out = _flat(out / spread(total, out, (4,)))
    b, heads, queries = q.shape[0], q.shape[2], q.shape[1]
    return as_like(out, q), reshape(top + log(total), shape=(b, heads, queries))


def _weights(q, k, logsumexp, mask, is_causal, scale):
    """The softmax again, from its log-sum-exp; and the scores."""
    scores = _scores(q, k, mask, is_causal, scale)
    return exponential(scores - _per_query(logsumexp, scores)), scores


def _score_cotangent(g, q, k, v, out, logsumexp, mask, is_causal, scale):
    """Cotangent of the scores, the weights, and ``g`` per group."""
    weights, scores = _weights(q, k, logsumexp, mask, is_causal, scale)
    g, out = _grouped(g, k.shape[2]), _grouped(out, k.shape[2])
    along = spread(reduce_sum(g * out, axes=(4,)), scores, (4,))
    return weights * (_to_keys(g, v, 3) - along), weights, g


def _backward_infer(g, q, k, v, out, logsumexp, *mask, is_causal, scale):
    want = _infer(q, k, v, *mask, is_causal=is_causal, scale=scale)
    for name, got, spec in zip(("g", "out", "logsumexp"), (g, out, logsumexp), (want[0], *want)):
        if got is not spec:
            raise ShapeError(f"{name} is {got}, the result is {spec}")
    return q, k, v


def _backward_samples(d, rng):
    # any result and log-sum-exp do: the formulas do not ask where they come from
    for s in _samples(d, rng):
        q, _, v = s.operands[:3]
        result = (*q.shape[:3], v.shape[3])
        stat = d.numpy if d.bits >= 32 else np.float32
        lse = rng.uniform(1, 3, (q.shape[0], q.shape[2], q.shape[1])).astype(stat)
        g, out = draw(d, rng, result), draw(d, rng, result)
        yield Sample((g, *s.operands[:3], out, lse, *s.operands[3:]), s.attrs)


@composite(infer=_backward_infer, samples=_backward_samples, multi=True, ulps=32)
def attention_backward(g, q, k, v, out, logsumexp, *mask, is_causal=False, scale=None):
    """Cotangents of `attention`'s ``q``, ``k``, ``v`` from that of its result.

    Flash attention's backward (Dao et al. 2022): the weights come back from the log-sum-exp.
    """
    ds, weights, g = _score_cotangent(g, q, k, v, out, logsumexp, mask, is_causal, scale)
    return (*_pull_scores(ds, q, k, scale), as_like(_from_queries(weights, g), v))


def _mask_infer(g, q, k, v, out, logsumexp, mask, *, is_causal, scale):
    _backward_infer(g, q, k, v, out, logsumexp, mask, is_causal=is_causal, scale=scale)
    check_kind(mask, "float", "the mask")
    return mask


@composite(
    infer=_mask_infer,
    samples=lambda d, rng: (
        s for s in _backward_samples(d, rng) if len(s.operands) == 7 and s.operands[6].dtype != bool
    ),
    ulps=32,
)
def attention_mask_backward(g, q, k, v, out, logsumexp, mask, *, is_causal=False, scale=None):
    """The cotangent of `attention`'s added mask; a record of its own as few masks are learned."""
    ds, _, _ = _score_cotangent(g, q, k, v, out, logsumexp, (mask,), is_causal, scale)
    return _pull_mask(ds, mask)

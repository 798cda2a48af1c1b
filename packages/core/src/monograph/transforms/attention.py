"""Recognising attention: a softmax of products, in any layout of the axes, times a third array."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..graph import Node, Value
from .algebra import applied, both_ways, close, number, placement, product
from .constants import known
from .rule import node_rule
from .transposes import transposed


class _Dot(NamedTuple):
    """One side of a dot_general."""

    value: Value
    batching: tuple[int, ...]
    contracting: tuple[int, ...]

    @property
    def free(self) -> list[int]:
        """Axes that are neither."""
        return [i for i in range(self.value.ndim) if i not in self.batching + self.contracting]


def _sides(node: Node) -> tuple[_Dot, _Dot]:
    a = node.attrs
    return (
        _Dot(node.inputs[0], a["lhs_batching"], a["lhs_contracting"]),
        _Dot(node.inputs[1], a["rhs_batching"], a["rhs_contracting"]),
    )


def _plain(*sides: _Dot) -> bool:
    """A batch of up to two axes, and one axis of each other kind."""
    return all(len(s.batching) <= 2 and len(s.contracting) == 1 and len(s.free) == 1 for s in sides)


@node_rule("dot_general")
def attention(node: Node, *_: Value) -> Any:
    """``softmax(q k^T * scale + mask) v``: scaled and masked or not, heads and batch optional."""
    sides = _sides(node)
    for weights, v in (sides, sides[::-1]):
        found = applied(weights.value, "softmax")
        if not found or not _plain(weights, v):
            continue
        axis = weights.value.node.attrs["axis"]
        if weights.contracting != (axis,):
            continue
        scores, mask, hidden = _unmasked(found[0])
        scaled = product(scores)
        inner = scaled.values[0] if len(scaled.values) == 1 else (None, 0)
        if inner[0] is None or inner[1] != 1 or inner[0].node.op.name != "dot_general":
            continue
        if inner[0].spec is not scores.spec:
            continue
        lhs, rhs = _sides(inner[0].node)
        n = len(lhs.batching)
        if not _plain(lhs, rhs) or axis < n:
            continue
        q, k = (lhs, rhs) if axis == n + 1 else (rhs, lhs)
        factors = [product(x.value) for x in (q, k)]
        plain = [
            f.values[0][0]
            if len(f.values) == 1 and f.values[0][1] == 1 and f.values[0][0].spec is x.value.spec
            else None
            for f, x in zip(factors, (q, k))
        ]
        scale = scaled.factor
        if plain[0] is not None and plain[1] is not None:
            scale *= factors[0].factor * factors[1].factor
            q, k = q._replace(value=plain[0]), k._replace(value=plain[1])
        # the scores' batch axis i is axis q.batching[i] of q, and of v the one paired with it
        paired = [v.batching[weights.batching.index(i)] for i in range(n)]
        made = [
            _four(q.value, q.batching, q.free[0], q.contracting[0]),
            _four(k.value, k.batching, k.free[0], k.contracting[0]),
            _four(v.value, paired, v.contracting[0], v.free[0]),
        ]
        attrs: dict[str, Any] = {"scale": _scale(scale, made[0])}
        if mask is not None:
            masked = _mask(mask, hidden, n, axis)
            if masked is None:
                attrs["is_causal"] = True
            else:
                made.append(masked)
        out = ops.attention(*made, **attrs)[0]
        return _laid_out(out, weights, v, weights is sides[0], n)
    return None


def _scale(scale: float, q: Value) -> float | None:
    usual = 1 / math.sqrt(max(q.shape[3], 1))
    return None if close(scale, usual, q) and abs(scale / usual - 1) < 1e-6 else scale


def _four(x: Value, batching: Sequence[int], rows: int, columns: int) -> Value:
    """``[batch, rows, heads, columns]``, with axes of length 1 for those that are missing."""
    order = [*batching[:1], rows, *batching[1:], columns]
    if order != list(range(x.ndim)):
        x = ops.transpose(x, permutation=order)
    sizes = [1] * (2 - len(batching))
    head = x.shape[: len(batching[:1])]
    rest = x.shape[len(head) :]
    if not batching:  # neither batch nor heads
        return ops.reshape(x, shape=(1, rest[0], 1, rest[1]))
    return ops.reshape(x, shape=(*head, rest[0], *sizes, *rest[1:])) if sizes else x


def _unmasked(v: Value) -> tuple[Value, Value | None, bool]:
    """Scores without their mask, the mask, and whether it is a bool."""
    if parts := applied(v, "select"):
        low = number(parts[2])
        # as good as -inf: next to any other score, exp of it is 0
        if low is not None and low <= -1e9:
            return parts[1], parts[0], True
    for a, b in both_ways(v, "add"):
        if _is_scores(a):
            return a, b, False
    return v, None, False


def _is_scores(v: Value) -> bool:
    found = product(v).values
    return len(found) == 1 and found[0][0].node.op.name == "dot_general"


def _mask(mask: Value, hidden: bool, n: int, axis: int) -> Value | None:
    """``[batch, heads, queries, keys]``, small where it repeats; None for the causal one."""
    core, at = placement(mask)
    order = [*range(n), 2 * n + 1 - axis, axis]
    if hidden and _is_causal(core, at, order[n:]):
        return None
    places = {a: i for i, a in enumerate(at) if a is not None and core.shape[i] != 1}
    sizes = [core.shape[places[a]] if a in places else 1 for a in order]
    if list(places) != sorted(places):
        core, sizes, places = mask, [mask.shape[a] for a in order], {a: a for a in range(mask.ndim)}
    small = ops.reshape(core, shape=[core.shape[i] for _, i in sorted(places.items())])
    rank = [a for a in order if a in places]
    turned = [sorted(places).index(a) for a in rank]
    if turned != sorted(turned):
        small = ops.transpose(small, permutation=turned)
    if n < 2:  # heads, and the batch
        sizes[n:n] = [1] * (2 - n)
    return ops.reshape(small, shape=sizes)


def _is_causal(core: Value, at: Sequence[int | None], axes: Sequence[int]) -> bool:
    """Whether query ``i`` sees keys ``0..i``: a comparison of positions, or a constant triangle."""
    x = known(core)
    if x is not None and core.ndim == 2 and list(at) == list(axes):
        return bool(np.array_equal(x, np.tril(np.ones(x.shape, bool))))
    node = core.node
    if node.op.name != "compare":
        return False
    lines = [_positions(v) for v in node.inputs]
    told = {"GE": lines, "LE": lines[::-1]}.get(node.attrs["direction"])
    return told is not None and [None if i is None else at[i] for i in told] == list(axes)


def _positions(v: Value) -> int | None:
    """The axis along which ``v`` counts 0, 1, 2 ..."""
    core, at = placement(v)
    return at[core.node.attrs["axis"]] if core.node.op.name == "iota" else None


def _laid_out(out: Value, weights: _Dot, v: _Dot, first: bool, n: int) -> Value:
    """``out [batch, queries, heads, values]`` with the axes that the product had."""
    names = ["b", "h"][:n]
    kept = {"b": 0, "q": 1, "h": 2, "v": 3}
    small = ops.reshape(out, shape=[out.shape[kept[a]] for a in "bqhv" if a in names or a in "qv"])
    have = [a for a in "bqhv" if a in names or a in "qv"]
    want = [names[i] for i in weights.batching] + (["q", "v"] if first else ["v", "q"])
    return transposed(small, [have.index(a) for a in want])


@node_rule("attention")
def grouped_heads(node: Node, q: Value, k: Value, v: Value, *mask: Value) -> Any:
    """Attention to keys and values repeated per group of heads: to those there are."""
    fewer = [_unrepeated(x) for x in (k, v)]
    if fewer[0] is None or fewer[1] is None or fewer[0].shape[2] != fewer[1].shape[2]:
        return None
    return ops.attention(q, *fewer, *mask, **node.attrs)


def _unrepeated(x: Value) -> Value | None:
    """``[batch, keys, kv_heads, f]`` of which ``x [batch, keys, heads, f]`` repeats each head."""
    order = range(4)
    if x.node.op.name == "transpose":
        order, x = x.node.attrs["permutation"], x.node.inputs[0]
    for wide in applied(x, "reshape"):
        for few in applied(wide, "broadcast_in_dim"):
            at = order[2]  # where the heads are; behind them the times each is repeated
            kept = [i for i in range(5) if i != at + 1]
            outer = [n for i, n in enumerate(x.shape) if i != at]
            if (
                wide.ndim == 5
                and list(wide.node.attrs["dims"]) == kept
                and list(few.shape) == [wide.shape[i] for i in kept]
                and outer == [n for i, n in enumerate(few.shape) if i != at]
            ):
                return ops.transpose(few, permutation=tuple(order))
    return None

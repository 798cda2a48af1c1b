"""Recognising what an op record's own body is made of, by the body itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from .. import ops
from ..graph import Node, Value
from ..op import Op
from ..rewrite import simplify
from .algebra import applied, number
from .pattern import commutes
from .rule import node_rule


def is_body(op: Op, operands: Sequence[Value], attrs: dict[str, Any], v: Value) -> bool:
    """Whether ``v`` is computed as the body of ``op`` computes its first result from ``operands``.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x: x * ops.logistic(x), mg.Spec((3,)))
    >>> is_body(ops.silu, g.inputs, {}, g.outputs[0])
    True
    """
    body = simplify(op.body_graph([x.spec for x in operands], op.bind(operands, attrs)))
    return _same(body.outputs[0], v, dict(zip(body.inputs, operands)))


def _same(b: Value, v: Value, known: dict[Value, Value]) -> bool:
    if b in known:
        return known[b] is v
    mine, node = b.node, v.node
    if mine.op is not node.op or b.index != v.index or b.spec is not v.spec:
        return False
    if mine.attrs != node.attrs or len(mine.inputs) != len(node.inputs):
        return False
    orders = [node.inputs, node.inputs[::-1]] if commutes(node.op, node.attrs) else [node.inputs]
    for order in orders:
        tried = dict(known)
        if all(_same(x, y, tried) for x, y in zip(mine.inputs, order)):
            known.update(tried)
            known[b] = v
            return True
    return False


@node_rule("transpose")
def attention_body(node: Node, x: Value) -> Any:
    """What `attention` is made of, where an engine's lack or `decompose` took it apart."""
    parts = applied(_before(x, "reshape"), "divide")
    weighted = applied(parts[0], "dot_general") if parts else ()
    if not weighted or not applied(weighted[0], "exponential"):
        return None
    e, v = weighted
    below = applied(e.node.inputs[0], "subtract")
    if not below:
        return None
    for product, masks in _scores(below[0]):
        scaled, k = product.node.inputs
        factor = number(scaled.node.inputs[1]) if applied(scaled, "multiply") else None
        q = scaled.node.inputs[0] if factor is not None else scaled
        q = _before(_before(q, "reshape"), "transpose")
        for mask, causal, scale in itertools.product(masks, (False, True), (None, factor or 1.0)):
            operands = (q, k, v, *mask)
            attrs = {"is_causal": causal, "scale": scale}
            if _fits(operands, attrs) and is_body(ops.attention, operands, attrs, node.outputs[0]):
                return ops.attention(*operands, **attrs)[0]
    return None


def _before(v: Value, name: str) -> Value:
    return v.node.inputs[0] if v.node.op.name == name else v


def _scores(v: Value) -> Iterator[tuple[Value, list[tuple[Value, ...]]]]:
    """The product of queries and keys under the masks, and what the mask operand may be."""
    masks: list[tuple[Value, ...]] = [()]
    for _ in range(3):  # the product, under a mask, under the causal one
        if applied(v, "dot_general"):
            yield v, masks
            return
        if chosen := applied(v, "select"):
            mask, v = chosen[0], chosen[1]
        elif added := applied(v, "add"):
            v, mask = added
        else:
            return
        mask = _before(mask, "reshape")
        masks += [(_before(mask, "broadcast_in_dim"),), (mask,)]


def _fits(operands: Sequence[Value], attrs: dict[str, Any]) -> bool:
    from ..errors import MonographError

    try:
        ops.attention.infer_specs([x.spec for x in operands], attrs)
    except MonographError:
        return False
    return True

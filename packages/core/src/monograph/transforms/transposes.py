"""A canonical layout: transposes moved towards the results, where they meet, cancel, or join a product.

Elementwise operations keep their bits. Sums and products over other axes of memory may be added up in
another order, so this is not part of `DEFAULT`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..graph import Graph, Node, Value
from ..op import all_ops
from ..rewrite import simplify
from .constants import known, uniform
from .exact import EXACT
from .rule import apply, node_rule, rule

Order = tuple[int, ...]


def _inverse(order: Sequence[int]) -> Order:
    return tuple(sorted(range(len(order)), key=lambda i: order[i]))


def _each(*names: str) -> Callable[[dict[str, Any], Order], dict[str, Any]]:
    """Attributes with one entry per axis."""

    def moved(attrs: dict[str, Any], order: Order) -> dict[str, Any]:
        back = _inverse(order)
        return {**attrs, **{n: tuple(attrs[n][i] for i in back) for n in names}}

    return moved


def _axis(attrs: dict[str, Any], order: Order) -> dict[str, Any]:
    name = "axes" if "axes" in attrs else "axis"
    a = attrs[name]
    return {**attrs, name: order[a] if name == "axis" else tuple(sorted(order[i] for i in a))}


def _same(attrs: dict[str, Any], order: Order) -> dict[str, Any]:
    return attrs


_ELEMENTWISE = tuple(
    f"monograph.ops.{m}" for m in ("arithmetic", "complexes", "logic", "rounding", "transcendental")
)
# operations whose result has the axes of their operands: what their attributes are on other axes
_KEEPS: dict[str, Callable[[dict[str, Any], Order], dict[str, Any]]] = {
    **{op.name: _same for op in all_ops() if op.__module__ in _ELEMENTWISE},
    **dict.fromkeys(
        ("alias", "convert", "stop_gradient", "relu", "gelu", "gelu_backward", "hard_tanh",
         "hard_tanh_backward", "silu", "silu_backward"),
        _same,
    ),
    **dict.fromkeys(
        ("concatenate", "cummax", "cummin", "cumprod", "cumsum", "log_softmax", "reverse", "softmax"),
        _axis,
    ),
    "pad": _each("low", "high", "interior"),
    "slice": _each("start", "limit", "strides"),
}  # fmt: skip


def _order(v: Value) -> Order | None:
    return v.node.attrs["permutation"] if v.node.op.name == "transpose" else None


def _before(v: Value, order: Order) -> Value | None:
    """``x`` of ``v = transpose(x, order)``, if that takes no transpose to make."""
    if not v.ndim:
        return v
    if _order(v) == order:
        return v.node.inputs[0]
    back = _inverse(order)
    x = known(v)
    if x is not None and (one := uniform(x)) is not None:
        return ops.full(one, v.spec.with_([v.shape[i] for i in back]))
    return _broadcast_as(v, back)


def _broadcast_as(v: Value, order: Sequence[int]) -> Value | None:
    """``transpose(v, order)`` of a broadcast, as another broadcast of the same."""
    if v.node.op.name != "broadcast_in_dim":
        return None
    back = _inverse(order)
    dims = [back[d] for d in v.node.attrs["dims"]]
    if dims != sorted(dims):
        return None
    shape = [v.shape[i] for i in order]
    return ops.broadcast_in_dim(v.node.inputs[0], shape=shape, dims=dims)


@node_rule(*_KEEPS)
def after_elementwise(node: Node, *xs: Value) -> Any:
    """``exp(transpose(x))`` is ``transpose(exp(x))``, and so on; all operands must follow."""
    order = next((o for x in xs if (o := _order(x)) is not None), None)
    if order is None or any(x.ndim not in (0, len(order)) for x in xs):
        return None
    # a 0-d operand of something larger is an attribute, such as pad's value
    before = [_before(x, order) for x in xs]
    if any(b is None for b in before):
        return None
    out = node.op(*before, **_KEEPS[node.op.name](node.attrs, order))
    return ops.transpose(out, permutation=order)


_REDUCES = tuple(
    op.name for op in all_ops() if op.name.startswith("reduce_") and "axes" in op.defaults
)


@node_rule(*[n for n in _REDUCES if "window" not in n], "argmax", "argmin")
def after_reduction(node: Node, x: Value) -> Any:
    """A reduction of a transpose: of the operand, along its own axes."""
    order = _order(x)
    if order is None:
        return None
    attrs = _axis(node.attrs, order)
    gone = attrs["axes"] if "axes" in attrs else (attrs["axis"],)
    out = node.op(x.node.inputs[0], **attrs)
    kept = [a for a in order if a not in gone]
    return transposed(out, [sorted(kept).index(a) for a in kept])


def transposed(x: Value, order: Sequence[int]) -> Value:
    """``x`` with its axes in another order; itself where that is the one they have."""
    return x if list(order) == sorted(order) else ops.transpose(x, permutation=order)


@node_rule("dot_general")
def into_product(node: Node, lhs: Value, rhs: Value) -> Any:
    """A transposed operand of a product: its axes under other numbers."""
    orders = [_order(lhs), _order(rhs)]
    if orders == [None, None]:
        return None
    a, sides, free = dict(node.attrs), [], []
    for name, x, order in zip(("lhs", "rhs"), (lhs, rhs), orders):
        taken = a[f"{name}_batching"] + a[f"{name}_contracting"]
        mine = [i for i in range(x.ndim) if i not in taken]
        if order is not None:
            x = x.node.inputs[0]
            for key in (f"{name}_batching", f"{name}_contracting"):
                a[key] = tuple(order[i] for i in a[key])
            mine = [order[i] for i in mine]
        sides.append(x)
        free.append([sorted(mine).index(i) for i in mine])
    out, n = ops.dot_general(*sides, **a), len(a["lhs_batching"])
    m = n + len(free[0])
    return transposed(out, [*range(n), *[n + i for i in free[0]], *[m + i for i in free[1]]])


@rule(lambda op, a, b: op.transpose(op.dot_general(a, b), permutation=op.attr("order")))
def out_of_product(node, a, b, order):
    """A transposed product: the operands, or the batch axes, the other way round."""
    inner = node.inputs[0].node.attrs
    n = len(inner["lhs_batching"])
    left = node.inputs[0].ndim - n - (b.ndim - n - len(inner["rhs_contracting"]))
    batch, rest = order[:n], list(order[n:])
    if sorted(batch) != list(range(n)):
        return None
    lhs, rhs = range(n, n + left), range(n + left, len(order))
    # with nothing free on one side both orders are the same: the given one
    swapped = rest == [*rhs, *lhs] and rest != [*lhs, *rhs]
    if not swapped and rest != [*lhs, *rhs]:
        return None
    attrs = {
        f"{name}_{kind}": inner[f"{name}_{kind}"]
        for name in ("lhs", "rhs")
        for kind in ("batching", "contracting")
    }
    for name in ("lhs", "rhs"):
        attrs[f"{name}_batching"] = tuple(inner[f"{name}_batching"][i] for i in batch)
    if not swapped:
        return ops.dot_general(a, b, **attrs)
    other = {"lhs": "rhs", "rhs": "lhs"}
    return ops.dot_general(b, a, **{other[k[:3]] + k[3:]: v for k, v in attrs.items()})


@rule(lambda op, x: op.transpose(x, permutation=op.attr("order")))
def into_broadcast(x, order):
    """A transposed broadcast: a broadcast to other axes."""
    return _broadcast_as(x, order)


LAYOUT = (
    simplify, *EXACT, after_elementwise, after_reduction, into_product, out_of_product,
    into_broadcast, simplify,
)  # fmt: skip


def layout(graph: Graph) -> Graph:
    """Move transposes towards the results, together and into products; fewer of them, or none.

    Where that would leave more to transpose than there was (a transpose with many readers), the
    graph stays as it is.

    >>> import monograph as mg
    >>> f = lambda x, w: mg.exp(x.T) @ w
    >>> graph = mg.trace(f, mg.Spec((4, 3)), mg.Spec((4, 5)))
    >>> [node.op.name for node in layout(graph).nodes]
    ['exponential', 'dot_general']
    """
    moved = apply(graph, LAYOUT)
    return moved if _moved(moved) <= _moved(graph) else graph


def _moved(graph: Graph) -> int:
    """Elements that transposes move."""
    nodes = [n for n in graph.walk() if n.op.name == "transpose"]
    return sum(math.prod(n.outputs[0].shape) for n in nodes)

"""Finding composites in graphs of primitives, so that engines run them natively.

What the op records' own bodies are made of is found, and the ways people write these by hand in
PyTorch and JAX. The result may differ in the last places, since composites are computed in one order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from .. import ops
from ..graph import Graph, Node, Value
from ..rewrite import simplify
from .algebra import after, applied, both_ways, close, lies_on, number, peeled, product, reduced
from .attention import attention, grouped_heads
from .bodies import attention_body
from .exact import EXACT
from .folding import fold_constants
from .norms import NORMS
from .rule import apply, node_rule, rule

# ---- softmax


def _unshifted(v: Value, axis: int) -> Value:
    """``x`` of ``x - max(x)``, which exp over its sum does not depend on."""
    parts = applied(v, "subtract")
    if parts:
        core = lies_on(after(parts[1], "stop_gradient"), _others(v, axis))
        if core is not None and _largest(core, axis) is parts[0]:
            return parts[0]
    return v


def _largest(v: Value, axis: int) -> Value | None:
    """``x`` if ``v`` is the largest of ``x`` along an axis."""
    return reduced(peeled(after(peeled(v), "stop_gradient")), "reduce_max", axis)


def _others(v: Value, axis: int) -> list[int]:
    return [i for i in range(v.ndim) if i != axis]


def _row_sum(v: Value) -> tuple[Value, int] | None:
    """``x`` and the axis, if ``v`` is the sum of ``x`` along one axis, spread along it again."""
    for axis in range(v.ndim):
        core = lies_on(v, _others(v, axis))
        total = None if core is None else reduced(core, "reduce_sum", axis)
        if total is not None and total.spec is v.spec:
            return total, axis
    return None


@rule(lambda op, e, total: e / total)
def softmax(e, total):
    """``exp(x) / sum(exp(x))``, with or without ``max(x)`` taken off."""
    found, given = _row_sum(total), applied(e, "exponential")
    if not found or not given or found[0] is not e or not e.dtype.is_float:
        return None
    return ops.softmax(_unshifted(given[0], found[1]), axis=found[1])


@rule(lambda op, x, total: x - total)
def log_softmax(x: Value, total: Value) -> Any:
    """``x - log(sum(exp(x)))``, with or without ``max(x)`` taken off, there or in the logarithm."""
    for axis in range(x.ndim if x.dtype.is_float else 0):
        core = lies_on(total, _others(total, axis))
        if core is None:
            continue
        if _under_log_sum(core, axis) is x:
            return ops.log_softmax(_unshifted(x, axis), axis=axis)
        for logs, top in both_ways(core, "add"):
            inside = _under_log_sum(logs, axis)
            whole = _largest(top, axis)
            if inside is not None and whole is x and _unshifted(inside, axis) is x is not inside:
                return ops.log_softmax(x, axis=axis)
    return None


def _under_log_sum(v: Value, axis: int) -> Value | None:
    """``x`` if ``v`` is ``log(sum(exp(x)))`` along one axis."""
    for logs in applied(peeled(v), "log"):
        for inside in applied(reduced(peeled(logs), "reduce_sum", axis), "exponential"):
            return inside
    return None


@rule(lambda op, x: op.log(op.softmax(x, axis=op.attr("axis"))))
def log_of_softmax(x, axis):
    """The logarithm of a softmax, which may underflow in between."""
    return ops.log_softmax(x, axis=axis)


# ---- activations


@rule(lambda op, x: op.maximum(x, op.constant(0)))
def relu(x):
    """``max(x, 0)``."""
    return ops.relu(x)


@rule(lambda op, x: 1.0 / (1.0 + op.exp(-x)))
def logistic(x):
    """``1 / (1 + exp(-x))``."""
    return ops.logistic(x)


@rule(lambda op, x: op.any_of(x * op.logistic(x), x / (1.0 + op.exp(-x))))
def silu(x):
    """``x`` times its logistic."""
    return ops.silu(x) if x.dtype.is_float else None


def _one_plus(v: Value, name: str) -> tuple[float, Value] | None:
    """``(k, u)`` of ``k + k * name(u)``."""
    for a, b in both_ways(v, "add"):
        k, scaled = number(a), product(b)
        if k and len(scaled.values) == 1 and close(scaled.factor, k, v):
            inner = applied(scaled.values[0][0], name)
            if inner and scaled.values[0][1] == 1:
                return k, inner[0]
    return None


def _within(v: Value) -> Iterator[Value]:
    """Values that ``v`` may be a multiple of: down its products, sums and powers."""
    todo: list[Value] = [v]
    seen: set[Value] = set()
    while todo and len(seen) < 40:
        u = peeled(todo.pop())
        if u in seen or number(u) is not None:
            continue
        seen.add(u)
        yield u
        if u.node.op.name in ("add", "divide", "multiply", "negate", "power"):
            todo += u.node.inputs


def _is_cubic(u: Value, x: Value) -> bool:
    """Whether ``u`` is ``sqrt(2 / pi) * (x + 0.044715 * x ** 3)``."""
    whole = product(u, (x,))
    rest = [v for v, power in whole.values if power == 1 and v is not x]
    if len(rest) != 1 or not close(whole.factor, math.sqrt(2 / math.pi), u):
        return False
    for a, b in both_ways(rest[0], "add"):
        cube = product(b, (x,))
        if not close(cube.factor, 0.044715, u):
            continue
        if whole.is_of(rest[0]) and peeled(a) is x and cube.is_of(x, x, x):
            return True
        if whole.is_of(rest[0], x) and number(a) == 1.0 and cube.is_of(x, x):
            return True
    return False


@node_rule("multiply", "divide")
def gelu(node: Node, *_: Value) -> Any:
    """``0.5 x (1 + erf(x / sqrt(2)))``, by erfc too, and the form by tanh; factors in any order."""
    root = node.outputs[0]
    if not root.dtype.is_float:
        return None
    for f, power in product(root).values:
        if power != 1:
            continue
        for name in ("erf", "tanh", "erfc"):
            found = (1.0, f.node.inputs[0]) if f.node.op.name == name == "erfc" else (
                _one_plus(f, name) if name != "erfc" else None
            )  # fmt: skip
            if not found:
                continue
            k, u = found
            for x in _within(u):
                whole = product(root, (x, f))
                if x.spec is not root.spec or not whole.is_of(x, f):
                    continue
                if close(whole.factor * k, 0.5, root) and _is_inner(name, u, x):
                    return ops.gelu(x, approximate=name == "tanh")
    return None


def _is_inner(name: str, u: Value, x: Value) -> bool:
    if name == "tanh":
        return _is_cubic(u, x)
    scaled = product(u, (x,))
    want = math.sqrt(0.5) if name == "erf" else -math.sqrt(0.5)
    return scaled.is_of(x) and close(scaled.factor, want, u)


# ---- 16-bit floats, which composites widen themselves

_WIDENS = ("gelu", "layer_norm", "log_softmax", "rms_norm", "silu", "softmax", "attention")


@rule(lambda op, y: op.convert(y))
def narrow(node, y):
    """``f16(softmax(f32(x)))`` of a float16 ``x``: that is what `softmax` does itself."""
    inner, last = y.node, node.outputs[0].dtype
    if inner.op.name not in _WIDENS or y.index or last is last.compute:
        return None
    narrowed = [_narrowed(x, last) for x in inner.inputs]
    if y.dtype is not last.compute or any(x is None for x in narrowed):
        return None
    out = inner.op(*narrowed, **inner.attrs)
    return out[0] if inner.op.multi else out


def _narrowed(x: Value, d: Any) -> Value | None:
    if x.dtype.kind == "bool":
        return x
    if x.node.op.name == "convert" and x.node.inputs[0].dtype is d:
        return x.node.inputs[0]
    return ops.full(number(x), x.spec.with_(dtype=d)) if number(x) in (0.0, 1.0) else None


RULES = (
    softmax, log_softmax, log_of_softmax, relu, logistic, silu, gelu, *NORMS, attention, grouped_heads, narrow,
)  # fmt: skip
COMPOSITES = (simplify, attention_body, fold_constants, *EXACT, *RULES, simplify)


def composites(graph: Graph) -> Graph:
    """Recognise softmax, log_softmax, relu, silu, gelu, layer_norm, rms_norm and attention.

    >>> import monograph as mg
    >>> def by_hand(x):
    ...     e = mg.exp(x - mg.max(x, axis=-1, keepdims=True))
    ...     return e / mg.sum(e, axis=-1, keepdims=True)
    >>> [node.op.name for node in composites(mg.trace(by_hand, mg.Spec((3, 4)))).nodes]
    ['softmax']
    """
    return apply(graph, COMPOSITES)

"""Recognising layer_norm and rms_norm: something over the root of its mean square, then an affine map."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..graph import Node, Value
from .algebra import after, applied, both_ways, lies_on, number, peeled, product, reduced
from .constants import is_all, known, uniform
from .rule import node_rule, rule


def _mean(v: Value, n: int, axis: int) -> Value | None:
    """``x`` if ``v`` is the mean of ``x``, over ``n`` elements of its last axis."""
    found = product(v)
    # not to 4 digits as `close` is: of long rows that is a sum over n - 1 too
    if len(found.values) != 1 or found.values[0][1] != 1 or abs(found.factor * n - 1) > 1e-6:
        return None
    return reduced(found.values[0][0], "reduce_sum", axis)


def _square(v: Value) -> Value | None:
    """``x`` if ``v`` is ``x`` squared; of real numbers, ``|x|`` squared too."""
    if (power := applied(v, "power")) and number(power[1]) == 2.0:
        base = power[0]
    elif (both := applied(v, "multiply")) and both[0] is both[1]:
        base = both[0]
    else:
        return None
    inner = applied(base, "abs")
    return inner[0] if inner else base


def _under_root(v: Value, power: int) -> Value | None:
    """``a`` if ``v`` to that power is ``1 / sqrt(a)``."""
    v = peeled(v)
    name, xs = v.node.op.name, v.node.inputs
    if name == "divide" and number(xs[0]) == 1.0:
        return _under_root(xs[1], -power)
    if (name, power) in (("rsqrt", 1), ("sqrt", -1)):
        return xs[0]
    return xs[0] if name == "power" and number(xs[1]) == -0.5 * power else None


def _deviation(v: Value, power: int, like: Value) -> tuple[Value, float, bool] | None:
    """``(x, epsilon, False)`` if ``v ** power`` is ``1 / sqrt(mean(x * x) + epsilon)`` per row of
    ``like``; with True if it has ``mean(x * x) - mean(x) ** 2`` there."""
    last = like.ndim - 1
    n = like.shape[last]
    core = lies_on(v, range(last)) if v.spec is like.spec else None
    inside = None if core is None else _under_root(core, power)
    for a, b in both_ways(peeled(inside), "add") if inside is not None else ():
        epsilon, about = _written(b), applied(peeled(after(peeled(a), "relu")), "subtract")
        squares = _mean(about[0] if about else a, n, last)
        x = None if squares is None else _square(squares)
        if epsilon is None or x is None or x.spec is not like.spec:
            continue
        if about:
            mean = _square(peeled(about[1]))
            if mean is None or _mean(mean, n, last) is not x:
                continue
        return x, epsilon, bool(about)
    return None


def _written(v: Value) -> float | None:
    """The number a constant is, as somebody wrote it: 0.001, not float32's nearest to that."""
    x = known(v)
    one = None if x is None else uniform(x)
    return None if one is None else float(str(one))


def _centred(v: Value) -> Value | None:
    """``x`` if ``v`` is ``x - mean(x)`` per row."""
    parts, last = applied(v, "subtract"), v.ndim - 1
    core = lies_on(parts[1], range(last)) if parts else None
    return parts[0] if core is not None and _mean(core, v.shape[last], last) is parts[0] else None


@node_rule("multiply", "divide")
def normalised(node: Node, *_: Value) -> Any:
    """Rows over their root mean square; over their deviation where their mean was taken off."""
    root = node.outputs[0]
    if not root.ndim or not root.dtype.is_float or root.dtype.compute is not root.dtype:
        return None
    for v, power in product(root).values:
        found = _deviation(v, power, root)
        if not found:
            continue
        x, epsilon, about_mean = found
        if about_mean:  # what stands over it must be the deviation itself
            lows = [w for w, p in product(root).values if p == 1 and _centred(w) is x]
            if not lows:
                continue
            x = lows[0]
        whole = product(root, (x, v))
        left = whole.without((x, 1), (v, power))
        if left is None or any(w.spec is not root.spec for w, _ in left):
            continue
        out = _norm(x, epsilon)
        for w, p in left:
            out = ops.multiply(out, w) if p == 1 else ops.divide(out, w)
        return out if whole.factor == 1.0 else ops.multiply(out, ops.full(whole.factor, out.spec))
    return None


def _norm(x: Value, epsilon: float) -> Value:
    centre = _centred(x)
    one = ops.full(1, x.spec.with_(x.shape[-1:]))
    if centre is None:
        return ops.rms_norm(x, one, epsilon=epsilon)[0]
    return ops.layer_norm(centre, one, ops.zeros_like(one), epsilon=epsilon)[0]


def _always(v: Value, *values: float) -> bool:
    x = known(v)
    return x is not None and any(is_all(x, value) for value in values)


def _vector(v: Value) -> Value | None:
    """``[channels]`` spread over rows, as that."""
    core = lies_on(v, [v.ndim - 1]) if v.ndim else None
    if core is None or core.size != v.shape[-1] or number(v) is not None:
        return None
    return core if core.ndim == 1 else ops.reshape(core, shape=v.shape[-1:])


@rule(lambda op, y, v: y * v)
def scaled(y, v):
    """A norm without a scale, times one per channel."""
    norm, scale = y.node, _vector(v)
    if norm.op.name not in ("layer_norm", "rms_norm") or y.index or scale is None:
        return None
    x, one, *bias = norm.inputs
    if not _always(one, 1.0) or not all(_always(b, 0.0, -0.0) for b in bias):
        return None
    return norm.op(x, scale, *bias, **norm.attrs)[0]


@rule(lambda op, y, v: y + v)
def shifted(y, v):
    """A layer_norm without a bias, plus one per channel."""
    norm, bias = y.node, _vector(v)
    if (
        norm.op.name != "layer_norm"
        or y.index
        or bias is None
        or not _always(norm.inputs[2], 0.0, -0.0)
    ):
        return None
    return norm.op(*norm.inputs[:2], bias, **norm.attrs)[0]


NORMS = (normalised, scaled, shifted)

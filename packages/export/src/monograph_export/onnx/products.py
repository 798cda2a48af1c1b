"""Matrix products, convolution, normalisation; entries as in `shapes`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from monograph import ops
from monograph.dtypes import bool_, float32, int32
from monograph.op import Op

from .builder import Builder, Ref
from .shapes import Entry, Specs, padded


def _dot(
    b: Builder, out: Specs, x: Ref, y: Ref, *, lhs_batching: Any, rhs_batching: Any,
    lhs_contracting: Any, rhs_contracting: Any,
) -> list:  # fmt: skip
    """MatMul of ``[batch, rows, inner]`` and ``[batch, inner, columns]``."""
    d, shape = x.spec.dtype, out[0].shape
    if not (x.spec.size and y.spec.size):
        return [b.constant(np.zeros(shape, d.numpy))]
    rows = _free(x, lhs_batching, lhs_contracting)
    columns = _free(y, rhs_batching, rhs_contracting)
    # what both contract, in the order that the left holds them
    order = np.argsort(lhs_contracting)
    left, right = ([axes[i] for i in order] for axes in (lhs_contracting, rhs_contracting))
    batch = [x.spec.shape[i] for i in lhs_batching]
    inner = math.prod(x.spec.shape[i] for i in left)
    n = math.prod(y.spec.shape[i] for i in columns)
    # many rows stay as they are, so that what follows sees the array it knows
    plain = not batch and len(left) == 1 and rows
    m = [x.spec.shape[i] for i in rows] if plain else [math.prod(x.spec.shape[i] for i in rows)]
    u = _laid(b, x, [*lhs_batching, *rows, *left], [*batch, *m, inner])
    v = _laid(b, y, [*rhs_batching, *right, *columns], [*batch, inner, n])
    product = b("MatMul", u, v)
    if [*batch, *m, n] != list(shape):
        product = b.reshape(product, shape)
    return [b.narrow(product, d)]


def _free(x: Ref, *used: Sequence[int]) -> list[int]:
    taken = {i for axes in used for i in axes}
    return [i for i in range(len(x.spec.shape)) if i not in taken]


def _laid(b: Builder, x: Ref, order: Sequence[int], shape: Sequence[int]) -> str:
    name = b.transpose(b.wide(x.name, x.spec.dtype), order)
    return name if [x.spec.shape[i] for i in order] == list(shape) else b.reshape(name, shape)


def _convolution(
    b: Builder, out: Specs, x: Ref, kernel: Ref, *, strides: Any, padding: Any, lhs_dilation: Any,
    rhs_dilation: Any, feature_groups: int,
) -> list:  # fmt: skip
    """Conv, which has the channels before the spatial axes."""
    d, n = x.spec.dtype, len(strides)
    if not (x.spec.size and kernel.spec.size):
        return [b.constant(np.zeros(out[0].shape, d.numpy))]
    name, pads = x.name, padding
    if any(p < 0 for ends in padding for p in ends) or any(k > 1 for k in lhs_dilation):
        low, high = ([0, *[p[i] for p in padding], 0] for i in (0, 1))
        name = padded(b, x, low, high, [0, *[k - 1 for k in lhs_dilation], 0])
        pads = ((0, 0),) * n
    spatial = list(range(1, n + 1))
    name = b.transpose(b.wide(name, d), [0, n + 1, *spatial])
    weights = b.transpose(b.wide(kernel.name, d), [n + 1, n, *range(n)])
    y = b(
        "Conv", name, weights, strides=list(strides), dilations=list(rhs_dilation),
        pads=[p[i] for i in (0, 1) for p in pads], group=feature_groups,
        kernel_shape=list(kernel.spec.shape[:n]),
    )  # fmt: skip
    return [b.narrow(b.transpose(y, [0, *[i + 1 for i in spatial], 1]), d)]


def _softmax(op: str) -> Entry:
    def lower(b: Builder, out: Specs, x: Ref, *, axis: int) -> list:
        d = x.spec.dtype
        return [b.narrow(b(op, b.wide(x.name, d), axis=axis), d)]

    return lower


def _layer_norm(b: Builder, out: Specs, x: Ref, scale: Ref, bias: Ref, *, epsilon: float) -> list:
    names = [b.wide(v.name, v.spec.dtype) for v in (x, scale, bias)]
    return [b.narrow(b("LayerNormalization", *names, axis=-1, epsilon=epsilon), x.spec.dtype)]


def _rms_norm(b: Builder, out: Specs, x: Ref, scale: Ref, *, epsilon: float) -> list:
    names = [b.wide(v.name, v.spec.dtype) for v in (x, scale)]
    return [b.narrow(b("RMSNormalization", *names, axis=-1, epsilon=epsilon), x.spec.dtype)]


def _attention(
    b: Builder, out: Specs, q: Ref, k: Ref, v: Ref, *mask: Ref, is_causal: bool, scale: Any
) -> list:
    """Attention over heads that lie side by side in the last axis."""
    d = q.spec.dtype
    (_, queries, heads, _), (_, keys, kv_heads, _) = q.spec.shape, k.spec.shape
    if not keys:
        return [b.constant(np.zeros(out[0].shape, d.numpy))]
    flat = [
        b.reshape(b.wide(x.name, d), [*x.spec.shape[:2], math.prod(x.spec.shape[2:])])
        for x in (q, k, v)
    ]
    attrs: dict[str, Any] = {} if scale is None else {"scale": float(scale)}
    seen = ""
    for m in mask:
        name, shown = b.wide(m.name, m.spec.dtype), m.name
        hidden = b.number(-np.inf, float32)
        if m.spec.dtype.is_float:
            shown = b("Greater", name, hidden)
        if is_causal:
            before = b.constant(np.tri(queries, keys, dtype=bool))
            shown = b("And", shown, before)
            name = b("Where", before, name, hidden) if m.spec.dtype.is_float else shown
        else:  # the last two axes must be whole
            name = b("Expand", name, b.ints([1, 1, queries, keys]))
        flat.append(name)
        # a query that may look at nothing gets nothing
        seen = b.cast(b("ReduceMax", b.cast(shown, int32), b.ints([3]), keepdims=1), bool_)
        seen = b.transpose(seen, (0, 2, 1, 3))
    y = b(
        "Attention", *flat, q_num_heads=heads, kv_num_heads=kv_heads,
        is_causal=int(is_causal and not mask), **attrs,
    )  # fmt: skip
    y = b.reshape(y, out[0].shape)
    return [b.narrow(b("Where", seen, y, b.number(0, float32)) if seen else y, d)]


def _gates(b: Builder, x: Ref, axis: int) -> str:
    """The gates i, f, g, o in ONNX's order, i, o, f, g."""
    i, f, g, o = b("Split", x.name, outputs=4, axis=axis, num_outputs=4)
    return b("Concat", i, o, f, g, axis=axis)


def _lstm(
    b: Builder, out: Specs, x: Ref, kernel: Ref, recurrent: Ref, bias: Ref, h: Ref, c: Ref, *,
    reverse: bool,
) -> list:  # fmt: skip
    """LSTM, whose arrays have an axis for directions."""
    d, (_, batch, units) = x.spec.dtype, out[0].shape
    if not x.spec.size:  # of no features onnxruntime reads some
        return []
    one = b.ints([0])
    weights = [
        b("Unsqueeze", b.transpose(_gates(b, v, 1), (1, 0)), one) for v in (kernel, recurrent)
    ]
    none = b.constant(np.zeros((4 * units,), d.numpy))
    biases = b.reshape(b("Concat", _gates(b, bias, 0), none, axis=0), [1, 8 * units])
    state = [b.reshape(v.name, [1, batch, units]) for v in (h, c)]
    y = b(
        "LSTM", *[b.wide(v, d) for v in (x.name, *weights, biases)], "", *[b.wide(v, d) for v in state],
        hidden_size=units, direction="reverse" if reverse else "forward",
    )  # fmt: skip
    return [b.narrow(b.reshape(y, out[0].shape), d)]


PRODUCTS: Mapping[Op, Entry] = {
    ops.dot_general: _dot, ops.convolution: _convolution, ops.softmax: _softmax("Softmax"),
    ops.log_softmax: _softmax("LogSoftmax"), ops.layer_norm: _layer_norm,
    ops.rms_norm: _rms_norm, ops.attention: _attention, ops.lstm: _lstm,
}  # fmt: skip

"""Rules of products, convolutions, factorisations, and of composites that engines have natively."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .. import ops
from ..op import Op
from .lanes import Lanes, fold, leading, through_body, to_front, unfold


def _dot(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """Two batched operands have one more batch axis; of one, the lanes are a free axis."""
    both = all(batched)
    for side, b in zip(("lhs", "rhs"), batched):
        for name in (f"{side}_batching", f"{side}_contracting"):
            attrs[name] = tuple([i + b for i in attrs[name]])
        if both:
            attrs[f"{side}_batching"] = (0, *attrs[f"{side}_batching"])
    y = op(*xs, **attrs)
    if both:
        return y
    # the result's axes: batch, the left's others, the right's others
    before = len(attrs["lhs_batching"])
    if batched[1]:
        before += xs[0].ndim - before - len(attrs["lhs_contracting"])
    return to_front(y, before)


# ---- convolutions: x [batch, *spatial, in], kernel [*spatial, in, out], y [batch, *spatial, out]

# op -> the attribute with the result's shape, and by which operands are batched: the axis of each, and
# of the result, that the lanes become part of. Two batched operands have feature groups for lanes.
_LANES_IN: dict[Op, tuple[str, dict[tuple[bool, ...], tuple[Any, Any, int]]]] = {
    ops.convolution: (
        "",
        {(True, False): (0, None, 0), (False, True): (None, -1, -1), (True, True): (-1, -1, -1)},
    ),
    ops.convolution_input_grad: (
        "input_shape",
        {(True, False): (0, None, 0), (False, True): (None, -2, -1), (True, True): (-1, -1, -1)},
    ),
    ops.convolution_kernel_grad: (
        "kernel_shape",
        {(True, False): (-1, None, -2), (False, True): (None, -1, -1), (True, True): (-1, -1, -1)},
    ),
}


def _convolved(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    shape, places = _LANES_IN[op]
    *where, result = places[tuple(batched)]
    both, groups = all(batched), attrs["feature_groups"]

    def within(axis: int) -> int:  # channels stay in their feature group, and the lanes with them
        return groups if axis == -1 and not both else 1

    folded = [x if at is None else fold(x, at, within(at)) for x, at in zip(xs, where)]
    if both:
        attrs["feature_groups"] = groups * lanes.size
    if shape:
        sizes = list(attrs[shape])
        sizes[result] *= lanes.size
        attrs[shape] = tuple(sizes)
    return unfold(op(*folded, **attrs), result, lanes, within(result))


# ---- linear systems


def _system(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """One matrix with many right-hand sides is factored once: the lanes are more columns."""
    if batched[0]:
        return leading(op, xs, batched, lanes, **attrs)
    axis = -1 if attrs.get("left_side", True) else -2
    return unfold(op(xs[0], fold(xs[1], axis), **attrs), axis, lanes)


# ---- composites that stay


def _leading_beside(*places: int) -> Callable:
    """`leading` for an op that takes these operands without: where one is batched, its body."""

    def rule(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
        if any(batched[i] for i in places):
            return through_body(op, xs, batched, lanes, **attrs)
        given = [x if i in places else lanes.of(x, b) for i, (x, b) in enumerate(zip(xs, batched))]
        return op(*given, **attrs)

    return rule


def _channels(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """Statistics are per channel: each lane has channels of its own."""
    ys = op(*[fold(x, -1) for x in lanes.all(xs, batched)], **attrs)
    return tuple([unfold(y, -1, lanes) for y in ys])


def _attended(op: Op, xs: Sequence, batched: Sequence[bool], lanes: Lanes, /, **attrs: Any) -> Any:
    """The lanes become part of the batch; a mask that all share stays one."""
    masks = 3 if op is ops.attention else 6
    rows = xs[0].shape[batched[0]]
    folded = [fold(lanes.of(x, b), 0) for x, b in zip(xs[:masks], batched)]
    for x, b in zip(xs[masks:], batched[masks:]):
        if b or x.shape[0] != 1:
            x = lanes.of(x, b)
            if x.shape[1] != rows:  # one for all the rows of its lane
                dims = tuple(range(x.ndim))
                x = ops.broadcast_in_dim(x, shape=(lanes.size, rows, *x.shape[2:]), dims=dims)
            x = fold(x, 0)
        folded.append(x)
    return tuple([unfold(y, 0, lanes) for y in op(*folded, **attrs)])


RULES: dict[Op, Callable] = {
    **dict.fromkeys(_LANES_IN, _convolved),
    **dict.fromkeys(
        (ops.cholesky, ops.lu, ops.qr, ops.eigh, ops.svd, ops.det, ops.slogdet, ops.adjugate,
         ops.pinv, ops.fft, ops.cross_entropy, ops.cross_entropy_backward, ops.gelu,
         ops.gelu_backward, ops.hard_tanh, ops.hard_tanh_backward, ops.silu, ops.silu_backward),
        leading,
    ),
    **dict.fromkeys((ops.triangular_solve, ops.solve), _system),
    **dict.fromkeys((ops.batch_norm_training, ops.batch_norm_backward), _channels),
    **dict.fromkeys((ops.attention, ops.attention_backward), _attended),
    ops.adam_update: _leading_beside(0, 1),
    ops.dot_general: _dot,
    ops.layer_norm: _leading_beside(1, 2),
    ops.rms_norm: _leading_beside(1),
    ops.sgd_update: _leading_beside(0),
}  # fmt: skip

"""Bits, comparison and choice."""

from __future__ import annotations

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError
from ..op import NOT_DIFFERENTIABLE, Sample, op
from ._build import zeros_like
from ._infer import check_kind, check_same, nary, unary
from ._samples import draw, elementwise, pairs, special

_BITS = ("bool", "int", "uint")
_INTS = ("int", "uint")
_two = op(infer=nary("bits"), vjp=NOT_DIFFERENTIABLE, samples=pairs, dtypes=_BITS)


@_two
def and_(a, b):
    """Bitwise (of bools: logical) and."""
    return np.bitwise_and(a, b)


@_two
def or_(a, b):
    """Bitwise (of bools: logical) or."""
    return np.bitwise_or(a, b)


@_two
def xor(a, b):
    """Bitwise (of bools: logical) exclusive or."""
    return np.bitwise_xor(a, b)


@op(infer=unary("bits"), vjp=NOT_DIFFERENTIABLE, samples=elementwise(), dtypes=_BITS)
def not_(x):
    """Bitwise (of bools: logical) complement."""
    return np.invert(x)


def _shift_samples(d, rng):
    for shape in ((3, 4), (), (0,)):
        yield Sample((draw(d, rng, shape), rng.integers(0, 6, shape).astype(d.numpy)), grad=False)
    amounts = np.array([0, 1, d.bits - 1, d.bits, d.bits + 1], d.numpy)
    for v in (np.iinfo(d.numpy).min, np.iinfo(d.numpy).max, 5):
        yield Sample((np.full(5, v, d.numpy), amounts), grad=False)


_shift = op(infer=nary("integer"), vjp=NOT_DIFFERENTIABLE, samples=_shift_samples, dtypes=_INTS)


def _outside(a, n):
    return (n < 0) | (n >= a.dtype.itemsize * 8)


def _shifted(shift, a, n):
    outside = _outside(a, n)
    if not outside.any():  # the usual case, and much the faster
        return shift(a, n)
    return np.where(outside, a.dtype.type(0), shift(a, np.where(outside, n.dtype.type(0), n)))


@_shift
def shift_left(a, n):
    """``a << n``; 0 when ``n`` is negative or not below the width."""
    return _shifted(np.left_shift, a, n)


@_shift
def shift_right_logical(a, n):
    """``a >> n`` filling with zeros; 0 when ``n`` is negative or not below the width."""
    unsigned = f"u{a.dtype.itemsize}"
    return _shifted(np.right_shift, a.view(unsigned), n.view(unsigned)).view(a.dtype)


@_shift
def shift_right_arithmetic(a, n):
    """``a >> n`` filling with the sign bit, also when ``n`` is not below the width."""
    s = a.view(f"i{a.dtype.itemsize}")
    last = a.dtype.itemsize * 8 - 1
    return np.right_shift(s, np.where(_outside(a, n), last, n).astype(s.dtype)).view(a.dtype)


@op(infer=unary("integer"), vjp=NOT_DIFFERENTIABLE, samples=elementwise(), dtypes=_INTS)
def popcnt(x):
    """How many bits are set, elementwise."""
    return np.bitwise_count(x.view(f"u{x.dtype.itemsize}")).astype(x.dtype)


@op(infer=unary("integer"), vjp=NOT_DIFFERENTIABLE, samples=elementwise(), dtypes=_INTS)
def count_leading_zeros(x):
    """How many zero bits come before the first set one, elementwise."""
    u, width = x.view(f"u{x.dtype.itemsize}"), x.dtype.itemsize * 8
    zeros = np.full(x.shape, width)
    for bit in range(width):
        zeros = np.where((u >> u.dtype.type(bit)) & u.dtype.type(1), width - 1 - bit, zeros)
    return zeros.astype(x.dtype)


COMPARE = {
    "EQ": np.equal, "NE": np.not_equal, "LT": np.less,
    "LE": np.less_equal, "GT": np.greater, "GE": np.greater_equal,
}  # fmt: skip


def _compare(a, b, *, direction):
    check_same((a, b))
    check_kind(a, "computed")
    if direction not in COMPARE:
        raise ArgumentError(f"direction={direction!r} is not one of {', '.join(COMPARE)}")
    if a.dtype.is_complex and direction not in ("EQ", "NE"):
        raise DTypeError(f"complex numbers have no order; {direction} needs real operands")
    return a.with_(dtype="bool")


def _compare_samples(d, rng):
    for direction in COMPARE:
        for s in pairs(d, rng):
            yield Sample(s.operands, {"direction": direction}, grad=False)


@op(
    infer=_compare,
    vjp=lambda g, y, a, b, *, direction: (None, None),
    samples=_compare_samples,
    dtypes=("float", "int", "uint", "bool"),
)
def compare(a, b, *, direction):
    """Comparison, elementwise: ``EQ NE LT LE GT GE``. NaN is unequal to everything."""
    return COMPARE[direction](a, b)


def _select(pred, on_true, on_false):
    check_same((on_true, on_false))
    check_kind(pred, "bool", "the predicate")
    if pred.shape != on_true.shape:
        raise ShapeError(f"the predicate has shape {pred.shape}, the branches {on_true.shape}")
    return on_true


def _select_samples(d, rng):
    for shape in ((3, 4), (), (0, 2)):
        yield Sample(
            (rng.integers(0, 2, shape).astype(bool), draw(d, rng, shape), draw(d, rng, shape))
        )
    values = special(d)  # what is not chosen does not count
    yield Sample((np.arange(values.size) % 2 == 0, values, values[::-1].copy()), grad=False)


@op(
    infer=_select,
    vjp=lambda g, y, p, a, b: (None, select(p, g, zeros_like(g)), select(p, zeros_like(g), g)),
    samples=_select_samples,
    dtypes="any",
)
def select(pred, on_true, on_false):
    """``on_true`` where ``pred``, else ``on_false``, elementwise."""
    return np.where(pred, on_true, on_false)


def _clamp_vjp(g, y, low, x, high):
    inside = and_(compare(x, low, direction="GE"), compare(x, high, direction="LE"))
    below, above = compare(x, low, direction="LT"), compare(x, high, direction="GT")
    zero = zeros_like(g)
    return tuple(select(p, g, zero) for p in (below, inside, above))


def _clamp_samples(d, rng):
    for shape in ((3, 4), (), (0,)):
        low, high = np.full(shape, 1, d.numpy), np.full(shape, 2, d.numpy)
        yield Sample((low, draw(d, rng, shape, -3, 4), high))
    x = special(d)
    yield Sample((np.full(x.shape, 0, d.numpy), x, np.full(x.shape, 2, d.numpy)), grad=False)


@op(infer=nary("real"), vjp=_clamp_vjp, samples=_clamp_samples, dtypes=("float", "int", "uint"))
def clamp(low, x, high):
    """``x`` kept within ``low`` and ``high``, elementwise; NaN stays."""
    return np.minimum(np.maximum(x, low), high)


def _bitcast(x, *, dtype):
    if dtype.bits != x.dtype.bits or "bool" in (dtype.kind, x.dtype.kind):
        raise DTypeError(f"cannot read the bits of {x.dtype} as {dtype}: the widths differ")
    return x.with_(dtype=dtype)


def _bitcast_samples(d, rng):
    if d.bits in (32, 64) and d.kind in ("float", "int", "uint"):
        for other in ("int", "uint", "float"):
            for shape in ((3,), (), (0, 2)):
                x = rng.uniform(1, 2, shape).astype(f"float{d.bits}").view(d.numpy)
                yield Sample((x,), {"dtype": f"{other}{d.bits}"}, grad=False)
            bits = np.array([0.0, -0.0, np.inf, -np.inf], f"float{d.bits}").view(d.numpy)
            yield Sample((bits,), {"dtype": f"{other}{d.bits}"}, grad=False)


@op(
    infer=_bitcast,
    vjp=NOT_DIFFERENTIABLE,
    samples=_bitcast_samples,
    dtypes=("float32", "float64", "int32", "int64", "uint32", "uint64"),
    bits=True,
)
def bitcast_convert(x, *, dtype):
    """The same bits read as another dtype of the same width."""
    return x.view(dtype.numpy)

"""Making, cutting and joining arrays."""

from __future__ import annotations

import numpy as np

from ..errors import ArgumentError, DTypeError, ShapeError
from ..op import Sample, composite, op
from ..spec import Spec
from ._build import full, literal
from ._infer import check_axes, check_length
from ._samples import awkward, draw, special
from .reductions import reduce_sum


def _iota(*, shape, dtype, axis):
    check_axes((axis,), len(shape), "axis")
    if dtype.kind == "bool":
        raise DTypeError("iota counts; a bool cannot")
    return Spec(shape, dtype)


def _iota_samples(d, rng):
    for shape, axis in (((4,), 0), ((2, 3), 1), ((0, 2), 1)):
        yield Sample((), {"shape": shape, "dtype": d, "axis": axis}, grad=False)


@op(
    infer=_iota,
    vjp=lambda g, y, *, shape, dtype, axis: (),
    samples=_iota_samples,
    dtypes=("float", "int", "uint"),
)
def iota(*, shape, dtype, axis):
    """Each element's index along ``axis``."""
    line = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(line, shape).astype(dtype.numpy)


def _slice(x, *, start, limit, strides):
    for name, seq in (("start", start), ("limit", limit), ("strides", strides)):
        check_length(seq, x.ndim, name)
    for i, (a, b, s) in enumerate(zip(start, limit, strides)):
        if not (0 <= a <= b <= x.shape[i] and s >= 1):
            raise ShapeError(f"axis {i} has length {x.shape[i]}; cannot cut {a}:{b}:{s} from it")
    return x.with_(tuple(-(-(b - a) // s) for a, b, s in zip(start, limit, strides)))


def _slice_vjp(g, y, x, *, start, limit, strides):
    # the last element kept stands at start + (n - 1) * stride; pad behind it up to the end
    high = [
        n - (a + (m - 1) * s + 1 if m else a)
        for n, a, s, m in zip(x.shape, start, strides, y.shape)
    ]
    return (pad(g, literal(0, g.dtype), low=start, high=high, interior=[s - 1 for s in strides]),)


def _slice_samples(d, rng):
    for shape, a, b, s in (
        ((5, 4), (1, 0), (5, 3), (2, 1)),
        ((6,), (2,), (2,), (1,)),
        ((), (), (), ()),
    ):
        yield Sample((draw(d, rng, shape),), {"start": a, "limit": b, "strides": s})
    for x in (awkward(d, (6,)), np.zeros((0,), d.numpy)):
        attrs = {"start": (0,), "limit": x.shape, "strides": (2,)}
        yield Sample((x,), attrs, grad=False)


@op(infer=_slice, vjp=_slice_vjp, samples=_slice_samples, dtypes="any")
def slice_(x, *, start, limit, strides):
    """``x[start:limit:strides]`` per axis (StableHLO slice); strides are positive."""
    return x[tuple(slice(a, b, s) for a, b, s in zip(start, limit, strides))]


def _pad(x, value, *, low, high, interior):
    if value.shape or value.dtype is not x.dtype:
        raise ShapeError(f"the padding value is {value}; needs a 0-d {x.dtype}")
    shape = []
    for name, seq in (("low", low), ("high", high), ("interior", interior)):
        check_length(seq, x.ndim, name)
    for i, (n, a, b, k) in enumerate(zip(x.shape, low, high, interior)):
        size = n + max(n - 1, 0) * k + a + b
        if k < 0 or size < 0:
            raise ShapeError(
                f"axis {i}: length {n} with low={a}, high={b}, interior={k} gives {size}"
            )
        shape.append(size)
    return x.with_(shape)


def _pad_vjp(g, y, x, value, *, low, high, interior):
    # undo the edges (negative padding puts zeros back), then take every (interior + 1)-th
    edged = pad(
        g,
        literal(0, g.dtype),
        low=[-a for a in low],
        high=[-b for b in high],
        interior=[0] * x.ndim,
    )
    dx = slice_(edged, start=[0] * x.ndim, limit=edged.shape, strides=[k + 1 for k in interior])
    axes = tuple(range(x.ndim))
    return dx, reduce_sum(g, axes=axes) - reduce_sum(dx, axes=axes)


def _pad_samples(d, rng):
    for shape, low, high, interior in (
        ((2, 3), (1, 0), (0, 2), (0, 1)), ((4,), (-1,), (-2,), (0,)), ((3,), (-2,), (1,), (2,)),
        ((0,), (1,), (1,), (0,)), ((), (), (), ()),
    ):  # fmt: skip
        attrs = {"low": low, "high": high, "interior": interior}
        yield Sample((draw(d, rng, shape), draw(d, rng, ())), attrs)
    attrs = {"low": (1,), "high": (-1,), "interior": (1,)}
    yield Sample((awkward(d, (5,)), special(d)[0]), attrs, grad=False)


@op(infer=_pad, vjp=_pad_vjp, samples=_pad_samples, dtypes="any")
def pad(x, value, *, low, high, interior):
    """``value`` around and between elements (StableHLO pad); negative edges cut."""
    spread = [n + max(n - 1, 0) * k for n, k in zip(x.shape, interior)]
    size = [n + max(a, 0) + max(b, 0) for n, a, b in zip(spread, low, high)]
    out = np.full(size, value, x.dtype)
    put = tuple(slice(max(a, 0), max(a, 0) + n, k + 1) for n, a, k in zip(spread, low, interior))
    out[put] = x
    return out[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, a, b in zip(size, low, high))]


def _concatenate(*xs, axis):
    if not xs:
        raise ArgumentError("there is nothing to join")
    check_axes((axis,), xs[0].ndim, "axis")
    for i, x in enumerate(xs[1:], 1):
        if x.dtype is not xs[0].dtype:
            raise DTypeError(f"operands 0 and {i} have dtypes {xs[0].dtype} and {x.dtype}")
        rest = [
            (a, b) for j, (a, b) in enumerate(zip(x.shape, xs[0].shape)) if j != axis and a != b
        ]
        if x.ndim != xs[0].ndim or rest:
            raise ShapeError(
                f"operands 0 and {i} have shapes {xs[0].shape} and {x.shape}; they may differ in axis "
                f"{axis} only"
            )
    shape = list(xs[0].shape)
    shape[axis] = sum(x.shape[axis] for x in xs)
    return xs[0].with_(shape)


def _concatenate_vjp(g, y, *xs, axis):
    out, at = [], 0
    for x in xs:
        start, limit = [0] * x.ndim, list(y.shape)
        start[axis], limit[axis] = at, at + x.shape[axis]
        out.append(slice_(g, start=start, limit=limit, strides=[1] * x.ndim))
        at += x.shape[axis]
    return tuple(out)


def _concatenate_samples(d, rng):
    for shapes, axis in ((((2, 3), (1, 3)), 0), (((2, 1), (2, 0), (2, 2)), 1), (((3,),), 0)):
        yield Sample(tuple(draw(d, rng, s) for s in shapes), {"axis": axis})
    yield Sample((special(d), awkward(d, (2,))), {"axis": 0}, grad=False)


@op(infer=_concatenate, vjp=_concatenate_vjp, samples=_concatenate_samples, dtypes="any")
def concatenate(*xs, axis):
    """The operands one after another along ``axis``."""
    return np.concatenate(xs, axis=axis)


def _split(x, *, sizes, axis):
    check_axes((axis,), x.ndim, "axis")
    if any(n < 0 for n in sizes) or sum(sizes) != x.shape[axis]:
        raise ShapeError(
            f"the sizes {sizes} must not be negative and add up to axis {axis}'s length {x.shape[axis]}"
        )
    return tuple(x.with_((*x.shape[:axis], n, *x.shape[axis + 1 :])) for n in sizes)


def _split_vjp(g, y, x, *, sizes, axis):
    # one copy, where the gradients of slices would be arrays of x's size each, added up
    return (concatenate(*[full(0, v.spec) if c is None else c for c, v in zip(g, y)], axis=axis),)


def _split_samples(d, rng):
    for shape, sizes, axis in (((2, 5), (1, 3, 1), 1), ((4,), (4,), 0), ((3, 2), (0, 3), 0)):
        yield Sample((draw(d, rng, shape),), {"sizes": sizes, "axis": axis})
    yield Sample((awkward(d, (5,)),), {"sizes": (2, 3), "axis": 0}, grad=False)


@composite(infer=_split, vjp=_split_vjp, samples=_split_samples, dtypes="any", multi=True)
def split(x, *, sizes, axis):
    """Parts of the given sizes, one after another along ``axis``."""
    out, at = [], 0
    for n in sizes:
        start, limit = [0] * x.ndim, list(x.shape)
        start[axis], limit[axis] = at, at + n
        out.append(slice_(x, start=start, limit=limit, strides=[1] * x.ndim))
        at += n
    return tuple(out)


def _reverse(x, *, axes):
    check_axes(axes, x.ndim)
    return x


def _reverse_samples(d, rng):
    for shape, axes in (((2, 3), (1,)), ((2, 3), (0, 1)), ((0,), (0,)), ((), ())):
        yield Sample((draw(d, rng, shape),), {"axes": axes})
    yield Sample((awkward(d, (2, 3)),), {"axes": (0, 1)}, grad=False)


@op(
    infer=_reverse,
    vjp=lambda g, y, x, *, axes: (reverse(g, axes=axes),),
    samples=_reverse_samples,
    dtypes="any",
)
def reverse(x, *, axes):
    """The elements in opposite order along ``axes``."""
    return np.flip(x, axes)


@op(
    infer=lambda *xs: xs,
    vjp=lambda g, y, *xs: g,
    samples=lambda d, rng: [
        Sample((draw(d, rng, (2, 3)), draw(d, rng, ()))),
        Sample((awkward(d, (2, 3)), draw(d, rng, (0,))), grad=False),
    ],
    dtypes="any",
    multi=True,
    shareable=False,
)
def optimization_barrier(*xs):
    """The operands unchanged; no optimiser moves or merges computation across it."""
    return xs

"""Reductions and cumulative operations over axes."""

from __future__ import annotations

import numpy as np

from ..dtypes import int64
from ..errors import ShapeError
from ..op import NOT_DIFFERENTIABLE, ZERO_GRADIENT, Sample, op
from ._build import limit
from ._infer import check_axes, check_kind, reduction
from ._samples import draw, shaped, special
from .structural import broadcast_in_dim, convert

_NUMBERS = ("float", "complex", "int", "uint")
_REAL = ("float", "int", "uint")
_samples = shaped(
    (2, 3),
    (2, 3, 2),
    (),
    (0, 3),
    attrs=[{"axes": (0,)}, {"axes": (0, 2)}, {"axes": ()}, {"axes": (0,)}],
    specials=True,
)


def spread(g, x, axes):
    """A reduced array back over the axes it was reduced along."""
    dims = tuple(i for i in range(x.ndim) if i not in axes)
    return broadcast_in_dim(g, shape=x.shape, dims=dims)


@op(
    infer=reduction("numeric"),
    vjp=lambda g, y, x, *, axes: (spread(g, x, axes),),
    samples=_samples,
    dtypes=_NUMBERS,
)
def reduce_sum(x, *, axes):
    """Sum over ``axes``, in the operand's dtype; of nothing it is 0."""
    return np.sum(x, axis=axes, dtype=x.dtype)


def _prod_vjp(g, y, x, *, axes):
    from .complexes import conj_if_complex as c
    from .structural import reshape, transpose

    # product of all others = those before times those after: right where factors are zero
    keep = tuple(i for i in range(x.ndim) if i not in axes)
    order = (*keep, *axes)
    flat = reshape(
        transpose(x, permutation=order), shape=(*[x.shape[i] for i in keep], _size(x, axes))
    )
    last = flat.ndim - 1
    before = _shifted(cumprod(flat, axis=last, reverse=False), last, 1)
    after = _shifted(cumprod(flat, axis=last, reverse=True), last, -1)
    others = transpose(
        reshape(before * after, shape=tuple(x.shape[i] for i in order)),
        permutation=tuple(int(i) for i in np.argsort(order)),
    )
    return (spread(g, x, axes) * c(others),)


def _size(x, axes):
    n = 1
    for a in axes:
        n *= x.shape[a]
    return n


def _shifted(x, axis, by):
    """Moved one place along ``axis``, a 1 coming in."""
    from ._build import literal
    from .shape import pad, slice_

    n = x.shape[axis]
    if n == 0:
        return x
    start, limit = [0] * x.ndim, list(x.shape)
    (start if by < 0 else limit)[axis] += 1 if by < 0 else -1
    low, high = [0] * x.ndim, [0] * x.ndim
    (low if by > 0 else high)[axis] = 1
    cut = slice_(x, start=start, limit=limit, strides=[1] * x.ndim)
    return pad(cut, literal(1, x.dtype), low=low, high=high, interior=[0] * x.ndim)


@op(infer=reduction("numeric"), vjp=_prod_vjp, samples=_samples, dtypes=_NUMBERS, ulps=8)
def reduce_prod(x, *, axes):
    """Product over ``axes``, in the operand's dtype; of nothing it is 1."""
    return np.prod(x, axis=axes, dtype=x.dtype)


def _extreme_vjp(g, y, x, *, axes):
    from .logic import compare

    # elements equal to the extreme share its cotangent
    hit = convert(compare(x, spread(y, x, axes), direction="EQ"), dtype=x.dtype)
    count = reduce_sum(hit, axes=axes)
    return (hit * spread(g / count, x, axes),)


def _extreme_samples(d, rng):
    yield from _samples(d, rng)
    if d.is_float:
        yield Sample((special(d),), {"axes": (0,)}, grad=False)


@op(infer=reduction("real"), vjp=_extreme_vjp, samples=_extreme_samples, dtypes=_REAL)
def reduce_max(x, *, axes):
    """Largest over ``axes``; NaN if any is; of nothing the lowest value of the dtype."""
    return np.max(x, axis=axes, initial=limit(x.dtype, "min"))


@op(infer=reduction("real"), vjp=_extreme_vjp, samples=_extreme_samples, dtypes=_REAL)
def reduce_min(x, *, axes):
    """Smallest over ``axes``; NaN if any is; of nothing the highest value of the dtype."""
    return np.min(x, axis=axes, initial=limit(x.dtype, "max"))


_bits = op(infer=reduction("bool"), vjp=NOT_DIFFERENTIABLE, samples=_samples, dtypes="bool")


@_bits
def reduce_and(x, *, axes):
    """Whether all are true over ``axes``."""
    return np.all(x, axis=axes)


@_bits
def reduce_or(x, *, axes):
    """Whether any is true over ``axes``."""
    return np.any(x, axis=axes)


def _arg(x, *, axis):
    check_kind(x, "real")
    check_axes((axis,), x.ndim, "axis")
    if x.shape[axis] == 0:
        raise ShapeError(f"axis {axis} of {x.shape} is empty: there is no extreme to find")
    return x.with_(tuple(n for i, n in enumerate(x.shape) if i != axis), int64)


def _arg_samples(d, rng):
    for shape, axis in (((2, 3), 1), ((4,), 0), ((2, 3, 2), 0)):
        yield Sample((draw(d, rng, shape),), {"axis": axis}, grad=False)
    for ties in (np.zeros((3, 2), d.numpy), np.zeros((0, 2), d.numpy)):
        yield Sample((ties,), {"axis": ties.ndim - 1 - bool(ties.size)}, grad=False)
    if d.is_float:
        yield Sample((special(d),), {"axis": 0}, grad=False)


_index = op(infer=_arg, vjp=ZERO_GRADIENT, samples=_arg_samples, dtypes=_REAL)


@_index
def argmax(x, *, axis):
    """Index of the largest along ``axis`` as int64; the first of equals; NaN counts as largest."""
    return np.argmax(x, axis=axis)


@_index
def argmin(x, *, axis):
    """Index of the smallest along ``axis`` as int64; the first of equals; NaN counts as smallest."""
    return np.argmin(x, axis=axis)


# ---- cumulative


def _cumulative(kind):
    def infer(x, *, axis, reverse):
        check_kind(x, kind)
        check_axes((axis,), x.ndim, "axis")
        return x

    return infer


def _cum_samples(d, rng):
    for shape, axis, reverse in (((2, 3), 1, False), ((4,), 0, True), ((0, 2), 0, False)):
        yield Sample((draw(d, rng, shape),), {"axis": axis, "reverse": reverse})
    for values in (special(d), special(d)[2:]):  # with NaN first, and without
        yield Sample((values,), {"axis": 0, "reverse": False}, grad=False)


def _along(fn, x, axis, reverse):
    flip = np.flip(x, axis) if reverse else x
    out = fn(flip, axis=axis, dtype=x.dtype)
    return np.flip(out, axis) if reverse else out


@op(
    infer=_cumulative("numeric"),
    vjp=lambda g, y, x, *, axis, reverse: (cumsum(g, axis=axis, reverse=not reverse),),
    samples=_cum_samples,
    dtypes=_NUMBERS,
    ulps=8,
)
def cumsum(x, *, axis, reverse=False):
    """Running sum along ``axis``; from the end with ``reverse``."""
    return _along(np.cumsum, x, axis, reverse)


def _cumprod_vjp(g, y, x, *, axis, reverse):
    from ..control import scan
    from .complexes import conj_if_complex as c
    from .structural import transpose

    # d y[j] / d x[i] = (product before i) * (product of i+1..j): run backward in time
    order = (axis, *[i for i in range(x.ndim) if i != axis])
    back = tuple(int(i) for i in np.argsort(order))
    before = _shifted(y, axis, -1 if reverse else 1)
    xs = tuple(transpose(v, permutation=order) for v in (g, x, before))
    from ._build import full

    def step(carry, v):  # carry: cotangent of the running product after this place
        gi, xi, bi = v
        total = carry + gi
        return total * c(xi), total * c(bi)

    first = full(0, xs[0].spec.with_(xs[0].shape[1:]))
    _, out = scan(step, first, xs, reverse=not reverse)
    return (transpose(out, permutation=back),)


@op(infer=_cumulative("numeric"), vjp=_cumprod_vjp, samples=_cum_samples, dtypes=_NUMBERS, ulps=8)
def cumprod(x, *, axis, reverse=False):
    """Running product along ``axis``; from the end with ``reverse``."""
    return _along(np.cumprod, x, axis, reverse)


def _cum_extreme_vjp(g, y, x, *, axis, reverse):
    from .logic import compare

    # the place each running extreme came from gets its cotangent: a new record is set there
    n = x.shape[axis]
    wide = (*x.shape[:axis], n, *x.shape[axis:])
    of_y = broadcast_in_dim(y, shape=wide, dims=tuple(i for i in range(len(wide)) if i != axis + 1))
    of_x = broadcast_in_dim(x, shape=wide, dims=tuple(i for i in range(len(wide)) if i != axis))
    order = np.tril(np.ones((n, n), bool)).T if reverse else np.tril(np.ones((n, n), bool))
    from ._build import literal

    mask = broadcast_in_dim(literal(order), shape=wide, dims=(axis, axis + 1))
    hit = convert(compare(of_x, of_y, direction="EQ"), dtype=x.dtype) * convert(mask, dtype=x.dtype)
    count = reduce_sum(hit, axes=(axis + 1,))
    share = broadcast_in_dim(
        g / count, shape=wide, dims=tuple(i for i in range(len(wide)) if i != axis + 1)
    )
    return (reduce_sum(hit * share, axes=(axis,)),)


_cum_extreme = op(
    infer=_cumulative("real"), vjp=_cum_extreme_vjp, samples=_cum_samples, dtypes=_REAL
)


@_cum_extreme
def cummax(x, *, axis, reverse=False):
    """Running maximum along ``axis``; from the end with ``reverse``."""
    return _along(np.maximum.accumulate, x, axis, reverse)


@_cum_extreme
def cummin(x, *, axis, reverse=False):
    """Running minimum along ``axis``; from the end with ``reverse``."""
    return _along(np.minimum.accumulate, x, axis, reverse)

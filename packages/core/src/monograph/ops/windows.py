"""Reductions over sliding windows, and the scatter and gather that are their gradients."""

from __future__ import annotations

import itertools

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..op import Sample, op
from ._build import limit, literal
from ._infer import check_kind
from ._samples import draw, special


def _out_shape(x, window, strides, padding, base_dilation, window_dilation):
    named = {
        "window": window, "strides": strides, "padding": padding,
        "base_dilation": base_dilation, "window_dilation": window_dilation,
    }  # fmt: skip
    for name, seq in named.items():
        if len(seq) != len(x):
            raise ArgumentError(f"{name}={seq} has {len(seq)} entries for {len(x)} axes")
        if name != "padding" and any(s < 1 for s in seq):
            raise ArgumentError(f"{name}={seq}: every entry must be at least 1")
    out = []
    for n, w, s, p, b, r in zip(x, window, strides, padding, base_dilation, window_dilation):
        room = ((n - 1) * b + 1 if n else 0) + sum(p) - ((w - 1) * r + 1)
        out.append(room // s + 1 if room >= 0 else 0)
    return tuple(out)


def _infer(x, **attrs):
    check_kind(x, "real")
    return x.with_(_out_shape(x.shape, **attrs))


def _parts(x, fill, window, strides, padding, base_dilation, window_dilation):
    """For each place in the window: the view of padded ``x`` it sees."""
    from .shape import pad

    shape = _out_shape(x.shape, window, strides, padding, base_dilation, window_dilation)
    padded = pad.reference(
        x, fill, low=[p[0] for p in padding], high=[p[1] for p in padding],
        interior=[b - 1 for b in base_dilation],
    )  # fmt: skip
    for at in itertools.product(*[range(w) for w in window]):
        yield (
            at,
            padded[
                tuple(
                    slice(i * r, i * r + (m - 1) * s + 1 if m else i * r, s)
                    for i, r, s, m in zip(at, window_dilation, strides, shape)
                )
            ],
        )


def _fold(combine, fill, x, attrs):
    out = None
    for _, part in _parts(x, fill, **attrs):
        out = part.copy() if out is None else combine(out, part)
    return out


def _plain(attrs):
    if any(b != 1 for b in (*attrs["base_dilation"], *attrs["window_dilation"])):
        from ..errors import NotDifferentiable

        raise NotDifferentiable(
            "the gradient of a maximum or minimum over dilated windows is not defined here"
        )
    return {k: attrs[k] for k in ("window", "strides", "padding")}


def _sum_vjp(g, y, x, *, window, strides, padding, base_dilation, window_dilation):
    # the transpose: spread g by the strides, sum over the same window reversed (it is symmetric)
    low, high, limit = [], [], []
    for n, m, w, s, p, b, r in zip(
        x.shape, y.shape, window, strides, padding, base_dilation, window_dilation
    ):
        reach, size = (w - 1) * r, ((n - 1) * b + 1 if n else 0)
        spread = (m - 1) * s + 1 if m else 0
        low.append(reach - p[0])
        high.append(size + p[0] - spread)
        limit.append(size)
    from .shape import pad, slice_

    interior = [s - 1 for s in strides]
    wide = pad(g, literal(0, g.dtype), low=low, high=high, interior=interior)
    ones = (1,) * x.ndim
    full = reduce_window_sum(
        wide, window=window, strides=ones, padding=((0, 0),) * x.ndim, base_dilation=ones,
        window_dilation=window_dilation,
    )  # fmt: skip
    return (slice_(full, start=[0] * x.ndim, limit=limit, strides=base_dilation),)


def _cases(plain):
    def make(d, rng):
        for shape, w, s, p, b, r in (
            ((4, 5), (2, 2), (2, 1), ((0, 0), (1, 0)), (1, 1), (1, 1)),
            ((6,), (3,), (2,), ((1, 1),), (1,), (1,)),
            ((1, 4, 4, 2), (1, 2, 2, 1), (1, 2, 2, 1), ((0, 0),) * 4, (1,) * 4, (1,) * 4),
            ((5, 3), (2, 2), (1, 2), ((1, 0), (0, 1)), (2, 1), (2, 1)),
            ((0, 3), (1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1)),
        ):
            dilated = max(b) > 1 or max(r) > 1
            n = int(np.prod(shape))
            x = rng.permutation(n).reshape(shape) if plain else draw(d, rng, shape)
            attrs = {
                "window": w,
                "strides": s,
                "padding": p,
                "base_dilation": b,
                "window_dilation": r,
            }
            yield Sample((np.asarray(x).astype(d.numpy),), attrs, grad=not (plain and dilated))
        one = {"window": (2,), "strides": (1,), "padding": ((1, 1),), "base_dilation": (1,)}
        yield Sample((special(d),), {**one, "window_dilation": (1,)}, grad=False)

    return make


@op(infer=_infer, vjp=_sum_vjp, samples=_cases(False), dtypes=("float", "int", "uint"), ulps=8)
def reduce_window_sum(x, *, window, strides, padding, base_dilation, window_dilation):
    """Sum over each window; padding counts as 0. All attributes have one entry per axis."""
    attrs = {
        "window": window,
        "strides": strides,
        "padding": padding,
        "base_dilation": base_dilation,
        "window_dilation": window_dilation,
    }
    return _fold(np.add, x.dtype.type(0), x, attrs)


def _extreme_vjp(kind):
    def vjp(g, y, x, **attrs):
        return (select_and_scatter(x, g, kind=kind, **_plain(attrs)),)

    return vjp


@op(infer=_infer, vjp=_extreme_vjp("max"), samples=_cases(True), dtypes=("float", "int", "uint"))
def reduce_window_max(x, *, window, strides, padding, base_dilation, window_dilation):
    """Largest of each window; padding counts as the lowest value; NaN if any is."""
    attrs = {
        "window": window,
        "strides": strides,
        "padding": padding,
        "base_dilation": base_dilation,
        "window_dilation": window_dilation,
    }
    return _fold(np.maximum, _identity(x, "max"), x, attrs)


@op(infer=_infer, vjp=_extreme_vjp("min"), samples=_cases(True), dtypes=("float", "int", "uint"))
def reduce_window_min(x, *, window, strides, padding, base_dilation, window_dilation):
    """Smallest of each window; padding counts as the highest value; NaN if any is."""
    attrs = {
        "window": window,
        "strides": strides,
        "padding": padding,
        "base_dilation": base_dilation,
        "window_dilation": window_dilation,
    }
    return _fold(np.minimum, _identity(x, "min"), x, attrs)


def _identity(x, kind):
    return x.dtype.type(limit(x.dtype, "min" if kind == "max" else "max"))


def _chosen(x, window, strides, padding, kind):
    """Flat index into ``x`` of each window's first extreme element."""
    ones = (1,) * x.ndim
    attrs = {
        "window": window,
        "strides": strides,
        "padding": padding,
        "base_dilation": ones,
        "window_dilation": ones,
    }
    places = np.arange(x.size).reshape(x.shape)
    best, where = None, None
    for (_, v), (_, i) in zip(_parts(x, _identity(x, kind), **attrs), _parts(places, -1, **attrs)):
        if best is None:
            best, where = v.copy(), i.copy()
        else:
            assert where is not None
            take = (
                ((v > best) if kind == "max" else (v < best))
                | ((where < 0) & (i >= 0))
                | (np.isnan(v) & ~np.isnan(best))
            )
            best, where = np.where(take, v, best), np.where(take, i, where)
    return where


def _pair(x, other, *, window, strides, padding, kind):
    check_kind(x, "float")
    if kind not in ("max", "min"):
        raise ArgumentError(f"kind={kind!r} is neither max nor min")
    ones = (1,) * x.ndim
    return _out_shape(x.shape, window, strides, padding, ones, ones)


def _scatter_spec(x, source, **attrs):
    if _pair(x, source, **attrs) != source.shape:
        raise ShapeError(
            f"source has shape {source.shape}, the windows {_pair(x, source, **attrs)}"
        )
    return x


def _gather_spec(x, t, **attrs):
    if t.shape != x.shape:
        raise ShapeError(f"the operands have shapes {x.shape} and {t.shape}; they must be equal")
    return x.with_(_pair(x, t, **attrs))


def _select_cases(scatter):
    def make(d, rng):
        for shape, w, s, p in (
            ((4, 5), (2, 2), (2, 1), ((0, 0), (0, 0))),
            ((6,), (3,), (2,), ((1, 1),)),
            ((1, 4, 4, 2), (1, 2, 2, 1), (1, 2, 2, 1), ((0, 0),) * 4),
        ):
            x = rng.permutation(int(np.prod(shape))).reshape(shape).astype(d.numpy)
            ones = (1,) * len(shape)
            other = _out_shape(shape, w, s, p, ones, ones) if scatter else shape
            for kind in ("max", "min"):
                attrs = {"window": w, "strides": s, "padding": p, "kind": kind}
                yield Sample((x, draw(d, rng, other)), attrs)
        for x in (np.array([1, 1, 0, 0, 2, 2], d.numpy), np.zeros((0,), d.numpy)):  # ties; empty
            other = (max(x.size - 1, 0),) if scatter else x.shape
            attrs = {"window": (2,), "strides": (1,), "padding": ((0, 0),), "kind": "max"}
            yield Sample((x, draw(d, rng, other)), attrs, grad=False)

    return make


@op(
    infer=_scatter_spec,
    vjp=lambda g, y, x, source, **attrs: (None, select_and_gather(x, g, **attrs)),
    samples=_select_cases(True),
    ulps=8,
)
def select_and_scatter(x, source, *, window, strides, padding, kind):
    """Add each of ``source`` where its window of ``x`` has its first extreme (StableHLO)."""
    out = np.zeros(x.size, source.dtype)
    at = _chosen(x, window, strides, padding, kind).ravel()
    np.add.at(out, at[at >= 0], source.ravel()[at >= 0])
    return out.reshape(x.shape)


@op(
    infer=_gather_spec,
    vjp=lambda g, y, x, t, **attrs: (None, select_and_scatter(x, g, **attrs)),
    samples=_select_cases(False),
)
def select_and_gather(x, t, *, window, strides, padding, kind):
    """For each window of ``x``, the element of ``t`` where it has its first extreme."""
    at = _chosen(x, window, strides, padding, kind)
    return np.where(at >= 0, t.ravel()[np.maximum(at, 0)], 0)

"""Layer, root-mean-square and batch normalisation over the channels, which come last."""

from __future__ import annotations

import numpy as np

from ..errors import ShapeError
from ..op import Sample, composite
from ..spec import Spec
from ._build import added
from ._infer import check_kind
from ._samples import draw
from ._wide import as_like, statistics_dtype, widened
from .reductions import reduce_sum, spread
from .structural import broadcast_in_dim
from .transcendental import rsqrt


def _vector(v, x):
    """``v [channels]`` over ``x [..., channels]``."""
    return broadcast_in_dim(v, shape=x.shape, dims=(x.ndim - 1,))


def _channels(x, *vectors):
    check_kind(x, "float")
    if x.ndim < 1:
        raise ShapeError("needs at least one axis, the channels")
    for v in vectors:
        if v.shape != (x.shape[-1],):
            raise ShapeError(
                f"a per-channel operand has shape {v.shape}, expected {(x.shape[-1],)}"
            )


def _layer_norm(x, scale, bias, *, epsilon):
    _channels(x, scale, bias)
    rows = Spec(x.shape[:-1], statistics_dtype(x))
    return x, rows, rows


def _layer_norm_vjp(g, y, x, scale, bias, *, epsilon):
    (dy, dmean, drstd), (_, mean, rstd) = g, y
    dx = dscale = dbias = None
    if dy is not None:
        dx, dscale, dbias = layer_norm_backward(dy, x, scale, mean, rstd)
    # statistics are outputs too: what flows into them flows on through their definitions
    w, each, axes = widened(x), 1.0 / max(x.shape[-1], 1), (x.ndim - 1,)
    if dmean is not None:
        dx = added(dx, as_like(spread(dmean * each, w, axes), x))
    if drstd is not None:
        slope = spread(rstd * rstd * rstd * drstd * -each, w, axes)
        dx = added(dx, as_like((w - spread(mean, w, axes)) * slope, x))
    return dx, dscale, dbias


def _norm_samples(d, rng):
    for shape in ((3, 4), (2, 2, 5)):
        n = shape[-1]
        x, s, b = draw(d, rng, shape), draw(d, rng, (n,)), draw(d, rng, (n,))
        yield Sample((x, s, b), {"epsilon": 1e-3})


@composite(infer=_layer_norm, vjp=_layer_norm_vjp, samples=_norm_samples, multi=True, ulps=64)
def layer_norm(x, scale, bias, *, epsilon):
    """Rows of ``x [..., channels]`` to mean 0, variance 1, then scaled and shifted (Ba et al. 2016).

    Yields the result, and per row the mean and ``1 / sqrt(variance + epsilon)``.
    """
    w, n, axes = widened(x), x.shape[-1], (x.ndim - 1,)
    mean = reduce_sum(w, axes=axes) * (1.0 / n)
    low = w - spread(mean, w, axes)
    rstd = rsqrt(reduce_sum(low * low, axes=axes) * (1.0 / n) + epsilon)
    y = low * spread(rstd, w, axes) * _vector(widened(scale), w) + _vector(widened(bias), w)
    return as_like(y, x), mean, rstd


def _norm_grad_samples(d, rng):
    for s in _norm_samples(d, rng):
        x, scale, _ = s.operands
        stat = x.dtype if x.dtype.itemsize >= 4 else np.float32
        w = x.astype("float64")
        mean, rstd = w.mean(-1), 1 / np.sqrt(w.var(-1) + 1e-3)
        yield Sample((draw(d, rng, x.shape), x, scale, mean.astype(stat), rstd.astype(stat)))


@composite(
    infer=lambda g, x, scale, mean, rstd: (x, scale, scale),
    samples=_norm_grad_samples,
    multi=True,
    ulps=64,
)
def layer_norm_backward(g, x, scale, mean, rstd):
    """Cotangents of `layer_norm`'s ``x``, ``scale`` and ``bias`` from that of its first result."""
    w, gw, n, axes = widened(x), widened(g), x.shape[-1], (x.ndim - 1,)
    r = spread(rstd, w, axes)
    xhat = (w - spread(mean, w, axes)) * r
    gs = gw * _vector(widened(scale), w)
    a = spread(reduce_sum(gs, axes=axes) * (1.0 / n), w, axes)
    b = spread(reduce_sum(gs * xhat, axes=axes) * (1.0 / n), w, axes)
    rest = tuple(range(x.ndim - 1))
    dscale, dbias = reduce_sum(gw * xhat, axes=rest), reduce_sum(gw, axes=rest)
    return as_like((gs - a - xhat * b) * r, x), as_like(dscale, scale), as_like(dbias, scale)


def _rms_norm(x, scale, *, epsilon):
    _channels(x, scale)
    return x, Spec(x.shape[:-1], statistics_dtype(x))


@composite(
    infer=_rms_norm,
    samples=lambda d, rng: (Sample(s.operands[:2], s.attrs) for s in _norm_samples(d, rng)),
    multi=True,
    ulps=64,
)
def rms_norm(x, scale, *, epsilon):
    """Rows divided by their root mean square, then scaled (Zhang and Sennrich 2019).

    Yields the result, and per row ``1 / sqrt(mean square + epsilon)``.
    """
    w, axes = widened(x), (x.ndim - 1,)
    rstd = rsqrt(reduce_sum(w * w, axes=axes) * (1.0 / x.shape[-1]) + epsilon)
    return as_like(w * spread(rstd, w, axes) * _vector(widened(scale), w), x), rstd


def _batch_norm(x, scale, bias, *, epsilon):
    _channels(x, scale, bias)
    stats = Spec((x.shape[-1],), statistics_dtype(x))
    return x, stats, stats


def _batch_norm_vjp(g, y, x, scale, bias, *, epsilon):
    (dy, dmean, dvar), (_, mean, var) = g, y
    dx = dscale = dbias = None
    if dy is not None:
        dx, dscale, dbias = batch_norm_backward(dy, x, scale, mean, var, epsilon=epsilon)
    w, each = widened(x), 1.0 / max(x.size // max(x.shape[-1], 1), 1)
    if dmean is not None:
        dx = added(dx, as_like(_vector(dmean * each, w), x))
    if dvar is not None:
        dx = added(dx, as_like((w - _vector(mean, w)) * _vector(dvar * (2.0 * each), w), x))
    return dx, dscale, dbias


@composite(infer=_batch_norm, vjp=_batch_norm_vjp, samples=_norm_samples, multi=True, ulps=64)
def batch_norm_training(x, scale, bias, *, epsilon):
    """Channels of ``x [..., channels]`` to mean 0, variance 1 over all other axes, scaled, shifted.

    Ioffe and Szegedy 2015. Yields the result, the batch mean and the (biased) batch variance.
    """
    w, rest = widened(x), tuple(range(x.ndim - 1))
    n = x.size // max(x.shape[-1], 1)
    mean = reduce_sum(w, axes=rest) * (1.0 / n)
    low = w - _vector(mean, w)
    var = reduce_sum(low * low, axes=rest) * (1.0 / n)
    factor = rsqrt(var + epsilon) * widened(scale)
    return as_like(low * _vector(factor, w) + _vector(widened(bias), w), x), mean, var


def _batch_grad_samples(d, rng):
    for s in _norm_samples(d, rng):
        x, scale, _ = s.operands
        stat = x.dtype if x.dtype.itemsize >= 4 else np.float32
        w = x.astype("float64").reshape(-1, x.shape[-1])
        stats = (w.mean(0).astype(stat), w.var(0).astype(stat))
        yield Sample((draw(d, rng, x.shape), x, scale, *stats), s.attrs)


@composite(
    infer=lambda g, x, scale, mean, var, *, epsilon: (x, scale, scale),
    samples=_batch_grad_samples,
    multi=True,
    ulps=64,
)
def batch_norm_backward(g, x, scale, mean, var, *, epsilon):
    """Cotangents of `batch_norm_training`'s ``x``, ``scale``, ``bias`` from that of its result."""
    w, gw, rest = widened(x), widened(g), tuple(range(x.ndim - 1))
    n = x.size // max(x.shape[-1], 1)
    rstd = rsqrt(var + epsilon)
    xhat = (w - _vector(mean, w)) * _vector(rstd, w)
    dbias, dscale = reduce_sum(gw, axes=rest), reduce_sum(gw * xhat, axes=rest)
    inner = gw - _vector(dbias * (1.0 / n), w) - xhat * _vector(dscale * (1.0 / n), w)
    dx = inner * _vector(rstd * widened(scale), w)
    return as_like(dx, x), as_like(dscale, scale), as_like(dbias, scale)

"""Layer, root-mean-square and batch normalisation over the channels, which come last."""

from __future__ import annotations

import math

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


def _rows(x):
    """How many rows ``x [..., channels]`` has."""
    return math.prod(x.shape[:-1])


def _average(total, n):
    """``total`` over ``n``; 0 where there is nothing to average, so that gradients stay finite."""
    return total * (1.0 / max(n, 1))


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
    w, n, axes = widened(x), x.shape[-1], (x.ndim - 1,)
    if dmean is not None:
        dx = added(dx, as_like(spread(_average(dmean, n), w, axes), x))
    if drstd is not None:
        slope = spread(_rstd_slope(rstd, drstd, n), w, axes)
        dx = added(dx, as_like((w - spread(mean, w, axes)) * slope, x))
    return dx, dscale, dbias


def _rstd_slope(rstd, drstd, n):
    """What ``drstd`` sends back per unit of deviation, of ``n`` of them."""
    return _average(-(rstd * rstd * rstd * drstd), n)


def _norm_samples(d, rng):
    for shape in ((3, 4), (2, 2, 5), (0, 3)):
        n = shape[-1]
        x, s, b = draw(d, rng, shape), draw(d, rng, (n,)), draw(d, rng, (n,))
        yield Sample((x, s, b), {"epsilon": 1e-3})


@composite(infer=_layer_norm, vjp=_layer_norm_vjp, samples=_norm_samples, multi=True, ulps=64)
def layer_norm(x, scale, bias, *, epsilon):
    """Rows of ``x [..., channels]`` to mean 0, variance 1, then scaled and shifted (Ba et al. 2016).

    Yields the result, and per row the mean and ``1 / sqrt(variance + epsilon)``.
    """
    w, n, axes = widened(x), x.shape[-1], (x.ndim - 1,)
    mean = _average(reduce_sum(w, axes=axes), n)
    low = w - spread(mean, w, axes)
    rstd = rsqrt(_average(reduce_sum(low * low, axes=axes), n) + epsilon)
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
    a = spread(_average(reduce_sum(gs, axes=axes), n), w, axes)
    b = spread(_average(reduce_sum(gs * xhat, axes=axes), n), w, axes)
    rest = tuple(range(x.ndim - 1))
    dscale, dbias = reduce_sum(gw * xhat, axes=rest), reduce_sum(gw, axes=rest)
    return as_like((gs - a - xhat * b) * r, x), as_like(dscale, scale), as_like(dbias, scale)


def _rms_norm(x, scale, *, epsilon):
    _channels(x, scale)
    return x, Spec(x.shape[:-1], statistics_dtype(x))


def _rms_norm_vjp(g, y, x, scale, *, epsilon):
    (dy, drstd), (_, rstd) = g, y
    dx = dscale = None
    if dy is not None:
        dx, dscale = rms_norm_backward(dy, x, scale, rstd)
    if drstd is not None:
        w = widened(x)
        slope = spread(_rstd_slope(rstd, drstd, x.shape[-1]), w, (x.ndim - 1,))
        dx = added(dx, as_like(w * slope, x))
    return dx, dscale


@composite(
    infer=_rms_norm,
    vjp=_rms_norm_vjp,
    samples=lambda d, rng: (Sample(s.operands[:2], s.attrs) for s in _norm_samples(d, rng)),
    multi=True,
    ulps=64,
)
def rms_norm(x, scale, *, epsilon):
    """Rows divided by their root mean square, then scaled (Zhang and Sennrich 2019).

    Yields the result, and per row ``1 / sqrt(mean square + epsilon)``.
    """
    w, axes = widened(x), (x.ndim - 1,)
    rstd = rsqrt(_average(reduce_sum(w * w, axes=axes), x.shape[-1]) + epsilon)
    return as_like(w * spread(rstd, w, axes) * _vector(widened(scale), w), x), rstd


def _rms_grad_samples(d, rng):
    for s in _norm_grad_samples(d, rng):
        g, x, scale, _, _ = s.operands
        square = np.mean(x.astype("float64") ** 2, -1)
        rstd = 1 / np.sqrt(square + 1e-3)
        yield Sample((g, x, scale, rstd.astype(s.operands[4].dtype)))


@composite(
    infer=lambda g, x, scale, rstd: (x, scale), samples=_rms_grad_samples, multi=True, ulps=64
)
def rms_norm_backward(g, x, scale, rstd):
    """Cotangents of `rms_norm`'s ``x`` and ``scale`` from that of its first result."""
    w, gw, axes = widened(x), widened(g), (x.ndim - 1,)
    r = spread(rstd, w, axes)
    xhat, gs = w * r, gw * _vector(widened(scale), w)
    along = spread(_average(reduce_sum(gs * xhat, axes=axes), x.shape[-1]), w, axes)
    dscale = reduce_sum(gw * xhat, axes=tuple(range(x.ndim - 1)))
    return as_like((gs - xhat * along) * r, x), as_like(dscale, scale)


def _batch_norm(x, scale, bias, *, epsilon):
    _channels(x, scale, bias)
    stats = Spec((x.shape[-1],), statistics_dtype(x))
    return x, stats, stats


def _batch_norm_vjp(g, y, x, scale, bias, *, epsilon):
    (dy, dmean, dvar), (_, mean, var) = g, y
    dx = dscale = dbias = None
    if dy is not None:
        dx, dscale, dbias = batch_norm_backward(dy, x, scale, mean, var, epsilon=epsilon)
    w, n = widened(x), _rows(x)
    if dmean is not None:
        dx = added(dx, as_like(_vector(_average(dmean, n), w), x))
    if dvar is not None:
        dx = added(dx, as_like((w - _vector(mean, w)) * _vector(_average(2.0 * dvar, n), w), x))
    return dx, dscale, dbias


@composite(infer=_batch_norm, vjp=_batch_norm_vjp, samples=_norm_samples, multi=True, ulps=64)
def batch_norm_training(x, scale, bias, *, epsilon):
    """Channels of ``x [..., channels]`` to mean 0, variance 1 over all other axes, scaled, shifted.

    Ioffe and Szegedy 2015. Yields the result, the batch mean and the (biased) batch variance;
    both are 0 for a batch without rows.
    """
    w, n, rest = widened(x), _rows(x), tuple(range(x.ndim - 1))
    mean = _average(reduce_sum(w, axes=rest), n)
    low = w - _vector(mean, w)
    var = _average(reduce_sum(low * low, axes=rest), n)
    factor = rsqrt(var + epsilon) * widened(scale)
    return as_like(low * _vector(factor, w) + _vector(widened(bias), w), x), mean, var


def _batch_grad_samples(d, rng):
    for s in _norm_samples(d, rng):
        x, scale, _ = s.operands
        stat = x.dtype if x.dtype.itemsize >= 4 else np.float32
        w = x.astype("float64").reshape(-1, x.shape[-1])
        n = max(len(w), 1)
        mean = w.sum(0) / n
        var = ((w - mean) ** 2).sum(0) / n
        stats = (mean.astype(stat), var.astype(stat))
        yield Sample((draw(d, rng, x.shape), x, scale, *stats), s.attrs)


@composite(
    infer=lambda g, x, scale, mean, var, *, epsilon: (x, scale, scale),
    samples=_batch_grad_samples,
    multi=True,
    ulps=64,
)
def batch_norm_backward(g, x, scale, mean, var, *, epsilon):
    """Cotangents of `batch_norm_training`'s ``x``, ``scale``, ``bias`` from that of its result."""
    w, gw, n, rest = widened(x), widened(g), _rows(x), tuple(range(x.ndim - 1))
    rstd = rsqrt(var + epsilon)
    xhat = (w - _vector(mean, w)) * _vector(rstd, w)
    dbias, dscale = reduce_sum(gw, axes=rest), reduce_sum(gw * xhat, axes=rest)
    inner = gw - _vector(_average(dbias, n), w) - xhat * _vector(_average(dscale, n), w)
    dx = inner * _vector(rstd * widened(scale), w)
    return as_like(dx, x), as_like(dscale, scale), as_like(dbias, scale)

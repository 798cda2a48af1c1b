"""Composites that engines have natively: activations, normalisation, losses, updates.

Statistics of 16-bit floats are computed in float32, as every engine's native kernel does.
"""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import float32, int64
from ..errors import DTypeError, ShapeError
from ..op import NOT_DIFFERENTIABLE, Sample, composite
from ..spec import Spec
from ._infer import check_axes, check_kind
from ._samples import draw, elementwise, shaped
from .reductions import reduce_max, reduce_sum, spread
from .structural import broadcast_in_dim, convert, stop_gradient
from .transcendental import erf, exponential, exponential_minus_one, log, logistic, rsqrt, tanh


def _wide(x):
    """The dtype to compute in: float32 for 16-bit floats."""
    return convert(x, dtype=float32) if x.dtype.is_float and x.dtype.bits < 32 else x


def _like(y, x):
    return convert(y, dtype=x.dtype) if y.dtype is not x.dtype else y


def _axis_spec(x, *, axis):
    check_kind(x, "float")
    check_axes((axis,), x.ndim, "axis")
    return x


_axis_samples = shaped((3, 4), (2, 3), (0, 3), attrs=[{"axis": 1}, {"axis": 0}, {"axis": 1}])
_grad_samples = shaped((3, 4), (2, 3), attrs=[{"axis": 1}, {"axis": 0}], arity=2)


@composite(
    infer=_axis_spec,
    vjp=lambda g, y, x, *, axis: (softmax_backward(g, y, axis=axis),),
    samples=_axis_samples,
)
def softmax(x, *, axis):
    """``exp(x) / sum(exp(x))`` along ``axis``."""
    w = _wide(x)
    e = exponential(w - spread(stop_gradient(reduce_max(w, axes=(axis,))), w, (axis,)))
    return _like(e / spread(reduce_sum(e, axes=(axis,)), e, (axis,)), x)


@composite(infer=lambda g, y, *, axis: _axis_spec(y, axis=axis), samples=_grad_samples)
def softmax_backward(g, y, *, axis):
    """The cotangent of `softmax`'s input from that of its output ``y``."""
    gw, yw = _wide(g), _wide(y)
    return _like(yw * (gw - spread(reduce_sum(gw * yw, axes=(axis,)), yw, (axis,))), y)


@composite(
    infer=_axis_spec,
    vjp=lambda g, y, x, *, axis: (log_softmax_backward(g, y, axis=axis),),
    samples=_axis_samples,
)
def log_softmax(x, *, axis):
    """``x - log(sum(exp(x)))`` along ``axis``."""
    w = _wide(x)
    low = w - spread(stop_gradient(reduce_max(w, axes=(axis,))), w, (axis,))
    return _like(low - spread(log(reduce_sum(exponential(low), axes=(axis,))), w, (axis,)), x)


@composite(infer=lambda g, y, *, axis: _axis_spec(y, axis=axis), samples=_grad_samples)
def log_softmax_backward(g, y, *, axis):
    """The cotangent of `log_softmax`'s input from that of its output ``y``."""
    gw, yw = _wide(g), _wide(y)
    return _like(gw - exponential(yw) * spread(reduce_sum(gw, axes=(axis,)), yw, (axis,)), y)


# ---- activations


def _gelu_samples(arity):
    def make(d, rng):
        for s in elementwise(arity=arity, specials=False)(d, rng):
            for approximate in (False, True):
                yield Sample(s.operands, {"approximate": approximate})

    return make


@composite(
    vjp=lambda g, y, x, *, approximate: (gelu_backward(g, x, approximate=approximate),),
    samples=_gelu_samples(1),
)
def gelu(x, *, approximate=False):
    """``x`` times the normal distribution function of ``x`` (Hendrycks and Gimpel 2016).

    ``approximate``: by tanh, as GPT-2 and BERT's first release.
    """
    w = _wide(x)
    if approximate:
        inner = math.sqrt(2 / math.pi) * (w + 0.044715 * (w * w * w))
        return _like(0.5 * w * (1.0 + tanh(inner)), x)
    return _like(0.5 * w * (1.0 + erf(w * math.sqrt(0.5))), x)


@composite(samples=_gelu_samples(2))
def gelu_backward(g, x, *, approximate=False):
    """The cotangent of `gelu`'s input."""
    w, gw = _wide(x), _wide(g)
    if approximate:
        c = math.sqrt(2 / math.pi)
        t = tanh(c * (w + 0.044715 * (w * w * w)))
        slope = 0.5 * (1.0 + t) + 0.5 * w * (1.0 - t * t) * (c * (1.0 + 3 * 0.044715 * (w * w)))
    else:
        slope = 0.5 * (1.0 + erf(w * math.sqrt(0.5)))
        slope = slope + w * exponential(-0.5 * (w * w)) * (1 / math.sqrt(2 * math.pi))
    return _like(gw * slope, x)


@composite(vjp=lambda g, y, x: (silu_backward(g, x),), samples=elementwise(specials=False))
def silu(x):
    """``x * logistic(x)`` (Elfwing et al. 2018), also called swish."""
    w = _wide(x)
    return _like(w * logistic(w), x)


@composite(samples=elementwise(arity=2, specials=False))
def silu_backward(g, x):
    """The cotangent of `silu`'s input."""
    w = _wide(x)
    s = logistic(w)
    return _like(_wide(g) * (s * (1.0 + w * (1.0 - s))), x)


# ---- normalisation


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


def _stat(x):
    return x.dtype if x.dtype.bits >= 32 else float32


def _layer_norm(x, scale, bias, *, epsilon):
    _channels(x, scale, bias)
    rows = Spec(x.shape[:-1], _stat(x))
    return x, rows, rows


def _layer_norm_vjp(g, y, x, scale, bias, *, epsilon):
    dy, dmean, drstd = g
    dx, dscale, dbias = layer_norm_backward(dy, x, scale, y[1], y[2])
    # statistics are outputs too: what flows into them flows on through their definitions
    w, n = _wide(x), x.shape[-1]
    axes = (x.ndim - 1,)
    xhat_scaled = (w - spread(y[1], w, axes)) * spread(y[2] * y[2] * y[2] * drstd, w, axes)
    extra = (spread(dmean, w, axes) - xhat_scaled) * (1.0 / n)
    return dx + _like(extra, x), dscale, dbias


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
    w, n, axes = _wide(x), x.shape[-1], (x.ndim - 1,)
    mean = reduce_sum(w, axes=axes) * (1.0 / n)
    low = w - spread(mean, w, axes)
    rstd = rsqrt(reduce_sum(low * low, axes=axes) * (1.0 / n) + epsilon)
    y = low * spread(rstd, w, axes) * _vector(_wide(scale), w) + _vector(_wide(bias), w)
    return _like(y, x), mean, rstd


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
    w, gw, n, axes = _wide(x), _wide(g), x.shape[-1], (x.ndim - 1,)
    r = spread(rstd, w, axes)
    xhat = (w - spread(mean, w, axes)) * r
    gs = gw * _vector(_wide(scale), w)
    a = spread(reduce_sum(gs, axes=axes) * (1.0 / n), w, axes)
    b = spread(reduce_sum(gs * xhat, axes=axes) * (1.0 / n), w, axes)
    rest = tuple(range(x.ndim - 1))
    dscale, dbias = reduce_sum(gw * xhat, axes=rest), reduce_sum(gw, axes=rest)
    return _like((gs - a - xhat * b) * r, x), _like(dscale, scale), _like(dbias, scale)


def _rms_norm(x, scale, *, epsilon):
    _channels(x, scale)
    return x, Spec(x.shape[:-1], _stat(x))


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
    w, axes = _wide(x), (x.ndim - 1,)
    rstd = rsqrt(reduce_sum(w * w, axes=axes) * (1.0 / x.shape[-1]) + epsilon)
    return _like(w * spread(rstd, w, axes) * _vector(_wide(scale), w), x), rstd


def _batch_norm(x, scale, bias, *, epsilon):
    _channels(x, scale, bias)
    stats = Spec((x.shape[-1],), _stat(x))
    return x, stats, stats


def _batch_norm_vjp(g, y, x, scale, bias, *, epsilon):
    dx, dscale, dbias = batch_norm_backward(g[0], x, scale, y[1], y[2], epsilon=epsilon)
    w, n = _wide(x), x.size // max(x.shape[-1], 1)
    extra = (_vector(g[1], w) + 2.0 * (w - _vector(y[1], w)) * _vector(g[2], w)) * (1.0 / n)
    return dx + _like(extra, x), dscale, dbias


@composite(infer=_batch_norm, vjp=_batch_norm_vjp, samples=_norm_samples, multi=True, ulps=64)
def batch_norm_training(x, scale, bias, *, epsilon):
    """Channels of ``x [..., channels]`` to mean 0, variance 1 over all other axes, scaled, shifted.

    Ioffe and Szegedy 2015. Yields the result, the batch mean and the (biased) batch variance.
    """
    w, rest = _wide(x), tuple(range(x.ndim - 1))
    n = x.size // max(x.shape[-1], 1)
    mean = reduce_sum(w, axes=rest) * (1.0 / n)
    low = w - _vector(mean, w)
    var = reduce_sum(low * low, axes=rest) * (1.0 / n)
    factor = rsqrt(var + epsilon) * _wide(scale)
    return _like(low * _vector(factor, w) + _vector(_wide(bias), w), x), mean, var


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
    w, gw, rest = _wide(x), _wide(g), tuple(range(x.ndim - 1))
    n = x.size // max(x.shape[-1], 1)
    rstd = rsqrt(var + epsilon)
    xhat = (w - _vector(mean, w)) * _vector(rstd, w)
    dbias, dscale = reduce_sum(gw, axes=rest), reduce_sum(gw * xhat, axes=rest)
    inner = gw - _vector(dbias * (1.0 / n), w) - xhat * _vector(dscale * (1.0 / n), w)
    dx = inner * _vector(rstd * _wide(scale), w)
    return _like(dx, x), _like(dscale, scale), _like(dbias, scale)


# ---- losses


def _cross_entropy(logits, labels):
    check_kind(logits, "float")
    if not labels.dtype.is_integer:
        raise DTypeError(f"labels are {labels}; needs integer class indices")
    if logits.ndim < 1 or labels.shape != logits.shape[:-1]:
        raise ShapeError(
            f"logits {logits.shape} need labels of shape {logits.shape[:-1]}, got {labels.shape}"
        )
    return logits.with_(labels.shape)


def _one_hot(labels, like):
    from .logic import compare
    from .shape import iota

    labels = convert(labels, dtype=int64)  # a narrow label type cannot count the classes
    classes = iota(shape=like.shape, dtype=int64, axis=like.ndim - 1)
    at = broadcast_in_dim(labels, shape=like.shape, dims=tuple(range(labels.ndim)))
    return convert(compare(classes, at, direction="EQ"), dtype=like.dtype)


def _entropy_samples(d, rng):
    for shape in ((3, 4), (2, 2, 3), (0, 3)):
        labels = rng.integers(0, shape[-1], shape[:-1])
        yield Sample((draw(d, rng, shape), labels.astype("int64")))


@composite(
    infer=_cross_entropy,
    vjp=lambda g, y, logits, labels: (cross_entropy_backward(g, logits, labels), None),
    samples=_entropy_samples,
)
def cross_entropy(logits, labels):
    """``-log softmax(logits)[label]`` per row: ``[..., classes]``, ``[...]`` to ``[...]``.

    A label out of range gives 0.
    """
    low = log_softmax(_wide(logits), axis=logits.ndim - 1)
    return _like(-reduce_sum(low * _one_hot(labels, low), axes=(logits.ndim - 1,)), logits)


@composite(
    infer=lambda g, logits, labels: logits,
    samples=lambda d, rng: (
        Sample((draw(d, rng, s.operands[1].shape), *s.operands)) for s in _entropy_samples(d, rng)
    ),
)
def cross_entropy_backward(g, logits, labels):
    """The cotangent of `cross_entropy`'s logits."""
    w, axes = _wide(logits), (logits.ndim - 1,)
    hot = _one_hot(labels, w)
    hits = spread(reduce_sum(hot, axes=axes), w, axes)
    return _like((softmax(w, axis=axes[0]) * hits - hot) * spread(_wide(g), w, axes), logits)


# ---- parameter updates, all parameters in one node


def _update(scalars, groups):
    def infer(*specs, count, **attrs):
        arrays = specs[scalars:]
        per = groups(attrs)
        if len(arrays) != per * count:
            raise ShapeError(f"count={count} needs {per * count} arrays, got {len(arrays)}")
        for i in range(count):
            for k in range(1, per):
                if arrays[k * count + i] is not arrays[i]:
                    raise ShapeError(
                        f"parameter {i} is {arrays[i]}, its partner {arrays[k * count + i]}"
                    )
        kept = [*arrays[:count], *arrays[2 * count :]]
        return tuple(kept)

    return infer


def _scalar(s, like):
    s = convert(s, dtype=like.dtype)
    return broadcast_in_dim(s, shape=like.shape, dims=()) if like.ndim else s


def _adam_samples(d, rng):
    shapes = ((3, 2), (4,))
    arrays = [draw(d, rng, s) for _ in range(3) for s in shapes]
    arrays += [np.abs(draw(d, rng, s)) for s in shapes]
    lr, step = np.float32(0.01), np.float32(3)
    yield Sample((np.asarray(lr), np.asarray(step), *arrays), {"count": 2}, grad=False)


@composite(
    infer=_update(2, lambda attrs: 4),
    vjp=NOT_DIFFERENTIABLE,
    samples=_adam_samples,
    multi=True,
    dtypes=("float32", "float64"),
)
def adam_update(lr, step, *arrays, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, count):
    """One step of Adam (Kingma and Ba 2015; decoupled decay: Loshchilov and Hutter 2019).

    ``arrays``: ``count`` parameters, gradients, first and second moments. ``step`` counts from 1.
    Yields the new parameters, first and second moments.
    """
    params, grads, ms, vs = (arrays[i * count : (i + 1) * count] for i in range(4))
    t = convert(step, dtype=params[0].dtype if count else float32)
    c1 = -exponential_minus_one(t * math.log(beta1))
    c2 = -exponential_minus_one(t * math.log(beta2))
    new_p, new_m, new_v = [], [], []
    for p, g, m, v in zip(params, grads, ms, vs):
        m = m * beta1 + g * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
        from .transcendental import sqrt

        if weight_decay:
            p = p - p * (_scalar(lr, p) * weight_decay)
        root = sqrt(v) / _scalar(sqrt(c2), v) + epsilon
        new_p.append(p - _scalar(lr, p) / _scalar(c1, p) * (m / root))
        new_m.append(m)
        new_v.append(v)
    return (*new_p, *new_m, *new_v)


def _sgd_samples(d, rng):
    shapes = ((3, 2), (4,))
    for momentum, nesterov in ((0.0, False), (0.9, False), (0.9, True)):
        arrays = [draw(d, rng, s) for _ in range(3 if momentum else 2) for s in shapes]
        attrs = {"momentum": momentum, "nesterov": nesterov, "count": 2}
        yield Sample((np.asarray(np.float32(0.1)), *arrays), attrs, grad=False)


@composite(
    infer=_update(1, lambda attrs: 3 if attrs["momentum"] else 2),
    vjp=NOT_DIFFERENTIABLE,
    samples=_sgd_samples,
    multi=True,
    dtypes=("float32", "float64"),
)
def sgd_update(lr, *arrays, momentum=0.0, nesterov=False, count):
    """One step of gradient descent, as `torch.optim.SGD`.

    ``arrays``: ``count`` parameters and gradients, and with ``momentum`` the velocities. Yields the
    new parameters and velocities.
    """
    params, grads = arrays[:count], arrays[count : 2 * count]
    if not momentum:
        return tuple(p - _scalar(lr, p) * g for p, g in zip(params, grads))
    velocities = [v * momentum + g for v, g in zip(arrays[2 * count :], grads)]
    steps = [g + v * momentum for g, v in zip(grads, velocities)] if nesterov else velocities
    return (*[p - _scalar(lr, p) * s for p, s in zip(params, steps)], *velocities)

"""Activations that engines have natively, softmax among them; composites of primitives."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ArgumentError
from ..op import Sample, composite
from ._build import full
from ._infer import check_axes, check_kind, unary
from ._samples import elementwise, shaped
from ._wide import as_like, widened
from .arithmetic import maximum, minimum
from .logic import and_, compare, select
from .reductions import reduce_max, reduce_sum, spread
from .structural import stop_gradient
from .transcendental import erf, exponential, log, logistic, tanh


def _axis_spec(x, *, axis):
    check_kind(x, "float")
    check_axes((axis,), x.ndim, "axis")
    return x


_shapes = shaped(
    (3, 4), (2, 3), (0, 3), (3, 0), attrs=[{"axis": 1}, {"axis": 0}, {"axis": 1}, {"axis": 1}]
)


def _axis_samples(d, rng):
    yield from _shapes(d, rng)
    i = np.inf
    rows = [[0, -i, 1, 300], [-i, -i, -i, -i], [i, 0, 1, 2], [np.nan, 0, 1, 2]]
    yield Sample((np.array(rows, d.numpy),), {"axis": 1}, grad=False)


def _below_top(w, axis):
    """``w`` less its largest along ``axis``, which the result does not depend on: no overflow."""
    return w - spread(stop_gradient(reduce_max(w, axes=(axis,))), w, (axis,))


_grad_samples = shaped((3, 4), (2, 3), attrs=[{"axis": 1}, {"axis": 0}], arity=2)


@composite(
    infer=_axis_spec,
    vjp=lambda g, y, x, *, axis: (softmax_backward(g, y, axis=axis),),
    samples=_axis_samples,
)
def softmax(x, *, axis):
    """``exp(x) / sum(exp(x))`` along ``axis``; NaN where all of ``x`` is -inf, as in PyTorch."""
    w = widened(x)
    e = exponential(_below_top(w, axis))
    return as_like(e / spread(reduce_sum(e, axes=(axis,)), e, (axis,)), x)


@composite(infer=lambda g, y, *, axis: _axis_spec(y, axis=axis), samples=_grad_samples)
def softmax_backward(g, y, *, axis):
    """The cotangent of `softmax`'s input from that of its output ``y``."""
    gw, yw = widened(g), widened(y)
    return as_like(yw * (gw - spread(reduce_sum(gw * yw, axes=(axis,)), yw, (axis,))), y)


@composite(
    infer=_axis_spec,
    vjp=lambda g, y, x, *, axis: (log_softmax_backward(g, y, axis=axis),),
    samples=_axis_samples,
)
def log_softmax(x, *, axis):
    """``x - log(sum(exp(x)))`` along ``axis``."""
    w = widened(x)
    low = _below_top(w, axis)
    return as_like(low - spread(log(reduce_sum(exponential(low), axes=(axis,))), w, (axis,)), x)


@composite(infer=lambda g, y, *, axis: _axis_spec(y, axis=axis), samples=_grad_samples)
def log_softmax_backward(g, y, *, axis):
    """The cotangent of `log_softmax`'s input from that of its output ``y``."""
    gw, yw = widened(g), widened(y)
    return as_like(gw - exponential(yw) * spread(reduce_sum(gw, axes=(axis,)), yw, (axis,)), y)


def _relu_vjp(g, y, x):
    return (select(compare(y, full(0, y.spec), direction="GT"), g, full(0, g.spec)),)


@composite(
    infer=unary("real"),
    vjp=_relu_vjp,
    samples=elementwise(),
    dtypes=("float", "int", "uint"),
    ulps=0,
)
def relu(x):
    """``max(x, 0)``, elementwise; its gradient at 0 is 0, as in PyTorch, JAX and Keras."""
    return maximum(x, full(0, x.spec))


def _bounded(x, *, low, high):
    check_kind(x, "float")
    if not low <= high:
        raise ArgumentError(f"low={low} is not below high={high}")
    return x


def _hard_tanh_samples(arity):
    def make(d, rng):
        for s in elementwise(arity=arity, specials=arity == 1)(d, rng):
            for low, high in ((-1.0, 1.0), (0.0, 6.0)):
                yield Sample(s.operands, {"low": low, "high": high}, s.grad)

    return make


@composite(
    infer=_bounded,
    vjp=lambda g, y, x, *, low, high: (hard_tanh_backward(g, y, low=low, high=high),),
    samples=_hard_tanh_samples(1),
    ulps=0,
)
def hard_tanh(x, *, low, high):
    """``x`` kept within ``low`` and ``high``; at either the gradient is 0, as PyTorch's hardtanh.

    From 0 to 6 it is relu6, whose gradient JAX and Keras take as 0 there too.
    """
    return minimum(maximum(x, full(low, x.spec)), full(high, x.spec))


@composite(
    infer=lambda g, y, *, low, high: _bounded(y, low=low, high=high),
    samples=_hard_tanh_samples(2),
    ulps=0,
)
def hard_tanh_backward(g, y, *, low, high):
    """The cotangent of `hard_tanh`'s input from that of its output ``y``.

    Where that is NaN it is 0 or ``g``: torch's kernel gives some the one and some the other.
    """
    above = compare(y, full(low, y.spec), direction="GT")
    below = compare(y, full(high, y.spec), direction="LT")
    return select(and_(above, below), g, full(0, g.spec))


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
    w = widened(x)
    if approximate:
        inner = math.sqrt(2 / math.pi) * (w + 0.044715 * (w * w * w))
        return as_like(0.5 * w * (1.0 + tanh(inner)), x)
    return as_like(0.5 * w * (1.0 + erf(w * math.sqrt(0.5))), x)


@composite(samples=_gelu_samples(2))
def gelu_backward(g, x, *, approximate=False):
    """The cotangent of `gelu`'s input."""
    w, gw = widened(x), widened(g)
    if approximate:
        c = math.sqrt(2 / math.pi)
        t = tanh(c * (w + 0.044715 * (w * w * w)))
        slope = 0.5 * (1.0 + t) + 0.5 * w * (1.0 - t * t) * (c * (1.0 + 3 * 0.044715 * (w * w)))
    else:
        slope = 0.5 * (1.0 + erf(w * math.sqrt(0.5)))
        slope = slope + w * exponential(-0.5 * (w * w)) * (1 / math.sqrt(2 * math.pi))
    return as_like(gw * slope, x)


@composite(vjp=lambda g, y, x: (silu_backward(g, x),), samples=elementwise(specials=False))
def silu(x):
    """``x * logistic(x)`` (Elfwing et al. 2018), also called swish."""
    w = widened(x)
    return as_like(w * logistic(w), x)


@composite(samples=elementwise(arity=2, specials=False))
def silu_backward(g, x):
    """The cotangent of `silu`'s input."""
    w = widened(x)
    s = logistic(w)
    return as_like(widened(g) * (s * (1.0 + w * (1.0 - s))), x)

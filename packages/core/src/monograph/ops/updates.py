"""Parameter updates of optimizers, all parameters in one node."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import float32
from ..errors import ArgumentError, ShapeError
from ..op import NOT_DIFFERENTIABLE, Sample, composite
from ._build import ones_like
from ._infer import check_kind
from ._samples import draw
from .structural import broadcast_in_dim, convert
from .transcendental import exponential_minus_one, sqrt


def _update(scalars, groups):
    def infer(*specs, count, **attrs):
        arrays = specs[scalars:]
        for x in arrays:
            check_kind(x, "float", "a parameter")
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


def _correction(beta, t):
    """``1 - beta ** t``, exact where ``beta ** t`` is near 1."""
    return -exponential_minus_one(t * math.log(beta)) if beta else ones_like(t)


def _adam(*specs, beta1, beta2, **attrs):
    for name, beta in (("beta1", beta1), ("beta2", beta2)):
        if not 0 <= beta < 1:
            raise ArgumentError(f"{name}={beta} must be at least 0 and below 1")
    return _update(2, lambda attrs: 4)(*specs, **attrs)


def _adam_samples(d, rng):
    shapes = ((3, 2), (4,))
    arrays = [draw(d, rng, s) for _ in range(3) for s in shapes]
    arrays += [np.abs(draw(d, rng, s)) for s in shapes]
    lr, step = np.float32(0.01), np.float32(3)
    operands = (np.asarray(lr), np.asarray(step), *arrays)
    for attrs in ({}, {"beta1": 0.0, "weight_decay": 0.1}, {"beta1": 0.5, "beta2": 0.0}):
        yield Sample(operands, {"count": 2, **attrs}, grad=False)


@composite(
    infer=_adam,
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
    c1, c2 = _correction(beta1, t), _correction(beta2, t)
    new_p, new_m, new_v = [], [], []
    for p, g, m, v in zip(params, grads, ms, vs):
        m = m * beta1 + g * (1 - beta1)
        v = v * beta2 + g * g * (1 - beta2)
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

"""Long short-term memory over a whole sequence, and its gradient.

Axes: ``x [time, batch, features]``, ``kernel [features, 4 * units]``, ``recurrent [units, 4 * units]``, ``bias
[4 * units]``, the state ``h`` and ``c [batch, units]``; the gates i, f, g, o lie in the last axis in turn, as
Keras has them.
"""

from __future__ import annotations

from ..errors import DTypeError, ShapeError
from ..op import Sample, composite
from ._build import added, full
from ._infer import check_kind
from ._samples import draw
from .arithmetic import multiply
from .control import scan, trace_closed
from .linear import dot_general
from .reductions import reduce_sum
from .shape import concatenate, slice_, split
from .structural import broadcast_in_dim, reshape
from .transcendental import logistic, tanh


def _infer(x, kernel, recurrent, bias, h, c, *, reverse):
    check_kind(x, "float")
    if x.ndim != 3 or kernel.ndim != 2:
        raise ShapeError(
            f"needs x [time, batch, features] and kernel [features, 4 * units]; got shapes {x.shape} "
            f"and {kernel.shape}"
        )
    units = kernel.shape[1] // 4
    wants = {
        "kernel": (kernel, (x.shape[2], 4 * units)), "recurrent": (recurrent, (units, 4 * units)),
        "bias": (bias, (4 * units,)), "h": (h, (x.shape[1], units)), "c": (c, (x.shape[1], units)),
    }  # fmt: skip
    for name, (spec, shape) in wants.items():
        if spec.shape != shape:
            raise ShapeError(f"{name} has shape {spec.shape}, expected {shape}")
        if spec.dtype is not x.dtype:
            raise DTypeError(f"{name} is {spec.dtype}, x is {x.dtype}")
    time, batch, _ = x.shape
    of_units = x.with_((time, batch, units))
    return of_units, of_units, x.with_((time, batch, 4 * units))


def _times(x, y, axis=0):
    """``x [..., n]`` times the matrix ``y``, over the ``axis`` of it that has length ``n``."""
    return dot_general(
        x,
        y,
        lhs_batching=(),
        rhs_batching=(),
        lhs_contracting=(x.ndim - 1,),
        rhs_contracting=(axis,),
    )


def _over_all(x, y):
    """``x [time, batch, n]`` and ``y [time, batch, m]`` summed over times and rows: ``[n, m]``."""
    return dot_general(
        x, y, lhs_batching=(), rhs_batching=(), lhs_contracting=(0, 1), rhs_contracting=(0, 1)
    )


def _gates(z, axis):
    return split(z, sizes=(z.shape[axis] // 4,) * 4, axis=axis)


def _before(first, xs, reverse):
    """What each step began with, of a state's first value and those after each step."""
    n = xs.shape[0]
    start, limit = ([1, 0, 0], list(xs.shape)) if reverse else ([0, 0, 0], [n - 1, *xs.shape[1:]])
    rest = slice_(xs, start=start, limit=limit, strides=(1, 1, 1))
    one = reshape(first, shape=(1, *first.shape))
    return concatenate(*((rest, one) if reverse else (one, rest)), axis=0)


def _vjp(g, y, x, kernel, recurrent, bias, h, c, *, reverse):
    first = full(0, y[0].spec) if g[0] is None else g[0]
    operands = (x, kernel, recurrent, h, c, *y)
    if g[1] is None and g[2] is None:
        return lstm_backward(first, *operands, reverse=reverse)
    return _pull([first, *g[1:]], *operands, reverse=reverse)


def _pull(gs, x, kernel, recurrent, h, c, ys, cells, gates, *, reverse):
    """Cotangents of the operands; ``gs`` are those of the results, None but the first where nothing flows."""
    if not x.shape[0]:
        wants = (
            x.spec,
            kernel.spec,
            recurrent.spec,
            kernel.spec.with_(kernel.shape[1:]),
            h.spec,
            c.spec,
        )
        return tuple(full(0, spec) for spec in wants)
    given = [i for i in (1, 2) if gs[i] is not None]

    def step(recurrent, dh, dc, dy, a, cell, cell_before, *more):
        others = dict(zip(given, more))
        (i, f, g, o), t = _gates(a, 1), tanh(cell)
        dh = dh + dy
        dc = added(dc + dh * o * (1.0 - t * t), others.get(1))
        da = [dc * g, dc * cell_before, dc * i, dh * t]
        if 2 in others:
            da = [d + e for d, e in zip(da, _gates(others[2], 1))]
        slopes = [i * (1.0 - i), f * (1.0 - f), 1.0 - g * g, o * (1.0 - o)]
        dz = concatenate(*[multiply(d, s) for d, s in zip(da, slopes)], axis=1)
        return _times(dz, recurrent, 1), dc * f, dz

    scanned = [gs[0], gates, cells, _before(c, cells, reverse), *[gs[i] for i in given]]
    zero = full(0, h.spec)
    specs = [v.spec for v in (recurrent, zero, zero)]
    body = trace_closed(
        step, [*specs, *[v.spec.with_(v.shape[1:]) for v in scanned]], "lstm_backward"
    )
    dh, dc, dz = scan(
        recurrent, zero, zero, *scanned, body=body, num_consts=1, num_carry=2, length=x.shape[0],
        reverse=not reverse, history=False,
    )  # fmt: skip
    return (
        _times(dz, kernel, 1), _over_all(x, dz),
        _over_all(_before(h, ys, reverse), dz), reduce_sum(dz, axes=(0, 1)), dh, dc,
    )  # fmt: skip


def _draws(d, rng):
    for (time, batch, features, units), reverse in (
        ((3, 2, 4, 3), False), ((2, 1, 1, 2), True), ((1, 2, 2, 1), False), ((0, 2, 3, 2), False),
    ):  # fmt: skip
        shapes = (
            (time, batch, features), (features, 4 * units), (units, 4 * units), (4 * units,),
            (batch, units), (batch, units),
        )  # fmt: skip
        yield [draw(d, rng, shape) for shape in shapes], {"reverse": reverse}


def _samples(d, rng):
    for operands, attrs in _draws(d, rng):
        yield Sample(tuple(operands), attrs)


@composite(infer=_infer, vjp=_vjp, samples=_samples, multi=True, ulps=64)
def lstm(x, kernel, recurrent, bias, h, c, *, reverse=False):
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers et al. 2000) over a sequence.

    Yields what ``h`` and ``c`` are after each time, ``[time, batch, units]`` each, and the gates after their
    activation, ``[time, batch, 4 * units]``, for the backward. With ``reverse`` the last time is the first.
    """

    def step(recurrent, h, c, z):
        i, f, g, o = _gates(z + _times(h, recurrent), 1)
        i, f, g, o = logistic(i), logistic(f), tanh(g), logistic(o)
        c = f * c + i * g
        h = o * tanh(c)
        return h, c, h, c, concatenate(i, f, g, o, axis=1)

    z = _times(x, kernel)
    z = z + broadcast_in_dim(bias, shape=z.shape, dims=(2,))
    specs = [recurrent.spec, h.spec, c.spec, z.spec.with_(z.shape[1:])]
    return scan(
        recurrent, h, c, z, body=trace_closed(step, specs, "lstm"), num_consts=1, num_carry=2,
        length=x.shape[0], reverse=reverse, history=False,
    )[2:]  # fmt: skip


def _backward_samples(d, rng):
    # any state and gates do: the formulas do not ask where they come from
    for (x, kernel, recurrent, _, h, c), attrs in _draws(d, rng):
        shape = (*x.shape[:2], h.shape[1])
        g, ys, cells = (draw(d, rng, shape) for _ in range(3))
        gates = draw(d, rng, (*shape[:2], 4 * shape[2]))
        yield Sample((g, x, kernel, recurrent, h, c, ys, cells, gates), attrs)


@composite(
    infer=lambda g, x, kernel, recurrent, h, c, ys, cells, gates, *, reverse: (
        x, kernel, recurrent, kernel.with_(kernel.shape[1:]), h, c
    ),
    samples=_backward_samples,
    multi=True,
    ulps=64,
)  # fmt: skip
def lstm_backward(g, x, kernel, recurrent, h, c, ys, cells, gates, *, reverse=False):
    """Cotangents of `lstm`'s operands from that of its first result."""
    return _pull([g, None, None], x, kernel, recurrent, h, c, ys, cells, gates, reverse=reverse)

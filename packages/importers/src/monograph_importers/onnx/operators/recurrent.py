"""RNN, GRU and LSTM, in both directions, with rows of different lengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError

from ..rules import rule
from .elementwise import (
    elu,
    hard_sigmoid,
    leaky_relu,
    softplus,
    softsign,
    thresholded_relu,
)
from .indexing import reverse_sequence

# activations by name, with the defaults of their numbers
ACTIVATIONS: dict[str, tuple[Callable[..., Any], tuple[float, ...]]] = {
    "relu": (mg.relu, ()), "tanh": (mg.tanh, ()), "sigmoid": (mg.sigmoid, ()),
    "softsign": (softsign, ()), "softplus": (softplus, ()),
    "affine": (lambda x, a, b: a * x + b, (1.0, 0.0)),
    "scaledtanh": (lambda x, a, b: a * mg.tanh(b * x), (1.0, 1.0)),
    "leakyrelu": (lambda x, a: leaky_relu(x, alpha=a), (0.01,)),
    "thresholdedrelu": (lambda x, a: thresholded_relu(x, alpha=a), (1.0,)),
    "hardsigmoid": (lambda x, a, b: hard_sigmoid(x, alpha=a, beta=b), (0.2, 0.5)),
    "elu": (lambda x, a: elu(x, alpha=a), (1.0,)),
}  # fmt: skip


_DIRECTIONS = ("forward", "reverse", "bidirectional")


def _activation(name: str) -> tuple[Callable[..., Any], tuple[float, ...]]:
    if name.lower() not in ACTIVATIONS:
        raise ArgumentError(f"{name!r} is none of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name.lower()]


def _activations(
    names: Any, default: Sequence[str], directions: int, alphas: Any, betas: Any, clip: float | None
) -> list[list[Callable[[Any], Any]]]:
    """Per direction, functions of one argument; sums of products are clipped first, a cell's state is not."""
    n, a, b = len(default), iter(alphas or ()), iter(betas or ())
    out: list[Any] = []
    for i, name in enumerate(names or list(default) * directions):
        fn, numbers = _activation(name)
        given = [next(source, number) for source, number in zip((a, b), numbers)]
        bound = np.inf if clip is None or i % n == 2 else clip
        out.append(lambda x, fn=fn, given=given, c=bound: fn(_within(x, c), *given))
    return [out[i * n : i * n + n] for i in range(directions)]


def _within(x: Any, bound: float) -> Any:
    return x if bound == np.inf else mg.clip(x, -bound, bound)


Cell = Callable[..., tuple[Any, ...]]  # (projected input, weights, state) -> new state


def _run(
    x: Any, lengths: Any, states: Sequence[Any], layout: int, direction: str,
    cells: Sequence[tuple[Any, Cell]],
) -> tuple[Any, ...]:  # fmt: skip
    """Outputs ``[time, directions, batch, hidden]`` and last states, of a cell per direction.

    Args:
        cells: ``(project, step)``: what each direction makes of all inputs at once, and of one step.
    """
    if layout:
        x, states = mg.moveaxis(x, 1, 0), [mg.moveaxis(s, 1, 0) for s in states]
    time = np.arange(x.shape[0])
    limit = None if lengths is None else mg.reshape(mg.asarray(lengths), (-1, 1))
    outs, lasts = [], []
    for d, (project, cell) in enumerate(cells):
        back = direction == "reverse" or d == 1

        def turned(v: Any, back: bool = back) -> Any:
            if not back:
                return v
            return mg.flip(v, axis=0) if lengths is None else reverse_sequence(v, lengths)

        def turn(state: Any, row: Any, cell: Cell = cell) -> Any:
            t, part = row
            new = cell(part, *state)
            if limit is None:
                return new, new[0]
            on = t < limit
            return tuple(mg.where(on, a, b) for a, b in zip(new, state)), mg.where(on, new[0], 0)

        state, ys = mg.scan(turn, tuple(s[d] for s in states), (time, project(turned(x))))
        outs.append(turned(ys))
        lasts.append(state)
    y = mg.stack(outs, axis=1)
    ends = [mg.stack(list(s), axis=0) for s in zip(*lasts)]
    if layout:
        y, ends = mg.permute_dims(y, (2, 0, 1, 3)), [mg.moveaxis(s, 0, 1) for s in ends]
    return (y, *ends)


def _setup(
    x: Any, r: Any, b: Any, gates: int, layout: int, firsts: Sequence[Any]
) -> tuple[Any, Any, list[Any]]:
    """The input, biases ``[directions, 2, gates * hidden]`` and first states, zeros where left out."""
    x = mg.asarray(x)
    directions, hidden = mg.Spec.of(r).shape[0], mg.Spec.of(r).shape[-1]
    batch = x.shape[0 if layout else 1]
    shape = (batch, directions, hidden) if layout else (directions, batch, hidden)
    states = [mg.zeros(shape, dtype=x.dtype) if s is None else mg.asarray(s) for s in firsts]
    wide = (directions, 2, gates * hidden)
    return x, mg.zeros(wide, dtype=x.dtype) if b is None else mg.reshape(b, wide), states


@rule("RNN", direction=_DIRECTIONS, activations=_activation)
def rnn(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, *,
    activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int = 0, layout: int = 0,
) -> Any:  # fmt: skip
    """``h' = f(x W + h R + b)``."""
    x, biases, states = _setup(x, r, b, 1, layout, [h])
    w, r = mg.asarray(w), mg.asarray(r)
    acts = _activations(activations, ["Tanh"], w.shape[0], activation_alpha, activation_beta, clip)

    def cell(d: int) -> tuple[Any, Cell]:
        project = lambda v: mg.matmul(v, w[d].T) + (biases[d, 0] + biases[d, 1])  # noqa: E731
        return project, lambda part, h: (acts[d][0](part + mg.matmul(h, r[d].T)),)

    return _run(x, lengths, states, layout, direction, [cell(d) for d in range(w.shape[0])])


@rule("GRU", direction=_DIRECTIONS, activations=_activation)
def gru(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, *,
    activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int = 0, layout: int = 0,
    linear_before_reset: int = 0,
) -> Any:  # fmt: skip
    """Gated recurrent unit (Cho et al. 2014); gates in the order update, reset, hidden."""
    x, biases, states = _setup(x, r, b, 3, layout, [h])
    w, r = mg.asarray(w), mg.asarray(r)
    n = r.shape[-1]
    acts = _activations(
        activations, ["Sigmoid", "Tanh"], w.shape[0], activation_alpha, activation_beta, clip
    )

    def cell(d: int) -> tuple[Any, Cell]:
        f, g = acts[d]
        gate, new, own = r[d, : 2 * n].T, r[d, 2 * n :].T, biases[d, 1]

        def step(part: Any, h: Any) -> tuple[Any, ...]:
            zr = f(part[:, : 2 * n] + mg.matmul(h, gate) + own[: 2 * n])
            z, reset = zr[:, :n], zr[:, n:]
            if linear_before_reset:
                inner = reset * (mg.matmul(h, new) + own[2 * n :])
            else:
                inner = mg.matmul(reset * h, new) + own[2 * n :]
            return ((1 - z) * g(part[:, 2 * n :] + inner) + z * h,)

        return lambda v: mg.matmul(v, w[d].T) + biases[d, 0], step

    return _run(x, lengths, states, layout, direction, [cell(d) for d in range(w.shape[0])])


@rule("LSTM", direction=_DIRECTIONS, activations=_activation)
def lstm(
    x: Any, w: Any, r: Any, b: Any = None, lengths: Any = None, h: Any = None, c: Any = None, p: Any = None, *,
    activation_alpha: Any = None, activation_beta: Any = None, activations: Any = None,
    clip: float | None = None, direction: str = "forward", hidden_size: int = 0, input_forget: int = 0,
    layout: int = 0,
) -> Any:  # fmt: skip
    """Long short-term memory (Hochreiter and Schmidhuber 1997), with peepholes ``p``; gates input, output, forget, cell."""
    x, biases, states = _setup(x, r, b, 4, layout, [h, c])
    w, r = mg.asarray(w), mg.asarray(r)
    n = r.shape[-1]
    acts = _activations(
        activations,
        ["Sigmoid", "Tanh", "Tanh"],
        w.shape[0],
        activation_alpha,
        activation_beta,
        clip,
    )
    peep = None if p is None else mg.reshape(p, (w.shape[0], 3, n))

    def cell(d: int) -> tuple[Any, Cell]:
        f, g, out = acts[d]
        look = (lambda i, c: 0) if peep is None else (lambda i, c: peep[d, i] * c)

        def step(part: Any, h: Any, c: Any) -> tuple[Any, ...]:
            every = part + mg.matmul(h, r[d].T)
            i, o, forget, new = (every[:, k * n : k * n + n] for k in range(4))
            i = f(i + look(0, c))
            forget = 1 - i if input_forget else f(forget + look(2, c))
            c = forget * c + i * g(new)
            return f(o + look(1, c)) * out(c), c

        return lambda v: mg.matmul(v, w[d].T) + (biases[d, 0] + biases[d, 1]), step

    return _run(x, lengths, states, layout, direction, [cell(d) for d in range(w.shape[0])])

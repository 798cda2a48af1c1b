"""LSTM, GRU and plain recurrent networks (``aten.lstm.input`` and its like), as scans where there is no op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
from monograph import ops

from .products import linear
from .random import dropped


def _lstm_step(gates: Any, hidden: tuple, weights: Any, projection: Any) -> tuple[Any, Any]:
    h, c = hidden
    i, f, g, o = mg.split(gates + linear(h, *weights), 4, axis=-1)
    c = mg.sigmoid(f) * c + mg.sigmoid(i) * mg.tanh(g)
    y = mg.sigmoid(o) * mg.tanh(c)
    return linear(y, *projection) if projection else y, c


def _gru_step(gates: Any, hidden: tuple, weights: Any, _: Any) -> tuple[Any]:
    (h,) = hidden
    (xr, xz, xn), (hr, hz, hn) = (mg.split(v, 3, axis=-1) for v in (gates, linear(h, *weights)))
    z = mg.sigmoid(xz + hz)
    return ((1 - z) * mg.tanh(xn + mg.sigmoid(xr + hr) * hn) + z * h,)


def _plain_step(fn: Callable) -> Callable:
    return lambda gates, hidden, weights, _: (fn(gates + linear(hidden[0], *weights)),)


def _direction(
    step: Callable, x: Any, hidden: tuple, weights: Any, reverse: bool
) -> tuple[Any, tuple]:
    """One layer, one way, over ``x [time, batch, features]``; weights are those of torch's cells."""
    projection = weights[-1:] if len(weights) % 2 else []
    w_ih, w_hh, *biases = weights[: len(weights) - len(projection)]
    if step is _lstm_step and not projection and x.shape[0]:
        bias = biases[0] + biases[1] if biases else mg.zeros(w_ih.shape[:1], dtype=x.dtype)
        kernels = (mg.matrix_transpose(w) for w in (w_ih, w_hh))
        ys, cells, _ = ops.lstm(x, *kernels, bias, *hidden, reverse=reverse)
        at = 0 if reverse else -1
        return ys, (ys[at], cells[at])

    def body(carry: tuple, gates: Any) -> tuple[tuple, Any]:
        new = step(gates, carry, (w_hh, *biases[1:]), projection)
        return new, new[0]

    last, out = mg.scan(body, hidden, linear(x, w_ih, *biases[:1]), reverse=reverse)
    return out, last


def _recurrent(step: Callable, states: int) -> Callable:
    def rule(
        x: Any, hx: Any, params: Any, has_biases: bool, num_layers: int, dropout: float, train: bool,
        bidirectional: bool, batch_first: bool, *, key: Any = None,
    ) -> tuple[Any, ...]:  # fmt: skip
        first = list(hx) if isinstance(hx, list) else [hx]
        x = mg.swapaxes(x, 0, 1) if batch_first else x
        ways = 1 + bidirectional
        per = len(params) // (num_layers * ways)
        lasts: list[tuple] = []
        for layer in range(num_layers):
            outs = []
            for way in range(ways):
                i = layer * ways + way
                weights = params[i * per : (i + 1) * per]
                out, last = _direction(step, x, tuple(h[i] for h in first), weights, bool(way))
                outs.append(out)
                lasts.append(last)
            x = mg.concat(outs, axis=-1) if ways > 1 else outs[0]
            if key is not None and layer + 1 < num_layers:
                key, used = mg.unstack(mg.random.split(key))
                x = dropped(x, dropout, used)
        x = mg.swapaxes(x, 0, 1) if batch_first else x
        return x, *(mg.stack([last[k] for last in lasts]) for k in range(states))

    return rule


RULES: dict[str, Callable] = {
    "lstm.input": _recurrent(_lstm_step, 2), "gru.input": _recurrent(_gru_step, 1),
    "rnn_tanh.input": _recurrent(_plain_step(mg.tanh), 1),
    "rnn_relu.input": _recurrent(_plain_step(mg.relu), 1),
}  # fmt: skip


def _drops(
    x: Any,
    hx: Any,
    params: Any,
    has_biases: bool,
    layers: int,
    dropout: float,
    train: bool,
    *_: Any,
) -> bool:
    return train and dropout > 0


DRAWS: dict[str, Callable[..., bool]] = dict.fromkeys(
    ("lstm", "gru", "rnn_tanh", "rnn_relu"), _drops
)

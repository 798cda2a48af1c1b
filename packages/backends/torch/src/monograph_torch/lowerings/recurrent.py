"""The LSTM: by its body, or, in programs that read no gates but for its gradient, by oneDNN's kernels.

These keep what the backward needs in a workspace of their own, which takes the place of the gates. torch
offers them by names that its own `torch.lstm` calls; `works` says whether they are there and right.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from monograph import ops
from monograph.rewrite import decompose

_LSTM = 2  # of the kinds of networks that the kernels know


def _body(node: Any, device: Any) -> Callable:
    from ..codegen import generate
    from . import LOWER

    graph = node.op.body_graph([v.spec for v in node.inputs], node.attrs)
    return generate(decompose(graph, LOWER.__contains__)[0], device, nested=True)


def _weights(kernel: Any, recurrent: Any, bias: Any) -> tuple[torch.Tensor, ...]:
    """As torch has them: gates in rows, and two biases, which nobody overwrites before the backward."""
    bias = bias.clone(memory_format=torch.contiguous_format)
    return kernel.t().contiguous(), recurrent.t().contiguous(), bias, torch.zeros_like(bias)


def _forward(x: Any, weights: Any, h: Any, c: Any, train: bool) -> tuple[torch.Tensor, ...]:
    with torch.set_grad_enabled(train):  # where gradients are off there is no workspace
        return torch.ops.aten.mkldnn_rnn_layer.default(
            x, *weights, h, c, False, [], _LSTM, h.shape[1], 1, True, False, False, train
        )


def _backward(g: Any, x: Any, weights: Any, h: Any, c: Any, y: Any, last: Any, space: Any) -> Any:
    none = torch.zeros_like(last)
    return torch.ops.aten.mkldnn_rnn_layer_backward.default(
        x, *weights, h, c, y, none, last, g, none, none, False, _LSTM, h.shape[1], 1, True, True,
        False, [], False, space,
    )  # fmt: skip


def _ordered(x: torch.Tensor, reverse: bool) -> torch.Tensor:
    return (x.flip(0) if reverse else x).contiguous()  # the kernels read it as if it were


def forward(node: Any, device: Any, train: bool) -> Callable:
    """``operands -> (outputs, last c, what `backward` needs)``; without ``train`` the last two are no use."""
    reverse, by_body = node.attrs["reverse"], _body(node, device)

    def run(x: Any, kernel: Any, recurrent: Any, bias: Any, h: Any, c: Any) -> Any:
        if torch.compiler.is_compiling():
            return by_body(x, kernel, recurrent, bias, h, c)
        weights, x = _weights(kernel, recurrent, bias), _ordered(x, reverse)
        y, _, last, space = _forward(x, weights, h.contiguous(), c.contiguous(), train)
        return (y.flip(0) if reverse else y), last, (space, weights, x)

    return run


def backward(node: Any, device: Any) -> Callable:
    """Cotangents, of what `forward` gave."""
    reverse, by_body = node.attrs["reverse"], _body(node, device)

    def run(
        g: Any, x: Any, kernel: Any, recurrent: Any, h: Any, c: Any, y: Any, last: Any, kept: Any
    ) -> Any:
        if torch.compiler.is_compiling():
            return by_body(g, x, kernel, recurrent, h, c, y, last, kept)
        space, weights, x = kept
        g, y = _ordered(g, reverse), _ordered(y, reverse)
        dx, dk, dr, db, _, dh, dc = _backward(
            g, x, weights, h.contiguous(), c.contiguous(), y, last, space
        )
        return dx.flip(0) if reverse else dx, dk.t().contiguous(), dr.t().contiguous(), db, dh, dc

    return run


@functools.cache
def works() -> bool:
    """Whether the kernels are there and give what `torch.lstm` gives; tried once per process."""
    rng = torch.Generator().manual_seed(0)
    draw = functools.partial(torch.randn, generator=rng)
    x, h, c, g = draw(3, 2, 4), draw(2, 5), draw(2, 5), draw(3, 2, 5)
    weights = draw(20, 4), draw(20, 5), draw(20), draw(20)
    with torch.inference_mode(False), torch.enable_grad():
        operands = [v.clone().requires_grad_() for v in (x, *weights, h, c)]
        a, *w, b, d = operands
        want = torch.lstm(a, (b[None], d[None]), w, True, 1, 0.0, True, False, False)[0]
        grads = torch.autograd.grad(want, operands, g)
    with torch.inference_mode():
        try:
            y, _, last, space = _forward(x, weights, h, c, True)
            got = y, *_backward(g, x, weights, h, c, y, last, space)
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return False
        return all(
            p.shape == q.shape and bool((p - q.detach()).abs().max() < 1e-4)
            for p, q in zip(got, (want, *grads))
        )


TABLE: dict[Any, Any] = {ops.lstm: _body, ops.lstm_backward: _body}

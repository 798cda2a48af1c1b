"""Activations, normalisation and losses that torch has natively."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monograph import ops

from .common import HALF, Pointwise, Writer, call, dtype_of
from .integers import signed

_aten = torch.ops.aten


def _gelu(fn: Callable) -> Callable:
    return lambda node, device: partial(
        fn, approximate="tanh" if node.attrs["approximate"] else "none"
    )


def _relu(node: Any, device: Any) -> Any:
    if node.inputs[0].dtype.kind == "uint":
        return torch.clone
    return Pointwise("torch.relu({0})", (0,), into="torch.relu_({0})")


def _relu_backward(free: tuple[int, ...]) -> Callable:
    if free:
        into = _aten.threshold_backward.grad_input
        return lambda g, y: into(g, y, 0, grad_input=g)
    return lambda g, y: _aten.threshold_backward.default(g, y, 0)


relu_backward = Writer((0,), _relu_backward)
"""Of ``g`` and relu's result; see `monograph_torch.peepholes`."""


def _hard_tanh(node: Any, device: Any) -> Any:
    bounds = "{}, {}".format(*_bounds(node))
    return Pointwise(f"torch.clamp({{0}}, {bounds})", (0,), into=f"torch.clamp_({{0}}, {bounds})")


def _hard_tanh_backward(node: Any, device: Any) -> Any:
    bounds = _bounds(node)

    def write(free: tuple[int, ...]) -> Callable:
        if free:
            into = _aten.hardtanh_backward.grad_input
            return lambda *xs: into(*xs, *bounds, grad_input=xs[free[0]])
        return lambda g, y: _aten.hardtanh_backward.default(g, y, *bounds)

    return Writer((0, 1), write)


def _bounds(node: Any) -> tuple[float, float]:
    """As the dtype has them: torch compares 16-bit numbers with bounds of 32."""
    dtype = dtype_of(node.outputs[0].spec)
    low, high = (torch.tensor(node.attrs[k], dtype=dtype).item() for k in ("low", "high"))
    return low, high


# ---- normalisation; torch rounds statistics of 16-bit inputs to 16 bits, the records keep float32


def _wide(*xs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(x.float() if x.dtype in HALF else x for x in xs)


def _layer_norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, *, epsilon: float) -> Any:
    w, s, b = _wide(x, scale, bias)
    y, mean, rstd = torch.native_layer_norm(w, [x.shape[-1]], s, b, epsilon)
    return y.to(x.dtype), mean[..., 0], rstd[..., 0]


def _layer_norm_backward(g: Any, x: Any, scale: Any, mean: Any, rstd: Any) -> Any:
    gw, w, s = _wide(g, x, scale)  # torch sums the gradients of 16-bit parameters in 16 bits
    mean, rstd = mean.contiguous(), rstd.contiguous()  # torch reads them as if they were
    # the bias itself is not read, only that there is one
    dx, dscale, dbias = _aten.native_layer_norm_backward.default(
        gw, w, [x.shape[-1]], mean[..., None], rstd[..., None], s, s, [True, True, True]
    )
    return dx.to(x.dtype), dscale.to(scale.dtype), dbias.to(scale.dtype)


def _needs_rows(alike: Callable) -> Callable:
    """Zeros like ``alike(*tensors)`` for a batch without rows, which torch refuses forward and divides
    by backward: the process ends there."""

    def wrap(fn: Callable) -> Callable:
        def run(*xs: torch.Tensor, epsilon: float) -> Any:
            if xs[0].numel():
                return fn(*xs, epsilon=epsilon)
            return tuple(torch.zeros_like(v) for v in alike(*xs))

        return run

    return wrap


@_needs_rows(lambda x, scale, bias: (x, *_wide(scale, scale)))
def _batch_norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, *, epsilon: float) -> Any:
    w, s, b = _wide(x, scale.contiguous(), bias.contiguous())
    mean, var = torch.zeros_like(s), torch.zeros_like(s)
    if not x.numel():  # which torch refuses
        return torch.empty_like(x), mean, var
    rows = w.reshape(-1, x.shape[-1])  # [rows, channels] is torch's fastest layout for it
    n = len(rows)
    # with momentum 1 the running statistics become the batch's own, the variance an unbiased one
    y = torch.native_batch_norm(rows, s, b, mean, var, True, 1.0, epsilon)[0]
    var = var.mul_((n - 1) / n) if n > 1 else torch.zeros_like(s)
    return y.view(x.shape).to(x.dtype), mean, var


@_needs_rows(lambda g, x, scale, mean, var: (x, scale, scale))
def _batch_norm_backward(
    g: Any, x: Any, scale: Any, mean: Any, var: Any, *, epsilon: float
) -> tuple[torch.Tensor, ...]:
    if not x.numel():  # where torch divides by the number of rows and takes the process down
        return torch.empty_like(x), torch.zeros_like(scale), torch.zeros_like(scale)
    gw, w, s = _wide(g, x, scale.contiguous())
    c = x.shape[-1]
    mean, rstd = mean.contiguous(), torch.rsqrt(var.contiguous() + epsilon)
    dx, dscale, dbias = _aten.native_batch_norm_backward.default(
        gw.reshape(-1, c), w.reshape(-1, c), s, None, None, mean, rstd, True, epsilon,
        [True, True, True],
    )  # fmt: skip
    return dx.view(x.shape).to(x.dtype), dscale.to(scale.dtype), dbias.to(scale.dtype)


# ---- losses


def _cross_entropy(node: Any, device: Any) -> Callable:
    entropy = with_log_softmax(node, device)
    return lambda logits, labels: entropy(logits, labels)[0]


def _cross_entropy_backward(node: Any, device: Any) -> Callable:
    backward = from_log_softmax(node, device)
    return lambda g, logits, labels: backward(g, _log_softmax(logits), labels)


def _log_softmax(logits: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits.float() if logits.dtype in HALF else logits, -1)


def with_log_softmax(node: Any, device: Any) -> Callable:
    """``(logits, labels) -> (cross_entropy, log softmax)``, for `from_log_softmax` to go on from."""

    def entropy(low: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        return low.gather(-1, at.unsqueeze(-1)).squeeze_(-1).neg_()

    out = dtype_of(node.outputs[0].spec)
    classes, checked = node.inputs[0].shape[-1], device.type == "cpu"

    def run(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        low, labels = _log_softmax(logits), signed(labels).long()
        if checked and classes:
            with suppress(RuntimeError):  # a label out of range
                return entropy(low, labels).to(out), low
        at, valid = _in_range(labels, classes)
        loss = torch.where(valid, entropy(low, at), 0) if classes else low.sum(-1)
        return loss.to(out), low

    return run


def from_log_softmax(node: Any, device: Any) -> Callable:
    """``(cotangent, log softmax, labels) -> cotangent of the logits``."""

    def pull(g: torch.Tensor, low: torch.Tensor, at: torch.Tensor) -> torch.Tensor:
        rows = g.unsqueeze(-1)
        return low.exp().mul_(rows).scatter_add_(-1, at.unsqueeze(-1), -rows)

    out = dtype_of(node.outputs[0].spec)
    classes, checked = node.outputs[0].shape[-1], device.type == "cpu"

    def run(g: torch.Tensor, low: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        g, labels = g.to(low.dtype), signed(labels).long()
        if checked:
            with suppress(RuntimeError):  # a label out of range
                return pull(g, low, labels).to(out)
        at, valid = _in_range(labels, classes)
        return pull(torch.where(valid, g, 0), low, at).to(out) if classes else low.to(out)

    return run


def _in_range(labels: torch.Tensor, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels brought into range, and which were in it."""
    at = labels.clamp(0, max(classes - 1, 0))
    return at, at == labels


TABLE: dict[Any, Any] = {
    ops.softmax: "torch.softmax({0}, {axis})", ops.log_softmax: "torch.log_softmax({0}, {axis})",
    ops.softmax_backward: "torch._softmax_backward_data({0}, {1}, {axis}, {1}.dtype)",
    ops.log_softmax_backward: "torch._log_softmax_backward_data({0}, {1}, {axis}, {1}.dtype)",
    ops.relu: _relu,
    ops.hard_tanh: _hard_tanh, ops.hard_tanh_backward: _hard_tanh_backward,
    ops.gelu: _gelu(F.gelu), ops.gelu_backward: _gelu(_aten.gelu_backward.default),
    ops.silu: lambda node, device: F.silu,
    ops.silu_backward: lambda node, device: _aten.silu_backward.default,
    ops.layer_norm: call(_layer_norm), ops.layer_norm_backward: call(_layer_norm_backward),
    ops.batch_norm_training: call(_batch_norm), ops.batch_norm_backward: call(_batch_norm_backward),
    ops.cross_entropy: _cross_entropy,
    ops.cross_entropy_backward: _cross_entropy_backward,
}  # fmt: skip

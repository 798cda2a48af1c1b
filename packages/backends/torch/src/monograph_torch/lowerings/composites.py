"""Activations, normalisation and losses that torch has natively."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from monograph import ops

from .common import HALF, Pointwise, call
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


# ---- normalisation; torch rounds statistics of 16-bit inputs to 16 bits, the records keep float32


def _wide(*xs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return tuple(x.float() if x.dtype in HALF else x for x in xs)


def _layer_norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, *, epsilon: float) -> Any:
    w, s, b = _wide(x, scale, bias)
    y, mean, rstd = torch.native_layer_norm(w, [x.shape[-1]], s, b, epsilon)
    return y.to(x.dtype), mean[..., 0], rstd[..., 0]


def _layer_norm_backward(g: Any, x: Any, scale: Any, mean: Any, rstd: Any) -> Any:
    mean, rstd = (v.to(x.dtype) if x.dtype in HALF and x.is_cpu else v for v in (mean, rstd))
    mean, rstd = mean.contiguous(), rstd.contiguous()  # torch reads them as if they were
    # the bias itself is not read, only that there is one
    return _aten.native_layer_norm_backward.default(
        g, x, [x.shape[-1]], mean[..., None], rstd[..., None], scale, scale, [True, True, True]
    )


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
    w, s, b = _wide(x, scale, bias)
    rows = w.reshape(-1, x.shape[-1])  # [rows, channels] is torch's fastest layout for it
    n = len(rows)
    # with momentum 1 the running statistics become the batch's own, the variance an unbiased one
    mean, var = torch.zeros_like(s), torch.zeros_like(s)
    y = torch.native_batch_norm(rows, s, b, mean, var, True, 1.0, epsilon)[0]
    var = var.mul_((n - 1) / n) if n > 1 else torch.zeros_like(s)
    return y.view(x.shape).to(x.dtype), mean, var


@_needs_rows(lambda g, x, scale, mean, var: (x, scale, scale))
def _batch_norm_backward(
    g: Any, x: Any, scale: Any, mean: Any, var: Any, *, epsilon: float
) -> tuple[torch.Tensor, ...]:
    gw, w, s = _wide(g, x, scale)
    c = x.shape[-1]
    rstd = torch.rsqrt(var + epsilon)
    dx, dscale, dbias = _aten.native_batch_norm_backward.default(
        gw.reshape(-1, c), w.reshape(-1, c), s, None, None, mean, rstd, True, epsilon,
        [True, True, True],
    )  # fmt: skip
    return dx.view(x.shape).to(x.dtype), dscale.to(scale.dtype), dbias.to(scale.dtype)


# ---- losses


def _picked(logits: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels brought into range, ``[..., 1]``, and which of them were."""
    labels = signed(labels).long()
    at = labels.clamp(0, logits.shape[-1] - 1)
    return at[..., None], at == labels


def _cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    if not logits.shape[-1]:
        return logits.new_zeros(labels.shape)
    (w,), (at, valid) = _wide(logits), _picked(logits, labels)
    low = torch.log_softmax(w, -1).gather(-1, at).view(labels.shape)
    return torch.where(valid, low.neg_(), 0).to(logits.dtype)


def _cross_entropy_backward(
    g: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    if not logits.shape[-1]:
        return torch.zeros_like(logits)
    (w, gw), (at, valid) = _wide(logits, g), _picked(logits, labels)
    scale = torch.where(valid, gw, 0)[..., None]
    hot = torch.softmax(w, -1).mul_(scale)
    return hot.scatter_add_(-1, at, -scale).to(logits.dtype)


TABLE: dict[Any, Any] = {
    ops.softmax: "torch.softmax({0}, {axis})", ops.log_softmax: "torch.log_softmax({0}, {axis})",
    ops.softmax_backward: "torch._softmax_backward_data({0}, {1}, {axis}, {1}.dtype)",
    ops.log_softmax_backward: "torch._log_softmax_backward_data({0}, {1}, {axis}, {1}.dtype)",
    ops.relu: _relu,
    ops.gelu: _gelu(F.gelu), ops.gelu_backward: _gelu(_aten.gelu_backward.default),
    ops.silu: lambda node, device: F.silu,
    ops.silu_backward: lambda node, device: _aten.silu_backward.default,
    ops.layer_norm: call(_layer_norm), ops.layer_norm_backward: call(_layer_norm_backward),
    ops.batch_norm_training: call(_batch_norm), ops.batch_norm_backward: call(_batch_norm_backward),
    ops.cross_entropy: call(_cross_entropy),
    ops.cross_entropy_backward: call(_cross_entropy_backward),
}  # fmt: skip

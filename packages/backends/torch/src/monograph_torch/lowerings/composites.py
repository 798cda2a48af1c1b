"""Activations and normalisation that torch has natively."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monograph import ops

from .common import HALF, call


def _layer_norm(x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, *, epsilon: float) -> Any:
    # torch rounds the statistics of 16-bit rows to 16 bits; the record keeps them in float32
    w, s, b = (v.float() if x.dtype in HALF else v for v in (x, scale, bias))
    y, mean, rstd = torch.native_layer_norm(w, [x.shape[-1]], s, b, epsilon)
    return y.to(x.dtype), mean[..., 0], rstd[..., 0]


def _layer_norm_backward(g: Any, x: Any, scale: Any, mean: Any, rstd: Any) -> Any:
    mean, rstd = (v.to(x.dtype) if x.dtype in HALF and x.is_cpu else v for v in (mean, rstd))
    mean, rstd = mean.contiguous(), rstd.contiguous()  # torch reads them as if they were
    # the bias itself is not read, only that there is one
    return torch.ops.aten.native_layer_norm_backward(
        g, x, [x.shape[-1]], mean[..., None], rstd[..., None], scale, scale, [True, True, True]
    )


TABLE: dict[Any, Any] = {
    ops.softmax: "torch.softmax({0}, {axis})", ops.log_softmax: "torch.log_softmax({0}, {axis})",
    ops.softmax_backward: "torch.ops.aten._softmax_backward_data({0}, {1}, {axis}, {1}.dtype)",
    ops.log_softmax_backward: "torch.ops.aten._log_softmax_backward_data({0}, {1}, {axis}, {1}.dtype)",
    ops.gelu: lambda node, device: lambda x, how="tanh" if node.attrs["approximate"] else "none": F.gelu(
        x, approximate=how
    ),
    ops.gelu_backward: lambda node, device: (
        lambda g, x, how="tanh" if node.attrs["approximate"] else "none": torch.ops.aten.gelu_backward(
            g, x, approximate=how
        )
    ),
    ops.relu: lambda node, device: torch.clone if node.inputs[0].dtype.kind == "uint" else torch.relu,
    ops.silu: lambda node, device: F.silu, ops.silu_backward: "torch.ops.aten.silu_backward({0}, {1})",
    ops.layer_norm: call(_layer_norm), ops.layer_norm_backward: call(_layer_norm_backward),
}  # fmt: skip

"""Convolution and its gradients: channels last is torch's own channels_last memory, nothing is copied."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from monograph import ops

from .common import call
from .shape import pad


def _first(x: torch.Tensor) -> torch.Tensor:
    """[batch, *spatial, channels] as [batch, channels, *spatial], a view."""
    return x.movedim(-1, 1)


def _kernel_first(k: torch.Tensor) -> torch.Tensor:
    """[*spatial, in, out] as [out, in, *spatial], a view."""
    n = k.ndim - 2
    return k.permute(n + 1, n, *range(n))


def _widen(x: torch.Tensor) -> torch.Tensor:
    return x.float() if x.dtype == torch.float16 and x.device.type == "cpu" else x


def _prepared(x: torch.Tensor, a: Any) -> tuple[torch.Tensor, list[int]]:
    """``x`` channels first with zeros put in, and the symmetric padding left to the kernel."""
    p = a["padding"]
    symmetric = all(lo == hi >= 0 for lo, hi in p) and all(d == 1 for d in a["lhs_dilation"])
    if symmetric:
        return _first(x), [lo for lo, _ in p]
    zero = torch.zeros((), dtype=x.dtype, device=x.device)
    edge = {"low": [0, *[lo for lo, _ in p], 0], "high": [0, *[hi for _, hi in p], 0]}
    return _first(pad(x, zero, interior=[0, *[d - 1 for d in a["lhs_dilation"]], 0], **edge)), [
        0
    ] * len(p)


_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def _convolution(x: torch.Tensor, k: torch.Tensor, **a: Any) -> torch.Tensor:
    d, n = x.dtype, x.ndim - 2
    if n == 0:
        a = _unit(a)
        return _convolution(x[:, None], k[None], **a)[:, 0]
    wide, pad = _prepared(_widen(x), a)
    y = _CONV[n](
        wide,
        _kernel_first(_widen(k)),
        None,
        a["strides"],
        pad,
        a["rhs_dilation"],
        a["feature_groups"],
    )
    return y.movedim(1, -1).to(d)


def _unit(a: dict[str, Any]) -> dict[str, Any]:
    one = {"strides": (1,), "padding": ((0, 0),), "lhs_dilation": (1,), "rhs_dilation": (1,)}
    return {**a, **one}


def _backward(
    g: torch.Tensor, x: torch.Tensor, k: torch.Tensor, a: Any, which: int
) -> torch.Tensor:
    """aten's convolution_backward on prepared ``x``: gradient 0 is the input's, 1 the kernel's."""
    wide, pad = _prepared(x, a)
    mask = [which == 0, which == 1, False]
    n = len(a["strides"])
    out = torch.ops.aten.convolution_backward(
        _first(g), wide, _kernel_first(k), None, list(a["strides"]), pad, list(a["rhs_dilation"]),
        False, [0] * n, a["feature_groups"], mask,
    )  # fmt: skip
    return out[which]


def _input_grad(g: torch.Tensor, k: torch.Tensor, *, input_shape: Any, **a: Any) -> torch.Tensor:
    n = len(a["strides"])
    if n == 0:
        shape = (input_shape[0], 1, input_shape[1])
        return _input_grad(g[:, None], k[None], input_shape=shape, **_unit(a))[:, 0]
    if 0 in input_shape or g.numel() == 0:
        return torch.zeros(input_shape, dtype=g.dtype, device=g.device)
    d = g.dtype
    g, k = _widen(g), _widen(k)
    x = torch.zeros(input_shape, dtype=g.dtype, device=g.device)
    dx = _backward(g, x, k, a, 0).movedim(1, -1)
    if tuple(dx.shape) != tuple(input_shape):  # undo the zeros that were put in
        p = a["padding"]
        zero = torch.zeros((), dtype=g.dtype, device=g.device)
        low, high = [0, *[-lo for lo, _ in p], 0], [0, *[-hi for _, hi in p], 0]
        dx = pad(dx, zero, low=low, high=high, interior=[0] * dx.ndim)
        dx = dx[(slice(None), *[slice(None, None, s) for s in a["lhs_dilation"]])]
    return dx.to(d)


def _kernel_grad(x: torch.Tensor, g: torch.Tensor, *, kernel_shape: Any, **a: Any) -> torch.Tensor:
    n = len(a["strides"])
    if n == 0:
        return _kernel_grad(x[:, None], g[:, None], kernel_shape=(1, *kernel_shape), **_unit(a))[0]
    if x.numel() == 0 or g.numel() == 0:
        return torch.zeros(kernel_shape, dtype=g.dtype, device=g.device)
    d = g.dtype
    x, g = _widen(x), _widen(g)
    k = torch.zeros(kernel_shape, dtype=g.dtype, device=g.device)
    dk = _backward(g, x, k, a, 1)
    return dk.permute(*range(2, n + 2), 1, 0).to(d)


TABLE: dict[Any, Any] = {
    ops.convolution: call(_convolution), ops.convolution_input_grad: call(_input_grad),
    ops.convolution_kernel_grad: call(_kernel_grad),
}  # fmt: skip

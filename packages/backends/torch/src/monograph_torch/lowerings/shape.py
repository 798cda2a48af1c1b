"""Constants, and what moves elements without computing."""

from __future__ import annotations

from typing import Any

import torch
from monograph import ops
from monograph.op import constant

from .common import call, dtype_of, owned
from .integers import wide_unsigned


def _constant(node: Any, device: torch.device) -> torch.Tensor:
    return owned(node.attrs["value"].array, device)


def pad(
    x: torch.Tensor, value: torch.Tensor, *, low: Any, high: Any, interior: Any
) -> torch.Tensor:
    """StableHLO's pad: negative edges crop."""
    spread = [n + max(n - 1, 0) * k for n, k in zip(x.shape, interior)]
    size = [n + max(a, 0) + max(b, 0) for n, a, b in zip(spread, low, high)]
    if not size:
        return x.clone()
    out = x.new_empty(size)
    if any(interior):
        out.fill_(value)
    else:  # the edges alone
        for axis, (n, a, b) in enumerate(zip(size, low, high)):
            if a > 0:
                out.narrow(axis, 0, a).fill_(value)
            if b > 0:
                out.narrow(axis, n - b, b).fill_(value)
    put = tuple(slice(max(a, 0), max(a, 0) + n, k + 1) for n, a, k in zip(spread, low, interior))
    out[put] = x
    return out[tuple(slice(max(-a, 0), n - max(-b, 0)) for n, a, b in zip(size, low, high))]


def _slice(x: torch.Tensor, *, start: Any, limit: Any, strides: Any) -> torch.Tensor:
    return x[tuple(slice(a, b, s) for a, b, s in zip(start, limit, strides))]


def _broadcast(x: torch.Tensor, *, shape: Any, dims: Any) -> torch.Tensor:
    inner = [1] * len(shape)
    for i, d in enumerate(dims):
        inner[d] = x.shape[i]
    return x.reshape(inner).expand(shape)


def _iota(node: Any, device: torch.device) -> torch.Tensor:
    shape, axis = node.attrs["shape"], node.attrs["axis"]
    line = torch.arange(shape[axis], device=device).to(dtype_of(node.outputs[0].spec))
    return line.reshape([-1 if i == axis else 1 for i in range(len(shape))]).expand(shape)


TABLE: dict[Any, Any] = {
    constant: _constant, ops.iota: _iota,
    # `program.RENAMING`: no line of their own
    **dict.fromkeys((ops.alias, ops.stop_gradient, ops.check_finite, ops.allow_nonfinite), "{0}"),
    ops.optimization_barrier: "({args},)",
    ops.reshape: "{0}.reshape({shape})", ops.transpose: "{0}.permute({permutation})",
    ops.broadcast_in_dim: call(_broadcast), ops.slice_: call(_slice), ops.pad: wide_unsigned(pad),
    ops.concatenate: "torch.cat(({args},), {axis})",
    ops.reverse: wide_unsigned(lambda x, *, axes: torch.flip(x, axes)),
    ops.bitcast_convert: "{0}.contiguous().view({dtype})",
}  # fmt: skip

"""Attention by torch's flash kernels for the CPU.

They are private operators of `torch.ops.aten`, since the public function keeps no log-sum-exp for a
backward of ours; where a kernel is absent or cannot take the shapes, the record's body runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import ops
from monograph.rewrite import decompose


def _kernel(name: str) -> Any:
    return getattr(getattr(torch.ops.aten, name, None), "default", None)


FORWARD = _kernel("_scaled_dot_product_flash_attention_for_cpu")
BACKWARD = _kernel("_scaled_dot_product_flash_attention_for_cpu_backward")


def _body(node: Any, device: Any) -> Callable:
    from ..codegen import generate
    from . import LOWER

    body = node.op.body_graph([v.spec for v in node.inputs], node.attrs)
    return generate(decompose(body, lambda op: op in LOWER)[0], device, nested=True)


def _fits(kernel: Any, device: torch.device, q: Any, k: Any, v: Any) -> bool:
    # no keys: the kernel divides by their number and takes the process down
    same = q.shape[3] == v.shape[3]
    return kernel is not None and device.type == "cpu" and same and 0 not in (*q.shape, *k.shape)


def _heads_first(x: torch.Tensor) -> torch.Tensor:
    x = x.transpose(1, 2)
    return x if x.stride(3) == 1 else x.contiguous()


def _added(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A mask as the kernel wants it: added to the scores."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill_(~mask, float("-inf"))


def _forward(node: Any, device: torch.device) -> Callable:
    if not _fits(FORWARD, device, *node.inputs[:3]):
        return _body(node, device)
    causal, scale = node.attrs["is_causal"], node.attrs["scale"]

    def run(q: Any, k: Any, v: Any, mask: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
        bias = None if mask is None else _added(mask, q)
        q, k, v = (_heads_first(x) for x in (q, k, v))
        out, logsumexp = FORWARD(q, k, v, 0.0, causal, attn_mask=bias, scale=scale)
        return out.transpose(1, 2), logsumexp

    return run


def _backward(node: Any, device: torch.device) -> Callable:
    if not _fits(BACKWARD, device, *node.inputs[1:4]):
        return _body(node, device)
    causal, scale = node.attrs["is_causal"], node.attrs["scale"]

    def run(g: Any, q: Any, k: Any, v: Any, out: Any, logsumexp: Any, mask: Any = None) -> Any:
        bias = None if mask is None else _added(mask, q)
        g, q, k, v, out = (_heads_first(x) for x in (g, q, k, v, out))
        grads = BACKWARD(
            g, q, k, v, out, logsumexp, 0.0, causal, attn_mask=bias, scale=scale
        )  # fmt: skip
        return tuple(x.transpose(1, 2) for x in grads)

    return run


TABLE = {ops.attention: _forward, ops.attention_backward: _backward}

"""Attention: `mg.attention` where it says all; what it leaves open stays with the bodies of ONNX's schemas."""

from __future__ import annotations

from typing import Any

import monograph as mg

from ..rules import rule


@rule("Attention")
def attention(
    q: Any, k: Any, v: Any, mask: Any = None, past_k: Any = None, past_v: Any = None,
    lengths: Any = None, *, is_causal: int = 0, kv_num_heads: int = 0, left_window_size: int = -1,
    q_num_heads: int = 0, qk_matmul_output_mode: int = 0, right_window_size: int = -1, scale: float | None = None, softcap: float = 0.0,
    softmax_precision: int = 0, outputs: int = 1,
) -> Any:  # fmt: skip
    """``softmax(q k^T * scale + mask) v`` (Vaswani et al. 2017): heads second, or within the last of three axes."""
    q, k, v = map(mg.asarray, (q, k, v))
    short = mask is not None and mask.shape[-1] != k.shape[-2]
    windows = left_window_size >= 0 or right_window_size >= 0
    cached = past_k is not None or lengths is not None
    if outputs > 1 or softcap or softmax_precision or short or windows or cached:
        return NotImplemented
    flat = q.ndim == 3
    if flat:
        q = mg.reshape(q, (*q.shape[:2], q_num_heads, -1))
        k, v = (mg.reshape(x, (*x.shape[:2], kv_num_heads, -1)) for x in (k, v))
    else:
        q, k, v = (mg.swapaxes(x, 1, 2) for x in (q, k, v))
    out = mg.attention(q, k, v, mask=mask, is_causal=bool(is_causal), scale=scale)
    return mg.reshape(out, (*out.shape[:2], -1)) if flat else mg.swapaxes(out, 1, 2)

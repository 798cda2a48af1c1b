"""Matrix products: ``dot_general`` as one ``mm`` or ``bmm`` with views around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from monograph import ops

from .. import onednn
from .common import SLOW, fast_half, function
from .integers import signed, wrap


@fast_half
def _dot(node: Any, device: Any) -> str | Callable:
    x, y, out = (v.spec for v in (*node.inputs, *node.outputs))
    x_batch, y_batch, x_con, y_con = (
        node.attrs[k]
        for k in ("lhs_batching", "rhs_batching", "lhs_contracting", "rhs_contracting")
    )
    x_free = [i for i in range(x.ndim) if i not in (*x_batch, *x_con)]
    y_free = [i for i in range(y.ndim) if i not in (*y_batch, *y_con)]
    b, m, k, n = (
        math.prod(s.shape[i] for i in axes)
        for s, axes in ((x, x_batch), (x, x_free), (x, x_con), (y, y_free))
    )
    lead = [b] if x_batch else []
    left = _arranged("{0}", x, (*x_batch, *x_free, *x_con), [*lead, m, k])
    right = _arranged("{1}", y, (*y_batch, *y_con, *y_free), [*lead, k, n])
    product = "torch.bmm" if lead else "torch.mm"
    if not lead and x.dtype.name in ("float32", *SLOW) and onednn.pays(device, m, k, n):
        product = "onednn.mm"
    text = f"{product}({left}, {right})"
    result = "" if out.shape == (*lead, m, n) else f".view({out.shape})"
    if x.dtype.is_inexact:
        return text + result
    wide = function(text + result)  # torch has no fast kernel for integers but of 64 bits
    return lambda p, q: wrap(wide(signed(p).long(), signed(q).long()), p.dtype)


def _arranged(name: str, spec: Any, order: Sequence[int], shape: Sequence[int]) -> str:
    """Source of ``name`` with its axes in ``order``, merged into ``shape``."""
    if tuple(order) == (1, 0) and list(shape) == [spec.shape[1], spec.shape[0]]:
        return f"{name}.t()"
    text = name if list(order) == sorted(order) else f"{name}.permute({tuple(order)})"
    arranged = [spec.shape[i] for i in order]
    return text if arranged == list(shape) else f"{text}.reshape({tuple(shape)})"


TABLE: dict[Any, Any] = {ops.dot_general: _dot}

"""Parameter updates: all parameters of a model in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import ops


def _fused_adam(node: Any, device: Any) -> Any:
    a = node.attrs
    n, fused = (
        a["count"],
        getattr(torch, "_fused_adamw_" if a["weight_decay"] else "_fused_adam_", None),
    )
    if fused is None or any(v.dtype.name not in ("float32", "float64") for v in node.outputs):
        return _adam_foreach(a)

    def run(lr: torch.Tensor, step: torch.Tensor, *xs: torch.Tensor) -> Any:
        p, g, m, v = ([x.contiguous() for x in xs[i * n : (i + 1) * n]] for i in range(4))
        p, m, v = ([x.clone() for x in part] for part in (p, m, v))
        steps = [step.to(torch.float32).clone() for _ in range(n)]
        fused(
            p, g, m, v, [], steps, lr=lr.item(), beta1=a["beta1"], beta2=a["beta2"],
            weight_decay=a["weight_decay"], eps=a["epsilon"], amsgrad=False, maximize=False,
        )  # fmt: skip
        return (*p, *m, *v)

    return run


def _adam_foreach(a: Any) -> Callable:
    n, b1, b2 = a["count"], a["beta1"], a["beta2"]

    def run(lr: torch.Tensor, step: torch.Tensor, *xs: torch.Tensor) -> Any:
        p, g, m, v = (xs[i * n : (i + 1) * n] for i in range(4))
        t, rate = float(step), float(lr)
        m = [x * b1 + y * (1 - b1) for x, y in zip(m, g)]
        v = [x * b2 + y * y * (1 - b2) for x, y in zip(v, g)]
        c1, c2 = 1 - b1**t, (1 - b2**t) ** 0.5
        p = [x * (1 - rate * a["weight_decay"]) for x in p]
        p = [x - rate / c1 * (y / (z.sqrt() / c2 + a["epsilon"])) for x, y, z in zip(p, m, v)]
        return (*p, *m, *v)

    return run


TABLE: dict[Any, Any] = {ops.adam_update: _fused_adam}

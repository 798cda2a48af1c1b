"""Parameter updates: all parameters of a model in one call, in place where they may be overwritten.

torch's fused kernels have private names. Where one is missing the table lacks the op, and core runs
the op's own body instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monograph import ops

from .common import Writer


def _owner(places: range, free: tuple[int, ...]) -> Callable:
    """Makes tensors to overwrite of operands: those at ``free`` places themselves, copies of others."""
    copied = [i for i, p in enumerate(places) if p not in free]

    def own(xs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        out = [x.contiguous() for x in xs[places.start : places.stop]]
        for i in copied:
            out[i] = out[i].clone()
        return out

    return own


def _adam(node: Any, device: Any) -> Writer:
    a, n = node.attrs, node.attrs["count"]
    fused = torch._fused_adamw_ if a["weight_decay"] else torch._fused_adam_
    fixed = {
        "beta1": a["beta1"], "beta2": a["beta2"], "weight_decay": a["weight_decay"],
        "eps": a["epsilon"], "amsgrad": False, "maximize": False,
    }  # fmt: skip

    def write(free: tuple[int, ...]) -> Callable:
        params, first, second = (_owner(places[i], free) for i in (0, 2, 3))

        def run(*xs: torch.Tensor) -> list[torch.Tensor]:
            p, m, v = params(xs), first(xs), second(xs)
            g = [x.contiguous() for x in xs[2 + n : 2 + 2 * n]]
            fused(p, g, m, v, [], [xs[1].float()] * n, lr=float(xs[0]), **fixed)
            return p + m + v

        return run

    places = [range(2 + i * n, 2 + (i + 1) * n) for i in range(4)]
    return Writer((*places[0], *places[2], *places[3]), write)


def _sgd(node: Any, device: Any) -> Writer:
    a, n = node.attrs, node.attrs["count"]
    fixed = {
        "weight_decay": 0.0, "momentum": a["momentum"], "dampening": 0.0, "nesterov": a["nesterov"],
        "maximize": False, "is_first_step": False,
    }  # fmt: skip

    def write(free: tuple[int, ...]) -> Callable:
        params, velocities = _owner(first, free), _owner(second, free)

        def run(*xs: torch.Tensor) -> list[torch.Tensor]:
            p, m = params(xs), velocities(xs)
            g = [x.contiguous() for x in xs[1 + n : 1 + 2 * n]]
            torch._fused_sgd_(p, g, m, lr=float(xs[0]), **fixed)
            return p + m

        return run

    first, second = range(1, 1 + n), range(1 + 2 * n, len(node.inputs))
    return Writer((*first, *second), write)


_NEEDS = {
    ops.adam_update: (("_fused_adam_", "_fused_adamw_"), _adam),
    ops.sgd_update: (("_fused_sgd_",), _sgd),
}
TABLE: dict[Any, Any] = {
    op: lower for op, (names, lower) in _NEEDS.items() if all(hasattr(torch, n) for n in names)
}

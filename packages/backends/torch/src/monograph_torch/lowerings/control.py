"""Branches and loops: Python's own, around functions generated from the nested graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import ops

from .common import dtype_of


def _sub(graph: Any, device: Any) -> Callable:
    from ..codegen import generate

    return generate(graph, device)


def _case(node: Any, device: Any) -> Callable:
    runs = [_sub(b, device) for b in node.attrs["branches"]]

    def run(index: torch.Tensor, *xs: torch.Tensor) -> Any:
        i = int(index)
        return runs[i if 0 <= i < len(runs) else -1](*xs)

    return run


def _while(node: Any, device: Any) -> Callable:
    cond, body, n = (
        _sub(node.attrs["cond"], device),
        _sub(node.attrs["body"], device),
        node.attrs["num_carry"],
    )

    def run(*xs: torch.Tensor) -> Any:
        carry, rest = xs[:n], xs[n:]
        while bool(cond(*carry, *rest)[0]):
            carry = body(*carry, *rest)
        return tuple(carry)

    return run


def _scan(node: Any, device: Any) -> Callable:
    a = node.attrs
    body, nc, nk = _sub(a["body"], device), a["num_consts"], a["num_carry"]
    outs = [v.spec for v in node.outputs[nk:]]

    def run(*xs: torch.Tensor) -> Any:
        consts, carry, rest = xs[:nc], xs[nc : nc + nk], xs[nc + nk :]
        stacked = [torch.empty(s.shape, dtype=dtype_of(s), device=device) for s in outs]
        ys = len(stacked) - (nk if a["history"] else 0)
        for i in range(a["length"])[:: -1 if a["reverse"] else 1]:
            for h, c in zip(stacked[ys:], carry):
                h[i] = c
            got = body(*consts, *carry, *[x[i] for x in rest])
            carry = got[:nk]
            for s, y in zip(stacked, got[nk:]):
                s[i] = y
        return (*carry, *stacked)

    return run


TABLE: dict[Any, Any] = {ops.case: _case, ops.while_: _while, ops.scan: _scan}

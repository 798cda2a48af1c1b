"""Branches and loops: Python's own, around functions generated from the nested graphs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import ops

from .common import Writer, dtype_of


def _sub(graph: Any, device: Any, donate: tuple[int, ...] = ()) -> Any:
    from ..codegen import generate

    return generate(graph, device, donate, nested=True)


def _turns(body: Any, device: Any, carry: range) -> tuple[Callable, Callable]:
    """The body's first turn, and later ones: these may overwrite the carry that a turn made."""
    later = _sub(body, device, tuple(carry))
    return _sub(body, device) if later.donated else later, later


def _case(node: Any, device: Any) -> Writer:
    branches = node.attrs["branches"]

    def write(free: tuple[int, ...]) -> Callable:
        runs = [_sub(b, device, tuple(p - 1 for p in free)) for b in branches]

        def run(index: torch.Tensor, *xs: torch.Tensor) -> Any:
            i = int(index)
            return runs[i if 0 <= i < len(runs) else -1](*xs)

        return run

    return Writer(tuple(range(1, len(node.inputs))), write)


def _while(node: Any, device: Any) -> Callable:
    n, cond = node.attrs["num_carry"], _sub(node.attrs["cond"], device)
    first, later = _turns(node.attrs["body"], device, range(n))

    def run(*xs: torch.Tensor) -> Any:
        carry, rest, turn = xs[:n], xs[n:], first
        while bool(cond(*carry, *rest)[0]):
            carry, turn = turn(*carry, *rest), later
        return tuple(carry)

    return run


def _scan(node: Any, device: Any) -> Callable:
    a = node.attrs
    nc, nk = a["num_consts"], a["num_carry"]
    first, later = _turns(a["body"], device, range(nc, nc + nk))
    outs = [v.spec for v in node.outputs[nk:]]

    def run(*xs: torch.Tensor) -> Any:
        consts, carry, rest, turn = xs[:nc], xs[nc : nc + nk], xs[nc + nk :], first
        stacked = [torch.empty(s.shape, dtype=dtype_of(s), device=device) for s in outs]
        ys = len(stacked) - (nk if a["history"] else 0)
        for i in range(a["length"])[:: -1 if a["reverse"] else 1]:
            for h, c in zip(stacked[ys:], carry):
                h[i] = c
            got = turn(*consts, *carry, *[x[i] for x in rest])
            carry, turn = got[:nk], later
            for s, y in zip(stacked, got[nk:]):
                s[i] = y
        return (*carry, *stacked)

    return run


TABLE: dict[Any, Any] = {ops.case: _case, ops.while_: _while, ops.scan: _scan}

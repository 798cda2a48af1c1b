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
from .finite import finite_by, total


def _owner(places: range, free: tuple[int, ...]) -> Callable:
    """Makes tensors to overwrite of operands: those at ``free`` places themselves, copies of others."""
    copied = [i for i, p in enumerate(places) if p not in free]

    def own(xs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        out = [x.contiguous() for x in xs[places.start : places.stop]]
        for i in copied:
            out[i] = out[i].clone()
        return out

    return own


class _Kernel:
    """One fused update: where its operands are, and the call that overwrites them.

    Attributes:
        first: position of the first parameter; the gradients follow the parameters, then moments.
        groups: what is overwritten, ranges of positions: parameters and each kind of moment.
    """

    def __init__(self, node: Any, first: int = 0, moments: int = 0):
        n = self.count = node.attrs["count"]
        self.attrs, self.first = node.attrs, first
        self.groups = [
            range(first + i * n, first + (i + 1) * n) for i in (0, *range(2, 2 + moments))
        ]

    def __call__(self, xs: Sequence[torch.Tensor], own: list, grads: list) -> None:
        """Update ``own``, a list of tensors per group; ``xs`` are all operands."""
        raise NotImplementedError

    def grad(self, xs: Sequence[torch.Tensor], i: int) -> torch.Tensor:
        """The gradient of parameter number ``i``."""
        return xs[self.first + self.count + i].contiguous()


class _Adam(_Kernel):
    def __init__(self, node: Any):
        super().__init__(node, 2, 2)
        a = node.attrs
        self.fused = torch._fused_adamw_ if a["weight_decay"] else torch._fused_adam_
        self.fixed = {
            "beta1": a["beta1"], "beta2": a["beta2"], "weight_decay": a["weight_decay"],
            "eps": a["epsilon"], "amsgrad": False, "maximize": False,
        }  # fmt: skip

    def __call__(self, xs: Sequence[torch.Tensor], own: list, grads: list) -> None:
        steps = [xs[1].float()] * len(grads)
        p, m, v = own
        self.fused(p, grads, m, v, [], steps, lr=float(xs[0]), **self.fixed)


class _Sgd(_Kernel):
    def __init__(self, node: Any):
        super().__init__(node, 1, 1 if node.attrs["momentum"] else 0)
        a = node.attrs
        self.fixed = {
            "weight_decay": 0.0, "momentum": a["momentum"], "dampening": 0.0,
            "nesterov": a["nesterov"], "maximize": False, "is_first_step": False,
        }  # fmt: skip

    def __call__(self, xs: Sequence[torch.Tensor], own: list, grads: list) -> None:
        velocities = own[1] if len(own) > 1 else []
        torch._fused_sgd_(own[0], grads, velocities, lr=float(xs[0]), **self.fixed)


def _in_place(kernel: type[_Kernel]) -> Callable:
    def lower(node: Any, device: Any) -> Writer:
        k = kernel(node)

        def write(free: tuple[int, ...]) -> Callable:
            owners = [_owner(places, free) for places in k.groups]

            def run(*xs: torch.Tensor) -> list[torch.Tensor]:
                own = [take(xs) for take in owners]
                k(xs, own, [k.grad(xs, i) for i in range(k.count)])
                return [x for group in own for x in group]

            return run

        return Writer(tuple(p for places in k.groups for p in places), write)

    return lower


class IntoSpares(Writer):
    """The update of copies, made in further operands that may be overwritten.

    A few parameters at a time, so that copying, updating and summing up find them in the cache; one
    more result tells whether all is finite: 0, or NaN.

    Attributes:
        summed: positions of the results it looked at: all but the first moments or velocities, which
            are finite while the parameter is that they moved.
    """

    CHUNK = 1 << 18  # bytes of parameters

    def __init__(self, node: Any, spare_at: dict[int, int]):
        k = _KERNELS[node.op](node)
        looked = [i for i in range(len(k.groups)) if i != 1]
        self.summed = frozenset(i * k.count + j for i in looked for j in range(k.count))
        chunks = _chunks([v.spec.nbytes for v in node.outputs[: k.count]], self.CHUNK)

        def write(free: tuple[int, ...]) -> Callable:
            into = {i: at for i, at in spare_at.items() if at in free}

            def own(xs: Sequence[torch.Tensor], i: int) -> torch.Tensor:
                return xs[into[i]].copy_(xs[i]) if i in into else xs[i].contiguous().clone()

            def run(*xs: torch.Tensor) -> list[torch.Tensor]:
                results: list[list[torch.Tensor]] = [[] for _ in k.groups]
                totals: list[torch.Tensor] = []
                for chunk in chunks:
                    mine = [[own(xs, places[i]) for i in chunk] for places in k.groups]
                    k(xs, mine, [k.grad(xs, i) for i in chunk])
                    totals += [total(x) for i in looked for x in mine[i]]
                    for group, found in zip(results, mine):
                        group.extend(found)
                ok = finite_by(totals, [x for i in looked for x in results[i]])
                told = torch.tensor(0.0 if ok else float("nan"), device=xs[0].device)
                return [*(x for group in results for x in group), told]

            return run

        super().__init__(tuple(spare_at.values()), write)


def _chunks(sizes: Sequence[int], limit: int) -> list[list[int]]:
    out: list[list[int]] = [[]]
    room = limit
    for i, size in enumerate(sizes):
        out[-1].append(i)
        room -= size
        if room <= 0 and i < len(sizes) - 1:
            out.append([])
            room = limit
    return out


_KERNELS: dict[Any, Any] = {ops.adam_update: _Adam, ops.sgd_update: _Sgd}
_NEEDS = {
    ops.adam_update: ("_fused_adam_", "_fused_adamw_"),
    ops.sgd_update: ("_fused_sgd_",),
}
TABLE: dict[Any, Any] = {
    op: _in_place(_KERNELS[op])
    for op, names in _NEEDS.items()
    if all(hasattr(torch, n) for n in names)
}

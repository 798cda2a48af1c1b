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
from .convolution import outputs_first
from .finite import finite_by, total


def _owner(places: range, free: tuple[int, ...]) -> Callable:
    """Makes tensors to overwrite of operands: those at ``free`` places themselves, copies of others.

    They lie as the parameters do, which `like` has; None: these are the parameters.
    """
    copied = [i for i, p in enumerate(places) if p not in free]

    def own(xs: Sequence[torch.Tensor], like: Sequence[torch.Tensor] | None) -> list[torch.Tensor]:
        given = xs[places.start : places.stop]
        out = [*map(_dense, given)] if like is None else [*map(_laid, given, like)]
        for i in copied:
            if out[i] is given[i]:
                out[i] = out[i].clone()  # which keeps the order of its memory
        return out

    return own


def _dense(x: torch.Tensor) -> torch.Tensor:
    """In one piece, in the order of its axes or of a convolution's kernel."""
    if x.is_contiguous() or (x.ndim == 4 and outputs_first(x) is x):
        return x
    return x.contiguous()


def _laid(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The same numbers in the order of another's memory."""
    return x if x.stride() == like.stride() else torch.empty_like(like).copy_(x)


def _line(x: torch.Tensor) -> torch.Tensor:
    """A view in the order of its memory: fused kernels bring gradients of another order into their own."""
    return x if x.is_contiguous() else x.permute(3, 0, 1, 2)


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

    def __call__(self, xs: Sequence[torch.Tensor], own: list, chunk: Sequence[int]) -> None:
        """Update ``own``, per group a list of tensors, those of the parameters ``chunk``; ``xs`` are all operands."""
        first = self.first + self.count
        grads = [_line(_laid(xs[first + i], p)) for i, p in zip(chunk, own[0])]
        self.kernel(xs, [[*map(_line, group)] for group in own], grads)

    def kernel(self, xs: Sequence[torch.Tensor], own: list, grads: list) -> None:
        """torch's kernel, on tensors in the order of their memory."""
        raise NotImplementedError


class _Adam(_Kernel):
    def __init__(self, node: Any):
        super().__init__(node, 2, 2)
        a = node.attrs
        self.fused = torch._fused_adamw_ if a["weight_decay"] else torch._fused_adam_
        self.fixed = {
            "beta1": a["beta1"], "beta2": a["beta2"], "weight_decay": a["weight_decay"],
            "eps": a["epsilon"], "amsgrad": False, "maximize": False,
        }  # fmt: skip

    def kernel(self, xs: Sequence[torch.Tensor], own: list, grads: list) -> None:
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

    def kernel(self, xs: Sequence[torch.Tensor], own: list, grads: list) -> None:
        velocities = own[1] if len(own) > 1 else []
        torch._fused_sgd_(own[0], grads, velocities, lr=float(xs[0]), **self.fixed)


def _in_place(kernel: type[_Kernel]) -> Callable:
    def lower(node: Any, device: Any) -> Writer:
        k = kernel(node)

        def write(free: tuple[int, ...]) -> Callable:
            owners = [_owner(places, free) for places in k.groups]

            def run(*xs: torch.Tensor) -> list[torch.Tensor]:
                params = owners[0](xs, None)
                own = [params, *[take(xs, params) for take in owners[1:]]]
                k(xs, own, range(k.count))
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

            def own(xs: Sequence[torch.Tensor], i: int, p: int) -> torch.Tensor:
                at = into.get(i)
                if at is not None and xs[at].stride() == xs[p].stride():
                    return xs[at].copy_(xs[i])
                return torch.empty_like(_dense(xs[p])).copy_(xs[i])

            def run(*xs: torch.Tensor) -> list[torch.Tensor]:
                results: list[list[torch.Tensor]] = [[] for _ in k.groups]
                totals: list[torch.Tensor] = []
                for chunk in chunks:
                    ps = k.groups[0]
                    mine = [[own(xs, places[i], ps[i]) for i in chunk] for places in k.groups]
                    k(xs, mine, chunk)
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

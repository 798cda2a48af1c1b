"""Operations from outside core: the lowering they bring, checked, or their NumPy body on the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from monograph import Spec
from monograph.dtypes import dtype as as_dtype
from monograph.native import Kernel
from monograph.op import Op
from monograph.outside import blamed, call, fits, listed

from .lowerings.common import dtype_of, function, owned, shown


def on_host(op: Op) -> Callable:
    """A lowering that calls the op's NumPy body; on a GPU by way of copies. A C function by address."""

    def lower(node: Any, device: torch.device) -> Callable:
        if isinstance(op.reference, Kernel) and device.type == "cpu":
            return _native(node)
        ins, outs = _specs(node)

        def run(*xs: torch.Tensor) -> Any:
            got = call(op, [_shown(x) for x in xs], node.attrs, ins, outs, node.source)
            made = [owned(y, device) for y in got]
            return tuple(made) if op.multi else made[0]

        return run

    return lower


def _specs(node: Any) -> tuple[list, list]:
    return [v.spec for v in node.inputs], [v.spec for v in node.outputs]


def _shown(x: torch.Tensor) -> np.ndarray:
    """A tensor as a read-only, row-major array."""
    _, array = shown(x.detach().cpu().resolve_conj().resolve_neg().contiguous())
    array.setflags(write=False)
    return array


def _native(node: Any) -> Callable:
    op, (ins, _) = node.op, _specs(node)
    plan = op.reference.plan(ins, node.attrs)
    results = [(s.shape, dtype_of(s)) for s in plan.outs]

    def run(*xs: torch.Tensor) -> Any:
        xs = tuple([x.resolve_conj().resolve_neg().contiguous() for x in xs])
        ys = [torch.empty(shape, dtype=dtype) for shape, dtype in results]
        try:
            plan(*[x.data_ptr() for x in xs], *[y.data_ptr() for y in ys])
        except Exception as e:
            raise blamed(e, op, "C function", node.source)  # noqa: B904  (its cause is set)
        return tuple(ys) if op.multi else ys[0]

    return run


def checked(node: Any, how: Any) -> Any:
    """What an op brought for torch, so that its results fit and have memory of their own."""
    if torch.is_tensor(how):
        return how
    how = how.write(()) if hasattr(how, "write") else how
    op, (_, outs), what = node.op, _specs(node), "lowering for torch"
    fn = function(how, len(node.inputs)) if isinstance(how, str) else how

    def run(*xs: torch.Tensor) -> Any:
        try:
            got = fn(*xs)
        except Exception as e:
            raise blamed(e, op, what, node.source)  # noqa: B904  (its cause is set)
        taken = {x.untyped_storage().data_ptr() for x in xs}
        made = [
            _own(op, y, s, taken, node.source)
            for y, s in zip(listed(op, got, outs, node.source), outs)
        ]
        return tuple(made) if op.multi else made[0]

    return run


def _own(op: Op, y: Any, want: Spec, taken: set[int], source: Any) -> torch.Tensor:
    y = torch.as_tensor(y)
    fits(op, y.shape, as_dtype(str(y.dtype).removeprefix("torch.")), want, source)
    y = y.to(dtype_of(want)).resolve_conj().resolve_neg().contiguous()
    if y.untyped_storage().data_ptr() in taken:
        y = y.clone()
    taken.add(y.untyped_storage().data_ptr())
    return y

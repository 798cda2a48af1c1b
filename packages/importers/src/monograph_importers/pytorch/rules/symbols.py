"""Arithmetic on sizes. They are Python numbers while a graph is recorded, and so are results."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import monograph as mg


def _item(x: Any) -> Any:
    """The number of a tensor that is known; others have none yet."""
    return x.item()


def _bounded(fn: Callable) -> Callable:
    """``fn`` for numbers of 64 bits, as torch has them: Python's grow without end, and so do its lists."""

    def rule(*xs: Any) -> Any:
        for x in xs:
            if not isinstance(x, (int, float, complex, mg.Array)):
                raise TypeError(f"{type(x).__name__} in the place of a number")
            if isinstance(x, int) and x.bit_length() > 64:
                raise OverflowError("a number of more than 64 bits")
        grows = fn in (operator.pow, operator.lshift) and all(isinstance(x, int) for x in xs)
        if grows and xs[1] > 64 and abs(xs[0]) > (fn is operator.pow):
            raise OverflowError(f"a number of more than 64 bits: {fn.__name__}{xs}")
        return fn(*xs)

    return rule


_NAMES = (
    "add", "sub", "mul", "floordiv", "mod", "truediv", "pow", "neg", "eq", "ne", "lt", "le", "gt",
    "ge", "and_", "or_", "xor", "not_", "abs", "pos", "lshift", "rshift", "invert", "index",
)  # fmt: skip

RULES: dict[str, Callable] = {
    **{f"_operator.{n}": _bounded(getattr(operator, n)) for n in _NAMES},
    "_operator.getitem": operator.getitem,
    **{f"math.{n}": getattr(math, n) for n in ("ceil", "floor", "trunc", "sqrt", "log2")},
    "builtins.round": round, "builtins.max": max, "builtins.min": min, "builtins.abs": abs,
    "torch.sym_float": float, "torch.sym_int": int, "torch.sym_not": operator.not_,
    "torch.sym_max": max, "torch.sym_min": min, "torch.sym_sum": sum, "torch.sym_sqrt": math.sqrt,
    "torch.sym_ite": lambda c, a, b: a if c else b,
    "aten.sym_size.int": lambda x, dim: x.shape[dim], "aten.size.int": lambda x, dim: x.shape[dim],
    "aten.sym_size.default": lambda x: list(x.shape), "aten.dim.default": lambda x: x.ndim,
    "aten.sym_numel.default": lambda x: x.size, "aten.numel.default": lambda x: x.size,
    "aten.sym_stride.int": lambda x, dim: math.prod(x.shape[dim % max(x.ndim, 1) + 1 :]),
    "aten.sym_storage_offset.default": lambda x: 0,
    "aten._local_scalar_dense.default": _item, "aten.item.default": _item,
    "aten.is_floating_point.default": lambda x: x.dtype.is_float,
    **{
        f"aten.{n}.default": lambda *args, **kwargs: None
        for n in (
            "_assert_scalar", "_assert_async", "_assert_tensor_metadata", "sym_constrain_range",
            "sym_constrain_range_for_size", "_functional_assert_scalar",
        )
    },
    "aten._assert_async.msg": lambda *args: None, "torch._check": lambda *args: None,
}  # fmt: skip

"""Control flow: a body arrives as a Python function of tensors that gives a tuple."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg


def _cond(pred: Any, true_fn: Callable, false_fn: Callable, operands: Any = ()) -> Any:
    if not isinstance(pred, mg.Array) or isinstance(pred, mg.Tensor):
        return (true_fn if bool(pred) else false_fn)(*operands)
    return mg.cond(mg.reshape(pred, ()), true_fn, false_fn, *operands)


def _while(cond_fn: Callable, body_fn: Callable, carried: Any, extra: Any = ()) -> Any:
    start = tuple(mg.asarray(c) for c in carried)
    return mg.while_loop(
        lambda c: mg.reshape(cond_fn(*c, *extra)[0], ()),
        lambda c: tuple(body_fn(*c, *extra)),
        start,
    )


def _scan(combine: Callable, init: Any, xs: Any, extra: Any = ()) -> tuple[Any, ...]:
    n = len(init)

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        out = combine(*carry, *x, *extra)
        return tuple(out[:n]), tuple(out[n:])

    last, ys = mg.scan(body, tuple(mg.asarray(i) for i in init), tuple(xs))
    return *last, *ys


def _map(fn: Callable, xs: Any, extra: Any = ()) -> tuple[Any, ...]:
    return tuple(mg.scan(lambda c, x: (c, tuple(fn(*x, *extra))), (), tuple(xs))[1])


def _with_gradients(enabled: bool, fn: Callable, *args: Any) -> tuple[Any, ...]:
    out = fn(*args)
    return (
        out
        if enabled
        else tuple(mg.stop_gradient(y) if isinstance(y, mg.Array) else y for y in out)
    )


RULES: dict[str, Callable] = {
    "cond": _cond, "while_loop": _while, "scan": _scan, "map_impl": _map, "map": _map,
    "wrap_with_set_grad_enabled": _with_gradients,
    "wrap_with_autocast": lambda device, dtype, enabled, cache, fn, *args: fn(*args),
    "invoke_subgraph": lambda fn, name, *args: fn(*args), "checkpoint": lambda fn, *args: fn(*args),
}  # fmt: skip

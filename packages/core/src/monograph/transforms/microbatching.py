"""Large batches in small pieces: the same numbers and gradients, less memory."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from .. import tree
from ..api import mean, moveaxis, reshape, sum as sum_
from ..array import Array
from ..autodiff import argument_places
from ..control import scan
from ..errors import ArgumentError
from ..jit import jit
from ..tracing import as_value, user_source

REDUCE: dict[str, Callable] = {"mean": mean, "sum": sum_}


def microbatch(
    fn: Callable,
    n: int,
    axis: int = 0,
    argnums: int | Iterable[int] | None = None,
    reduce: str = "mean",
) -> Callable:
    """``fn`` of a batch, computed in ``n`` chunks one after another.

    Needs the memory of one chunk, also for gradients (by `grad`, `value_and_grad`, `Scope`'s): a
    chunk's backward pass runs its forward again, right before. Exact when results are means (or
    sums) over the batch, or one entry per example.

    Args:
        fn: returns any tree of arrays. 0-d ones are averaged over the chunks (or added), others
            joined along ``axis``. It may read variables but not assign any: no batch norm while
            training, no dropout by the store's random state.
        n: how many chunks; divides the length of ``axis``.
        axis: of every leaf of the batched arguments, and of the results.
        argnums: which positional arguments are batched; None means all but the first (the
            parameters), or the only one. All else is handed whole to every chunk.
        reduce: ``"mean"`` or ``"sum"`` of 0-d results.

    Raises:
        ArgumentError: a length that ``n`` does not divide, an argument or result without the axis,
            a mean of integers.
        VariableError: ``fn`` assigns a variable.

    >>> import monograph as mg
    >>> def loss(w, x):
    ...     return mg.mean((x * w) ** 2)
    >>> x = mg.arange(8.0)
    >>> mg.grad(mg.microbatch(loss, 4))(mg.tensor(1.0), x).item()
    35.0
    """
    name = getattr(fn, "__name__", "function")
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise ArgumentError(f"{user_source()}: microbatch: n={n!r} is no number of chunks")
    if reduce not in REDUCE:
        raise ArgumentError(
            f"{user_source()}: microbatch: reduce={reduce!r} is none of {', '.join(REDUCE)}"
        )

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        every = range(min(1, len(args) - 1), len(args))
        nums = argument_places(every if argnums is None else argnums, len(args))
        picked = list(dict.fromkeys(nums))
        batch = [args[i] for i in picked]
        where = [f"argument {i}{p}" for i in picked for p in tree.paths(args[i])]
        leaves, treedef = tree.flatten(batch)
        chunks = [_chunks(as_value(x), n, axis, w, name) for x, w in zip(leaves, where)]

        def body(carry: tuple, xs: list) -> Any:
            given = list(args)
            whole = [moveaxis(x, 0, axis) for x in xs]
            for i, x in zip(picked, tree.unflatten(treedef, whole)):
                given[i] = x
            return carry, fn(*given, **kwargs)

        _, out = scan(body, (), chunks)
        return tree.map(lambda y: _joined(y, axis, reduce, name), out)

    return jit(wrapped, engine=getattr(fn, "engine", None))


def _chunks(x: Array, n: int, axis: int, where: str, name: str) -> Array:
    """``x`` with the batch axis first and in two: ``[n, length / n, ...]``."""
    if not -x.ndim <= axis < x.ndim:
        raise ArgumentError(
            f"{user_source()}: microbatch of {name}: {where} is {x.spec}, which has no axis {axis}; "
            f"name the batched arguments in argnums"
        )
    length = x.shape[axis]
    if length % n:
        raise ArgumentError(
            f"{user_source()}: microbatch of {name}: {where} is {x.spec}; its axis {axis} of length "
            f"{length} cannot be cut into n={n} equal chunks"
        )
    front = moveaxis(x, axis, 0)
    return reshape(front, (n, length // n, *front.shape[1:]))


def _joined(y: Array, axis: int, reduce: str, name: str) -> Array:
    """A result of all chunks ``[n, ...]`` as the whole batch's."""
    if y.ndim == 1:
        if reduce == "mean" and not y.dtype.is_inexact:
            raise ArgumentError(
                f"{user_source()}: microbatch of {name}: a 0-d result is {y.dtype}, which has no "
                f"mean; convert it to a float, or use reduce='sum'"
            )
        return REDUCE[reduce](y, axis=0)
    if not -(y.ndim - 1) <= axis < y.ndim - 1:
        raise ArgumentError(
            f"{user_source()}: microbatch of {name}: a result has shape {y.shape[1:]} per chunk, "
            f"without axis {axis} to join it along"
        )
    axis %= y.ndim - 1
    y = moveaxis(y, 0, axis)
    return reshape(y, (*y.shape[:axis], y.shape[axis] * y.shape[axis + 1], *y.shape[axis + 2 :]))

"""Ops without a rule, through torch's own decompositions: traced for the shapes at hand, then interpreted."""

from __future__ import annotations

import functools
from typing import Any

import monograph as mg
from monograph import Spec
from monograph.errors import ArgumentError
from monograph.tracing import user_source

from .program import Graph


@functools.cache
def _known() -> Any:
    import torch

    return torch.export.default_decompositions()


@functools.cache
def overload(target: str) -> Any:
    """torch's op of that name, or None: no torch, or no such op."""
    space, _, name = target.partition(".")
    if space != "aten":
        return None
    try:
        import torch

        base, _, which = name.partition(".")
        found = getattr(getattr(torch.ops.aten, base), which)
    except (ImportError, AttributeError):
        return None
    return found if type(found).__name__ == "OpOverload" else None  # names may be a file's


@functools.cache
def can(target: str) -> bool:
    """Whether torch can write the op with others."""
    op = overload(target)
    if op is None:
        return False
    # torch has no public word for ops that are written with others; without it they are unsupported
    return op in _known() or getattr(op, "_can_decompose", lambda: False)()


def traced(target: str, args: Any, kwargs: Any) -> tuple[Graph, list[Any]]:
    """An op's decomposition for these arguments, and the arrays among them: its inputs.

    Raises:
        ArgumentError: torch has none, or it fails.
    """
    if not can(target):
        raise ArgumentError(f"{user_source()}: nothing runs {target}")
    leaves, shape = mg.tree.flatten((list(args), kwargs))
    arrays = [x for x in leaves if isinstance(x, mg.Array)]
    key = tuple(Spec.of(x) if isinstance(x, mg.Array) else (type(x), x) for x in leaves)
    try:
        return _traced(target, key, shape), arrays
    except Exception as e:  # torch's own
        raise ArgumentError(f"{user_source()}: torch's decomposition of it fails: {e}") from e


def count() -> int:
    """How many ops were taken apart so far, which takes torch tens of milliseconds each."""
    return _traced.cache_info().misses


@functools.lru_cache(256)
def _traced(target: str, key: tuple, shape: Any) -> Graph:
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from .exported import graph

    op, leaves = overload(target), [k if isinstance(k, Spec) else k[1] for k in key]
    places = [i for i, k in enumerate(leaves) if isinstance(k, Spec)]
    examples = [
        torch.empty(leaves[i].shape, dtype=getattr(torch, leaves[i].dtype.name), device="meta")
        for i in places
    ]

    def call(*xs: Any) -> Any:
        given = list(leaves)
        for i, x in zip(places, xs):
            given[i] = x
        args, named = mg.tree.unflatten(shape, given)
        return op(*args, **named)

    # every use of the op itself is taken apart, or this would never end
    table = {**_known(), **({op: op.decompose} if op not in _known() else {})}
    return graph(make_fx(call, decomposition_table=table, tracing_mode="fake")(*examples))

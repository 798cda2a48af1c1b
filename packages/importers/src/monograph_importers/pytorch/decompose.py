"""Ops without a rule, through torch's own decompositions: traced for the shapes at hand, then interpreted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import monograph as mg


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
        return getattr(getattr(torch.ops.aten, base), which)
    except (ImportError, AttributeError):
        return None


@functools.cache
def can(target: str) -> bool:
    """Whether torch can write the op with others."""
    op = overload(target)
    if op is None:
        return False
    return op in _known() or op._can_decompose()


def rule(target: str) -> Callable[..., Any]:
    """A rule for an op that `can` be decomposed."""

    def fn(*args: Any, **kwargs: Any) -> Any:
        leaves, shape = mg.tree.flatten((list(args), kwargs))
        arrays = [x for x in leaves if isinstance(x, mg.Array)]
        key = tuple((x.shape, x.dtype.name) if isinstance(x, mg.Array) else x for x in leaves)
        graph = _traced(target, key, shape)
        from .interpret import inner

        return inner(graph, arrays)

    return fn


@functools.lru_cache(256)
def _traced(target: str, key: tuple, shape: Any) -> Any:
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from .exported import graph

    op, table = overload(target), _known()
    places = [i for i, k in enumerate(key) if isinstance(k, tuple)]
    examples = [torch.empty(key[i][0], dtype=getattr(torch, key[i][1])) for i in places]

    def call(*xs: Any) -> Any:
        leaves = list(key)
        for i, x in zip(places, xs):
            leaves[i] = x
        args, kwargs = mg.tree.unflatten(shape, leaves)
        return op(*args, **kwargs)

    made = make_fx(call, decomposition_table=table, tracing_mode="fake")(*examples)
    return graph(made)



"""Modules of haiku, Flax and Equinox as functions of variables by path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from monograph.errors import ArgumentError

from . import paths
from .functions import Function


def adapted(source: Any, static: dict[str, Any]) -> Function:
    """A module of a library that is known, or a plain function."""
    first = source[0] if type(source) is tuple else source
    for base in type(first).__mro__:
        for prefix, adapter in _ADAPTERS.items():
            if base.__module__.startswith(prefix):
                return adapter(source, static)
    name = getattr(source, "__name__", type(source).__name__)
    return Function(lambda values, *args: (source(*args, **static), {}), {}, name, source)


class _Tree:
    """A tree's arrays by path; an array that occurs twice is one variable under its first path."""

    def __init__(self, tree: Any, prefix: str = ""):
        import jax

        keyed, self.treedef = jax.tree_util.tree_flatten_with_path(tree)
        seen: dict[int, str] = {}
        self.names: list[str] = []
        self.arrays: dict[str, Any] = {}
        for path, x in keyed:
            name = seen.setdefault(id(x), f"{prefix}{paths.name_of(path)}")
            self.names.append(name)
            self.arrays[name] = x

    def build(self, values: Mapping[str, Any]) -> Any:
        return self.treedef.unflatten([values[n] for n in self.names])

    def read(self, tree: Any) -> dict[str, Any]:
        """The leaves of a tree of the same structure, by path."""
        import jax

        leaves, treedef = jax.tree.flatten(tree)
        if treedef != self.treedef:
            raise ArgumentError(f"the state changes its structure: {self.treedef} to {treedef}")
        return dict(zip(self.names, leaves))

    def variables(self, trained: bool) -> dict[str, tuple[Any, bool]]:
        import jax.numpy as jnp

        return {
            n: (x, trained and hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.inexact))
            for n, x in self.arrays.items()
        }


def with_parameters(
    source: Callable, at: int, example: tuple, static: dict[str, Any]
) -> tuple[Function, tuple]:
    """A function one of whose arguments holds parameters, and the example without that."""
    if not 0 <= at < len(example):
        raise ArgumentError(f"parameters={at} is no argument; the example has {len(example)}")
    tree, rest = _Tree(example[at]), example[:at] + example[at + 1 :]

    def call(values: Any, *args: Any) -> Any:
        return source(*args[:at], tree.build(values), *args[at:], **static), {}

    names = [p for i, p in enumerate(inspect.signature(source).parameters.values()) if i != at]
    call.__signature__ = inspect.Signature(names)  # type: ignore[attr-defined]
    name = getattr(source, "__name__", "model")
    return Function(call, tree.variables(True), name, call), rest


def _haiku(source: Any, static: dict[str, Any]) -> Function:
    if type(source) is not tuple or len(source) not in (2, 3):
        raise ArgumentError(
            "haiku: give (transformed, parameters) or (transformed, parameters, state)"
        )
    transformed, params, *state = source
    trees = [_Tree(params), *map(_Tree, state)]
    static = dict(static)
    rng = static.pop("rng", None)

    def call(values: Any, *args: Any) -> Any:
        out = transformed.apply(*(t.build(values) for t in trees), rng, *args, **static)
        return (out[0], trees[1].read(out[1])) if state else (out, {})

    variables = trees[0].variables(True)
    for t in trees[1:]:
        variables |= t.variables(False)
    return Function(call, variables, "haiku", None)


def _nnx(module: Any, static: dict[str, Any]) -> Function:
    from flax import nnx

    definition, params, rest = nnx.split(module, nnx.Param, ...)
    weights, state = (_Tree(nnx.to_pure_dict(s)) for s in (params, rest))

    def call(values: Any, *args: Any) -> Any:
        now = [nnx.clone(s) if hasattr(nnx, "clone") else s for s in (params, rest)]
        for part, tree in zip(now, (weights, state)):
            nnx.replace_by_pure_dict(part, tree.build(values))
        made = nnx.merge(definition, *now)
        out = made(*args, **static)
        return out, state.read(nnx.to_pure_dict(nnx.split(made, nnx.Param, ...)[2]))

    variables = {**weights.variables(True), **state.variables(False)}
    return Function(call, variables, type(module).__name__, module)


def _linen(source: Any, static: dict[str, Any]) -> Function:
    if type(source) is not tuple or len(source) != 2:
        raise ArgumentError("Flax linen: give (module, variables), as module.init made them")
    module, variables = source
    rest = {k: v for k, v in variables.items() if k != "params"}
    weights, state = _Tree(variables.get("params", {})), _Tree(rest)

    def call(values: Any, *args: Any) -> Any:
        given = {"params": weights.build(values), **state.build(values)}
        if not rest:
            return module.apply(given, *args, **static), {}
        out, new = module.apply(given, *args, **static, mutable=list(rest))
        return out, state.read({k: new[k] for k in rest})

    named = {**weights.variables(True), **state.variables(False)}
    return Function(call, named, type(module).__name__, module)


def _equinox(source: Any, static: dict[str, Any]) -> Function:
    import equinox as eqx

    module, *state = source if type(source) is tuple else (source,)
    arrays, rest = eqx.partition(module, eqx.is_array)
    weights = _Tree(arrays)
    held = [_Tree(s, prefix="state/") for s in state]

    def call(values: Any, *args: Any) -> Any:
        made = eqx.combine(weights.build(values), rest)
        if not held:
            return made(*args, **static), {}
        out, new = made(*args, held[0].build(values), **static)
        return out, held[0].read(new)

    variables = weights.variables(True)
    for t in held:
        variables |= t.variables(False)
    return Function(call, variables, type(module).__name__, module)


_ADAPTERS: dict[str, Callable[[Any, dict[str, Any]], Function]] = {
    "haiku.": _haiku, "flax.nnx": _nnx, "flax.linen": _linen, "equinox": _equinox,
}  # fmt: skip

"""A JAX function as a model: lowered to StableHLO for the shapes at hand, then interpreted."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.dtypes import dtype
from monograph.errors import ArgumentError
from monograph.importing import Imported, Input, Signature

from ..stablehlo import interpret, ir, unsupported
from . import paths
from .paths import Leaf


class Function(NamedTuple):
    """A JAX function with variables.

    Attributes:
        call: ``(values by path, *arguments) -> (result, new values of some variables)``.
        variables: first values by path, and whether they are trained.
        name: what to call the model.
        names: something whose signature names the arguments; None where nothing does.
    """

    call: Callable[..., tuple[Any, Mapping[str, Any]]]
    variables: Mapping[str, tuple[Any, bool]]
    name: str
    names: Any = None


def from_function(
    function: Function, example: tuple, axes: Mapping[str, Mapping[int, str]]
) -> Imported:
    """A model of a function, for arguments like the example's."""
    import jax

    call, variables, name, names = function
    kept = {path: paths.leaf(path, x) for path, (x, _) in variables.items()}
    trained = {path for path, (_, yes) in variables.items() if yes}
    keyed, tree = jax.tree_util.tree_flatten_with_path(example)
    given = _argument_names(names, len(example))
    leaves = [paths.leaf(_input_name(path, given), x) for path, x in keyed]
    inputs = tuple(_input(x, axes) for x in leaves)
    if unknown := set(axes) - {i.name for i in inputs}:
        raise ArgumentError(
            f"{name}: axes names {sorted(unknown)}; the inputs are {[i.name for i in inputs]}"
        )

    def flat(values: dict[str, Any], *args: Any) -> Any:
        args = jax.tree.unflatten(tree, [paths.wrapped(x, of) for x, of in zip(args, leaves)])
        values = {p: paths.wrapped(v, kept[p]) for p, v in values.items()}
        return jax.tree.map(paths.unwrapped, call(values, *args))

    @functools.lru_cache(maxsize=32)
    def lowered(shapes: tuple[tuple[int, ...], ...]) -> tuple[ir.Module, Any]:
        specs = [_struct(x, s) for x, s in zip(leaves, shapes)]
        return lower(flat, {p: _struct(v, v.shape) for p, v in kept.items()}, *specs, name=name)

    module, _ = lowered(tuple(x.shape for x in leaves))

    def run(call: Any, scope: Any, *args: Any) -> Any:
        module, out_tree = lowered(tuple(mg.Spec.of(x).shape for x in args))
        slots = {
            p: scope.variable(p, v.shape, dtype=_dtype(v), trainable=p in trained)
            for p, v in kept.items()
        }
        values = [slots[p].value for p in sorted(slots)]
        results = call(module, "main", [*values, *args])
        out, new = jax.tree.unflatten(out_tree, results)
        for path, value in new.items():
            slots[path].assign(value)
        return plain(out)

    first = {path: paths.numpy(v.array) for path, v in kept.items()}
    specs = [mg.Spec(x.shape, i.dtype) for x, i in zip(leaves, inputs)]
    lacks = unsupported([module], run, specs, steps=math.inf)
    return Imported(functools.partial(run, interpret.run), Signature(inputs), first, lacks, name)


def lower(fn: Callable, *specs: Any, name: str) -> tuple[ir.Module, Any]:
    """The function's StableHLO for arguments of those shapes, and the structure of its results.

    It is lowered for CPUs whatever the machine has, since engines are ours to choose.
    """
    import jax

    from ..stablehlo import mlir, parse

    traced = jax.jit(fn, keep_unused=True).trace(*specs)
    made = traced.lower(lowering_platforms=("cpu",))
    try:
        text = mlir.printed(made.compiler_ir("stablehlo"))
    except (AttributeError, TypeError):  # bindings of another make
        text = mlir.generic(made.as_text(debug_info=True).encode(), name)
    return parse.parse(text, name), made.out_tree


def plain(out: Any) -> Any:
    """A result in tuples, lists and dicts; in other containers, its arrays in a tuple."""
    import jax

    if _is_plain(out):
        return out
    return tuple(jax.tree.leaves(out))


def _is_plain(x: Any) -> bool:
    if type(x) in (tuple, list):
        return all(map(_is_plain, x))
    if type(x) is dict:
        return all(map(_is_plain, x.values()))
    return x is None or isinstance(x, (mg.Array, np.ndarray))


def _dtype(x: Leaf) -> Any:
    return dtype(np.dtype(x.array.dtype))


def _struct(x: Leaf, shape: tuple[int, ...]) -> Any:
    import jax

    return jax.ShapeDtypeStruct(shape, x.array.dtype)


def _input(x: Leaf, axes: Mapping[str, Mapping[int, str]]) -> Input:
    named = axes.get(x.name, {})
    return Input(x.name, tuple(named.get(i, n) for i, n in enumerate(x.shape)), _dtype(x))


def _input_name(path: Any, given: list[str]) -> str:
    inner = paths.name_of(path[1:])
    return given[path[0].idx] + (f"/{inner}" if inner else "")


def _argument_names(fn: Any, count: int) -> list[str]:
    """What a function calls its first arguments; ``x0``, ``x1`` where it does not say."""
    try:
        found = [
            p.name for p in inspect.signature(fn).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
        ]  # fmt: skip
    except (TypeError, ValueError):
        found = []
    return [found[i] if i < len(found) else f"x{i}" for i in range(count)]

"""`vmap`: a function of single examples becomes one of batches, on every engine and under every
other transformation, because what it makes is an ordinary graph.

How an op is batched is said in `monograph.batching.lanes`, and core's rules are the tables of the
modules ``rules_*``.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator
from typing import Any

from .. import tree
from ..errors import ArgumentError, AxisError, MonographError, ShapeError
from ..graph import Value
from ..jit import Jitted, jit
from ..tracing import argument_names, as_value, trace_flat, user_source
from . import rules_axes, rules_control, rules_products
from .lanes import (
    FLOWS,
    RULES,
    Lanes,
    flow,
    from_front,
    leading,
    loop,
    rule_of,
    run,
    through_body,
    to_front,
)

for _rules in (rules_axes, rules_control, rules_products):
    RULES.update(_rules.RULES)

__all__ = ["FLOWS", "Lanes", "RULES", "leading", "loop", "rule_of", "run", "through_body", "vmap"]


def vmap(fn: Callable, in_axes: Any = 0, out_axes: Any = 0, axis_size: int | None = None) -> Jitted:
    """``fn`` for one example, made a function of a batch of them.

    ``fn`` is traced once, for arrays without the mapped axis, and each operation runs on the whole
    batch: a product stays one product, and loops and branches stay loops.

    Args:
        fn: takes and returns arrays, in any tuples, lists and dicts.
        in_axes: which axis of each argument is mapped: an int (negative counts from the end), None for
            an argument that all examples share, or a tuple with one entry per positional argument,
            each an int, None, or a tree of those like the argument or like the top of it. Keyword
            arguments are mapped over axis 0.
        out_axes: where the results have that axis: an int or a tree like the result or the top of
            it; None for what does not depend on mapped arguments, given once.
        axis_size: the number of examples; needed only where nothing is mapped.

    Returns:
        A function, compiled as by `jit`; a call of it within a traced function becomes part of that.

    Raises:
        AxisError: an argument or result lacks the axis.
        ShapeError: mapped axes differ in length; all of them are named.
        ArgumentError: ``in_axes`` or ``out_axes`` do not fit the structure, nothing is mapped and
            ``axis_size`` is missing, or a result that depends on the batch has ``out_axes`` None.

    >>> import monograph as mg
    >>> weights, batch = mg.tensor([1.0, 2.0]), mg.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    >>> mg.vmap(mg.vecdot, in_axes=(None, 0))(weights, batch).tolist()
    [1.0, 3.0, 6.0]
    >>> loss = lambda w, x: mg.sum((w * x) ** 2)
    >>> mg.vmap(mg.grad(loss), in_axes=(None, 0))(weights, batch).tolist()
    [[2.0, 0.0], [2.0, 4.0], [0.0, 36.0]]
    """
    name = getattr(fn, "__name__", "function")

    @functools.wraps(fn, updated=())
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, in_tree = tree.flatten_call(args, kwargs)
        values = [as_value(x) for x in leaves]
        names = argument_names(args, kwargs)
        axes = _of_arguments(in_axes, args, kwargs, name)
        axes, n = _checked(values, axes, names, axis_size, name)
        specs = [
            v.spec if a is None else v.spec.with_(v.shape[:a] + v.shape[a + 1 :])
            for v, a in zip(values, axes)
        ]

        def one(*lane: Value) -> Any:
            given, named = tree.unflatten(in_tree, lane)
            return fn(*given, **named)

        graph, out_tree, captured = trace_flat(one, specs, names, name)
        fronts = [v if a is None else to_front(v, a) for v, a in zip(values, axes)]
        batched = [*[a is not None for a in axes], *[False] * len(captured)]
        return _arranged(graph, [*fronts, *captured], batched, Lanes(n), out_tree, out_axes, name)

    return jit(wrapped, engine=getattr(fn, "engine", None))


def _of_arguments(in_axes: Any, args: tuple, kwargs: dict, name: str) -> list[int | None]:
    """An axis or None per leaf of ``(args, kwargs)``."""
    if isinstance(in_axes, list):
        in_axes = tuple(in_axes)
    if isinstance(in_axes, tuple) and len(in_axes) != len(args):
        raise ArgumentError(
            f"{user_source()}: vmap of {name}: in_axes has {len(in_axes)} entries for {len(args)} "
            f"positional argument(s); keyword arguments are mapped over axis 0"
        )
    axes = _per_leaf(in_axes, tree.flatten(args)[1], f"vmap of {name}: in_axes", "arguments")
    return [*axes, *[0] * len(tree.leaves(kwargs))]


def _per_leaf(axes: Any, treedef: Any, what: str, like: str) -> list[int | None]:
    """An axis or None per leaf, from a tree that is ``treedef`` or the top of it."""
    given, axes_def = tree.flatten(axes)
    entries = iter(given)

    def walk(a: Any, t: Any) -> Iterator[int | None]:
        if a is tree.LEAF:
            yield from [_axis(next(entries), what)] * tree.count(t)
        elif a[0] is type(None):  # a tree's None is no leaf; here it is an entry
            yield from [None] * tree.count(t)
        elif t is tree.LEAF or a[:2] != t[:2] or len(a[2]) != len(t[2]):
            raise ArgumentError(
                f"{user_source()}: {what}={axes!r} does not fit the {like}, which nest as "
                f"{tree.describe(treedef)}; it may be a tree like them, or the top of one"
            )
        else:
            for deeper, below in zip(a[2], t[2]):
                yield from walk(deeper, below)

    return list(walk(axes_def, treedef))


def _axis(a: Any, what: str) -> int:
    try:
        if isinstance(a, bool):
            raise TypeError
        return operator.index(a)
    except TypeError:
        raise ArgumentError(
            f"{user_source()}: {what} holds {a!r}; an entry is an int or None"
        ) from None


def _checked(
    values: list[Value], axes: list[int | None], names: list[str], size: int | None, name: str
) -> tuple[list[int | None], int]:
    """Axes counted from the front, and the number of lanes."""
    lacking, lengths, out = [], [], []
    for v, a, path in zip(values, axes, names):
        if a is not None and not -v.ndim <= a < v.ndim:
            lacking.append(f"{path} has shape {v.shape} and no axis {a}")
        elif a is not None:
            a %= v.ndim
            lengths.append((v.shape[a], f"{path} has length {v.shape[a]} along axis {a}"))
        out.append(a)
    if lacking:
        raise AxisError(
            f"{user_source()}: vmap of {name}: {'; '.join(lacking)}. in_axes names the axis that is "
            f"mapped; None shares an argument among all examples"
        )
    if size is not None:
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            raise ArgumentError(
                f"{user_source()}: vmap of {name}: axis_size={size!r} must be an int >= 0"
            )
        lengths.insert(0, (size, f"axis_size is {size}"))
    if not lengths:
        raise ArgumentError(
            f"{user_source()}: vmap of {name}: no argument is mapped; axis_size= must say how many "
            f"examples there are"
        )
    if len({n for n, _ in lengths}) > 1:
        raise ShapeError(
            f"{user_source()}: vmap of {name}: mapped axes must have one length, but "
            f"{', '.join(text for _, text in lengths)}"
        )
    return out, lengths[0][0]


def _arranged(
    graph: Any, args: list, batched: list[bool], lanes: Lanes, out_tree: Any, out_axes: Any, name: str
) -> Any:  # fmt: skip
    """The graph's outputs for all lanes, with the batch axis where ``out_axes`` wants it."""
    axes = _per_leaf(out_axes, out_tree, f"vmap of {name}: out_axes", "results")
    marks = tree.unflatten(out_tree, [_Leaf() for _ in axes])
    flags = flow(graph, batched)
    problems: list[tuple[type[MonographError], str]] = []
    for v, a, b, path in zip(graph.outputs, axes, flags, tree.paths(marks)):
        if a is None and b:
            problems.append((ArgumentError, f"result{path} depends on mapped arguments, so "
                             f"out_axes=None cannot give it once"))  # fmt: skip
        elif a is not None and not -v.ndim - 1 <= a <= v.ndim:
            problems.append((AxisError, f"result{path} has {v.ndim + 1} axes and no axis {a}"))
    if problems:
        raise problems[0][0](
            f"{user_source()}: vmap of {name}: {'; '.join(text for _, text in problems)}"
        )
    outs = run(graph, args, batched, lanes, [a is not None for a in axes])
    placed = [x if a is None else from_front(x, a % x.ndim) for x, a in zip(outs, axes)]
    return tree.unflatten(out_tree, placed)


class _Leaf:
    """Stands for an array where only the structure counts."""

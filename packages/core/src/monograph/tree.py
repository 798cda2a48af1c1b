"""Pytrees: nested tuples, lists, dicts and named tuples of leaves.

`flatten` turns one into a list of leaves and a hashable `TreeDef`; `unflatten` puts it back. Any
other type is a leaf unless `register`ed. Dicts go in sorted key order, as in JAX.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from .errors import ArgumentError

TreeDef = Any  # None for a leaf, else (node type, aux data, tuple of child TreeDefs)
LEAF: TreeDef = None


def _flatten_dict(d: dict) -> tuple[tuple, tuple]:
    try:
        keys = tuple(sorted(d))
    except TypeError:
        keys = tuple(d)
    return keys, tuple([d[k] for k in keys])


# type -> (value -> (aux, children)), ((aux, children) -> value)
_NODES: dict[type, tuple[Callable, Callable]] = {
    tuple: (lambda v: (None, v), lambda aux, c: tuple(c)),
    list: (lambda v: (None, v), lambda aux, c: list(c)),
    dict: (_flatten_dict, lambda aux, c: dict(zip(aux, c))),
    type(None): (lambda v: (None, ()), lambda aux, c: None),
}
# types met that are leaves: a node that holds nothing else is taken apart without a loop
_LEAVES: set[type] = set()


def register(
    cls: type, flatten: Callable[[Any], tuple[Any, Iterable]], unflatten: Callable[[Any, list], Any]
) -> None:
    """Make a class a tree node: ``flatten(x) -> (aux, children)``, ``unflatten(aux, children) -> x``."""
    _NODES[cls] = (flatten, unflatten)
    _LEAVES.discard(cls)


def _node_type(x: Any) -> type | None:
    cls = type(x)
    if cls in _NODES:
        return cls
    if isinstance(x, tuple) and hasattr(cls, "_fields"):  # a named tuple
        register(cls, lambda v: (None, v), lambda aux, c: cls(*c))
        return cls
    return None


def flatten(tree: Any) -> tuple[list, TreeDef]:
    """The leaves of a tree, left to right, and what is needed to rebuild it.

    >>> flatten({"b": 1, "a": (2, [3])})[0]
    [2, 3, 1]
    """
    leaves: list = []
    return leaves, _flatten(tree, leaves)


def flatten_call(args: tuple, kwargs: dict) -> tuple[list, TreeDef]:
    """``flatten((args, kwargs))``, in half the time: every call of a compiled function does it."""
    leaves: list = []
    trees = _flatten(args, leaves), _flatten(kwargs, leaves) if kwargs else _NO_KWARGS
    return leaves, (tuple, None, trees)


_NO_KWARGS: TreeDef = (dict, (), ())


def _flatten(tree: Any, leaves: list) -> TreeDef:
    cls = type(tree)
    if cls not in _NODES and _node_type(tree) is None:
        _LEAVES.add(cls)
        leaves.append(tree)
        return LEAF
    aux, children = _NODES[cls][0](tree)
    if type(children) is not tuple:
        children = tuple(children)
    if _LEAVES.issuperset(builtins.map(type, children)):
        leaves += children
        return (cls, aux, (LEAF,) * len(children))
    return (cls, aux, tuple([_flatten(c, leaves) for c in children]))


def unflatten(treedef: TreeDef, leaves: Iterable) -> Any:
    """The inverse of `flatten`.

    Raises:
        ArgumentError: more or fewer leaves than the structure has.

    >>> unflatten(flatten({"b": 1, "a": (2, [3])})[1], "xyz")
    {'a': ('x', ['y']), 'b': 'z'}
    """
    leaves = list(leaves)
    if len(leaves) != count(treedef):
        raise ArgumentError(
            f"a structure of {count(treedef)} leaves cannot be filled with {len(leaves)}"
        )
    return _unflatten(treedef, iter(leaves))


def _unflatten(treedef: TreeDef, leaves: Any) -> Any:
    if treedef is LEAF:
        return next(leaves)
    cls, aux, children = treedef
    if _flat(children):
        return _NODES[cls][1](aux, list(islice(leaves, len(children))))
    return _NODES[cls][1](aux, [_unflatten(c, leaves) for c in children])


def _flat(children: tuple) -> bool:
    return children.count(LEAF) == len(children)


def leaves(tree: Any) -> list:
    """The leaves of a tree, left to right."""
    return flatten(tree)[0]


def map(fn: Callable, tree: Any, *rest: Any) -> Any:
    """Apply ``fn`` leaf by leaf over trees of one structure.

    >>> map(lambda a, b: a + b, {"x": 1}, {"x": 2})
    {'x': 3}
    """
    first, treedef = flatten(tree)
    others = []
    for other in rest:
        got, other_def = flatten(other)
        if other_def != treedef:
            raise ArgumentError(
                f"trees differ in structure: {describe(treedef)} against {describe(other_def)}"
            )
        others.append(got)
    return unflatten(treedef, [fn(*xs) for xs in zip(first, *others)])


def paths(tree: Any) -> list[str]:
    """A readable path per leaf, such as ``[0]['w']``, in the order of `flatten`."""
    out: list[str] = []

    def walk(x: Any, prefix: str) -> None:
        cls = _node_type(x)
        if cls is None:
            out.append(prefix)
            return
        aux, children = _NODES[cls][0](x)
        keys = aux if cls is dict else range(len(list(children)))
        if isinstance(x, tuple) and hasattr(cls, "_fields"):
            for name, child in zip(cls._fields, children):
                walk(child, f"{prefix}.{name}")
            return
        for key, child in zip(keys, children):
            walk(child, f"{prefix}[{key!r}]")

    walk(tree, "")
    return out


def describe(treedef: TreeDef) -> str:
    """A structure in words a person can read: ``({'a': *}, *)``."""
    if treedef is LEAF:
        return "*"
    return repr(unflatten(treedef, [_Star()] * count(treedef)))


class _Star:
    def __repr__(self) -> str:
        return "*"


def count(treedef: TreeDef) -> int:
    """How many leaves a structure has."""
    if treedef is LEAF:
        return 1
    children = treedef[2]
    return len(children) if _flat(children) else sum([count(c) for c in children])

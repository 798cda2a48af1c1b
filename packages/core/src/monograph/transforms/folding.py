"""Computing beforehand what does not depend on the inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..graph import Graph, Node, Value
from ..ops import full, literal
from ..rewrite import decompose
from .constants import LIMIT, SEEN_THROUGH, known, uniform
from .rule import Rule, node_rule

# modules whose operations are left: what they give depends on the replica, is looked at when a NaN
# guard looks, or is to be drawn when the graph runs; loops may take for ever
_LEFT = frozenset(
    f"monograph.ops.{name}" for name in ("collectives", "control", "finite", "random")
)

# elementwise, and the same to the bit for one element as for many
_EACH = frozenset((
    "abs", "add", "and", "ceil", "compare", "convert", "divide", "floor", "imag", "is_finite",
    "maximum", "minimum", "multiply", "negate", "not", "or", "real", "select", "sqrt", "subtract",
    "trunc", "xor",
))  # fmt: skip

_MADE_OF = SEEN_THROUGH | {"constant"}


def folds(node: Node) -> bool:
    """Whether a node of constants may be computed beforehand, as far as its operation goes."""
    op = node.op
    return (
        bool(node.inputs)
        and op.shareable
        and op.__module__.startswith("monograph.ops.")
        and op.__module__ not in _LEFT
        and op.name != "broadcast_in_dim"
    )


def fold_up_to(limit: int) -> Rule:
    """A `fold_constants` that reads and makes arrays of up to ``limit`` elements."""

    @node_rule()
    def fold_constants(node: Node, *xs: Value) -> Any:
        """Compute what depends on constants alone."""
        if not all(x.node.op.name in _MADE_OF for x in xs) or not folds(node):
            return None
        arrays = [a for x in xs if (a := known(x)) is not None]
        if len(arrays) < len(xs):
            return None
        spec, all_values = node.outputs[0].spec, (*node.inputs, *node.outputs)
        ones = [one for a in arrays if (one := uniform(a)) is not None]
        if len(ones) == len(arrays) and spec.size > 1:
            if node.op.name in ("reshape", "transpose"):
                return full(ones[0], spec)
            if node.op.name in _EACH and not any(v.dtype.is_complex for v in all_values):
                return full(_compute(node, ones)[0], spec)
        if max(v.size for v in all_values) > limit:
            return None
        outs = _compute(node, arrays)
        return tuple(literal(y, v.dtype) for y, v in zip(outs, node.outputs))

    return fold_constants


def _compute(node: Node, arrays: Sequence[Any]) -> list[np.ndarray]:
    """What the NumPy engine gives, with nothing done otherwise."""
    from ..numpy_engine import evaluate, execute

    with np.errstate(all="ignore"):
        if node.op.body is None:
            return execute(node, arrays)
        body = node.op.body_graph([v.spec for v in node.inputs], node.attrs)
        return evaluate(decompose(body, lambda op: op.body is None)[0], arrays)


fold_constants = fold_up_to(LIMIT)
"""Compute what depends on constants alone, as the NumPy engine would, to the bit.

What repeats one number stays a broadcast of it, whatever its size; anything else is computed up to
4096 elements (`fold_up_to` sets another limit). Left alone are barriers, loops, random numbers,
collectives and operations from outside core.

>>> import monograph as mg
>>> graph = mg.trace(lambda x: x * (mg.ones((3,)) * 2.0 + 1.0), mg.Spec((3,)))
>>> [node.op.name for node in fold_constants(graph).nodes]
['constant', 'broadcast_in_dim', 'multiply']
"""


@node_rule("case")
def branch_known(node: Node, index: Value, *operands: Value) -> Any:
    """The branch itself, where the index is a constant."""
    from ..tracing import inline

    found = known(index)
    if found is None:
        return None
    branches: Sequence[Graph] = node.attrs["branches"]
    i = int(found)
    return tuple(inline(branches[i if 0 <= i < len(branches) else -1], operands))

"""Sorts with any comparator."""

from __future__ import annotations

from typing import Any

import monograph as mg
from monograph import ops

from .constants import array
from .elementwise import kind, ordinal
from .folds import batched
from .interpret import Step, rule
from .ir import Block
from .shapes import shape


@rule("stablehlo.sort")
def _sort(step: Step, *xs: Any) -> Any:
    axis = int(step.get("dimension", -1))
    ndim = len(shape(xs[0]))
    axis = axis + ndim if axis < 0 else axis
    keys = order_of(step.op.body)
    if keys is not None:
        ways = {way for _, way, _ in keys}
        if len(ways) == 1:
            return _by_keys(xs, keys, axis, ways == {"GT"})
    return _by_rank(step, xs, axis)


def _by_keys(xs: Any, keys: Any, axis: int, descending: bool) -> list[Any]:
    sortable = [
        ordinal(xs[i]) if total and kind(xs[i]) == "float" else xs[i] for i, _, total in keys
    ]
    plain = len(keys) == 1 and keys[0][0] == 0 and sortable[0] is xs[0]
    operands = xs if plain else [*sortable, *xs]
    out = ops.sort(*operands, axis=axis, num_keys=len(keys), descending=descending)
    out = list(out) if isinstance(out, tuple) else [out]
    return out if plain else out[len(keys) :]


def _by_rank(step: Step, xs: Any, axis: int) -> list[Any]:
    """Every pair is compared: an element's rank is how many come before it, ties in their order."""
    lines = [mg.moveaxis(x, axis, -1) for x in xs]
    to = shape(lines[0])
    n = to[-1]
    square = (*to, n)
    rows = [ops.broadcast_in_dim(x, shape=square, dims=tuple(range(len(to)))) for x in lines]
    columns = [
        ops.broadcast_in_dim(x, shape=square, dims=[*range(len(to) - 1), len(to)]) for x in lines
    ]
    before = batched(step.region())
    first = before(*[v for pair in zip(columns, rows) for v in pair])[0]  # column before row
    later = before(*[v for pair in zip(rows, columns) for v in pair])[0]
    i, j = (ops.iota(shape=square, dtype="int32", axis=len(to) - back) for back in (1, 0))
    ahead = mg.logical_or(first, mg.logical_and(mg.logical_not(later), j < i))
    rank = mg.sum(mg.astype(ahead, "int32"), axis=-1)
    return [mg.moveaxis(y, -1, axis) for y in ops.sort(rank, *lines, axis=len(to) - 1)[1:]]


def order_of(block: Block) -> list[tuple[int, str, bool]] | None:
    """The keys of a comparator: ``(operand, "LT" or "GT", total order)``, first the most significant.

    Known are a comparison of an operand's two elements, JAX's that takes -0 for 0 and all NaN for one,
    and lexicographic ones made of such by ``and`` and ``or``; else None.
    """
    made = {r: op for op in block.ops for r in op.results}
    place = {name: divmod(k, 2) for k, (name, _) in enumerate(block.arguments)}

    def number(name: str) -> float | None:
        op = made.get(name)
        if op is None or op.name != "stablehlo.constant":
            return None
        return float(array(op.attributes["value"]).flat[0])

    def element(name: str) -> tuple[int, int, bool] | None:
        """Operand and side of a value, and whether its zeros, or its NaN, are made one."""
        if name in place:
            return *place[name], False
        op = made.get(name)
        if op is None or op.name != "stablehlo.select":
            return None
        inner, test, to = element(op.operands[2]), made.get(op.operands[0]), number(op.operands[1])
        if inner is None or to is None or test is None or test.name != "stablehlo.compare":
            return None
        way, (a, b) = test.attributes["comparison_direction"].value, test.operands
        of = element(a)
        if of is None or of[:2] != inner[:2]:
            return None
        zeros = way == "EQ" and number(b) == 0 and to == 0
        nans = way == "NE" and a == b and to != to
        return (*inner[:2], True) if zeros or nans else None

    def compare(name: str) -> tuple[int, str, bool] | None:
        op = made.get(name)
        if op is None or op.name != "stablehlo.compare":
            return None
        a, b = (element(o) for o in op.operands)
        way = op.attributes["comparison_direction"].value
        if a is None or b is None or a[0] != b[0] or {a[1], b[1]} != {0, 1} or a[2] != b[2]:
            return None
        if a[1] == 1:
            way = {"LT": "GT", "GT": "LT"}.get(way, way)
        order = op.attributes.get("compare_type")
        total = order is not None and order.value == "TOTALORDER"
        # zeros and NaN made one, in total order: as our sort has them, NaN last
        return a[0], way, total and not a[2]

    def keys(name: str) -> list[tuple[int, str, bool]] | None:
        if (one := compare(name)) is not None:
            return [one] if one[1] in ("LT", "GT") else None
        op = made.get(name)
        if op is None or op.name != "stablehlo.or":
            return None
        for strict, rest in (
            op.operands,
            op.operands[::-1],
        ):  # before, or equal and before by the rest
            first, both = compare(strict), made.get(rest)
            if first is None or first[1] not in ("LT", "GT") or both is None:
                continue
            for same, more in (both.operands, both.operands[::-1]):
                equal = compare(same) if both.name == "stablehlo.and" else None
                below = keys(more) if equal and equal[:2] == (first[0], "EQ") else None
                if below is not None:
                    return [first, *below]
        return None

    last = block.ops[-1]
    return keys(last.operands[0]) if len(last.operands) == 1 else None

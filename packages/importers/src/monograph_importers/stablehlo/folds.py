"""Reductions, windows, scatters and sorts: with the common regions as one operation, with any region by
running it over many elements at once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import monograph as mg
import numpy as np
from monograph import ops
from monograph.errors import ArgumentError

from .._steps import known
from .constants import dtype, full, integers, pairs
from .elementwise import kind
from .interpret import Step, rule
from .ir import Block
from .shapes import shape

_PLACES = 4096  # of a window: each is a slice
Region = Callable[..., list[Any]]


def combines(block: Block) -> str | None:
    """The one operation that a region is of its two arguments, such as ``"add"``; else None.

    ``"second"`` is a region that returns its second argument.
    """
    (a, b), last = [name for name, _ in block.arguments][:2], block.ops[-1]
    if len(block.arguments) != 2 or len(last.operands) != 1:
        return None
    if len(block.ops) == 1:
        return {b: "second", a: "first"}.get(last.operands[0])
    one = block.ops[0]
    plain = len(block.ops) == 2 and {*one.operands} == {a, b} and last.operands == one.results
    return one.name.removeprefix("stablehlo.") if plain else None


def batched(region: Region) -> Region:
    """A region of 0-d values, over arrays of one shape, element by element."""

    def run(*xs: Any) -> list[Any]:
        to = shape(xs[0])
        flat = [ops.reshape(x, shape=(math.prod(to),)) for x in xs]
        out = mg.vmap(lambda *args: tuple(region(*args)))(*flat)
        return [ops.reshape(y, shape=to) for y in out]

    return run


# ---- reduce

_REDUCE: dict[tuple[str, str], Any] = {
    ("add", "real"): ops.reduce_sum, ("add", "complex"): ops.reduce_sum, ("add", "bool"): ops.reduce_or,
    ("multiply", "real"): ops.reduce_prod, ("multiply", "complex"): ops.reduce_prod,
    ("multiply", "bool"): ops.reduce_and,
    ("maximum", "real"): ops.reduce_max, ("maximum", "bool"): ops.reduce_or,
    ("minimum", "real"): ops.reduce_min, ("minimum", "bool"): ops.reduce_and,
    ("and", "bool"): ops.reduce_and, ("or", "bool"): ops.reduce_or,
}  # fmt: skip


@rule("stablehlo.reduce")
def _reduce(step: Step, *operands: Any) -> Any:
    xs, inits = _halves(step, operands)
    axes = integers(step.get("dimensions"))
    name = combines(step.op.body) or ""
    one = _REDUCE.get((name, kind(xs[0]) if kind(xs[0]) in ("bool", "complex") else "real"))
    if len(xs) == 1 and one is not None:
        total = one(xs[0], axes=axes)
        if _is_start(name, inits[0]):
            return total
        return batched(step.region())(_filled(inits[0], shape(total)), total)
    return fold(step.region(), xs, inits, axes)


def _halves(step: Step, operands: Any) -> tuple[list[Any], list[Any]]:
    """Operands and first values, in the dtypes of the region, which may be wider."""
    n = len(operands) // 2
    wide = [dtype(t.element) for _, t in step.op.body.arguments[:n]]
    found = [
        x if mg.Spec.of(x).dtype is d else ops.convert(x, dtype=d)
        for x, d in zip(operands, [*wide, *wide])
    ]
    return found[:n], found[n:]


def _filled(x: Any, to: tuple[int, ...]) -> Any:
    return ops.broadcast_in_dim(x, shape=to, dims=()) if to else x


def _is_start(name: str, init: Any) -> bool:
    """Whether combining with ``init`` changes nothing."""
    if not known(init):
        return False
    init = np.asarray(init)
    if init.dtype == np.bool_:
        return bool(init) == (name in ("and", "multiply", "minimum"))
    if name in ("maximum", "minimum"):
        d, low = mg.Spec.of(init).dtype, name == "maximum"
        if d.kind in ("int", "uint"):
            return int(init) == getattr(np.iinfo(d.numpy), "min" if low else "max")
        return float(init) == (-np.inf if low else np.inf)
    return complex(init) == {"add": 0, "multiply": 1}.get(name)


def fold(region: Region, xs: Any, inits: Any, axes: Any) -> list[Any]:
    """Reduction with any region, neighbours first: in an order that the standard allows."""
    rest = [i for i in range(len(shape(xs[0]))) if i not in axes]
    kept = tuple(shape(xs[0])[i] for i in rest)
    order = [*sorted(axes), *rest]
    n = math.prod(shape(xs[0])[i] for i in axes)
    xs = [ops.reshape(ops.transpose(x, permutation=order), shape=(n, *kept)) for x in xs]
    return along_first(batched(region), xs, [_filled(i, kept) for i in inits])


def along_first(combine: Region, xs: Any, inits: Any) -> list[Any]:
    """``inits`` combined with the fold of ``xs [n, ...]`` over their first axis."""
    n = shape(xs[0])[0]
    if n == 0:
        return list(inits)
    while n > 1:
        even, odd = ([_every_other(x, i, n) for x in xs] for i in (0, 1))
        both = combine(*even, *odd)
        if n % 2:
            both = [ops.concatenate(y, _rows(x, n - 1, n), axis=0) for x, y in zip(xs, both)]
        xs, n = both, (n + 1) // 2
    firsts = [ops.reshape(x, shape=shape(x)[1:]) for x in xs]
    return combine(*inits, *firsts)


def _rows(x: Any, start: int, limit: int, stride: int = 1) -> Any:
    to = shape(x)
    return ops.slice_(
        x, start=[start, *[0] * (len(to) - 1)], limit=[limit, *to[1:]],
        strides=[stride, *[1] * (len(to) - 1)],
    )  # fmt: skip


def _every_other(x: Any, first: int, n: int) -> Any:
    return _rows(x, first, n - n % 2, 2)


@rule("stablehlo.map")
def _map(step: Step, *xs: Any) -> Any:
    return batched(step.region())(*xs)


# ---- windows

_WINDOW = {
    "add": ops.reduce_window_sum, "maximum": ops.reduce_window_max, "minimum": ops.reduce_window_min,
}  # fmt: skip


def _window_attrs(step: Step, n: int) -> dict[str, Any]:
    ones = [1] * n
    return {
        "window": integers(step.get("window_dimensions") or ones),
        "strides": integers(step.get("window_strides") or ones),
        "padding": pairs(step.get("padding"), n),
        "base_dilation": integers(step.get("base_dilations") or ones),
        "window_dilation": integers(step.get("window_dilations") or ones),
    }


@rule("stablehlo.reduce_window")
def _reduce_window(step: Step, *operands: Any) -> Any:
    xs, inits = _halves(step, operands)
    attrs = _window_attrs(step, len(shape(xs[0])))
    name = combines(step.op.body) or ""
    plain = len(xs) == 1 and name in _WINDOW and kind(xs[0]) in ("float", "int", "uint")
    if plain and _is_start(name, inits[0]):
        return _WINDOW[name](xs[0], **attrs)
    stacked = [windows(step, x, i, **attrs) for x, i in zip(xs, inits)]
    filled = [_filled(i, shape(s)[1:]) for i, s in zip(inits, stacked)]
    return along_first(batched(step.region()), stacked, filled)


def windows(
    step: Step, x: Any, init: Any, *, window: Any, strides: Any, padding: Any, base_dilation: Any,
    window_dilation: Any,
) -> Any:  # fmt: skip
    """What each place of the window sees, stacked ``[places, *result]``; padding is ``init``."""
    padded = ops.pad(
        x, init, low=[p[0] for p in padding], high=[p[1] for p in padding],
        interior=[b - 1 for b in base_dilation],
    )  # fmt: skip
    out = [
        max(0, (m - ((w - 1) * r + 1)) // s + 1) if m >= (w - 1) * r + 1 else 0
        for m, w, s, r in zip(shape(padded), window, strides, window_dilation)
    ]
    if math.prod(window) > _PLACES:
        raise ArgumentError(f"a window {tuple(window)} with a region of its own is too large")
    step.frame.spend(math.prod(window))
    parts = []
    for at in itertools.product(*map(range, window)):
        start = [i * r for i, r in zip(at, window_dilation)]
        limit = [a + (m - 1) * s + 1 if m else a for a, m, s in zip(start, out, strides)]
        parts.append(ops.slice_(padded, start=start, limit=limit, strides=strides))
    return mg.stack(parts)


@rule("stablehlo.select_and_scatter")
def _select_and_scatter(step: Step, x: Any, source: Any, init: Any) -> Any:
    attrs = _window_attrs(step, len(shape(x)))
    plain = {k: attrs[k] for k in ("window", "strides", "padding")}
    chosen = _direction(step.op.regions[0][0])
    added = combines(step.op.regions[1][0]) == "add"
    if chosen and added and kind(x) == "float" and kind(source) == "float":
        y = ops.select_and_scatter(x, source, kind=chosen, **plain)
        return y if _is_start("add", init) else y + init
    # each window's winner by its place, then a scatter with the region
    place = ops.reshape(mg.arange(math.prod(shape(x)), dtype="int64"), shape=shape(x))
    seen = windows(step, x, full(0, (), mg.Spec.of(x).dtype), **attrs)
    places = windows(step, place, np.asarray(-1), **attrs)
    select = batched(step.region(0))

    def better(a: Any, i: Any, b: Any, j: Any) -> list[Any]:
        keep = (mg.logical_and(select(a, b)[0], i >= 0)) | (j < 0)
        return [mg.where(keep, a, b), mg.where(keep, i, j)]

    first = [ops.reshape(_rows(v, 0, 1), shape=shape(v)[1:]) for v in (seen, places)]
    rest = [_rows(v, 1, shape(v)[0]) for v in (seen, places)]
    for k in range(shape(rest[0])[0]):
        first = better(*first, *(ops.reshape(_rows(v, k, k + 1), shape=shape(v)[1:]) for v in rest))
    n = math.prod(shape(source))
    flat = one_by_one(
        step.region(1), [_filled(init, (math.prod(shape(x)),))],
        ops.reshape(first[1], shape=(n,)), [ops.reshape(source, shape=(n,))],
    )  # fmt: skip
    return [ops.reshape(f, shape=shape(x)) for f in flat]


def one_by_one(region: Region, xs: Any, places: Any, updates: Any) -> list[Any]:
    """``xs [m]`` with each update ``[n]`` combined in at its place, in order; places outside skip."""
    m = shape(xs[0])[0]

    def body(carry: Any, update: Any) -> Any:
        at, *new = update
        inside = mg.logical_and(at >= 0, at < m)
        old = [ops.dynamic_slice(x, at, sizes=(1,)) for x in carry]
        got = region(*(ops.reshape(o, shape=()) for o in old), *new)
        kept = [mg.where(inside, mg.reshape(g, (1,)), o) for g, o in zip(got, old)]
        return [ops.dynamic_update_slice(x, k, at) for x, k in zip(carry, kept)], ()

    return mg.scan(body, list(xs), (places, *updates))[0]


def _direction(block: Block) -> str | None:
    """``max`` or ``min`` of a region that selects by comparing its arguments."""
    if len(block.ops) != 2 or block.ops[0].name != "stablehlo.compare":
        return None
    a, b = (name for name, _ in block.arguments)
    way = block.ops[0].attributes["comparison_direction"].value
    if block.ops[0].operands != [a, b]:
        return None
    return {"GE": "max", "GT": "max", "LE": "min", "LT": "min"}.get(way)


# ---- scatter

_SCATTER = {
    "second": "update", "add": "add", "multiply": "multiply", "maximum": "maximum",
    "minimum": "minimum",
}  # fmt: skip


@rule("stablehlo.scatter")
def _scatter(step: Step, *operands: Any) -> Any:
    n = len(operands) // 2
    xs, indices, updates = operands[:n], operands[n], operands[n + 1 :]
    d = step.get("scatter_dimension_numbers")
    dims = {
        k: d.get(k, [])
        for k in (
            "update_window_dims", "inserted_window_dims", "input_batching_dims",
            "scatter_indices_batching_dims", "scatter_dims_to_operand_dims",
        )
    }  # fmt: skip
    dims["index_vector_dim"] = d.get("index_vector_dim", 0)
    how = _SCATTER.get(combines(step.op.body) or "") if n == 1 else None
    if how == "update" or (how and kind(xs[0]) in ("float", "int", "uint")):
        return ops.scatter(
            xs[0], indices, updates[0], kind=how, **dims,
            indices_are_sorted=bool(step.get("indices_are_sorted", False)),
            unique_indices=bool(step.get("unique_indices", False)),
        )  # fmt: skip
    # any region: where each element of an update goes, then one after another
    m = math.prod(shape(xs[0]))
    number = ops.reshape(mg.arange(1, m + 1, dtype="int64"), shape=shape(xs[0]))
    places = _places(number, indices, shape(updates[0]), dims)
    flat = [ops.reshape(x, shape=(m,)) for x in xs]
    new = [ops.reshape(u, shape=(math.prod(shape(u)),)) for u in updates]
    out = one_by_one(step.region(), flat, ops.reshape(places, shape=shape(new[0])), new)
    return [ops.reshape(y, shape=shape(x)) for y, x in zip(out, xs)]


def _places(number: Any, indices: Any, to: tuple[int, ...], dims: dict[str, Any]) -> Any:
    """The flat place of each element of an update ``to``, or -1 outside.

    A scatter skips a window that does not fit, a gather moves it: a window is inside where the two
    agree, which a gather of positions tells.
    """
    x = shape(number)
    window = [
        i for i in range(len(x))
        if i not in (*dims["inserted_window_dims"], *dims["input_batching_dims"])
    ]  # fmt: skip
    sizes = [1] * len(x)
    for axis, u in zip(window, dims["update_window_dims"]):
        sizes[axis] = to[u]
    vector, mapped = dims["index_vector_dim"], dims["scatter_dims_to_operand_dims"]
    got = ops.gather(
        number, indices, slice_sizes=sizes, offset_dims=dims["update_window_dims"],
        collapsed_slice_dims=dims["inserted_window_dims"],
        operand_batching_dims=dims["input_batching_dims"],
        start_indices_batching_dims=dims["scatter_indices_batching_dims"],
        start_index_map=mapped, index_vector_dim=vector,
    )  # fmt: skip
    wide = ops.convert(indices, dtype="int64")
    if vector == len(shape(wide)):
        wide = ops.reshape(wide, shape=(*shape(wide), 1))
    high = np.array([x[i] - sizes[i] for i in mapped], np.int64)
    high = ops.broadcast_in_dim(high, shape=shape(wide), dims=(vector,))
    fits = ops.reduce_and(mg.logical_and(wide >= 0, wide <= high), axes=(vector,))
    batch = [i for i in range(len(to)) if i not in dims["update_window_dims"]]
    return mg.where(ops.broadcast_in_dim(fits, shape=to, dims=batch), got - 1, -1)

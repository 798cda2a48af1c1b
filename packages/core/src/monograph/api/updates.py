"""Writing parts of arrays: ``x.at[key].set(value)`` gives a new array, ``x`` stays what it was."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..errors import DTypeError
from ..graph import Value
from ..ops.indexing import scatter_dims
from ..tracing import at_user_line
from . import indexing
from ._common import asarray, promote
from .manipulation import broadcast_to

_COMBINE = {
    "update": lambda old, new: new, "add": ops.add, "multiply": ops.multiply,
    "minimum": ops.minimum, "maximum": ops.maximum,
}  # fmt: skip


class At:
    """``x.at``: index it as ``x`` itself, then say what to do there."""

    __slots__ = ("array",)

    def __init__(self, array: Array):
        self.array = array

    def __getitem__(self, key: Any) -> Place:
        return Place(self.array, key)


class Place:
    """A part of an array. Each method gives a copy of the array in which that part is changed.

    ``unique_indices=True`` promises that no element is named twice, which `multiply` needs for a
    gradient; known indices are looked at. Of several values for one element `set` keeps the last, on
    a GPU any one. Indices out of range are errors where they are known, else skipped.

    >>> import monograph as mg
    >>> x = mg.tensor([1, 2, 3])
    >>> x.at[0].set(9).tolist(), x.at[[0, 0, 2]].add(1).tolist(), x.tolist()
    ([9, 2, 3], [3, 2, 4], [1, 2, 3])
    """

    __slots__ = ("array", "key")

    def __init__(self, array: Array, key: Any):
        self.array, self.key = array, key

    def get(self) -> Array:
        """The part itself, ``x[key]``."""
        return self.array[self.key]

    def set(self, value: Any, *, unique_indices: bool = False) -> Array:
        """``value`` there, broadcast to the part's shape."""
        return _put(self, value, "update", unique_indices)

    def add(self, value: Any, *, unique_indices: bool = False) -> Array:
        """``value`` added; an element named twice gets both."""
        return _put(self, value, "add", unique_indices)

    def multiply(self, value: Any, *, unique_indices: bool = False) -> Array:
        """Multiplied by ``value``; an element named twice by both."""
        return _put(self, value, "multiply", unique_indices)

    def min(self, value: Any, *, unique_indices: bool = False) -> Array:
        """The smaller of the element and ``value``."""
        return _put(self, value, "minimum", unique_indices)

    def max(self, value: Any, *, unique_indices: bool = False) -> Array:
        """The larger of the element and ``value``."""
        return _put(self, value, "maximum", unique_indices)


def _put(at: Place, value: Any, kind: str, unique: bool) -> Array:
    x, v = promote(at.array, value)
    if x.dtype is not at.array.dtype:
        raise at_user_line(
            DTypeError(
                f"x.at[...] of {at.array.spec} cannot hold {x.dtype}; convert the value with .astype()"
            )
        )
    p = indexing.plan(x, at.key)
    shape = indexing.picked_shape(p) if p.picks else tuple(p.shape)
    v = _fitted(v, shape)
    if 0 in shape:
        return x
    cut = indexing.block(x, p) if p.picks or kind != "update" else None
    if not p.picks:
        return _unblock(x, p, _COMBINE[kind](cut, v))
    assert cut is not None
    new = ops.scatter(
        cut, indexing.vectors(cut, p), v, kind=kind, unique_indices=unique or _distinct(p, cut.shape),
        **scatter_dims(indexing.gather_dims(cut, p)),
    )  # fmt: skip
    return _unblock(x, p, new)


def _fitted(v: Array, shape: tuple[int, ...]) -> Array:
    """``v`` broadcast to ``shape``; leading axes of length 1 may be too many, as in NumPy."""
    while v.ndim > len(shape) and v.shape[0] == 1:
        v = ops.reshape(v, shape=v.shape[1:])
    return broadcast_to(v, shape)


def _distinct(p: indexing.Plan, shape: tuple[int, ...]) -> bool:
    arrays = [i for _, i in p.picks]
    if any(isinstance(i, Value) for i in arrays):
        return False
    flat = np.ravel_multi_index(np.broadcast_arrays(*arrays), [shape[a] for a, _ in p.picks])
    return len(np.unique(flat)) == flat.size


def _unblock(x: Array, p: indexing.Plan, new: Array) -> Array:
    """``x`` with its block replaced by ``new``: `indexing.block` backwards."""
    counts = [-(-(b - a) // s) for a, b, s in zip(p.start, p.limit, p.strides)]
    new = new if new.shape == tuple(counts) else ops.reshape(new, shape=counts)
    if p.flips:
        new = ops.reverse(new, axes=p.flips)
    if new.shape == x.shape:
        return new
    if all(s == 1 for s in p.strides):
        return ops.dynamic_update_slice(x, new, *[asarray(np.asarray(a)) for a in p.start])
    spread = {
        "low": p.start, "high": [n - b for n, b in zip(x.shape, p.limit)],
        "interior": [s - 1 for s in p.strides],
    }  # fmt: skip
    inside = ops.pad(ops.full(True, new.spec.with_(dtype="bool")), asarray(False), **spread)
    return ops.select(inside, ops.pad(new, ops.full(0, x.spec.with_(())), **spread), x)

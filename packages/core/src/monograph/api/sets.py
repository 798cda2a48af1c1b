"""Sets: `unique_values` and its kin, `isin`.

How many distinct values there are is known only from the values, so the ``unique_*`` functions work on
tensors and constants, not on what is being traced.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..array import Array
from ._common import asarray, beside, concrete, promote
from .elementwise import clip, equal, logical_not
from .indexing import take
from .manipulation import expand_dims, reshape
from .searching import searchsorted, sort
from .statistical import any


class UniqueAll(NamedTuple):
    """The result of `unique_all`."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """The result of `unique_counts`."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """The result of `unique_inverse`."""

    values: Array
    inverse_indices: Array


def _unique(x: Any, name: str) -> UniqueAll:
    numbers = concrete(x, name, "Use mg.sort, or mg.isin with a known set of values")
    values, first, inverse, counts = np.unique(
        numbers, return_index=True, return_inverse=True, return_counts=True, equal_nan=False
    )
    parts = (values, first, inverse.reshape(numbers.shape), counts)
    return UniqueAll(*[beside(x, p) for p in parts])


def unique_all(x: Any, /) -> UniqueAll:
    """The distinct elements in ascending order, where each comes first, which one each element is
    (in the shape of ``x``), and how many there are of each.

    Every NaN counts as a value of its own; -0 and 0 are one.

    Raises:
        DataDependentShape: ``x`` is being traced.

    >>> import monograph as mg
    >>> [a.tolist() for a in mg.unique_all(mg.tensor([3, 1, 3]))]
    [[1, 3], [1, 0], [1, 0, 1], [1, 2]]
    """
    return _unique(x, "unique_all")


def unique_counts(x: Any, /) -> UniqueCounts:
    """The distinct elements and how many there are of each; see `unique_all`."""
    u = _unique(x, "unique_counts")
    return UniqueCounts(u.values, u.counts)


def unique_inverse(x: Any, /) -> UniqueInverse:
    """The distinct elements and which one each element of ``x`` is; see `unique_all`."""
    u = _unique(x, "unique_inverse")
    return UniqueInverse(u.values, u.inverse_indices)


def unique_values(x: Any, /) -> Array:
    """The distinct elements in ascending order; see `unique_all`."""
    return _unique(x, "unique_values").values


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Array:
    """Whether each element of ``x1`` is one of ``x2``'s; the opposite with ``invert``. NaN never is.

    >>> import monograph as mg
    >>> mg.isin(mg.tensor([1, 2, 5]), [5, 1]).tolist()
    [True, False, True]
    """
    a, b = promote(x1, asarray(x2))
    line = reshape(b, -1)
    if a.dtype.kind in ("bool", "complex") or not b.size:  # what cannot be sorted: one by one
        found = any(equal(expand_dims(a, -1), line), axis=-1)
    else:
        line = sort(line)
        found = equal(take(line, clip(searchsorted(line, a), 0, b.size - 1)), a)
    return logical_not(found) if invert else found


__all__ = ["isin", "unique_all", "unique_counts", "unique_inverse", "unique_values"]

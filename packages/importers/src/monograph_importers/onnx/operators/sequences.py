"""Sequences and optionals: lists and None while tracing, so their lengths are always known."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import monograph as mg
import numpy as np

from ..rules import rule
from .shapes import ints


@rule("SequenceEmpty")
def sequence_empty(*, dtype: int = 1) -> Any:
    """A sequence of nothing."""
    return []


@rule("SequenceConstruct")
def sequence_construct(*xs: Any) -> Any:
    """A sequence of the inputs."""
    return list(xs)


def _place(at: Any, n: int, last: int) -> int:
    i = last if at is None else ints(at)[0]
    if not -n <= i <= last:
        raise mg.errors.OutOfBounds(f"position {i} of a sequence of {n}")
    return i + n if i < 0 else i


@rule("SequenceAt", known=(1,))
def sequence_at(xs: Any, at: Any) -> Any:
    """The one at a position."""
    return xs[_place(at, len(xs), len(xs) - 1)]


@rule("SequenceInsert", known=(2,))
def sequence_insert(xs: Any, x: Any, at: Any = None) -> Any:
    """With one more, before a position or at the end."""
    i = _place(at, len(xs), len(xs))
    return [*xs[:i], x, *xs[i:]]


@rule("SequenceErase", known=(1,))
def sequence_erase(xs: Any, at: Any = None) -> Any:
    """Without the one at a position, or the last."""
    i = _place(at, len(xs), len(xs) - 1)
    return [*xs[:i], *xs[i + 1 :]]


@rule("SequenceLength", shape_only=True)
def sequence_length(xs: Any) -> Any:
    """How many there are."""
    return np.asarray(len(xs), np.int64)


@rule("ConcatFromSequence")
def concat_from_sequence(xs: Any, *, axis: int, new_axis: int = 0) -> Any:
    """One after another along an axis, or along a new one."""
    return (mg.stack if new_axis else mg.concat)([mg.asarray(x) for x in xs], axis=axis)


@rule("SplitToSequence", known=(1,))
def split_to_sequence(x: Any, split: Any = None, *, axis: int = 0, keepdims: int = 1) -> Any:
    """Parts along an axis: of one length, of given ones, or single slices."""
    x = mg.asarray(x)
    a, n = axis % x.ndim, x.shape[axis]
    if split is not None and np.ndim(split):
        sizes = ints(split)
    else:
        each = 1 if split is None else ints(split)[0]
        sizes = [min(each, n - i) for i in range(0, n, each)]
    if sum(sizes) != n:
        raise mg.errors.ShapeError(f"parts {sizes} of an axis of length {n}")
    ends = np.cumsum([0, *sizes]).tolist()
    parts = [x[(slice(None),) * a + (slice(i, j),)] for i, j in pairwise(ends)]
    return [mg.squeeze(p, axis=a) for p in parts] if split is None and not keepdims else parts


@rule("Optional")
def optional(x: Any = None, *, type: Any = None) -> Any:
    """The value, or nothing."""
    return x


@rule("OptionalHasElement", shape_only=True)
def optional_has_element(x: Any = None) -> Any:
    """Whether there is a value."""
    return np.asarray(x is not None)


@rule("OptionalGetElement")
def optional_get_element(x: Any) -> Any:
    """The value."""
    if x is None:
        raise mg.errors.ArgumentError("an optional has no value")
    return x

"""Einstein summation: a product of arrays, written with a letter per axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..array import Array
from ..errors import ArgumentError, ShapeError
from ..tracing import at_user_line
from ._common import broadcast_to, promote
from .indexing import getitem
from .manipulation import moveaxis

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


def einsum(subscripts: str, /, *operands: Any) -> Array:
    """The sum of products that ``subscripts`` names, as `numpy.einsum`.

    A letter that stands in several operands pairs their axes (length 1 repeats); letters missing
    after ``->`` are summed; without ``->`` the result has the letters that occur once, sorted. A
    letter twice in one operand takes its diagonal; ``...`` stands for leading axes that broadcast.
    Operands are multiplied two at a time, the pair with the smallest product first.

    Raises:
        ArgumentError: subscripts that are not of this form, or do not match the operands.
        ShapeError: axes of one letter that differ in length.

    >>> import monograph as mg
    >>> x = mg.reshape(mg.arange(4), (2, 2))
    >>> einsum("ij,kj->ik", x, x).tolist(), einsum("ii", x).item()
    ([[1, 3], [3, 13]], 3)
    """
    xs = promote(*operands)
    names, out = _parse(subscripts, [x.ndim for x in xs])
    terms = [_diagonals(x, n) for x, n in zip(xs, names)]
    terms = _one_length(terms)
    while len(terms) > 1:
        i, j = _cheapest(terms, out)
        b, a = terms.pop(j), terms.pop(i)
        kept = set(out).union(*[n for _, n in terms])
        terms.append(_product(a, b, kept))
    x, have = _summed(*terms[0], set(out))
    return ops.transpose(x, permutation=[have.index(c) for c in out]) if have != out else x


def _parse(text: str, ndims: Sequence[int]) -> tuple[list[str], str]:
    """A letter per axis of each operand and of the result; ``...`` becomes letters of its own."""
    left, arrow, right = text.replace(" ", "").partition("->")
    names = left.split(",")
    if len(names) != len(ndims):
        raise at_user_line(
            ArgumentError(f"einsum {text!r} names {len(names)} operands; got {len(ndims)}")
        )
    spare = [c for c in _LETTERS if c not in text]
    lead = max(
        [n - len(s) + 3 for s, n in zip(names, ndims) if "..." in s], default=0
    )  # the most axes an ellipsis stands for
    dots = "".join(spare[: max(lead, 0)])
    full = []
    for s, n in zip(names, ndims):
        if "..." in s:
            more = n - len(s) + 3
            s = s.replace("...", dots[len(dots) - more :] if more > 0 else "", 1)
        if len(s) != n or not all(c in _LETTERS for c in s):
            raise at_user_line(
                ArgumentError(f"einsum {text!r}: an operand with {n} axes does not match {s!r}")
            )
        full.append(s)
    counts = Counter("".join(full))
    if arrow:
        out = right.replace("...", dots, 1)
    else:
        out = dots + "".join(sorted(c for c, k in counts.items() if k == 1 and c not in dots))
    if len(set(out)) != len(out) or not all(c in counts for c in out):
        raise at_user_line(
            ArgumentError(f"einsum {text!r}: the result's letters must occur before ->, once after")
        )
    return full, out


def _diagonals(x: Array, names: str) -> tuple[Array, str]:
    """A letter that an operand has several times taken along the diagonal."""
    for c in dict.fromkeys(names):
        places = [i for i, n in enumerate(names) if n == c]
        if len(places) > 1:
            if len({x.shape[i] for i in places}) > 1:
                raise at_user_line(
                    ShapeError(f"einsum: axes {places} of {x.shape} are both {c!r} and differ")
                )
            line = np.arange(x.shape[places[0]])
            x = moveaxis(x, places, range(len(places)))
            x = getitem(x, (line,) * len(places))
            names = c + names.replace(c, "")
    return x, names


def _one_length(terms: list[tuple[Array, str]]) -> list[tuple[Array, str]]:
    """Axes of length 1 repeated where another operand's axis of that letter is longer."""
    size: dict[str, int] = {}
    for x, names in terms:
        for n, c in zip(x.shape, names):
            if n != size.setdefault(c, n) and 1 not in (n, size[c]):
                raise at_user_line(
                    ShapeError(f"einsum: axis {c!r} has length {size[c]} here and {n} there")
                )
            size[c] = n if size[c] == 1 else size[c]
    return [(broadcast_to(x, [size[c] for c in names]), names) for x, names in terms]


def _cheapest(terms: list[tuple[Array, str]], out: str) -> tuple[int, int]:
    """The two operands whose product has the fewest elements."""

    def cost(pair: tuple[int, int]) -> int:
        rest = set(out).union(*[n for k, (_, n) in enumerate(terms) if k not in pair])
        size = {c: n for k in pair for c, n in zip(terms[k][1], terms[k][0].shape)}
        total = 1
        for c, n in size.items():
            total *= n if c in rest else 1
        return total

    pairs = [(i, j) for j in range(len(terms)) for i in range(j)]
    return min(pairs, key=cost)


def _summed(x: Array, names: str, kept: set[str]) -> tuple[Array, str]:
    """Letters that nobody needs any more summed away."""
    axes = [i for i, c in enumerate(names) if c not in kept]
    if not axes:
        return x, names
    return ops.reduce_sum(x, axes=axes), "".join(c for c in names if c in kept)


def _product(
    left: tuple[Array, str], right: tuple[Array, str], kept: set[str]
) -> tuple[Array, str]:
    """Two operands multiplied and summed over the letters they share and nobody else needs."""
    a, an = _summed(*left, kept | set(right[1]))
    b, bn = _summed(*right, kept | set(left[1]))
    batch = [c for c in an if c in bn and c in kept]
    inner = [c for c in an if c in bn and c not in kept]
    out = ops.dot_general(
        a, b, lhs_batching=[an.index(c) for c in batch], rhs_batching=[bn.index(c) for c in batch],
        lhs_contracting=[an.index(c) for c in inner], rhs_contracting=[bn.index(c) for c in inner],
    )  # fmt: skip
    free = [c for c in an if c not in bn] + [c for c in bn if c not in an]
    return out, "".join(batch + free)


__all__ = ["einsum"]

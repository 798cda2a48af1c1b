"""Sample inputs that op records share: ``(dtype, rng) -> iterable of Sample``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..dtypes import DType
from ..op import Sample

if TYPE_CHECKING:  # naming np.random imports it: 10 ms that only the conformance kit needs
    Samples = Callable[[DType, np.random.Generator], Iterable[Sample]]


def draw(
    d: DType, rng: np.random.Generator, shape: Sequence[int], low: float = -2.0, high: float = 2.0
) -> np.ndarray:
    """Numbers of that dtype, away from 0 and from each other where a kink or tie would hurt."""
    shape = tuple(shape)
    if d.kind == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if d.is_integer:
        lo, hi = (0, 7) if d.kind == "uint" else (-5, 6)
        return rng.integers(lo, hi, shape).astype(d.numpy)
    x = rng.uniform(low, high, shape)
    if d.is_complex:
        x = x + 1j * rng.uniform(low, high, shape)
    return np.asarray(x).astype(d.numpy)


def shaped(
    *shapes: Sequence[int],
    attrs: Sequence[dict[str, Any]] = ({},),
    low: float = -2.0,
    high: float = 2.0,
    arity: int = 1,
    grad: bool = True,
    specials: bool = False,
) -> Samples:
    """One sample per shape, operands all of that shape; attributes are taken in turn.

    With ``specials`` the first shape comes again, filled with the values of `special`.
    """

    def make(d: DType, rng: np.random.Generator) -> Iterable[Sample]:
        for i, shape in enumerate(shapes):
            xs = tuple(draw(d, rng, shape, low, high) for _ in range(arity))
            yield Sample(xs, dict(attrs[i % len(attrs)]), grad)
        if specials:
            yield Sample((awkward(d, shapes[0]),) * arity, dict(attrs[0]), grad=False)

    return make


def special(d: DType) -> np.ndarray:
    """The values that break naive code: signed zeros, infinities, NaN, extremes."""
    if d.is_complex:
        # engines part where a component is infinite or NaN (C99 Annex G is optional)
        return np.array([0, 1j, -1, 2 - 1j]).astype(d.numpy)
    if d.kind in ("float", "float8"):
        return np.array([np.nan, np.inf, 0.0, -0.0, 1.0, -np.inf, -1.0, 100.0, -100.0]).astype(
            d.numpy
        )
    if d.is_integer:
        info = np.iinfo(d.numpy)
        return np.array([info.min, info.max, 0, 1], dtype=d.numpy)
    return np.array([True, False])


def awkward(d: DType, shape: Sequence[int]) -> np.ndarray:
    """The values of `special`, over and over, in that shape."""
    return np.resize(special(d), tuple(shape))


def elementwise(
    low: float = -2.0, high: float = 2.0, arity: int = 1, specials: bool = True
) -> Samples:
    """A matrix, a scalar, an empty array, and the special values, for elementwise ops."""

    def make(d: DType, rng: np.random.Generator) -> Iterable[Sample]:
        for shape in ((3, 4), (), (0, 2)):
            yield Sample(tuple(draw(d, rng, shape, low, high) for _ in range(arity)))
        if specials:
            grid = np.meshgrid(*[special(d)] * arity, indexing="ij")
            yield Sample(tuple(np.ascontiguousarray(x.ravel()) for x in grid), grad=False)

    return make


floats = elementwise()
pairs = elementwise(arity=2)

"""Counter-based random bits: Threefry-2x32 (Salmon et al. 2011), the same on every engine."""

from __future__ import annotations

import math

from ..dtypes import uint32, uint64
from ..errors import DTypeError, ShapeError
from ..op import NOT_DIFFERENTIABLE, Sample, composite
from ..spec import Spec
from ._build import full

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _check_key(key):
    if key.shape != (2,) or key.dtype is not uint32:
        raise ShapeError(f"a key is uint32[2], got {key}; make one with mg.random.key(seed)")


def _infer(key, *, shape, dtype):
    _check_key(key)
    if dtype not in (uint32, uint64):
        raise DTypeError(f"random bits are uint32 or uint64, not {dtype}")
    return Spec(shape, dtype)


def _samples(d, rng):
    for shape in ((5,), (2, 3), (), (0, 2)):
        yield Sample(
            (rng.integers(0, 2**32, 2).astype("uint32"),), {"shape": shape, "dtype": d}, grad=False
        )


def _infer_block(key, high, low):
    _check_key(key)
    for x in (high, low):
        if x.dtype is not uint32 or x.ndim != 1 or x.shape != high.shape:
            raise ShapeError(f"a counter is two words uint32[n], got {high} and {low}")
    return high, low


def _block_samples(d, rng):
    for n in (1, 5, 0):
        words = [rng.integers(0, 2**32, k).astype("uint32") for k in (2, n, n)]
        yield Sample(tuple(words), grad=False)


@composite(
    infer=_infer_block, vjp=NOT_DIFFERENTIABLE, samples=_block_samples, dtypes="uint32", ulps=0,
    multi=True,
)  # fmt: skip
def threefry_2x32(key, high, low):
    """Encrypt each counter ``(high[i], low[i])`` with ``key uint32[2]``; two words ``uint32[n]``."""
    from .arithmetic import add
    from .logic import or_, shift_left, shift_right_logical, xor
    from .shape import slice_
    from .structural import broadcast_in_dim, reshape

    spec = high.spec

    def word(i):
        one = slice_(key, start=(i,), limit=(i + 1,), strides=(1,))
        return broadcast_in_dim(reshape(one, shape=()), shape=spec.shape, dims=())

    def rotated(x, by):
        return or_(shift_left(x, full(by, spec)), shift_right_logical(x, full(32 - by, spec)))

    k0, k1 = word(0), word(1)
    keys = (k0, k1, xor(xor(k0, k1), full(0x1BD11BDA, spec)))
    x0, x1 = add(high, keys[0]), add(low, keys[1])
    for i in range(5):
        for by in _ROTATIONS[i % 2]:
            x0 = add(x0, x1)
            x1 = xor(rotated(x1, by), x0)
        x0 = add(x0, keys[(i + 1) % 3])
        x1 = add(add(x1, keys[(i + 2) % 3]), full(i + 1, spec))
    return x0, x1


@composite(
    infer=_infer, vjp=NOT_DIFFERENTIABLE, samples=_samples, dtypes=("uint32", "uint64"), ulps=0
)
def random_bits(key, *, shape, dtype):
    """Uniform bits from ``key uint32[2]``; element ``i`` encrypts the counter ``i``.

    As `jax.random.bits` with the default implementation (partitionable Threefry).
    """
    from .logic import or_, shift_left, xor
    from .shape import iota
    from .structural import convert, reshape

    n = math.prod(shape)
    # counters are 64 bits wide; an array of 2**32 elements does not fit this memory
    low = iota(shape=(n,), dtype=uint32, axis=0)
    x0, x1 = threefry_2x32(key, full(0, low.spec), low)
    if dtype is uint32:
        return reshape(xor(x0, x1), shape=shape)
    wide = Spec((n,), uint64)
    high = shift_left(convert(x0, dtype=uint64), full(32, wide))
    return reshape(or_(high, convert(x1, dtype=uint64)), shape=shape)

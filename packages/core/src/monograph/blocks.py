"""Large arrays a block at a time: what a formula needs in between stays in the cache.

First values of a model's variables are made so, which is most of what a start needs that compiles nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .dtypes import DType

SIZE = 1 << 15
"""Elements of a block."""

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def in_blocks(fill: Callable[[int, int], None], n: int) -> None:
    """Call ``fill(start, stop)`` for every block of ``range(n)``.

    >>> out = np.zeros(5)
    >>> in_blocks(lambda i, j: out[i:j].fill(1), 5)
    >>> out.tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    for start in range(0, n, SIZE):
        fill(start, min(start + SIZE, n))


def random_bits(key: np.ndarray, *, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
    """What `monograph.ops.random_bits` says, in place; its body would take a hundred passes over memory."""
    n = math.prod(shape)
    out = np.empty(n, dtype.numpy)

    def fill(start: int, stop: int) -> None:
        x0, x1 = np.zeros(stop - start, "uint32"), np.arange(start, stop, dtype="uint32")
        _encrypt(key, x0, x1)
        if dtype.numpy.itemsize == 4:
            np.bitwise_xor(x0, x1, out=out[start:stop])
        else:
            out[start:stop] = x0.astype("uint64") << np.uint64(32) | x1

    in_blocks(fill, n)
    return out.reshape(shape)


def threefry_2x32(key: np.ndarray, high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, ...]:
    """What `monograph.ops.threefry_2x32` says, in place: keys are made of single counters, one per variable."""
    x0, x1 = high.copy(), low.copy()
    in_blocks(lambda i, j: _encrypt(key, x0[i:j], x1[i:j]), len(x0))
    return x0, x1


def _encrypt(key: np.ndarray, x0: np.ndarray, x1: np.ndarray) -> None:
    """Threefry-2x32 of the counters ``(x0, x1)``, in place (Salmon et al. 2011)."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    spare = np.empty_like(x1)
    x0 += keys[0]
    x1 += keys[1]
    for i in range(5):
        for by in _ROTATIONS[i % 2]:
            x0 += x1
            np.right_shift(x1, np.uint32(32 - by), out=spare)
            np.left_shift(x1, np.uint32(by), out=x1)
            x1 |= spare
            x1 ^= x0
        x0 += keys[(i + 1) % 3]
        x1 += keys[(i + 2) % 3]
        x1 += np.uint32(i + 1)

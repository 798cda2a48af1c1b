"""Random numbers by counting: each follows from a key and the place where it is used.

So a sample does not depend on who draws first: NumPy and C, and any number of threads, draw the same. The
function is the output step of SplitMix64 (Steele et al. 2014), its twin is in `sampling.c`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)

Random = int | Sequence[int] | np.random.Generator
"""Where randomness comes from: a seed, several such as ``(seed, epoch, batch)``, or a generator."""


def new_key(rng: Random) -> int:
    """64 random bits: of a generator its next ones."""
    return int(np.random.default_rng(rng).bit_generator.random_raw())


def mixed(x: np.ndarray) -> np.ndarray:
    """64 bits thoroughly shuffled; ``x``: uint64 array."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def draw(states: np.ndarray, places: Any) -> np.ndarray:
    """The random 64 bits of each state at each place; uint64 arrays that broadcast."""
    places = np.atleast_1d(places).astype(np.uint64)  # a scalar would warn of its overflow
    return mixed(states + (places + np.uint64(1)) * np.uint64(GOLDEN))


def states(key: int, ids: np.ndarray) -> np.ndarray:
    """A state for each id, from which `draw` goes on."""
    return draw(np.full(1, key, np.uint64), ids)


def derived(key: int, number: int) -> int:
    """A key made of another."""
    return int(states(key, np.asarray([number]))[0])


def below(bits: np.ndarray, n: Any) -> np.ndarray:
    """An integer from 0 up to ``n`` (exclusive) for each 64 bits: the high half of their product, int64."""
    n = np.asarray(n).astype(np.uint64)
    a, b, c, d = bits >> _HALF, bits & _LOW, n >> _HALF, n & _LOW
    middle = a * d + (b * d >> _HALF)
    carried = (middle & _LOW) + b * c
    return (a * c + (middle >> _HALF) + (carried >> _HALF)).astype(np.int64)


def uniform(bits: np.ndarray) -> np.ndarray:
    """A number from 0 up to 1 (exclusive) for each 64 bits, float64."""
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53

"""CRC-32C (Castagnoli), as tensor bundles have it: many lanes at once, joined at the end."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

_POLYNOMIAL = 0x82F63B78
_LANES = 4096


@functools.cache
def _table() -> np.ndarray:
    t = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        t = np.where(t & 1, (t >> 1) ^ np.uint32(_POLYNOMIAL), t >> 1)
    return t


def _advance(state: np.ndarray, data: np.ndarray) -> np.ndarray:
    """States ``[lanes]`` after the bytes ``[n, lanes]``."""
    table = _table()
    for row in data:
        state = table[(state ^ row) & 255] ^ (state >> np.uint32(8))
    return state


def _through_zeros(n: int) -> np.ndarray:
    """What ``n`` zero bytes do to each bit of a state: 32 columns over GF(2)."""
    bit = np.uint32(1) << np.arange(32, dtype=np.uint32)
    step = _advance(bit, np.zeros((1, 32), np.uint32))
    out = bit
    while n:
        if n & 1:
            out = _apply(step, out)
        step = _apply(step, step)
        n >>= 1
    return out


def _apply(columns: np.ndarray, states: np.ndarray) -> np.ndarray:
    bits = (states[:, None] >> np.arange(32, dtype=np.uint32)) & 1
    return np.bitwise_xor.reduce(np.where(bits == 1, columns, np.uint32(0)), axis=1)


def crc32c(data: Any) -> int:
    """The checksum of bytes.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    bytes_ = np.frombuffer(data, np.uint8)
    each = len(bytes_) // _LANES
    state = np.array([0xFFFFFFFF], np.uint32)
    if each:
        lanes = bytes_[: each * _LANES].reshape(_LANES, each)
        states = np.zeros(_LANES, np.uint32)
        states[0] = state[0]
        for start in range(0, each, 1024):  # in pieces that stay in the cache
            piece = np.ascontiguousarray(lanes[:, start : start + 1024].T)
            states = _advance(states, piece)
        columns = _through_zeros(each)
        while len(states) > 1:  # neighbours: the left one moves past the right one's bytes
            states = _apply(columns, states[::2]) ^ states[1::2]
            columns = _apply(columns, columns)
        state = states
    rest = bytes_[each * _LANES :].reshape(-1, 1)
    return int(_advance(state, rest)[0] ^ np.uint32(0xFFFFFFFF))


def masked(crc: int) -> int:
    """As it is stored: rotated, and moved on, so that checksums of checksums differ."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

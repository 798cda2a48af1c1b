"""CRC-32C (Castagnoli), as tensor bundles have it: many lanes at once, joined at the end."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

_POLYNOMIAL = 0x82F63B78
_LANES = 8192


@functools.cache
def _table(bits: int) -> np.ndarray:
    """What the low ``bits`` of a state do to the rest when they leave it."""
    t = np.arange(2**bits, dtype=np.uint32)
    for _ in range(bits):
        t = np.where(t & 1, (t >> 1) ^ np.uint32(_POLYNOMIAL), t >> 1)
    return t


def _advance(state: np.ndarray, data: np.ndarray) -> np.ndarray:
    """States ``[lanes]`` after the words ``[n, lanes]``, of 8 or 16 bits."""
    bits = 8 * data.itemsize
    table, mask, shift = _table(bits), np.uint32(2**bits - 1), np.uint32(bits)
    place = np.empty(state.shape, np.intp)
    for row in data:
        np.bitwise_and(state ^ row, mask, out=place, casting="unsafe")
        state = table.take(place, mode="clip") ^ (state >> shift)
    return state


def _through_zeros(n: int) -> np.ndarray:
    """What ``n`` zero bytes do to each bit of a state: 32 columns over GF(2)."""
    out = np.uint32(1) << np.arange(32, dtype=np.uint32)
    step = _advance(out, np.zeros((1, 32), np.uint8))
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
    data = np.frombuffer(data, np.uint8)
    each = len(data) // (2 * _LANES)  # words in a lane
    state = 0xFFFFFFFF
    if each:
        lanes = data[: 2 * each * _LANES].reshape(_LANES, 2 * each)
        states = np.zeros(_LANES, np.uint32)
        states[0] = state
        for start in range(0, each, 256):  # in pieces that stay in the cache
            piece = np.ascontiguousarray(lanes[:, 2 * start : 2 * (start + 256)]).view("<u2")
            states = _advance(states, np.ascontiguousarray(piece.T))
        columns = _through_zeros(2 * each)
        while len(states) > 1:  # neighbours: the left one moves past the right one's bytes
            states = _apply(columns, states[::2]) ^ states[1::2]
            columns = _apply(columns, columns)
        state = int(states[0])
    table = _table(8).tolist()
    for byte in data[2 * each * _LANES :].tolist():
        state = table[(state ^ byte) & 255] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """As it is stored: rotated, and moved on, so that checksums of checksums differ."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF

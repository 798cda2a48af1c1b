"""Threefry bits in int32 lanes, in place: the record's body would take a hundred passes over int64.

Signed lanes add, shift and wrap as unsigned ones do, once a right shift's sign bits are masked off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from monograph import ops

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_CHUNK = (
    32768  # elements of a lane that stay in the cache, and which torch does not split over threads
)


def _lane(x: int) -> int:
    """32 bits as the int32 of the same pattern."""
    x &= 0xFFFFFFFF
    return x - (1 << 32) if x >= 1 << 31 else x


def _rounds(x0: torch.Tensor, x1: torch.Tensor, spare: torch.Tensor, key: list[int]) -> None:
    """Encrypt the counters ``(x0, x1)`` in place (Salmon et al. 2011)."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA)
    x0.add_(_lane(keys[0]))
    x1.add_(_lane(keys[1]))
    for i in range(5):
        for by in _ROTATIONS[i % 2]:
            x0.add_(x1)
            torch.bitwise_right_shift(x1, 32 - by, out=spare)
            spare.bitwise_and_((1 << by) - 1)
            x1.bitwise_left_shift_(by).bitwise_or_(spare).bitwise_xor_(x0)
        x0.add_(_lane(keys[(i + 1) % 3]))
        x1.add_(_lane(keys[(i + 2) % 3] + i + 1))


def _random_bits(node: Any, device: torch.device) -> Callable:
    shape, wide = node.attrs["shape"], node.attrs["dtype"].name == "uint64"
    n = math.prod(shape)
    chunk = min(n, _CHUNK) if device.type == "cpu" else n

    def run(key: torch.Tensor) -> torch.Tensor:
        words = key.tolist()
        high = torch.zeros(n, dtype=torch.int32, device=device)
        low = torch.arange(n, dtype=torch.int32, device=device)
        spare = torch.empty(chunk, dtype=torch.int32, device=device)
        for at in range(0, n, chunk or 1):
            x0, x1 = high[at : at + chunk], low[at : at + chunk]
            _rounds(x0, x1, spare[: len(x0)], words)
        if not wide:
            return high.bitwise_xor_(low).view(torch.uint32).reshape(shape)
        # little end first: the low word is the counter's second lane
        return torch.stack([low, high], -1).view(torch.uint64).reshape(shape)

    return run


TABLE: dict[Any, Any] = {ops.random_bits: _random_bits}

"""Matrix products of float32 by oneDNN, for CPUs where it beats torch's BLAS.

MKL keeps to AVX2 on AMD's CPUs, oneDNN takes AVX-512: half the time on Zen 5. torch offers it by a name
that only Inductor calls; where that is missing, wrong or no faster, `pays` says no.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch

LEAST, NARROW = 1 << 21, 4
"""Multiplications, and the least of the sizes, below which the 10 us of oneDNN's call are more than it saves."""

FASTER, SIZE, ROUNDS = 0.8, 256, 9
"""The most of BLAS's time that it may take, on square matrices of that size, the best of so many rounds."""


def mm(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``x @ y`` of matrices, as `torch.mm`."""
    if torch.compiler.is_compiling():  # Inductor takes constant weights only by that name
        return torch.mm(x, y)
    return torch.ops.mkldnn._linear_pointwise.default(x, y.t(), None, "none", [], "")


def addmm(bias: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``bias + x @ y`` of a vector and matrices, as `torch.addmm`."""
    if torch.compiler.is_compiling():
        return torch.addmm(bias, x, y)
    return torch.ops.mkldnn._linear_pointwise.default(x, y.t(), bias, "none", [], "")


def pays(device: torch.device, *sizes: int) -> bool:
    """Whether to take these for a product of ``sizes`` [m, k] and [k, n] there: ``m, k, n``."""
    m, k, n = sizes
    large = m * k * n >= LEAST and min(sizes) >= NARROW
    return large and device.type == "cpu" and _is_faster()


@functools.cache
def _is_faster() -> bool:
    """Tried once per process, in some 5 ms."""
    with torch.inference_mode():
        x, y = torch.randn(2, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
        try:
            off = (mm(x, y) - x @ y).abs().max()
        except (AttributeError, NotImplementedError, RuntimeError, TypeError):
            return False
        rounds = [(_seconds(mm, x, y), _seconds(torch.mm, x, y)) for _ in range(ROUNDS)]
    ours, theirs = map(min, zip(*rounds))
    return bool(off < 1e-3) and ours < FASTER * theirs


def _seconds(product: Callable, x: torch.Tensor, y: torch.Tensor) -> float:
    started = time.perf_counter()
    product(x, y)
    return time.perf_counter() - started

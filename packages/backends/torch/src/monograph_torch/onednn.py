"""Matrix products of float32 by oneDNN, for CPUs where it beats torch's BLAS.

MKL keeps to AVX2 on AMD's CPUs, oneDNN takes AVX-512: half the time on Zen 5. torch offers it by a name
that only Inductor calls; where that is missing, wrong or no faster, `pays` says no.
"""

from __future__ import annotations

import functools
import math

import torch
from monograph import choices

LEAST, NARROW = 1 << 21, 4
"""Multiplications, and the least of the sizes, below which the 10 us of oneDNN's call are more than it saves."""

MOST = 1 << 27
"""Multiplications of the products that are tried: larger ones are tried as smaller ones of their form."""


def mm(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``x @ y`` of matrices, as `torch.mm`."""
    if torch.compiler.is_compiling():  # Inductor takes constant weights only by that name
        return torch.mm(x, y)
    return torch.ops.mkldnn._linear_pointwise.default(x, y.t(), None, "none", [], "")


def addmm(bias: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """``bias + x @ y`` of a vector and matrices, as `torch.addmm`."""
    if torch.compiler.is_compiling():
        return torch.addmm(bias, x, y)
    return torch.ops.mkldnn._linear_pointwise.default(x, y.t(), bias.contiguous(), "none", [], "")


def pays(device: torch.device, *sizes: int) -> bool:
    """Whether to take these for a product of ``sizes`` [m, k] and [k, n] there: ``m, k, n``.

    Measured for sizes up to the next powers of two, and kept on disk (`monograph.choices`).
    """
    large = math.prod(sizes) >= LEAST and min(sizes) >= NARROW
    if not large or device.type != "cpu":
        return False
    rounded = [1 << (n - 1).bit_length() for n in sizes]
    while math.prod(rounded) > MOST:
        rounded[rounded.index(max(rounded))] //= 2
    return chosen(*rounded, torch.get_num_threads()) == "oneDNN"


@functools.cache
def chosen(m: int, k: int, n: int, threads: int) -> str:
    """``"BLAS"`` or ``"oneDNN"``."""
    with torch.inference_mode():
        rng = torch.Generator().manual_seed(0)
        x, y = (torch.randn(shape, generator=rng) for shape in ((m, k), (k, n)))
        return choices.quickest(
            "lowering", f"torch: float32[{m},{k}] @ float32[{k},{n}], {threads} threads",
            {"BLAS": lambda: torch.mm(x, y), "oneDNN": lambda: mm(x, y)}, ("torch",),
            same=lambda a, b: bool((a - b).abs().max() < 1e-5 * k),
        )  # fmt: skip

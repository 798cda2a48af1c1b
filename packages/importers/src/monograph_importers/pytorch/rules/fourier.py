"""Discrete Fourier transforms. torch numbers its normalisations 0 none, 1 ``1/sqrt(n)``, 2 ``1/n``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg

from ._types import axis


def _scaled(x: Any, n: int, normalization: int) -> Any:
    return x / (1, math.sqrt(n), n)[normalization]


def _real_to_complex(x: Any, dim: Any, normalization: int, onesided: bool) -> Any:
    axes = tuple(axis(d, x.ndim) for d in dim)
    transform = mg.fft.rfftn if onesided else mg.fft.fftn
    return _scaled(transform(x, axes=axes), math.prod(x.shape[a] for a in axes), normalization)


def _complex_to_complex(x: Any, dim: Any, normalization: int, forward: bool) -> Any:
    axes = tuple(axis(d, x.ndim) for d in dim)
    transform, norm = (mg.fft.fftn, "backward") if forward else (mg.fft.ifftn, "forward")
    n = math.prod(x.shape[a] for a in axes)
    return _scaled(transform(x, axes=axes, norm=norm), n, normalization)


def _complex_to_real(x: Any, dim: Any, normalization: int, last_dim_size: int) -> Any:
    axes = tuple(axis(d, x.ndim) for d in dim)
    sizes = [*(x.shape[a] for a in axes[:-1]), last_dim_size]
    return _scaled(
        mg.fft.irfftn(x, s=sizes, axes=axes, norm="forward"), math.prod(sizes), normalization
    )


RULES: dict[str, Callable] = {
    "_fft_c2c": _complex_to_complex, "_fft_c2r": _complex_to_real, "_fft_r2c": _real_to_complex,
}  # fmt: skip

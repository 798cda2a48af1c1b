"""Factorisations and triangular systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from monograph import ops
from monograph.ops.linalg import positive_diagonal, unit_phase

from .common import call


def _or_nan(fn: Callable, x: torch.Tensor) -> Any:
    """``fn(x)``, a tuple; NaN for a matrix that is not finite, for which torch raises."""
    good = torch.isfinite(x).all(-1, keepdim=True).all(-2, keepdim=True)
    if bool(good.all()):
        return fn(x)
    ys = fn(torch.where(good, x, 0))
    return tuple(
        y.masked_fill(~good.reshape(good.shape[:-2] + (1,) * (y.ndim - good.ndim + 2)), torch.nan)
        for y in ys
    )


def _cholesky(x: torch.Tensor) -> torch.Tensor:
    low, failed = torch.linalg.cholesky_ex((x + x.mH) / 2)
    return low.masked_fill((failed != 0)[..., None, None], torch.nan).tril()


def _triangular_solve(
    a: torch.Tensor, b: torch.Tensor, *, left_side: bool, lower: bool, unit_diagonal: bool,
    transpose_a: str,
) -> torch.Tensor:  # fmt: skip
    if transpose_a != "NO_TRANSPOSE":
        a, lower = a.mH if transpose_a == "ADJOINT" else a.mT, not lower
    return torch.linalg.solve_triangular(
        a, b, upper=not lower, left=left_side, unitriangular=unit_diagonal
    )


def _lu(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    packed, pivots, _ = torch.linalg.lu_factor_ex(x)
    p, _, _ = torch.lu_unpack(packed, pivots, unpack_data=False)
    return packed, p.real.argmax(-2) if p.numel() else p.new_zeros(x.shape[:-1], dtype=torch.int64)


def _eigh(x: torch.Tensor, *, vectors: bool) -> tuple[torch.Tensor, ...]:
    part = (x + x.mH) / 2
    if not vectors:
        return _or_nan(lambda m: (torch.linalg.eigvalsh(m),), part)
    w, v = _or_nan(torch.linalg.eigh, part)
    return w, v / unit_phase(v, torch)


def _svd(x: torch.Tensor, *, vectors: bool) -> tuple[torch.Tensor, ...]:
    if not vectors:
        return _or_nan(lambda m: (torch.linalg.svdvals(m),), x)
    u, s, vh = _or_nan(lambda m: torch.linalg.svd(m, full_matrices=False), x)
    phase = unit_phase(u, torch)
    return u / phase, s, vh * phase.mT


def _qr(x: torch.Tensor, *, full: bool) -> tuple[torch.Tensor, torch.Tensor]:
    q, r = torch.linalg.qr(x, "complete" if full else "reduced")
    return positive_diagonal(q, r, torch)


TABLE: dict[Any, Any] = {
    ops.cholesky: call(_cholesky), ops.triangular_solve: call(_triangular_solve), ops.lu: call(_lu),
    ops.qr: call(_qr), ops.eigh: call(_eigh), ops.svd: call(_svd),
}  # fmt: skip

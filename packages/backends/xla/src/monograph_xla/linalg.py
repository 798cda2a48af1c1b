"""The table of linear algebra: op -> jax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax.lax import linalg
from monograph import ops
from monograph.ops.linalg import positive_diagonal, unit_phase


def _triangular_solve(a: Any, b: Any, *, transpose_a: str, **flags: bool) -> Any:
    return linalg.triangular_solve(
        a,
        b,
        transpose_a=transpose_a != "NO_TRANSPOSE",
        conjugate_a=transpose_a == "ADJOINT",
        **flags,
    )


def _lu(x: Any) -> Any:
    packed, _, order = linalg.lu(x)
    return packed, order.astype(jnp.int64)


def _qr(x: Any, *, full: bool) -> Any:
    q, r = linalg.qr(x, full_matrices=full)
    return positive_diagonal(q, r, jnp)


def _eigh(x: Any, *, vectors: bool) -> Any:
    v, w = linalg.eigh(x)
    return (w, v / unit_phase(v, jnp)) if vectors else (w,)


def _svd(x: Any, *, vectors: bool) -> Any:
    if not vectors:
        return (linalg.svd(x, compute_uv=False),)
    u, s, vh = linalg.svd(x, full_matrices=False)
    phase = unit_phase(u, jnp)
    return u / phase, s, vh * phase.mT


LINALG: dict[Any, Callable] = {
    ops.cholesky: linalg.cholesky,
    ops.triangular_solve: _triangular_solve,
    ops.lu: _lu,
    ops.qr: _qr,
    ops.eigh: _eigh,
    ops.svd: _svd,
}

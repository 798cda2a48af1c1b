"""Matrix decompositions. Signs and phases of vectors, which are not unique, are Monograph's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg


def _info(a: Any) -> Any:
    """What LAPACK's routines say besides: that nothing went wrong."""
    return mg.zeros(a.shape[:-2], dtype="int32")


def _cholesky(a: Any, *, upper: bool = False) -> Any:
    return mg.linalg.cholesky(a, upper=upper)


def _eigh(a: Any, UPLO: str = "L", compute_v: bool = True) -> tuple[Any, Any]:
    half = mg.tril(a) if UPLO == "L" else mg.conj(mg.matrix_transpose(mg.triu(a)))
    below = mg.tril(half, k=-1)
    return tuple(mg.linalg.eigh(half + mg.conj(mg.matrix_transpose(below))))  # type: ignore[return-value]


def _svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, *, driver: Any = None) -> Any:
    return tuple(mg.linalg.svd(a, full_matrices=full_matrices))


def _solve(a: Any, b: Any, *, left: bool = True, check_errors: bool = False) -> Any:
    if left:
        return mg.linalg.solve(a, b)
    return mg.matrix_transpose(mg.linalg.solve(mg.matrix_transpose(a), mg.matrix_transpose(b)))


def _solve_triangular(
    a: Any, b: Any, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Any:
    return mg.ops.triangular_solve(
        a,
        b,
        left_side=left,
        lower=not upper,
        unit_diagonal=unitriangular,
        transpose_a="NO_TRANSPOSE",
    )


def _only_determinant(a: Any) -> tuple[Any, Any, Any]:
    return mg.linalg.det(a), a, _info(a)


RULES: dict[str, Callable] = {
    "_linalg_det": _only_determinant, "_linalg_eigh": _eigh, "_linalg_svd": _svd,
    "_linalg_slogdet": lambda a: (*mg.linalg.slogdet(a), a, _info(a)),
    "_linalg_solve_ex": lambda a, b, *, left=True, check_errors=False: (_solve(a, b, left=left), a, _info(a), _info(a)),
    "linalg_cholesky": _cholesky,
    "linalg_cholesky_ex": lambda a, *, upper=False, check_errors=False: (_cholesky(a, upper=upper), _info(a)),
    "linalg_cross": lambda a, b, *, dim=-1: mg.linalg.cross(a, b, axis=dim), "linalg_det": mg.linalg.det,
    "linalg_eigh": _eigh, "linalg_inv": mg.linalg.inv,
    "linalg_inv_ex": lambda a, *, check_errors=False: (mg.linalg.inv(a), _info(a)),
    "linalg_qr": lambda a, mode="reduced": tuple(mg.linalg.qr(a, mode=mode)),
    "linalg_slogdet": lambda a: tuple(mg.linalg.slogdet(a)), "linalg_solve": _solve,
    "linalg_solve_triangular": _solve_triangular, "linalg_svd": _svd,
}  # fmt: skip

"""LAPACK's routines as jaxlib calls them: a prefix, a letter for the dtype, the routine; ``info`` is 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import monograph as mg
from monograph import ops
from monograph.errors import ArgumentError

from .custom import CALLS, call
from .elementwise import kind
from .interpret import Step
from .products import adjoint, hermitian
from .shapes import shape


def _lapack(routine: str, fn: Callable) -> None:
    for letter in "sdcz":
        for name in (f"lapack_{letter}{routine}", f"lapack_{letter}{routine}_ffi"):
            CALLS[name] = fn


def _info(x: Any) -> Any:
    return mg.zeros(shape(x)[:-2], dtype="int32")


def _batched(fn: Callable, *xs: Any, ndim: int) -> Any:
    """Over all but the last ``ndim`` axes of the first operand."""
    for _ in shape(xs[0])[:-ndim]:
        fn = mg.vmap(fn)
    return fn(*xs)


def _config(step: Step, name: str) -> str:
    """An option of a typed call: a letter, or its number."""
    value = (step.get("mhlo.backend_config") or step.get("backend_config") or {}).get(name)
    return chr(value) if isinstance(value, int) else str(value)


def _potrf(step: Step, x: Any) -> Any:
    lower = _config(step, "uplo") == "L"
    factor, other = (
        ops.cholesky(hermitian(x, lower)), mg.triu(x, k=1) if lower else mg.tril(x, k=-1)
    )  # fmt: skip
    return [(factor if lower else adjoint(factor)) + other, _info(x)]


def _trsm(step: Step, a: Any, b: Any, *alpha: Any) -> Any:
    turn = {"N": "NO_TRANSPOSE", "T": "TRANSPOSE", "C": "ADJOINT"}[_config(step, "trans_x")]
    return ops.triangular_solve(
        a, b, left_side=_config(step, "side") == "L", lower=_config(step, "uplo") == "L",
        unit_diagonal=_config(step, "diag") == "U", transpose_a=turn,
    )  # fmt: skip


def _syevd(step: Step, x: Any) -> Any:
    values, vectors = ops.eigh(hermitian(x, _config(step, "uplo") == "L"))
    return [vectors, values, _info(x)]


def _getrf(step: Step, x: Any) -> Any:
    """Packed factors, and the rows that were exchanged (from 1), which a loop reads off our order."""
    packed, order = ops.lu(x)
    m, n = shape(x)[-2:]
    k = min(m, n)

    def exchanged(order: Any) -> Any:
        def turn(now: Any, i: Any) -> Any:
            wanted = ops.dynamic_slice(order, i, sizes=(1,))
            at = mg.astype(mg.argmax(mg.astype(now == wanted, "int32"), axis=0), "int64")
            here = ops.dynamic_slice(now, i, sizes=(1,))
            now = ops.dynamic_update_slice(now, here, at)
            now = ops.dynamic_update_slice(now, wanted, i)
            return now, mg.astype(at + 1, "int32")

        return mg.scan(turn, mg.arange(m, dtype="int64"), mg.arange(k, dtype="int64"))[1]

    pivots = _batched(exchanged, mg.astype(order, "int64"), ndim=1)
    return [packed, pivots, _info(x)]


def _gesdd(step: Step, x: Any) -> Any:
    """The results are x, s, u, vh, info; ``jobz`` N leaves the vectors out."""
    u_shape, vh_shape = (step.op.types[i].shape for i in (2, 3))
    u, s, vh = ops.svd(x)
    if _config(step, "mode") == "N":
        u, vh = (mg.zeros(t, dtype=mg.Spec.of(x).dtype) for t in (u_shape, vh_shape))
    elif shape(u) != u_shape or shape(vh) != vh_shape:
        raise ArgumentError("singular vectors of the null space (full_matrices) are not supported")
    return [x, s, u, vh, _info(x)]


def _reflected(a: Any, v: Any, tau: Any) -> Any:
    """``(1 - tau v v*) a``."""
    v = mg.expand_dims(v, axis=-1)
    return a - tau * (v @ (adjoint(v) @ a))


def _column(a: Any, i: Any) -> Any:
    return ops.reshape(mg.take(a, mg.reshape(i, (1,)), axis=1), shape=shape(a)[:1])


def _geqrf(step: Step, x: Any) -> Any:
    """Householder's reflections below the diagonal, R on and above it; LAPACK's signs."""
    m, n = shape(x)[-2:]
    is_complex = kind(x) == "complex"

    def square(z: Any) -> Any:
        return ops.real(z * ops.conj(z)) if is_complex else z * z

    def factored(a: Any) -> Any:
        rows, columns = mg.arange(m, dtype="int64"), mg.arange(n, dtype="int64")

        def turn(a: Any, i: Any) -> Any:
            column = _column(a, i)
            zero, one = mg.zeros_like(column), mg.ones_like(column)
            alpha = mg.sum(mg.where(rows == i, column, zero))
            rest = mg.where(rows > i, column, zero)
            size = mg.sum(square(rest))
            done = size == 0  # no reflection
            if is_complex:
                done = mg.logical_and(done, ops.imag(alpha) == 0)
            norm = mg.sqrt(mg.where(done, mg.ones_like(size), size + square(alpha)))
            sign = (ops.real(alpha) if is_complex else alpha) < 0
            beta = mg.astype(mg.where(sign, norm, -norm), mg.Spec.of(a).dtype)
            tau = mg.where(done, mg.zeros_like(alpha), (beta - alpha) / beta)
            v = mg.where(rows == i, one, rest / mg.where(done, mg.ones_like(alpha), alpha - beta))
            diagonal = mg.where(done, alpha, beta)
            packed = mg.where(rows > i, v, mg.where(rows == i, diagonal, column))
            rotated = mg.where(columns > i, _reflected(a, v, mg.conj(tau)), a)
            return mg.where(columns == i, mg.expand_dims(packed, axis=-1), rotated), tau

        return mg.scan(turn, a, mg.arange(min(m, n), dtype="int64"))

    packed, taus = _batched(factored, x, ndim=2)
    return [packed, taus, _info(x)][: len(step.op.types)]


def _orgqr(step: Step, x: Any, taus: Any) -> Any:
    """The first columns of the product of Householder's reflections."""
    m, n = shape(x)[-2:]

    def product(a: Any, taus: Any) -> Any:
        rows = mg.arange(m, dtype="int64")

        def turn(q: Any, xs: Any) -> Any:
            i, tau = xs
            diagonal = mg.astype(rows == i, mg.Spec.of(a).dtype)
            return _reflected(q, mg.where(rows > i, _column(a, i), diagonal), tau), ()

        steps, start = (
            mg.arange(shape(taus)[0], dtype="int64"),
            mg.eye(m, n, dtype=mg.Spec.of(a).dtype),
        )
        return mg.scan(turn, start, (steps, taus), reverse=True)[0]

    return [_batched(product, x, taus, ndim=2), _info(x)][: len(step.op.types)]


_ROUTINES: dict[str, Callable] = {
    "potrf": _potrf, "trsm": _trsm, "syevd": _syevd, "heevd": _syevd, "getrf": _getrf, "gesdd": _gesdd,
    "geqrf": _geqrf, "orgqr": _orgqr, "ungqr": _orgqr,
}  # fmt: skip
for _routine, _fn in _ROUTINES.items():
    _lapack(_routine, _fn)


@call("cu_lu_pivots_to_permutation", "lu_pivots_to_permutation")
def _pivots(step: Step, pivots: Any) -> Any:
    n = int(step.op.types[0].shape[-1])

    def permutation(pivots: Any) -> Any:
        def turn(now: Any, x: Any) -> Any:
            i, j = x
            a, b = ops.dynamic_slice(now, i, sizes=(1,)), ops.dynamic_slice(now, j, sizes=(1,))
            return ops.dynamic_update_slice(ops.dynamic_update_slice(now, b, i), a, j), ()

        steps = mg.arange(shape(pivots)[0], dtype="int32")
        return mg.scan(turn, mg.arange(n, dtype="int32"), (steps, mg.astype(pivots, "int32")))[0]

    return _batched(permutation, pivots, ndim=1)

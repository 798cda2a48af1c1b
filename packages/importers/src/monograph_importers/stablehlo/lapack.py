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
    lower = _config(step, "uplo") in ("L", "76")
    a = mg.tril(x) if lower else mg.conj(mg.matrix_transpose(mg.triu(x)))
    full = a + mg.conj(mg.matrix_transpose(mg.tril(a, k=-1)))
    factor = ops.cholesky(full)
    other = mg.triu(x, k=1) if lower else mg.tril(x, k=-1)
    return [(factor if lower else mg.conj(mg.matrix_transpose(factor))) + other, _info(x)]


def _trsm(step: Step, a: Any, b: Any, *alpha: Any) -> Any:
    turn = {"N": "NO_TRANSPOSE", "T": "TRANSPOSE", "C": "ADJOINT"}[_config(step, "trans_x")]
    return ops.triangular_solve(
        a, b, left_side=_config(step, "side") == "L", lower=_config(step, "uplo") == "L",
        unit_diagonal=_config(step, "diag") == "U", transpose_a=turn,
    )  # fmt: skip


def _syevd(step: Step, x: Any) -> Any:
    lower = _config(step, "uplo") == "L"
    a = mg.tril(x) if lower else mg.conj(mg.matrix_transpose(mg.triu(x)))
    values, vectors = ops.eigh(a + mg.conj(mg.matrix_transpose(mg.tril(a, k=-1))))
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
    mode = _config(step, "mode")
    types = [t.shape for t in step.op.types]
    u, s, vh = ops.svd(x)
    # the results are x, s, u, vh, info; full matrices are more than ours gives
    wanted = {"s": types[1], "u": types[2], "vh": types[3]}
    if mode != "N" and (shape(u) != wanted["u"] or shape(vh) != wanted["vh"]):
        raise ArgumentError("singular vectors of the null space (full_matrices) are not supported")
    blank = lambda t: mg.zeros(t, dtype=mg.Spec.of(x).dtype)  # noqa: E731
    if mode == "N":
        u, vh = blank(wanted["u"]), blank(wanted["vh"])
    return [x, s, u, vh, _info(x)]


def _reflected(a: Any, v: Any, tau: Any) -> Any:
    """``(1 - tau v v*) a``."""
    v = mg.expand_dims(v, axis=-1)
    return a - tau * (v @ (mg.conj(mg.matrix_transpose(v)) @ a))


def _geqrf(step: Step, x: Any) -> Any:
    """Householder's reflections below the diagonal, R on and above it; LAPACK's signs."""
    m, n = shape(x)[-2:]

    def factored(a: Any) -> Any:
        rows, columns = mg.arange(m, dtype="int64"), mg.arange(n, dtype="int64")

        def turn(a: Any, i: Any) -> Any:
            column = mg.take(a, mg.reshape(i, (1,)), axis=1)[:, 0]
            alpha = mg.sum(mg.where(rows == i, column, 0 * column))
            rest = mg.where(rows > i, column, 0 * column)
            size = mg.sum(mg.real(rest * mg.conj(rest)) if kind(a) == "complex" else rest * rest)
            done = size == 0 if kind(a) != "complex" else (size == 0) & (mg.imag(alpha) == 0)
            re = mg.real(alpha) if kind(a) == "complex" else alpha
            norm = mg.sqrt(
                mg.where(
                    done,
                    1.0 + 0 * size,
                    size + mg.real(alpha * mg.conj(alpha))
                    if kind(a) == "complex"
                    else size + alpha * alpha,
                )
            )
            beta = mg.astype(mg.where(re < 0, norm, -norm), mg.Spec.of(a).dtype)
            tau = mg.where(done, 0 * alpha, (beta - alpha) / beta)
            v = mg.where(
                rows == i, 1.0 + 0 * column, rest / mg.where(done, 1.0 + 0 * alpha, alpha - beta)
            )
            new = mg.where(columns > i, _reflected(a, v, mg.conj(tau)), a)
            kept = mg.where(rows > i, v, mg.where(rows == i, mg.where(done, alpha, beta), column))
            return mg.where(columns == i, mg.expand_dims(kept, axis=-1), new), tau

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
            column = mg.take(a, mg.reshape(i, (1,)), axis=1)[:, 0]
            v = mg.where(rows > i, column, mg.astype(rows == i, mg.Spec.of(a).dtype))
            return _reflected(q, v, tau), ()

        steps = mg.arange(shape(taus)[0], dtype="int64")
        return mg.scan(turn, mg.eye(m, n, dtype=mg.Spec.of(a).dtype), (steps, taus), reverse=True)[
            0
        ]

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

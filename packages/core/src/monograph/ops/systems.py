"""Linear systems and determinants: composites over `lu`, and the pseudo-inverse over `svd`.

They stand as records because their gradients are simpler than those of the factorisations. A
gradient uses the same `lu` node as its forward op: equal nodes are shared after decomposition.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import ShapeError
from ..op import Sample, composite
from ._build import added, ones_like, zeros_like
from ._samples import draw
from .arithmetic import abs_, sign
from .complexes import conj_if_complex as c, imag
from .linalg import lu, svd, triangular_solve
from .logic import select
from .matrices import (
    DTYPES,
    RECTANGULAR,
    SQUARE,
    ULPS,
    adjoint,
    check_matrix,
    check_system,
    diagonal,
    embed,
    general,
    identity,
    imaginary,
    inverse,
    keep,
    rows,
    square_spec,
)
from .reductions import reduce_max, reduce_prod, reduce_sum
from .structural import convert
from .transcendental import log

_record: dict[str, Any] = {"dtypes": DTYPES, "ulps": ULPS}


def _square_samples(d, rng):
    for shape in SQUARE:
        yield Sample((general(d, rng, *shape),))


def _solve_factored(packed, order, b, adjoint):
    """``a x = b`` or ``adjoint(a) x = b`` from what `lu` gives of ``a``."""
    how = "ADJOINT" if adjoint else "NO_TRANSPOSE"
    low = {"lower": True, "unit_diagonal": True, "transpose_a": how}
    up = {"lower": False, "transpose_a": how}
    if adjoint:
        return rows(
            triangular_solve(packed, triangular_solve(packed, b, **up), **low), inverse(order)
        )
    return triangular_solve(packed, triangular_solve(packed, rows(b, order), **low), **up)


def _solve_spec(a, b, *, adjoint):
    check_system(a, b)
    return b


def _solve_vjp(g, y, a, b, *, adjoint):
    gb = solve(a, g, adjoint=not adjoint)
    left, right = (y, gb) if adjoint else (gb, y)
    return -(left @ c(right.mT)), gb


def _solve_samples(d, rng):
    for shape, width in (((3, 3), 2), ((2, 2, 2), 1), ((0, 0), 2), ((2, 2), 0)):
        for attrs in ({}, {"adjoint": True}):
            b = draw(d, rng, (*shape[:-1], width))
            yield Sample((general(d, rng, *shape), b), attrs)


@composite(infer=_solve_spec, vjp=_solve_vjp, samples=_solve_samples, **_record)
def solve(a, b, *, adjoint=False):
    """``x`` with ``a x = b``, or ``adjoint(a) x = b``: ``a [..., n, n]``, ``b`` and ``x [..., n, k]``.

    Not finite where ``a`` is singular.
    """
    packed, order = lu(a)
    return _solve_factored(packed, order, b, adjoint)


def _determinant_spec(a):
    check_matrix(a, square=True)
    return a.with_(a.shape[:-2])


def _pivots(packed, order):
    """The diagonal of U ``[..., n]``, and the sign of the permutation: that of its inversions."""
    inverted = convert(order[..., None, :] < order[..., :, None], dtype="int32")
    n = order.ndim
    odd = reduce_sum(keep(inverted, "LT"), axes=(n - 1, n)) & 1
    return diagonal(packed), convert(1 - 2 * odd, dtype=packed.dtype)


@composite(
    infer=_determinant_spec,
    vjp=lambda g, y, a: (g[..., None, None] * adjoint(adjugate(a)),),
    samples=_square_samples,
    **_record,
)
def det(a):
    """The determinant ``[...]`` of ``a [..., n, n]``; 1 where n is 0."""
    u, parity = _pivots(*lu(a))
    return parity * reduce_prod(u, axes=(u.ndim - 1,))


def _adjugate_samples(d, rng):
    for shape in SQUARE:  # of [1, 1] it is 1, and the gradient what rounding leaves of 0
        yield Sample((general(d, rng, *shape),), grad=shape != (1, 1))
    for singular in ([[1, 2], [2, 4]], [[0, 1], [0, 0]], [[0, 0], [0, 0]]):
        yield Sample((np.array(singular, d.numpy),), grad=False)


@composite(infer=square_spec, samples=_adjugate_samples, **_record)
def adjugate(a):
    """``det(a) * inv(a)``, finite where ``a`` is singular; its own gradient is not.

    It is continuous in ``a``: zero pivots are made an eps of the largest element.
    """
    packed, order = lu(a)
    u, parity = _pivots(packed, order)
    n = a.ndim
    info = np.finfo(a.dtype.numpy)
    tiny = reduce_max(abs_(packed), axes=(n - 2, n - 1)) * float(info.eps) + float(info.tiny)
    tiny = convert(tiny, dtype=a.dtype)[..., None] * ones_like(u)
    safe = select(u == 0, tiny, u)
    inv = _solve_factored(packed + embed(safe - u), order, identity(a), adjoint=False)
    return (parity * reduce_prod(safe, axes=(n - 2,)))[..., None, None] * inv


def _slogdet_spec(a):
    out = _determinant_spec(a)
    return out, out.with_(dtype=a.dtype.real)


def _slogdet_vjp(g, y, a):
    g_sign, g_log = g
    turn = None if g_log is None else convert(g_log, dtype=a.dtype)
    if a.dtype.is_complex and g_sign is not None:
        turn = added(turn, imaginary(imag(c(y[0]) * g_sign)))
    if turn is None:  # the sign of a real determinant
        return (None,)
    return (turn[..., None, None] * solve(a, identity(a), adjoint=True),)


@composite(
    infer=_slogdet_spec, vjp=_slogdet_vjp, samples=_square_samples, multi=True, **_record
)  # fmt: skip
def slogdet(a):
    """``(sign, log(abs(det)))`` of ``a [..., n, n]``, each ``[...]``; (0, -inf) where singular."""
    u, parity = _pivots(*lu(a))
    axes = (u.ndim - 1,)
    return parity * reduce_prod(sign(u), axes=axes), reduce_sum(log(abs_(u)), axes=axes)


def _pinv_spec(x, rtol):
    check_matrix(x)
    if rtol.dtype is not x.dtype.real or rtol.shape != x.shape[:-2]:
        raise ShapeError(f"rtol is {rtol}, needs {x.with_(x.shape[:-2], x.dtype.real)}")
    return x.with_((*x.shape[:-2], x.shape[-1], x.shape[-2]))


def _pinv_vjp(g, y, x, rtol):
    yh, gh = adjoint(y), adjoint(g)
    gx = -(yh @ g @ yh)
    gx = gx + (gh - x @ (y @ gh)) @ (y @ yh) + (yh @ y) @ (gh - (gh @ y) @ x)
    return gx, None


def _pinv_samples(d, rng):
    for shape in RECTANGULAR:
        rtol = np.full(shape[:-2], 1e-3, d.real.numpy)
        yield Sample((general(d, rng, *shape), rtol))
    low = general(d, rng, 3, 2) @ general(d, rng, 2, 4)
    yield Sample((low, np.array(1e-3, d.real.numpy)))


@composite(infer=_pinv_spec, vjp=_pinv_vjp, samples=_pinv_samples, **_record)
def pinv(x, rtol):
    """The pseudo-inverse ``[..., n, m]`` of ``x [..., m, n]`` (Moore and Penrose).

    Singular values of at most ``rtol [...]`` of the largest count as 0. The gradient is that at
    constant rank (Golub and Pereyra 1973), which equal singular values do not disturb.
    """
    u, s, vh = svd(x)
    large = s > rtol[..., None] * s[..., :1]
    inv = select(large, 1 / select(large, s, ones_like(s)), zeros_like(s))
    return adjoint(vh) @ (convert(inv, dtype=x.dtype)[..., :, None] * adjoint(u))

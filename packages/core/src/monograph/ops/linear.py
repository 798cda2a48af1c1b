"""Matrix products."""

from __future__ import annotations

import numpy as np

from ..errors import DTypeError, ShapeError
from ..op import Sample, op
from ._infer import check_axes, check_kind
from ._samples import draw
from .complexes import conj_if_complex as c
from .structural import transpose


def _free(ndim, *used):
    taken = {a for axes in used for a in axes}
    return tuple(i for i in range(ndim) if i not in taken)


def _dot(lhs, rhs, *, lhs_batching, rhs_batching, lhs_contracting, rhs_contracting):
    if lhs.dtype is not rhs.dtype:
        raise DTypeError(f"the operands have dtypes {lhs.dtype} and {rhs.dtype}")
    check_kind(lhs, "numeric")
    for x, axes, name in (
        (lhs, (*lhs_batching, *lhs_contracting), "lhs axes"),
        (rhs, (*rhs_batching, *rhs_contracting), "rhs axes"),
    ):
        check_axes(axes, x.ndim, name)
    for kind, left, right in (
        ("batch", lhs_batching, rhs_batching),
        ("contracted", lhs_contracting, rhs_contracting),
    ):
        if len(left) != len(right):
            raise ShapeError(f"{len(left)} {kind} axes on the left, {len(right)} on the right")
        for i, j in zip(left, right):
            if lhs.shape[i] != rhs.shape[j]:
                raise ShapeError(
                    f"{kind} axis {i} of {lhs.shape} is {lhs.shape[i]}, axis {j} of {rhs.shape} is "
                    f"{rhs.shape[j]}; they must be equal"
                )
    return lhs.with_(
        [lhs.shape[i] for i in lhs_batching]
        + [lhs.shape[i] for i in _free(lhs.ndim, lhs_batching, lhs_contracting)]
        + [rhs.shape[i] for i in _free(rhs.ndim, rhs_batching, rhs_contracting)]
    )


def _dot_vjp(g, y, lhs, rhs, *, lhs_batching, rhs_batching, lhs_contracting, rhs_contracting):
    n_b = len(lhs_batching)
    l_free = _free(lhs.ndim, lhs_batching, lhs_contracting)
    r_free = _free(rhs.ndim, rhs_batching, rhs_contracting)
    batch, split = tuple(range(n_b)), n_b + len(l_free)
    g_left, g_right = tuple(range(n_b, split)), tuple(range(split, split + len(r_free)))
    # operands in the order that leaves the axes of a plain matrix product where they belong
    dx = dot_general(
        g, c(rhs), lhs_batching=batch, rhs_batching=rhs_batching, lhs_contracting=g_right,
        rhs_contracting=r_free,
    )  # fmt: skip
    dy = dot_general(
        c(lhs), g, lhs_batching=lhs_batching, rhs_batching=batch, lhs_contracting=l_free,
        rhs_contracting=g_left,
    )  # fmt: skip
    # the other operand's contracted axes come out in the order it holds them
    from_right = [lhs_contracting[i] for i in np.argsort(rhs_contracting)]
    from_left = [rhs_contracting[i] for i in np.argsort(lhs_contracting)]
    return (
        _ordered(dx, (*lhs_batching, *l_free, *from_right)),
        _ordered(dy, (*rhs_batching, *from_left, *r_free)),
    )


def _ordered(x, axes):
    """``x``, whose axes are ``axes`` of the result, with these in order."""
    return transpose(x, permutation=tuple(int(i) for i in np.argsort(axes)))


def _dot_samples(d, rng):
    for a, b, ba, bb, ca, cb in (
        ((2, 3), (3, 4), (), (), (1,), (0,)),
        ((2, 5, 3), (2, 3, 4), (0,), (0,), (2,), (1,)),
        ((3, 2, 4), (4, 5, 3, 2), (1,), (3,), (0, 2), (2, 0)),
        ((3,), (3,), (), (), (0,), (0,)),
        ((2,), (3,), (), (), (), ()),
        ((2, 0), (0, 3), (), (), (1,), (0,)),
    ):
        attrs = {
            "lhs_batching": ba,
            "rhs_batching": bb,
            "lhs_contracting": ca,
            "rhs_contracting": cb,
        }
        yield Sample((draw(d, rng, a), draw(d, rng, b)), attrs)
    if d.is_float:  # a row with NaN, one with an infinity, one with neither
        rows = np.array([[np.nan, 1], [np.inf, 1], [2, 1]], d.numpy)
        attrs = {"lhs_contracting": (1,), "rhs_contracting": (0,)}
        yield Sample((rows, np.array([[0, 1], [1, 1]], d.numpy)), attrs, grad=False)
    yield Sample((draw(d, rng, ()), draw(d, rng, (3,))), {})


@op(
    infer=_dot,
    vjp=_dot_vjp,
    samples=_dot_samples,
    dtypes=("float", "complex", "int", "uint"),
    ulps=8,
)
def dot_general(
    lhs, rhs, *, lhs_batching=(), rhs_batching=(), lhs_contracting=(), rhs_contracting=()
):  # fmt: skip
    """Products summed over contracted axes, batch axes paired (StableHLO dot_general).

    The result's axes: batch, then the left's other axes, then the right's.
    """
    letters = iter("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    left = [next(letters) for _ in range(lhs.ndim)]
    right = [next(letters) for _ in range(rhs.ndim)]
    for i, j in (*zip(lhs_batching, rhs_batching), *zip(lhs_contracting, rhs_contracting)):
        right[j] = left[i]
    out = [left[i] for i in lhs_batching]
    out += [left[i] for i in _free(lhs.ndim, lhs_batching, lhs_contracting)]
    out += [right[j] for j in _free(rhs.ndim, rhs_batching, rhs_contracting)]
    formula = f"{''.join(left)},{''.join(right)}->{''.join(out)}"
    return np.einsum(formula, lhs, rhs, optimize=lhs.size * rhs.size > 4096)

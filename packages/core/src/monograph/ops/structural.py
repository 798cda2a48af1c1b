"""Ops that move or relabel data without computing: reshape, transpose, broadcast, convert."""

from __future__ import annotations

import math

import numpy as np

from ..dtypes import bool_
from ..errors import ShapeError
from ..op import ZERO_GRADIENT, Sample, op
from ._infer import check_axes, check_length, unary_any
from ._samples import draw, shaped, special


@op(
    infer=unary_any,
    vjp=lambda g, y, x: (g,),
    samples=shaped((2, 3), (), (0,), specials=True),
    dtypes="any",
)
def alias(x):
    """The same value under a new name; vanishes when a graph is simplified."""
    return x


@op(
    infer=unary_any,
    vjp=ZERO_GRADIENT,
    samples=shaped((2, 3), (), (0,), grad=False, specials=True),
    dtypes="any",
)
def stop_gradient(x):
    """The same value, through which no gradient flows."""
    return x


def _reshape(x, *, shape):
    if math.prod(shape) != x.size:
        raise ShapeError(
            f"cannot make shape {shape} ({math.prod(shape)} elements) of {x.shape} ({x.size})"
        )
    return x.with_(shape)


@op(
    infer=_reshape,
    vjp=lambda g, y, x, *, shape: (reshape(g, shape=x.shape),),
    samples=shaped(
        (2, 6),
        (),
        (0, 3),
        attrs=[{"shape": (3, 4)}, {"shape": (1, 1)}, {"shape": (3, 0)}],
        specials=True,
    ),
    dtypes="any",
)
def reshape(x, *, shape):
    """The elements in row-major order under another shape (StableHLO reshape)."""
    return np.reshape(x, shape)


def _transpose(x, *, permutation):
    check_length(permutation, x.ndim, "permutation")
    check_axes(permutation, x.ndim, "permutation")
    return x.with_(tuple(x.shape[i] for i in permutation))


@op(
    infer=_transpose,
    vjp=lambda g, y, x, *, permutation: (
        transpose(g, permutation=tuple(int(i) for i in np.argsort(permutation))),
    ),
    samples=shaped(
        (2, 3, 4),
        (2, 0),
        (),
        specials=True,
        attrs=[{"permutation": (2, 0, 1)}, {"permutation": (1, 0)}, {"permutation": ()}],
    ),
    dtypes="any",
)
def transpose(x, *, permutation):
    """Axis ``i`` of the result is axis ``permutation[i]`` of ``x`` (StableHLO transpose)."""
    return np.transpose(x, permutation)


def _broadcast_in_dim(x, *, shape, dims):
    check_length(dims, x.ndim, "dims")
    check_axes(dims, len(shape), "dims")
    for i, d in enumerate(dims):
        if x.shape[i] not in (1, shape[d]):
            raise ShapeError(
                f"axis {i} of {x.shape} has length {x.shape[i]}, which cannot become {shape[d]} "
                f"(axis {d} of {shape})"
            )
    if tuple(sorted(dims)) != dims:
        raise ShapeError(f"dims={dims} must be increasing; transpose first")
    return x.with_(shape)


def _broadcast_vjp(g, y, x, *, shape, dims):
    from .reductions import reduce_sum

    summed = tuple(
        d for d in range(len(shape)) if d not in dims or (x.shape[dims.index(d)] == 1 != shape[d])
    )
    return (
        reshape(reduce_sum(g, axes=summed), shape=x.shape) if summed else reshape(g, shape=x.shape),
    )


@op(
    infer=_broadcast_in_dim,
    vjp=_broadcast_vjp,
    samples=shaped(
        (3,), (2, 1), (), (0, 1),
        attrs=[
            {"shape": (2, 3), "dims": (1,)},
            {"shape": (2, 4, 5), "dims": (0, 2)},
            {"shape": (2, 2), "dims": ()},
            {"shape": (0, 3), "dims": (0, 1)},
        ],
        specials=True,
    ),
    dtypes="any",
)  # fmt: skip
def broadcast_in_dim(x, *, shape, dims):
    """Axis ``i`` of ``x`` becomes axis ``dims[i]`` of the result, length-1 axes repeat.

    ``dims`` is increasing (StableHLO broadcast_in_dim allows any order; transpose for that).
    """
    inner = [1] * len(shape)
    for i, d in enumerate(dims):
        inner[d] = x.shape[i]
    return np.broadcast_to(np.reshape(x, inner), shape)


def _convert_samples(d, rng):
    for shape in ((2, 3), (), (0,), (3,)):
        for target in ("float64", "float32", "int32", "uint8", "bool"):
            # rounding to float32 hides the differences a numeric gradient takes
            yield Sample((draw(d, rng, shape),), {"dtype": target}, grad=target == "float64")
    for target in ("float64", "float32", "int8", "uint8", "int64", "uint64", "bool"):
        yield Sample((special(d),), {"dtype": target}, grad=False)
    if d.kind == "float8":  # every bit pattern there; from each kind back, the limits and ties too
        yield Sample((np.arange(256, dtype="uint8").view(d.numpy),), {"dtype": "float32"})
        for x in (_patterns(), special(d), np.arange(-600, 600, 7), np.array([False, True])):
            yield Sample((x,), {"dtype": d}, grad=False)


def _patterns():
    """Floats of every sign and exponent: most round, many are ties, the large ones overflow."""
    return (np.arange(2**13, dtype="uint32") << 19).view("float32")


def _convert_vjp(g, y, x, *, dtype):
    from .complexes import real

    if not x.dtype.is_inexact or not dtype.is_inexact:
        return (None,)
    if g.dtype.is_complex and not x.dtype.is_complex:
        g = real(g)
    return (convert(g, dtype=x.dtype),)


@op(
    infer=lambda x, *, dtype: x.with_(dtype=dtype),
    vjp=_convert_vjp,
    samples=_convert_samples,
    dtypes="any",
    bits=True,
)
def convert(x, *, dtype):
    """Elementwise change of dtype.

    Float to integer truncates toward zero and saturates, NaN becomes 0 (XLA's rule); to bool is
    ``x != 0``; complex to real drops the imaginary part; integer to integer wraps. To float8 rounds
    to float32, then to nearest even; what is too large becomes the dtype's infinity, or NaN where it
    has none (as ml_dtypes does). Through float8 no gradient flows, as through rounding.
    """
    if dtype is bool_:
        return x != 0
    if np.iscomplexobj(x) and not dtype.is_complex:
        x = x.real
    if dtype.is_integer and (x.dtype.kind == "f" or x.dtype.kind == "V"):
        info = np.iinfo(dtype.numpy)
        x = np.trunc(np.nan_to_num(x.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
        low, high = x <= float(info.min), x >= float(info.max)
        y = np.where(low | high, 0, x).astype(dtype.numpy)
        return np.where(high, info.max, np.where(low, info.min, y)).astype(dtype.numpy)
    return x.astype(dtype.numpy)

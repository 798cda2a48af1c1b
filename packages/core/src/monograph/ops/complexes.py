"""Complex numbers: taking apart and putting together."""

from __future__ import annotations

import numpy as np

from ..op import op
from ._infer import unary
from ._samples import elementwise

_real = lambda d: d.real  # noqa: E731


@op(
    infer=unary("complex", _real),
    vjp=lambda g, y, x: (_complex_of(g),),
    samples=elementwise(),
    dtypes="complex",
)
def real(x):
    """Real part, elementwise."""
    return np.real(x)


def _complex_of(g):
    from .structural import convert

    return convert(g, dtype=g.dtype.complex)


@op(infer=unary("complex"), vjp=lambda g, y, x: (conj(g),), samples=elementwise(), dtypes="complex")
def conj(x):
    """Complex conjugate, elementwise."""
    return np.conj(x)


def conj_if_complex(x):
    """``conj(x)`` for complex ``x``, else ``x``: what multiplies a cotangent."""
    return conj(x) if x.dtype.is_complex else x

"""Complex numbers: taking apart and putting together."""

from __future__ import annotations

import numpy as np

from ..op import Sample, op
from ._infer import nary, unary
from ._samples import elementwise

_real = lambda d: d.real  # noqa: E731
_samples = elementwise(specials=False)


def _parts(d, rng):
    yield from _samples(d, rng)
    values = np.array([1.0, -0.0, np.inf, -np.inf, np.nan])
    z = np.empty(values.shape, d.numpy)
    z.real, z.imag = values, values[::-1]
    yield Sample((z,), grad=False)


def _complex_of(g):
    from .structural import convert

    return convert(g, dtype=g.dtype.complex)


@op(
    infer=unary("complex", _real),
    vjp=lambda g, y, x: (_complex_of(g),),
    samples=_parts,
    dtypes="complex",
)
def real(x):
    """Real part, elementwise."""
    return np.real(x)


@op(
    infer=unary("complex", _real),
    vjp=lambda g, y, x: (complex_(g - g, g),),
    samples=_parts,
    dtypes="complex",
)
def imag(x):
    """Imaginary part, elementwise."""
    return np.imag(x)


@op(infer=unary("complex"), vjp=lambda g, y, x: (conj(g),), samples=_parts, dtypes="complex")
def conj(x):
    """Complex conjugate, elementwise."""
    return np.conj(x)


@op(
    infer=nary("float", lambda d: d.complex),
    vjp=lambda g, y, a, b: (real(g), imag(g)),
    samples=elementwise(arity=2),
    dtypes=("float32", "float64"),
)
def complex_(re, im):
    """``re + 1j * im``, elementwise."""
    out = np.empty(np.shape(re), np.result_type(re, np.complex64))
    out.real, out.imag = re, im
    return out


def conj_if_complex(x):
    """``conj(x)`` for complex ``x``, else ``x``: what multiplies a cotangent."""
    return conj(x) if x.dtype.is_complex else x

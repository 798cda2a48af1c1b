"""What the NaN guard stands on (`monograph.examine`): marks, its flag, and memory to write into."""

from __future__ import annotations

import functools

from ..op import NOT_DIFFERENTIABLE, Sample, composite, op
from ..spec import Spec
from ._build import literal
from ._infer import nary, unary_any
from ._samples import awkward, draw, shaped
from .complexes import imag, real
from .logic import and_
from .reductions import reduce_and
from .rounding import is_finite
from .structural import convert

_FLOATS = ("float", "complex", "float8")


def _parts(x):
    """``x`` as arrays that `is_finite` takes; none where every value is finite."""
    if x.dtype.is_complex:
        return real(x), imag(x)
    if x.dtype.kind == "float8":
        return (convert(x, dtype="float32"),)
    return (x,) if x.dtype.is_float else ()


def _all_finite_samples(d, rng):
    for shapes in (((2, 3), ()), ((0, 2),), ((4,), (2,), (3, 1))):
        yield Sample(tuple(draw(d, rng, s) for s in shapes), grad=False)
    large = draw(d, rng, (3, 4))
    for i, bad in enumerate((-float("inf"), float("nan"), 1.0)):
        x = large.copy()
        x[i, -1] = bad  # the last of a row, alone among finite numbers
        yield Sample((large, x), grad=False)
    yield Sample((awkward(d, (9,)),), grad=False)


@composite(
    infer=lambda *xs: Spec((), "bool"),
    vjp=NOT_DIFFERENTIABLE,
    samples=_all_finite_samples,
    dtypes=_FLOATS,
)
def all_finite(*xs):
    """Whether no element of any operand is NaN or infinite; a 0-d bool."""
    parts = [p for x in xs for p in _parts(x)]
    flags = [reduce_and(is_finite(p), axes=tuple(range(p.ndim))) for p in parts]
    return functools.reduce(and_, flags) if flags else literal(True)


@op(
    infer=unary_any,
    vjp=lambda g, y, x, *, name: (check_finite(g, name=_of_gradient(name)),),
    samples=shaped((2, 3), (), (0,), attrs=[{"name": "x"}], specials=True),
    dtypes="any",
)
def check_finite(x, *, name):
    """The same value, which must be finite where a NaN guard looks; so must its gradient."""
    return x


def _of_gradient(name):
    return name if name.startswith("the gradient of ") else f"the gradient of {name}"


@op(
    infer=unary_any,
    vjp=lambda g, y, x: (g,),
    samples=shaped((2, 3), (), (0,), specials=True),
    dtypes="any",
)
def allow_nonfinite(x):
    """The same value, which a NaN guard takes for finite: what made it is never blamed."""
    return x


def _copy_into_samples(d, rng):
    for x in (draw(d, rng, (2, 3)), draw(d, rng, ()), draw(d, rng, (0,)), awkward(d, (9,))):
        yield Sample((x, draw(d, rng, x.shape)), grad=False)


@op(infer=nary("any"), vjp=NOT_DIFFERENTIABLE, samples=_copy_into_samples, dtypes="any")
def copy_into(x, spare):
    """The same value; in the memory of ``spare``, whose numbers do not count, where that was donated.

    For engines that update in place and shall keep ``x``: cheaper than memory of its own.
    """
    return x

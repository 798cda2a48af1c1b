"""Is the reference itself right? A record's samples run through its reference and an outside function.

The kit trusts the NumPy reference of a record; a table ``op -> outside function`` and `check` are
how a record earns that trust. An outside function takes the operands as NumPy arrays and the
attributes by name; where it knows no answer it raises, or marks elements with `UNKNOWN`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..dtypes import DType, dtype, known
from ..engine import engine
from ..op import Op, Sample
from ..spec import Spec
from ..tensor import tensor

UNKNOWN = object()
"""Stands in an object array where the outside function has no answer."""


def dtypes_of(op: Op) -> list[DType]:
    """The registered dtypes a record asks to be sampled with."""
    return [d for d in known() if any(k in ("any", d.kind, d.name) for k in op.dtypes)]


def samples_of(op: Op, d: DType | str, seed: int = 7) -> list[Sample]:
    """The record's own samples for one dtype; the same ones for the same seed."""
    return list(op.samples(dtype(d), np.random.default_rng(seed))) if op.samples else []


WIDE = (
    "bool", "float64", "complex128", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32",
    "uint64",
)  # fmt: skip


def cases(op: Op, dtypes: Sequence[str] = WIDE) -> Iterator[Sample]:
    """The record's samples in every dtype whose numbers can be compared exactly or nearly so."""
    for d in dtypes_of(op):
        if d.name in dtypes:
            yield from samples_of(op, d)


def scalars(fn: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """A function of Python numbers, applied elementwise; where it raises there is no answer.

    >>> import math
    >>> scalars(math.sqrt)(np.array([4.0])).tolist()
    [2.0]
    """

    def each(*xs: np.ndarray, **attrs: Any) -> np.ndarray:
        out = np.empty(np.shape(xs[0]), object)
        for at in np.ndindex(out.shape):
            try:
                out[at] = fn(*[x[at].item() for x in xs], **attrs)
            except (ValueError, OverflowError, ZeroDivisionError):
                out[at] = UNKNOWN
        return out

    return each


def wrapped(value: Any, d: DType) -> Any:
    """A Python integer in two's complement of that width; other values as they are."""
    if not d.is_integer or not isinstance(value, int):
        return value
    value %= 2**d.bits
    return value - 2**d.bits if d.kind == "int" and value >= 2 ** (d.bits - 1) else value


def reference(op: Op, sample: Sample) -> list[np.ndarray]:
    """What the record itself computes, through its shape rule and the NumPy engine."""
    with engine("numpy"):
        out = op(*[tensor(x) for x in sample.operands], **sample.attrs)
    return [y.numpy() for y in (out if op.multi else (out,))]


def check(
    op: Op, outside: Callable[..., Any], sample: Sample, rtol: float = 4e-15, atol: float = 0.0
) -> None:
    """Raise AssertionError unless the record and ``outside`` agree on a sample.

    Floats agree elementwise to ``rtol`` (and where NaN and infinities stand), the rest exactly;
    integers of ``outside`` may be Python's, which wrap here.
    """
    with np.errstate(all="ignore"):
        want = outside(*sample.operands, **sample.attrs)
    wants = want if isinstance(want, (tuple, list)) else (want,)
    gots = reference(op, sample)
    assert len(gots) == len(wants), f"{op.name} yields {len(gots)} arrays, outside {len(wants)}"
    for got, w in zip(gots, wants):
        w = np.asarray(w)
        assert got.shape == w.shape, f"{op.name} has shape {got.shape}, outside {w.shape}"
        d = Spec.of(got).dtype
        if w.dtype == object:
            answered = np.array([x is not UNKNOWN for x in w.ravel()], bool).reshape(w.shape)
            got, w = got[answered], [wrapped(x, d) for x in w[answered]]
        w = np.asarray(w, got.dtype)
        where = f"{op.name}{sample.attrs or ''} of {sample.operands}"
        if d.is_inexact:
            np.testing.assert_allclose(got, w, rtol=rtol, atol=atol, err_msg=where)
        else:
            np.testing.assert_array_equal(got, w, err_msg=where)

"""Records that the NaN guard stands on, against the standard library's `math.isfinite`."""

import cmath
import math

import numpy as np
import pytest
from monograph import ops
from monograph.op import Sample
from monograph.testing.oracles import cases, check


def finite(*xs):
    numbers = [complex(v) if np.iscomplexobj(x) else float(v) for x in xs for v in x.ravel()]
    return np.asarray(
        all(cmath.isfinite(v) if isinstance(v, complex) else math.isfinite(v) for v in numbers)
    )


ORACLES = {
    ops.all_finite: finite,
    ops.allow_nonfinite: lambda x: x,
    ops.check_finite: lambda x, *, name: x,
    ops.copy_into: lambda x, spare: x,
}


@pytest.mark.parametrize("op", ORACLES, ids=lambda op: op.name)
def test_against_the_standard_library(op):
    found = list(cases(op))
    assert found
    for sample in found:
        check(op, ORACLES[op], sample, rtol=0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_element_is_found_wherever_it_is(bad):
    for i in range(12):
        x = np.full((3, 4), 3e38, "float32")  # whose sum is not finite
        check(ops.all_finite, finite, Sample((x, x), {}), rtol=0)
        x.ravel()[i] = bad
        check(ops.all_finite, finite, Sample((x[:0], x), {}), rtol=0)
    check(ops.all_finite, finite, Sample((np.array([1, complex(0, bad)]),), {}), rtol=0)


def test_integers_are_finite():
    assert ops.all_finite(np.arange(3), np.array([True])).item() is True

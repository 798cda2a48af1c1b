"""Reductions, running values, sorting and extremes against Python's own loops."""

import functools
import itertools
import math
import operator

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph import ops
from monograph.op import Sample
from monograph.testing.oracles import cases, check


def is_nan(x):
    return x != x


def over_axes(fn):
    """``fn(list of Python numbers) -> number`` over several axes at once."""

    def reduce(x, *, axes):
        keep = [i for i in range(x.ndim) if i not in axes]
        lines = np.transpose(x, [*keep, *axes]).reshape(
            *[x.shape[i] for i in keep], math.prod(x.shape[i] for i in axes)
        )
        out = np.empty(lines.shape[:-1], object)
        for at in np.ndindex(out.shape):
            out[at] = fn(lines[at].tolist(), x.dtype)
        return out

    return reduce


def total(row, dtype):
    if dtype.kind == "c":
        return complex(math.fsum(z.real for z in row), math.fsum(z.imag for z in row))
    return math.fsum(row) if dtype.kind == "f" else sum(row)


def limits(dtype):
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    return -math.inf, math.inf


def largest(row, dtype):
    return math.nan if any(map(is_nan, row)) else max(row, default=limits(dtype)[0])


def smallest(row, dtype):
    return math.nan if any(map(is_nan, row)) else min(row, default=limits(dtype)[1])


def running(combine):
    def along(x, *, axis, reverse=False):
        lines = np.moveaxis(x, axis, -1)
        out = np.empty(lines.shape, object)
        for at in np.ndindex(lines.shape[:-1]):
            row = lines[at].tolist()
            walked = list(itertools.accumulate(row[::-1] if reverse else row, combine))
            out[at] = walked[::-1] if reverse else walked
        return np.moveaxis(out, -1, axis)

    return along


def with_nan(pick):
    return lambda a, b: math.nan if is_nan(a) or is_nan(b) else pick(a, b)


def first_of(pick):
    def along(x, *, axis):
        lines = np.moveaxis(x, axis, -1)
        out = np.empty(lines.shape[:-1], object)
        for at in np.ndindex(out.shape):
            row = lines[at].tolist()
            out[at] = next((i for i, v in enumerate(row) if is_nan(v)), row.index(pick(row)))
        return out

    return along


class Key:
    """Order of `sort`: NaN above everything, equals equal."""

    def __init__(self, x):
        self.x = x

    def __lt__(self, other):
        return not is_nan(self.x) and (is_nan(other.x) or self.x < other.x)

    def __eq__(self, other):
        return (is_nan(self.x) and is_nan(other.x)) or self.x == other.x


def sort(*xs, axis, num_keys=1, descending=False):
    columns = [np.moveaxis(x, axis, -1) for x in xs]
    outs = [np.empty(c.shape, object) for c in columns]
    for at in np.ndindex(columns[0].shape[:-1]):
        rows = list(zip(*[c[at].tolist() for c in columns]))
        # Python's sort is stable, with reverse too
        rows.sort(key=lambda r: [Key(k) for k in r[:num_keys]], reverse=descending)
        for out, column in zip(outs, zip(*rows)):
            out[at] = column
    return tuple(np.moveaxis(o, -1, axis) for o in outs)


def top_k(x, *, k):
    place = np.broadcast_to(np.arange(x.shape[-1]), x.shape)
    values, order = sort(x, place, axis=x.ndim - 1, descending=True)
    return values[..., :k], order[..., :k]


ORACLES = {
    ops.reduce_sum: over_axes(total),
    ops.reduce_prod: over_axes(lambda row, dtype: functools.reduce(operator.mul, row, 1)),
    ops.reduce_max: over_axes(largest),
    ops.reduce_min: over_axes(smallest),
    ops.reduce_and: over_axes(lambda row, dtype: all(row)),
    ops.reduce_or: over_axes(lambda row, dtype: any(row)),
    ops.argmax: first_of(max),
    ops.argmin: first_of(min),
    ops.cumsum: running(operator.add),
    ops.cumprod: running(operator.mul),
    ops.cummax: running(with_nan(max)),
    ops.cummin: running(with_nan(min)),
    ops.sort: sort,
    ops.top_k: top_k,
}


@pytest.mark.parametrize("op", ORACLES, ids=lambda op: op.name)
def test_the_records_samples(op):
    found = list(cases(op))
    assert found
    for sample in found:
        check(op, ORACLES[op], sample, rtol=1e-14, atol=1e-15)


# few values, so that ties happen; NaN, infinities and both zeros among them
FLOATS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.5, math.inf, -math.inf, math.nan])
ROWS = st.lists(FLOATS, min_size=1, max_size=9)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.booleans())
def test_sort_is_stable_and_puts_nan_last(row, descending):
    x, place = np.array(row), np.arange(len(row))
    check(ops.sort, sort, Sample((x, place), {"axis": 0, "descending": descending}), rtol=0)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.data(), st.booleans())
def test_sort_by_two_keys(row, data, descending):
    second = data.draw(st.lists(FLOATS, min_size=len(row), max_size=len(row)))
    operands = (np.array(row), np.array(second), np.arange(len(row)))
    attrs = {"axis": 0, "num_keys": 2, "descending": descending}
    check(ops.sort, sort, Sample(operands, attrs), rtol=0)


@settings(max_examples=50, deadline=None)
@given(ROWS, st.booleans())
def test_extremes_of_ties_and_nan(row, reverse):
    x = np.array(row)
    for op in (ops.argmax, ops.argmin):
        check(op, ORACLES[op], Sample((x,), {"axis": 0}))
    for op in (ops.reduce_max, ops.reduce_min):
        check(op, ORACLES[op], Sample((x,), {"axes": (0,)}))
    for op in (ops.cummax, ops.cummin):
        check(op, ORACLES[op], Sample((x,), {"axis": 0, "reverse": reverse}))
    check(ops.top_k, top_k, Sample((x,), {"k": len(row)}))

"""Bitwise records, shifts and bit patterns against Python's integers and `struct`."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph import ops
from monograph.dtypes import dtype as as_dtype
from monograph.op import Sample
from monograph.spec import Spec
from monograph.testing.oracles import WIDE, cases, check, dtypes_of, wrapped


def on_patterns(fn):
    """``fn(width, *unsigned patterns) -> int`` of every element's bits."""

    def each(*xs):
        d = Spec.of(xs[0]).dtype
        out = np.empty(xs[0].shape, object)
        for at in np.ndindex(out.shape):
            out[at] = fn(d.bits, *[int(x[at]) % 2**d.bits for x in xs])
        return out if d.is_integer else out.astype(bool)

    return each


def shift(fn):
    """``fn(width, value, amount)``, the value signed as its dtype is."""

    def each(a, n):
        d = Spec.of(a).dtype
        out = np.empty(a.shape, object)
        for at in np.ndindex(out.shape):
            out[at] = fn(d.bits, int(a[at]), int(n[at]))
        return out

    return each


def right_arithmetic(bits, a, n):
    signed = wrapped(a % 2**bits, as_dtype(f"int{bits}"))
    return signed >> (n if 0 <= n < bits else bits - 1)


FORMAT = {
    "float32": "f", "float64": "d", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
}  # fmt: skip


def bitcast(x, *, dtype):
    packed = [struct.pack("<" + FORMAT[x.dtype.name], v) for v in x.ravel().tolist()]
    read = [struct.unpack("<" + FORMAT[str(dtype)], b)[0] for b in packed]
    return np.array(read, as_dtype(dtype).numpy).reshape(x.shape)


ORACLES = {
    ops.and_: on_patterns(lambda bits, a, b: a & b),
    ops.or_: on_patterns(lambda bits, a, b: a | b),
    ops.xor: on_patterns(lambda bits, a, b: a ^ b),
    ops.not_: on_patterns(lambda bits, a: 2**bits - 1 - a),
    ops.popcnt: on_patterns(lambda bits, a: a.bit_count()),
    ops.count_leading_zeros: on_patterns(lambda bits, a: bits - a.bit_length()),
    ops.shift_left: shift(lambda bits, a, n: a << n if 0 <= n < bits else 0),
    ops.shift_right_logical: shift(lambda bits, a, n: (a % 2**bits) >> n if 0 <= n < bits else 0),
    ops.shift_right_arithmetic: shift(right_arithmetic),
    ops.bitcast_convert: bitcast,
}


@pytest.mark.parametrize("op", ORACLES, ids=lambda op: op.name)
def test_the_records_samples(op):
    found = list(cases(op, (*WIDE, "float32")))
    assert found
    for sample in found:
        check(op, ORACLES[op], sample, rtol=0)


INTEGERS = [d.name for d in dtypes_of(ops.popcnt)]


@pytest.mark.parametrize("name", INTEGERS)
@settings(max_examples=20, deadline=None)
@given(st.data())
def test_drawn_integers(name, data):
    info = np.iinfo(name)
    drawn = st.lists(st.integers(info.min, info.max), min_size=4, max_size=4)
    a, b = (np.array(data.draw(drawn), name) for _ in range(2))
    amounts = st.integers(max(-2, info.min), info.bits + 2)
    n = np.array(data.draw(st.lists(amounts, min_size=4, max_size=4)), name)
    for op, oracle in ORACLES.items():
        if op is not ops.bitcast_convert:
            second = n if op.operands[-1] == "n" else b
            operands = (a, second)[: len(op.operands)]
            check(op, oracle, Sample(operands))

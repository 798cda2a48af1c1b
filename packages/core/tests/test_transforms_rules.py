"""Each built-in rule on an expression it is for: exact ones to the bit on values that break naive code."""

import math

import monograph as mg
import numpy as np
import pytest
from monograph import ops, transforms
from monograph.dtypes import known
from monograph.errors import DTypeError
from monograph.ops import literal
from monograph.ops._samples import special
from monograph.testing.distance import distance

DTYPES = [d for d in known() if d.kind != "float8" and d.bits in (1, 8, 32, 64)]


def bits_equal(a, b):
    if a.dtype.kind == "c":
        return all(bits_equal(getattr(a, p).copy(), getattr(b, p).copy()) for p in ("real", "imag"))
    nan = a != a
    return a.dtype == b.dtype and np.array_equal(nan, b != b) and (
        a[~nan].tobytes() == b[~nan].tobytes()
    )  # fmt: skip


def like(x, value):
    """``value`` in every element; a dtype that has no such number refuses."""
    with np.errstate(all="ignore"):
        there = np.asarray(value).astype(x.dtype.numpy) == value
    if not there or (x.dtype.kind == "bool") != (type(value) is bool):
        raise DTypeError(f"{value} is no {x.dtype}")
    return ops.full(value, x.spec)


def convert(x, *dtypes):
    for d in dtypes:
        x = ops.convert(x, dtype=d)
    return x


def matrix(x):
    return ops.reshape(x, shape=(x.shape[0] // 2, 2))


def swap(x):
    return ops.transpose(x, permutation=(1, 0))


def chosen(p, x, y):
    return ops.select(ops.broadcast_in_dim(literal(p), shape=x.shape, dims=()), x, y)


# rule -> what it is for, of x and y of one spec
EXACT = {
    "add_zero": lambda x, y: x + like(x, 0),
    "add_minus_zero": lambda x, y: like(x, -0.0) + x,
    "subtract_zero": lambda x, y: x - like(x, 0),
    "multiply_one": lambda x, y: like(x, 1) * x,
    "divide_one": lambda x, y: ops.divide(x, like(x, 1)),
    "negate_twice": lambda x, y: ops.negate(ops.negate(x)),
    "not_twice": lambda x, y: ops.not_(ops.not_(x)),
    "conj_twice": lambda x, y: ops.conj(ops.conj(x)),
    "maximum_itself": lambda x, y: ops.maximum(x, x),
    "minimum_itself": lambda x, y: ops.minimum(x, x),
    "maximum_lowest": lambda x, y: ops.maximum(like(x, -math.inf), x),
    "minimum_highest": lambda x, y: ops.minimum(x, like(x, math.inf)),
    "and_itself": lambda x, y: ops.and_(x, x),
    "or_itself": lambda x, y: ops.or_(x, x),
    "or_zero": lambda x, y: ops.or_(x, like(x, False if x.dtype.kind == "bool" else 0)),
    "xor_zero": lambda x, y: ops.xor(like(x, False if x.dtype.kind == "bool" else 0), x),
    "and_true": lambda x, y: ops.and_(x, like(x, True)),
    "shift_by_zero": lambda x, y: ops.shift_right_arithmetic(ops.shift_left(x, like(x, 0)), like(x, 0)),
    "select_itself": lambda x, y: ops.select(ops.compare(x, y, direction="EQ"), x, x),
    "real_of_complex": lambda x, y: ops.real(ops.complex_(x, y)),
    "imag_of_complex": lambda x, y: ops.imag(ops.complex_(y, x)),
    "one_operand": lambda x, y: ops.concatenate(x, axis=0),
    "stop_twice": lambda x, y: ops.stop_gradient(ops.stop_gradient(x)),
    "idempotent": lambda x, y: ops.abs_(ops.abs_(x)) + ops.relu(ops.relu(y)),
    "abs_of_negative": lambda x, y: ops.abs_(-x),
    "negatives": lambda x, y: (-x * -y, ops.divide(-x, -y)),
    "add_negative": lambda x, y: (x + (-y), (-x) + y),
    "subtract_negative": lambda x, y: x - (-y),
    "times_minus_one": lambda x, y: (like(x, -1) * x, ops.divide(y, like(x, -1))),
    "from_minus_zero": lambda x, y: like(x, -0.0) - x,
    "integer_zero": lambda x, y: (x * like(x, 0), y - y, ops.xor(x, x), ops.and_(x, like(x, 0))),
    "select_not": lambda x, y: ops.select(ops.not_(ops.compare(x, y, direction="NE")), x, y),
    "select_known": lambda x, y: (chosen(True, x, y), chosen(False, x, y)),
    "transpose_twice": lambda x, y: ops.transpose(
        ops.transpose(ops.reshape(x, shape=(1, *matrix(x).shape)), permutation=(2, 0, 1)),
        permutation=(2, 0, 1),
    ),
    "reshape_twice": lambda x, y: ops.reshape(matrix(x), shape=(2, x.size // 2)),
    "broadcast_twice": lambda x, y: ops.broadcast_in_dim(
        ops.broadcast_in_dim(x, shape=(3, x.size), dims=(1,)), shape=(2, 3, x.size), dims=(1, 2)
    ),
    "broadcast_of_reshape": lambda x, y: ops.broadcast_in_dim(
        ops.reshape(x, shape=(x.size, 1)), shape=(x.size, 3), dims=(0, 1)
    ),
    "reverse_twice": lambda x, y: ops.reverse(ops.reverse(matrix(x), axes=(0, 1)), axes=(1,)),
    "convert_twice": lambda x, y: [
        convert(x, *pair) for pair in
        (("float64", x.dtype), ("complex128", x.dtype), ("int64", "uint8"), ("float64", "float32"),
         ("int64", "bool"), ("float64", "int8"), ("int16", x.dtype), ("uint32", "float32"))
    ],
    "idle_pad": lambda x, y: ops.pad(x, y[0], low=(0,), high=(0,), interior=(0,)),
    "branch_known": lambda x, y: mg.switch(7, [lambda a, b: a, lambda a, b: ops.maximum(a, b)], x, y),
}  # fmt: skip


def values(d):
    x = np.resize(special(d), 2 * max(len(special(d)), 4))
    return x, np.resize(x[::-1], x.shape)


def test_every_exact_rule_has_an_example():
    assert set(EXACT) == {rule.name for rule in transforms.EXACT}


@pytest.mark.parametrize("rule", transforms.EXACT, ids=lambda r: r.name)
def test_exact_rules_fire_and_change_no_bit(rule):
    fired = 0
    for d in DTYPES:
        x, y = values(d)
        try:
            graph = mg.trace(EXACT[rule.name], x, y)
        except mg.errors.MonographError:
            continue  # the operation does not take this dtype
        made = rule(graph).verify()
        fired += made is not graph
        want, got = (g.compile("numpy")(x, y) for g in (graph, made))
        for a, b in zip(mg.tree.leaves(want), mg.tree.leaves(got)):
            assert bits_equal(a.numpy(), b.numpy()), d
    assert fired, "no dtype made it fire"


UNTOUCHED = {
    "x + 0.0 makes 0.0 of -0.0": lambda x, y: x + 0.0,
    "0.0 - x makes 0.0 of 0.0": lambda x, y: 0.0 - x,
    "x - x is NaN of infinity": lambda x, y: x - x,
    "x * 0.0 is NaN of infinity": lambda x, y: x * 0.0,
    "x / x is NaN of 0": lambda x, y: x / x,
    "-(x - y) is -0.0 of equals": lambda x, y: -(x - y),
    "log(exp(x)) overflows": lambda x, y: mg.log(mg.exp(x)),
    "sum over no axes makes 0.0 of -0.0": lambda x, y: ops.reduce_sum(x, axes=()),
    "float32 holds no int64": lambda x, y: convert(x, "int64", "float32", "int64"),
    "a difference of NaN is not 0": lambda x, y: ops.select(
        ops.compare(x, x, direction="EQ"), x, y
    ),
}


@pytest.mark.parametrize("fn", UNTOUCHED.values(), ids=UNTOUCHED)
def test_what_is_right_in_real_numbers_only_is_left_alone(fn):
    graph = mg.trace(fn, mg.Spec((4,)), mg.Spec((4,)))
    assert graph.transform(transforms.DEFAULT) == graph


def test_complex_numbers_are_not_multiplied_away():
    graph = mg.trace(lambda x: x * 1.0, mg.Spec((4,), "complex64"))
    assert graph.transform(transforms.DEFAULT).nodes[-1].op.name == "multiply"
    assert np.isnan(graph.compile("numpy")(np.full(4, np.inf + 1j, "complex64")).numpy().imag).all()


FAST = {
    "log_of_exp": lambda x, y: mg.log(mg.exp(x)),
    "exp_of_log": lambda x, y: mg.exp(mg.log(x)),
    "add_any_zero": lambda x, y: x + 0.0,
    "times_one": lambda x, y: 1.0 * x / 1.0,
    "to_zero": lambda x, y: x * 0.0 + (y - y),
    "over_itself": lambda x, y: x / x,
    "sqrt_squared": lambda x, y: mg.sqrt(x) * mg.sqrt(x),
    "sqrt_of_square": lambda x, y: mg.sqrt(x * x),
    "exp_of_sum": lambda x, y: mg.exp(x) * mg.exp(y),
    "log_of_product": lambda x, y: mg.log(x) + mg.log(y),
    "log_of_one_plus": lambda x, y: mg.log(1.0 + x),
    "exp_minus_one": lambda x, y: mg.exp(x) - 1.0,
    "one_over_sqrt": lambda x, y: 1.0 / mg.sqrt(x) + y**-0.5,
    "small_powers": lambda x, y: [ops.power(x, ops.full(n, x.spec)) for n in (1, 2, 3, 0.5, -1)],
    "multiply_constants": lambda x, y: 2.0 * (x * 3.0),
    "add_constants": lambda x, y: 2.0 + (x + 3.0),
    "divide_by_constant": lambda x, y: x / 3.0,
    "factored": lambda x, y: x * y + y * y,
}


@pytest.mark.parametrize("rule", transforms.FAST_MATH, ids=lambda r: r.name)
def test_fast_rules_agree_on_ordinary_numbers(rule):
    x, y = np.random.default_rng(0).uniform(0.5, 2, (2, 50))
    graph = mg.trace(FAST[rule.name], x, y)
    made = rule(graph).verify()
    assert made is not graph
    assert not set(transforms.FAST_MATH) & set(transforms.DEFAULT)
    for a, b in zip(*[mg.tree.leaves(g.compile("numpy")(x, y)) for g in (graph, made)]):
        assert distance(b.numpy(), a.numpy(), a.dtype) <= 8


def test_fast_math_is_a_pass_over_everything():
    graph = mg.trace(lambda x: mg.log(mg.exp(x + 0.0) * 1.0), mg.Spec((3,)))
    assert not graph.transform(transforms.fast_math).nodes

"""Pytrees: taking apart, putting back, and what does not fit."""

import collections

import monograph as mg
import numpy as np
import pytest
from monograph import tree
from monograph.errors import ArgumentError

Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "leaves"),
    [
        (1, [1]),
        ((), []),
        ([], []),
        ({}, []),
        (None, []),
        ((1, 2, 3), [1, 2, 3]),
        ((1, (2, [3, {"b": 5, "a": 4}]), None), [1, 2, 3, 4, 5]),
        ({2: "x", 1: ("y", {})}, ["y", "x"]),
        ({"k": 1, 2: 3}, [1, 3]),  # keys that do not compare keep their order
        (Point(1, Point([2], 3)), [1, 2, 3]),
        ([(1, 2), 3, (4,)], [1, 2, 3, 4]),
    ],
)
def test_trees_come_apart_and_together(value, leaves):
    got, treedef = tree.flatten(value)
    assert got == leaves and tree.count(treedef) == len(leaves)
    back = tree.unflatten(treedef, iter(leaves))
    assert back == value and type(back) is type(value)
    assert hash(treedef) == hash(tree.flatten(value)[1])
    assert tree.flatten_call((value,), {"k": value}) == tree.flatten(((value,), {"k": value}))
    assert tree.flatten_call((value,), {}) == tree.flatten(((value,), {}))


def test_a_class_registered_after_it_was_met_is_a_node():
    class Pair:
        def __init__(self, a, b):
            self.a, self.b = a, b

    pair = Pair(1, 2)
    assert tree.leaves((pair, pair)) == [pair, pair]
    tree.register(Pair, lambda p: (None, iter((p.a, p.b))), lambda _, c: Pair(*c))
    assert tree.leaves((pair, 3)) == [1, 2, 3]
    assert tree.map(lambda x: x + 1, pair).b == 3


@pytest.mark.parametrize("leaves", [[1], [1, 2, 3]])
def test_too_few_or_too_many_leaves_are_refused(leaves):
    with pytest.raises(ArgumentError, match=f"2 leaves cannot be filled with {len(leaves)}"):
        tree.unflatten(tree.flatten({"a": 1, "b": 2})[1], leaves)


def test_results_nest_as_the_function_returned_them():
    f = mg.jit(lambda x: {"pair": (x, x + 1.0), "list": [x], "none": None, "point": Point(x, (x,))})
    out = f(np.float32(1))
    assert tree.describe(tree.flatten(out)[1]) == (
        "{'list': [*], 'none': None, 'pair': (*, *), 'point': Point(x=*, y=(*,))}"
    )
    for fn, kind in ((lambda x: (x,), tuple), (lambda x: [x, x], list), (lambda x: (), tuple)):
        assert type(mg.jit(fn)(np.float32(1))) is kind

"""Rules and passes: what matches, what is refused, and that whatever fails leaves the graph as it was."""

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph import ops, transforms
from monograph.errors import GraphError, ShapeError

S = mg.Spec((4,))


def names(graph):
    return [node.op.name for node in graph.walk()]


@transforms.rule(lambda op, x: op.log(op.exp(x)))
def log_of_exp(x):
    return x


# ---- what matches


def matches(pattern, fn, *specs):
    """What a pattern captures, each time it matches, in a graph of ``fn``."""
    found = []

    @transforms.rule(pattern)
    def note(**captured):
        found.append(captured)

    mg.trace(fn, *(specs or (S, S))).transform(note)
    return found


def test_wildcards_stand_for_values_and_twice_for_the_same():
    assert len(matches(lambda op, x, y: x * y, lambda a, b: (a * b, a * a))) == 3  # a * b both ways
    assert len(matches(lambda op, x: x * x, lambda a, b: (a * b, a * a))) == 1


def test_operations_that_commute_match_both_ways_and_others_do_not():
    for fn in (lambda a, b: mg.exp(a) + b, lambda a, b: b + mg.exp(a)):
        assert len(matches(lambda op, x, y: op.exp(x) + y, fn)) == 1
    assert matches(lambda op, x, y: op.exp(x) - y, lambda a, b: b - mg.exp(a)) == []
    equal = lambda op, x, y: op.compare(op.exp(x), y, direction="EQ")
    assert len(matches(equal, lambda a, b: b == mg.exp(a))) == 1
    less = lambda op, x, y: op.compare(op.exp(x), y, direction="LT")
    assert matches(less, lambda a, b: b < mg.exp(a)) == []


def test_all_ways_are_tried_until_the_names_agree():
    pattern = lambda op, a, x, y: a * x + a * y
    for fn in (lambda p, q: p * q + q * q, lambda p, q: q * q + q * p, lambda p, q: p * p + q * p):
        assert matches(pattern, fn)
    assert not matches(pattern, lambda p, q: p * p + q * q)


def test_attributes_are_equal_captured_or_of_no_matter():
    total = lambda a, b: (
        mg.sum(mg.reshape(a, (2, 2)), axis=1) + mg.sum(mg.reshape(b, (2, 2)), axis=0)
    )
    assert len(matches(lambda op, x: op.reduce_sum(x), total)) == 2
    assert len(matches(lambda op, x: op.sum(x, axes=[1]), total)) == 1
    found = matches(lambda op, x: op.reduce_sum(x, axes=op.attr("axes")), total)
    assert [m["axes"] for m in found] == [(1,), (0,)]
    both = lambda op, x, y: op.sum(x, axes=op.attr("a")) + op.sum(y, axes=op.attr("a"))
    assert not matches(both, total)
    to = lambda op, x: op.convert(x, dtype="int32")
    assert len(matches(to, lambda a, b: (a.astype("int32"), b.astype("int64")))) == 1


def test_constants_are_seen_through_what_only_moves_them():
    made = lambda a, b: a * mg.reshape(mg.astype(mg.full((2, 2), 3), "float32"), (4,))
    assert matches(lambda op, x: x * op.constant(3), made)
    assert matches(lambda op, x: x * 3.0, made)
    assert not matches(lambda op, x: x * 2, made)
    (found,) = matches(lambda op, x: x * op.constant("c"), made)
    assert found["c"].dtype == np.float32 and found["c"].tolist() == [3.0] * 4


def test_a_number_is_told_from_others_to_the_bit_or_by_rtol():
    add = lambda c: lambda a, b: a + c
    assert not matches(lambda op, x: x + 0.0, add(-0.0))
    assert matches(lambda op, x: x + -0.0, add(-0.0))
    assert not matches(lambda op, x: x + 0.3, add(np.array([0.3, 0.3, 0.3, 0.4], "float32")))
    assert not matches(lambda op, x: x + 0.3, add(0.300001))
    assert matches(lambda op, x: x + op.constant(0.3, rtol=1e-4), add(0.300001))
    ints = mg.Spec((4,), "int32"), mg.Spec((4,), "int32")
    assert not matches(lambda op, x: x + 1.5, lambda a, b: a + 1, *ints)
    assert matches(lambda op, x: x + float("nan"), add(float("nan")))


def test_alternatives_at_the_root_and_below():
    either = lambda op, x, y: op.any_of(op.exp(x), op.any_of(x, -x) * op.constant("c"))
    found = matches(lambda op, x: op.any_of(op.exp(x), op.sqrt(x) * op.constant("c")),
                    lambda a, b: (mg.exp(a), mg.sqrt(b) * 2.0))  # fmt: skip
    assert ["c" in m for m in found] == [False, True]
    with pytest.raises(GraphError, match="y stands nowhere"):
        transforms.rule(either)


def test_a_name_that_an_alternative_does_not_bind_is_none():
    got = []

    @transforms.rule(lambda op, x: op.any_of(op.exp(x), x * op.constant("c")))
    def note(c):
        got.append(c)

    mg.trace(mg.exp, S).transform(note)
    assert got == [None]


def test_one_result_of_an_operation_with_several():
    fn = lambda a, b: ops.layer_norm(mg.reshape(a, (1, 4)), b, b, epsilon=1.0)[0] * 2.0
    pattern = lambda op, x, s: op.layer_norm(x, s, s, epsilon=op.attr("e"))[0] * op.constant(2)
    assert matches(pattern, fn)[0]["e"] == 1.0
    assert not matches(lambda op, x, s: -op.layer_norm(x, s, s)[1], fn)


def test_a_root_with_several_results_gives_as_many():
    @transforms.rule(lambda op, x, y: op.optimization_barrier(x, y))
    def open_barrier(x, y):
        return x, y

    graph = mg.trace(lambda a, b: mg.optimization_barrier(a, b), S, S)
    assert names(open_barrier(graph)) == []


def test_the_node_matched_is_handed_over_as_it_stands_in_the_new_graph():
    seen = []

    @transforms.rule(lambda op, x: op.exp(op.log(x)))
    def note(node, x):
        seen.append((node.op.name, node.inputs[0].node.inputs[0] is x, node.source.line))

    mg.trace(lambda a: mg.exp(mg.log(a)), S).transform(note)
    assert seen[0][:2] == ("exponential", True) and seen[0][2] > 0


# ---- what rules do


def test_rules_work_on_what_rules_have_made_and_until_nothing_changes():
    graph = mg.trace(lambda a: mg.log(mg.exp(mg.log(mg.exp(mg.log(mg.exp(a)))))), S)
    assert names(log_of_exp(graph)) == []
    settled = log_of_exp(graph)
    assert log_of_exp(settled) is settled


def test_a_node_is_pushed_through_a_long_chain():
    def chain(x):
        for _ in range(300):
            x = mg.sin(x)
        return -x

    @transforms.rule(lambda op, x: -op.sin(x))
    def inwards(x):
        return mg.sin(-x)

    assert names(inwards(mg.trace(chain, S)))[:2] == ["negate", "sine"]


def test_rules_reach_into_branches_loops_and_calls():
    again = lambda v: mg.log(mg.exp(v))

    @mg.custom_vjp
    def custom(v):
        return again(v)

    custom.defvjp(lambda v: (again(v), ()), lambda res, g: (g,))
    fn = lambda a: (
        mg.cond(mg.sum(a) > 0, again, mg.sin, a),
        mg.scan(lambda c, x: (again(c), again(x)), a, mg.ones((3, 4)))[0],
        mg.while_loop(lambda v: mg.sum(again(v)) < 1, lambda v: again(v) + 1.0, a),
        mg.checkpoint(again)(a),
        custom(a),
        mg.fori_loop(0, 2, lambda i, v: mg.cond(mg.sum(v) > 0, again, mg.sin, v), a),
    )
    graph = mg.trace(fn, S)
    made = log_of_exp(graph).verify()
    assert names(graph).count("log") == 7 and "log" not in names(made)
    x = np.float32([0.1, 0.2, 0.3, 0.4])
    for a, b in zip(graph.compile("numpy")(x), made.compile("numpy")(x)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)
    assert made.in_tree == graph.in_tree and made.out_tree == graph.out_tree


def test_earlier_rules_come_first_and_passes_stand_between():
    order = []

    def rule_named(name):
        @transforms.node_rule("exponential")
        def note(node, x):
            order.append(name)

        return note

    def whole(graph):
        order.append("pass")
        return graph

    graph = mg.trace(mg.exp, S)
    assert graph.transform(rule_named("a"), [rule_named("b"), whole], rule_named("c")) == graph
    assert order == ["a", "b", "pass", "c"]


def test_a_pass_of_the_users_is_any_function_of_a_graph():
    def doubled(graph):
        return transforms.rebuild(
            graph, lambda node, xs: [mg.exp(xs[0]) * 2.0] if node.op.name == "exponential" else None
        )

    made = mg.trace(mg.exp, S).transform(doubled, transforms.DEFAULT)
    assert made.compile("numpy")(np.zeros(4, "float32")).tolist() == [2.0] * 4


def test_numbers_and_arrays_may_stand_for_values():
    @transforms.node_rule("exponential")
    def frozen(node, x):
        return np.float32([1, 2, 3, 4])

    assert frozen(mg.trace(mg.exp, S)).compile("numpy")(np.zeros(4, "float32")).tolist() == [
        1,
        2,
        3,
        4,
    ]


# ---- what is refused, and where it is


def here(error, text):
    """The message, which starts in this file."""
    message = str(error.value)
    assert message.split(":")[0] == __file__, message
    assert text in message, message
    return message


BAD_PATTERNS = {
    "no operation is named 'expp'; close are exp": lambda op, x: op.expp(x),
    "no operation is named 'norm'; close are": lambda op, x: op.norm(x),
    "exponential takes operands (x), the pattern gives 2": lambda op, x: op.exp(x, x),
    "reduce_sum has no attribute axis; it has axes": lambda op, x: op.reduce_sum(x, axis=0),
    "an operand of exponential in a pattern is a pattern or a number, not str": lambda op: op.exp("x"),
    "a pattern is rooted in an operation": lambda op, x: x,
    "this one is None": lambda op, x: None,
    "y stands nowhere in the pattern exponential(x)": lambda op, x, y: op.exp(x),
    "layer_norm yields several values; say which": lambda op, x: op.exp(op.layer_norm(x, x, x)),
    "a pattern's root is a whole node": lambda op, x: op.layer_norm(x, x, x)[0],
    "exponential yields one value": lambda op, x: op.log(op.exp(x)[0]),
    "op.constant takes a number": lambda op, x: x + op.constant([1]),
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_PATTERNS)
def test_patterns_that_are_none_are_refused_at_the_users_line(text):
    with pytest.raises(GraphError) as error:
        transforms.rule(BAD_PATTERNS[text])
    here(error, text)


def test_a_rewrite_may_take_only_what_was_captured():
    with pytest.raises(GraphError) as error:

        @transforms.rule(lambda op, x: op.exp(x))
        def wrong(x, y):
            return x

    here(error, "rule wrong takes y, which its pattern exponential(x) does not capture")


def graph_with(answer):
    """A graph, and a rule that answers ``answer(x)`` in it for exp."""

    @transforms.rule(lambda op, x: op.exp(x))
    def wrong(x):
        return answer(x)

    return mg.trace(lambda a: mg.sin(mg.exp(a)), S), wrong


kept = []
BAD_REWRITES = {
    "rule wrong replaces exponential, which yields [float32[4]], by [float32[]]": lambda x: mg.sum(x),
    "by [float64[4]]": lambda x: x.astype("float64"),
    "by [float32[4], float32[4]]": lambda x: (x, x),
    "by []": lambda x: (),
    "rule wrong answers str for exponential": lambda x: "x",
    "rule wrong answers dict for exponential": lambda x: {"x": x},
    "belongs to a trace that has ended": lambda x: kept[0],
}  # fmt: skip


@pytest.mark.parametrize("text", BAD_REWRITES)
def test_rewrites_that_give_something_else_are_refused_and_the_graph_is_as_it_was(text):
    kept[:] = [mg.trace(mg.sin, S).outputs[0]]
    graph, wrong = graph_with(BAD_REWRITES[text])
    before = str(graph)
    with pytest.raises(GraphError) as error:
        graph.transform(transforms.DEFAULT, wrong)
    here(error, text)
    assert str(graph) == before and graph.verify() is graph


def test_an_error_in_a_rewrite_says_which_rule_and_node():
    graph, wrong = graph_with(lambda x: {}["missing"])
    with pytest.raises(KeyError) as error:
        wrong(graph)
    (note,) = error.value.__notes__
    assert note.startswith("in rule wrong, which rewrites exponential (") and __file__ in note
    graph, wrong = graph_with(lambda x: mg.reshape(x, (5,)))
    with pytest.raises(ShapeError) as error:
        wrong(graph)
    assert "in rule wrong" in error.value.__notes__[0]
    here(error, "reshape")


def test_rules_that_undo_each_other_are_named():
    @transforms.rule(lambda op, x, y: op.subtract(x, y))
    def to_sum(x, y):
        return x + (-y)

    @transforms.rule(lambda op, x, y: x + (-y))
    def to_difference(x, y):
        return x - y

    graph = mg.trace(lambda a, b: mg.exp(a - b), S, S)
    before = str(graph)
    with pytest.raises(GraphError) as error:
        graph.transform(to_sum, to_difference)
    here(error, "rules to_sum and to_difference keep undoing each other")
    assert str(graph) == before


GROWING = {
    "the same": lambda x: mg.exp(x),
    "one more each time": lambda x: mg.exp(x) + 1.0,
    "twice as many": lambda x: mg.exp(x) + mg.exp(x * 2.0),
}


@pytest.mark.parametrize("answer", GROWING.values(), ids=GROWING)
def test_a_rule_that_matches_what_it_makes_is_named(answer):
    graph, wrong = graph_with(answer)
    with pytest.raises(GraphError) as error:
        wrong(graph)
    here(error, "rule wrong matches what it makes")


def test_a_pass_must_give_a_graph_of_the_same_specs():
    graph = mg.trace(lambda a: mg.exp(a), S)

    def nothing(graph):
        return None

    def other(graph):
        return mg.trace(lambda a: mg.sum(a), S)

    with pytest.raises(GraphError, match="pass nothing returned NoneType, not a graph"):
        graph.transform(nothing)
    with pytest.raises(GraphError, match="pass other changed the graph's output_specs"):
        graph.transform(other)


# ---- on any numbers and shapes

numbers = st.floats(width=32)


@given(st.lists(numbers, min_size=1, max_size=4), numbers, numbers)
@settings(max_examples=200, deadline=None)
def test_default_keeps_the_bits_of_expressions_with_any_constants(xs, a, b):
    x = np.float32(xs)
    fn = lambda x: (x + a - b) * b / a + mg.maximum(x * a, b) - (-(x * b))
    graph = mg.trace(fn, x)
    want, got = (
        g.compile("numpy")(x).numpy() for g in (graph, graph.transform(transforms.DEFAULT))
    )
    assert np.array_equal(want, got, equal_nan=True)
    assert np.array_equal(np.signbit(want[want == want]), np.signbit(got[got == got]))


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_moves_of_elements_in_any_order_keep_them(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)))
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    steps = data.draw(st.lists(st.sampled_from("tbru"), max_size=6))

    def fn(v):
        for step in steps:
            n = v.ndim
            if step == "t":
                v = ops.transpose(v, permutation=data.draw(st.permutations(range(n))))
            elif step == "b" and n < 5:
                v = ops.broadcast_in_dim(v, shape=(2, *v.shape), dims=tuple(range(1, n + 1)))
            elif step == "r":
                v = ops.reshape(v, shape=data.draw(st.permutations((*v.shape, 1))))
            elif step == "u":
                v = ops.reverse(v, axes=tuple(data.draw(st.sets(st.integers(0, n - 1)))))
        return v

    graph = mg.trace(fn, x)
    want = graph.compile("numpy")(x).numpy()
    for passes in (transforms.DEFAULT, transforms.layout):
        made = graph.transform(passes).verify()
        assert np.array_equal(made.compile("numpy")(x).numpy(), want)
    assert names(graph.transform(transforms.DEFAULT)).count("transpose") <= steps.count("t")

"""Graphs in parts: what runs in parts equals the whole, joining restores it, and what is no cut."""

from itertools import pairwise

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, GraphError
from monograph.transforms import balanced_cuts

X = mg.Spec((2, 3))


def residual(x):
    a = mg.sin(x)
    b = mg.exp(a)
    c = mg.tanh(b)
    return c + a * 2.0


def made(graph, name):
    return next(n.outputs[0] for n in graph.nodes if n.op.name == name)


def in_parts(split, *arrays):
    execute = lambda k, part, xs: part.graph.compile("numpy")(*xs)
    return split.run([mg.tensor(x) for x in arrays], execute)


def check(graph, split):
    """Parts run one after another give the whole's numbers, and joined they are the whole."""
    for part in split.parts:
        part.graph.verify()
    joined = split.join().verify()
    assert joined.fingerprint == graph.fingerprint
    assert (joined.in_tree, joined.out_tree) == (graph.in_tree, graph.out_tree)
    assert joined.input_names == graph.input_names
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s.shape).astype(s.dtype.numpy) for s in graph.input_specs]
    want = mg.tree.leaves(graph.compile("numpy")(*map(mg.tensor, arrays)))
    got = in_parts(split, *arrays)
    assert len(got) == len(want)
    for a, b in zip(got, want):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.fixture
def graph():
    g = mg.trace(residual, X)
    before = str(g)
    yield g
    assert str(g) == before, "a graph is never changed in place"


def test_a_cut_of_values_hands_them_over(graph):
    a, c = made(graph, "sine"), made(graph, "tanh")
    split = graph.split([[a], [c]])
    assert [p.sources for p in split.parts] == [(("input", 0),), ((0, 0),), ((0, 0), (1, 0))]
    assert [v.op.name for v in split.parts[1].graph.nodes] == ["exponential", "tanh"]
    check(graph, split)


def test_a_position_hands_over_what_crosses_it(graph):
    for cut in range(1, len(graph.nodes)):
        try:
            check(graph, graph.split([cut]))
        except GraphError as e:  # behind it constants only
            assert "no operations" in str(e)
    check(graph, graph.split([1, made(graph, "exponential"), 3]))


def test_a_node_hands_over_all_that_it_yields():
    def fn(x):
        low, high = mg.scan(lambda c, r: (c + r, c * r), x[0], x)
        return low + mg.sum(high, axis=0)

    g = mg.trace(fn, X)
    scan = next(n for n in g.nodes if n.op.name == "scan")
    split = g.split([scan])
    assert len(split.parts[0].graph.outputs) == 2
    check(g, split)


def test_inputs_and_constants_are_read_by_every_part():
    w = np.arange(9, dtype="float32").reshape(3, 3)

    def fn(x, y):
        k = mg.tensor(w)
        return mg.tanh((x * 2.0) @ k + y) @ k * 2.0 + y + mg.arange(3.0)

    g = mg.trace(fn, X, X)
    split = g.split([made(g, "tanh")])
    assert [p.sources for p in split.parts] == [
        (("input", 0), ("input", 1)), ((0, 0), ("input", 1)),
    ]  # fmt: skip
    for part in split.parts:
        assert sum(n.op.name == "constant" for n in part.graph.nodes) >= 2
    check(g, split)


def test_results_come_from_the_part_that_makes_them_or_from_inputs():
    g = mg.trace(lambda x, y: {"a": (y := mg.sin(x)), "b": mg.exp(y), "c": x, "d": 3.0}, X, X)
    split = g.split([made(g, "sine")])
    assert split.outputs == ((0, 0), (1, 0), ("input", 0), (1, 1))
    check(g, split)


def test_what_reads_unhanded_values_and_none_handed_is_computed_where_they_are():
    def fn(x, mean):
        a = mg.sin(x)
        mean = 0.9 * mean + 0.1 * mg.mean(a, axis=0)  # as batch norm's running statistics
        b = mg.exp(a)
        return mg.tanh(b), mean

    g = mg.trace(fn, X, mg.Spec((3,)))
    split = g.split([made(g, "exponential")])
    assert split.outputs == ((1, 0), (0, 1))
    assert [n.op.name for n in split.parts[1].graph.nodes] == ["tanh"]
    check(g, split)


def test_a_part_may_be_exchanged(graph):
    split = graph.split([graph.nodes[:2]])
    other = split.parts[1].graph.map_ops(
        lambda n, xs: mg.cos(xs[0]) if n.op.name == "tanh" else None
    )
    joined = split.with_part(1, other).join().verify()
    assert {n.op.name for n in joined.nodes} & {"tanh", "sine", "cosine"} == {"sine", "cosine"}
    with pytest.raises(GraphError, match=r"test_split.py:\d+: part 1 must have input_specs"):
        split.with_part(1, graph)


def test_the_text_names_parts_costs_and_what_is_handed_over(graph):
    text = str(graph.split([[made(graph, "exponential"), made(graph, "sine")]]))
    assert text.splitlines()[0] == "residual in 2 parts"
    assert "hands over float32[2,3], float32[2,3]: 48 B" in text
    assert "reads part 0 [0], part 0 [1]" in text


def test_an_unhanded_value_is_no_cut_and_is_named_with_its_line(graph):
    with pytest.raises(GraphError) as e:
        graph.split([made(graph, "exponential")])
    line = residual.__code__.co_firstlineno
    said = str(e.value)
    assert said.startswith(f"{__file__}:") and "1 problem(s)" in said
    assert f"part 1 reads sine float32[2,3] (at {__file__}:{line + 1}), made in part 0" in said
    assert f"no cut between them hands it over (read by multiply at {__file__}:{line + 4})" in said


def test_all_unhanded_values_are_listed_at_once():
    def fn(x):
        a, b = mg.sin(x), mg.cos(x)
        c = mg.exp(a * b)
        d = mg.tanh(c)
        return d + a, mg.sqrt(d) * b

    g = mg.trace(fn, X)
    with pytest.raises(GraphError, match=r"2 problem\(s\)") as e:
        g.split([[made(g, "tanh")]])
    assert "sine" in str(e.value) and "cosine" in str(e.value)


def test_misplaced_cuts_are_refused_all_at_once(graph):
    other = mg.trace(residual, X)
    n = len(graph.nodes)
    with pytest.raises(GraphError, match=r"test_split.py:\d+: .*5 problem\(s\)") as e:
        graph.split([0, n, -1, other.nodes[0], graph.inputs[0]])
    for said in (f"position 0 is not in 1 .. {n - 1}", f"position {n}", "position -1",
                 "is no value of this graph", "nothing that is computed"):  # fmt: skip
        assert said in str(e.value)
    with pytest.raises(GraphError, match="position True"):
        graph.split([True])
    with pytest.raises(GraphError, match="not 'here'"):
        graph.split(["here"])


def test_cuts_out_of_order_are_refused(graph):
    a, b = made(graph, "sine"), made(graph, "exponential")
    for cuts in ([[b, a], a], [2, 1], [2, 2], [[a, b], [a, b]]):
        with pytest.raises(GraphError, match="cuts go in the order of computation"):
            graph.split(cuts)


def deep(x, *weights):
    for w in weights:
        x = mg.tanh(x @ w)
    return x


def test_balanced_cuts_share_the_work_and_avoid_wide_places():
    wide = [mg.Spec((64, 64))] * 8
    g = mg.trace(deep, mg.Spec((16, 64)), *wide)
    for n in (1, 2, 4, 8):
        split = g.split(balanced_cuts(g, n))
        costs = [p.graph.cost().flops for p in split.parts]
        assert len(costs) == n and max(costs) <= 1.3 * min(costs)
        check(g, split)
    # the same work everywhere, but a narrow waist near the middle
    sizes = [64, 64, 64, 4, 64, 64, 64]
    g = mg.trace(deep, mg.Spec((16, 64)), *[mg.Spec(s) for s in pairwise(sizes)])
    (cut,) = balanced_cuts(g, 2)
    assert [v.shape for v in g.split([cut]).handed_over(0)] == [(16, 4)]
    with pytest.raises(ArgumentError, match=r"test_split.py:\d+: .*has 12 operations"):
        balanced_cuts(g, 13)
    assert len(g.split(balanced_cuts(g, 12)).parts) == 12

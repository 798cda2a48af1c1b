"""Changing graphs by hand: replace, inline, extract, map_ops; and what cannot be done."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import GraphError

X = mg.Spec((2, 3))


def chain(x):
    a = mg.sin(x)
    b = mg.exp(a)
    c = b * a
    return c + 1.0


def value(graph, name):
    (found,) = [n.outputs[0] for n in graph.nodes if n.op.name == name]
    return found


def run(graph, *xs):
    return graph.compile("numpy")(*[mg.tensor(x) for x in xs]).numpy()


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 3)).astype("float32")


@pytest.fixture
def graph():
    g = mg.trace(chain, X)
    before = str(g)
    yield g
    assert str(g) == before, "a graph is never changed in place"


def test_a_function_of_the_old_value_replaces_it_for_its_readers(graph, x):
    got = graph.replace({value(graph, "sine"): lambda a: a * 0.5}).verify()
    a = np.sin(x) * np.float32(0.5)
    np.testing.assert_allclose(run(got, x), np.exp(a) * a + 1, rtol=1e-6)


def test_a_later_value_replaces_an_earlier_one_except_where_it_is_made(graph, x):
    got = graph.replace({value(graph, "sine"): value(graph, "exponential")}).verify()
    b = np.exp(np.sin(x))
    np.testing.assert_allclose(run(got, x), b * b + 1, rtol=1e-6)


def test_two_values_change_places(graph, x):
    a, b = value(graph, "sine"), value(graph, "exponential")
    got = mg.trace(lambda x: (mg.sin(x), mg.exp(x)), X)
    a, b = got.nodes[0].outputs[0], got.nodes[1].outputs[0]
    swapped = got.replace({a: b, b: a}).compile("numpy")(mg.tensor(x))
    np.testing.assert_allclose(swapped[0].numpy(), np.exp(x), rtol=1e-6)
    np.testing.assert_allclose(swapped[1].numpy(), np.sin(x), rtol=1e-6)


def test_inputs_and_outputs_can_be_replaced_by_arrays(graph, x):
    zero = np.zeros((2, 3), "float32")
    got = graph.replace({graph.inputs[0]: zero}).verify()
    np.testing.assert_array_equal(run(got, x), zero + 1)
    assert got.input_specs == graph.input_specs
    got = graph.replace({graph.outputs[0]: value(graph, "sine")})
    np.testing.assert_allclose(run(got, x), np.sin(x), rtol=1e-6)


def test_all_misfits_are_named_with_their_lines_at_once(graph):
    with pytest.raises(GraphError) as e:
        graph.replace(
            {
                value(graph, "sine"): lambda a: mg.sum(a),
                value(graph, "exponential"): np.zeros((2, 3), "int32"),
            }
        )
    said = str(e.value)
    assert said.startswith(f"{__file__}:") and "2 replacement(s) do not fit" in said
    line = chain.__code__.co_firstlineno
    assert f"sine float32[2,3] (at {__file__}:{line + 1}) would become float32[]" in said
    assert f"exponential float32[2,3] (at {__file__}:{line + 2}) would become int32[2,3]" in said


def test_values_of_other_graphs_are_refused(graph):
    other = mg.trace(chain, X)
    for call in (
        lambda: graph.replace({other.outputs[0]: graph.outputs[0]}),
        lambda: graph.replace({graph.outputs[0]: other.outputs[0]}),
        lambda: graph.extract(other.nodes[0]),
    ):
        with pytest.raises(GraphError, match=r"test_edit.py:\d+: .*not values of graph 'chain'"):
            call()
    with pytest.raises(GraphError, match="Values, Nodes and sequences of them, not 'sine'"):
        graph.extract("sine")


def test_replacements_that_need_each_other_are_refused():
    g = mg.trace(lambda x, y: (mg.sin(x), mg.cos(y), mg.exp(mg.sin(x)), mg.exp(mg.cos(y))), X, X)
    before = str(g)
    named = {n.op.name: n.outputs[0] for n in g.nodes if n.op.name != "exponential"}
    one, two = (n.outputs[0] for n in g.nodes if n.op.name == "exponential")
    with pytest.raises(GraphError, match="in a circle"):
        g.replace({named["sine"]: two, named["cosine"]: one})
    assert str(g) == before


def test_inline_leaves_primitives_alone_also_in_loops_and_called_bodies(x):
    def fn(x):
        body = mg.checkpoint(lambda c: mg.softmax(mg.silu(c)))
        return mg.scan(lambda c, _: (body(c), None), x, length=3)[0]

    g = mg.trace(fn, X)
    assert {n.op.name for n in g.walk() if n.op.is_composite} == {
        "checkpoint_call", "softmax", "silu",
    }  # fmt: skip
    flat = g.inline().verify()
    assert not any(n.op.is_composite for n in flat.walk())
    np.testing.assert_array_equal(run(flat, x), run(g, x))
    some = g.inline(["checkpoint_call", mg.ops.silu])
    assert {n.op.name for n in some.walk() if n.op.is_composite} == {"softmax"}
    with pytest.raises(GraphError, match="sine have no body"):
        g.inline(["sine"])


def test_extract_keeps_the_needed_inputs_only(x):
    g = mg.trace(lambda a, b, c: (mg.sin(a) + c, mg.exp(b)), X, X, X)
    part = g.extract(value(g, "add"))
    assert part.input_names == ("arg[0]", "arg[2]")
    np.testing.assert_allclose(run(part, x, x), np.sin(x) + x, rtol=1e-6)
    both = g.extract([value(g, "exponential"), g.nodes[0]]).compile("numpy")
    e, s = both(mg.tensor(x), mg.tensor(x))
    np.testing.assert_allclose(e.numpy(), np.exp(x), rtol=1e-6)
    np.testing.assert_allclose(s.numpy(), np.sin(x), rtol=1e-6)


def test_map_ops_substitutes_in_nested_graphs(x):
    def fn(x):
        return mg.scan(lambda c, _: (mg.sin(c), mg.sin(c) * 2.0), mg.sin(x), length=2)[1]

    seen = []

    def to_cosine(node, inputs):
        seen.append(node.op.name)
        return mg.cos(inputs[0]) if node.op.name == "sine" else None

    g = mg.trace(fn, X)
    got = g.map_ops(to_cosine).verify()
    assert "sine" not in {n.op.name for n in got.walk()} and seen.count("sine") == 2
    once = np.cos(np.cos(x))
    np.testing.assert_allclose(run(got, x), [once * 2, np.cos(once) * 2], rtol=1e-5)


def quantized(node, inputs):
    """Products with weights of eight bits and a scale per column, as a user would write it."""
    if node.op.name != "dot_general":
        return None
    x, w = inputs
    scale = mg.max(mg.abs(w), axis=0, keepdims=True) / 127.0
    eight = mg.astype(mg.round(w / scale), "int8")
    return node.op(x, mg.astype(eight, "float32") * scale, **node.attrs)


def test_map_ops_quantizes_weights(x):
    w = np.random.default_rng(1).normal(size=(3, 4)).astype("float32")
    g = mg.trace(lambda x: mg.relu(x @ mg.tensor(w)), X).map_ops(quantized)
    scale = np.abs(w).max(0, keepdims=True) / 127
    want = np.maximum(x @ (np.round(w / scale) * scale), 0)
    np.testing.assert_allclose(run(g, x), want, rtol=1e-5, atol=1e-6)


def test_map_ops_refuses_what_does_not_fit(graph):
    line = chain.__code__.co_firstlineno + 2
    with pytest.raises(GraphError, match=rf"test_edit.py:{line}: .*replaces exponential"):
        graph.map_ops(lambda n, xs: mg.sum(xs[0]) if n.op.name == "exponential" else None)
    with pytest.raises(
        GraphError, match=rf"test_edit.py:{line}: map_ops replaces exponential.*, by \["
    ):
        graph.map_ops(lambda n, xs: (xs[0], xs[0]) if n.op.name == "exponential" else None)
    with pytest.raises(GraphError, match="map_ops answers str for exponential; return values"):
        graph.map_ops(lambda n, xs: "x" if n.op.name == "exponential" else None)


def test_what_is_no_replacement_cut_pass_or_composite_is_named_with_the_users_line(graph):
    out = graph.outputs[0]
    for call, told in (
        (lambda: graph.replace({out: None}), "replace: .* would become NoneType; a replacement is"),
        (
            lambda: graph.replace({"out": 1.0}),
            "replace: not values of graph 'chain' itself:\n  'out'",
        ),
        (lambda: graph.split(3), "cuts are a sequence .*, not 3; put it in a list"),
        (lambda: graph.split(out), "cuts are a sequence .* put it in a list"),
        (lambda: graph.split(graph.nodes[0]), "cuts are a sequence .* put it in a list"),
        (lambda: graph.transform(3), "a pass is a rule, a function .*, not 3"),
        (lambda: graph.transform(lambda g: 3), "pass <lambda> returned int, not a graph"),
        (
            lambda: graph.transform(lambda g: g.extract(g.nodes[:2])),
            "pass <lambda> changed the graph's",
        ),
        (lambda: graph.inline("softmaxx"), "there is no op 'softmaxx'"),
    ):
        with pytest.raises(GraphError, match=rf"^{__file__}:\d+: {told}"):
            call()


def test_one_composite_is_named_without_a_list_and_numpy_integers_are_positions():
    g = mg.trace(lambda x: mg.softmax(mg.silu(x)), X)
    assert [n.op.name for n in g.inline("silu").nodes] == ["logistic", "multiply", "softmax"]
    assert len(g.split([np.int64(1)]).parts) == 2

"""Many graphs in one: the same graphs come out again, padding changes nothing, bad input is named."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, DTypeError, ShapeError
from monograph_gnn import take_graphs
from monograph_gnn.batches import unpadded


@st.composite
def graphs(draw, least=0):
    """A few small graphs with nested features: empty ones, without edges, with loops and duplicates."""
    made = []
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(least, 5))
        ids = st.integers(0, n - 1)
        edges = draw(st.lists(st.tuples(ids, ids), max_size=9)) if n else []
        senders, receivers = np.asarray(edges, "int64").reshape(-1, 2).T
        rng = np.random.default_rng(draw(st.integers(0, 99)))
        nodes = {"x": rng.normal(size=(n, 3)).astype("float32"), "pair": (rng.normal(size=n),)}
        made.append(
            gnn.graph(nodes, senders, receivers, edges=rng.normal(size=(len(edges), 2)), graphs=rng.normal(size=2))
        )  # fmt: skip
    return made


def same(a, b):
    xs, ys = (mg.tree.flatten(t) for t in (a, b))
    assert xs[1] == ys[1]
    for x, y in zip(xs[0], ys[0]):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(x, y)


def is_sorted_index(index):
    """An index is what `edge_index` makes of its edges: both orders and all offsets."""
    n = int(index.offsets[-1])
    again, places = gnn.edge_index(
        index.senders[:n], index.receivers[:n], index.num_receivers, index.num_senders
    )
    assert places.tolist() == [*range(n)]
    for name in ("offsets", "sender_offsets"):
        assert getattr(index, name).tolist() == getattr(again, name).tolist()
    for name in ("senders", "receivers", "targets", "order"):
        assert getattr(index, name)[:n].tolist() == getattr(again, name).tolist()
        assert getattr(index, name).dtype == np.int32
    assert (index.receivers[n:] == index.num_receivers).all()
    assert (index.senders[n:] == index.num_senders).all()
    assert sorted(index.order.tolist()) == [*range(index.num_edges)]


@given(graphs(), st.integers(0, 7), st.integers(0, 7), st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_what_is_batched_comes_out_again(gs, nodes, edges, more):
    sizes = dict(
        num_nodes=sum(g.num_nodes for g in gs) + nodes,
        num_edges=sum(g.index.num_edges for g in gs) + edges,
        num_graphs=len(gs) + more,
    )
    whole = gnn.batch(gs, **sizes)
    is_sorted_index(whole.index)
    assert (whole.num_nodes, whole.index.num_edges, whole.num_graphs) == tuple(sizes.values())
    assert whole.graph_mask.tolist() == [True] * len(gs) + [False] * more
    assert int(whole.node_mask.sum()) == sum(g.num_nodes for g in gs)
    back = gnn.unbatch(whole)
    assert len(back) == len(gs)
    for a, b in zip(gs, back):
        same(a, b)
    same(gnn.batch([whole, gs[0]]), gnn.batch([*gs, gs[0]]))  # a batch of batches, padded ones


@given(graphs(), st.data())
@settings(deadline=None, max_examples=60)
def test_graphs_taken_are_those_graphs_batched(gs, data):
    numbers = data.draw(st.lists(st.integers(0, len(gs) - 1), max_size=6))
    if not numbers:
        assert take_graphs(gnn.batch(gs), numbers).num_graphs == 0
        return
    sizes = dict(num_nodes=40, num_edges=70, num_graphs=8)
    got = take_graphs(gnn.batch(gs, num_nodes=30), numbers, **sizes)
    is_sorted_index(got.index)
    same(got, gnn.batch([gs[n] for n in numbers], **sizes))


@given(graphs(least=1), st.integers(1, 5), st.integers(0, 5), st.sampled_from(["sum", "mean", "max", "min", "softmax", "std"]))  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_padding_changes_no_result(gs, nodes, edges, how):
    whole = gnn.batch(gs)
    padded = gnn.batch([whole], num_nodes=whole.num_nodes + nodes,
                       num_edges=whole.index.num_edges + edges, num_graphs=len(gs) + 2)  # fmt: skip
    message = lambda sender, receiver, edge: (sender - receiver) * edge[:, :1]
    run = lambda g: gnn.propagate(
        g.index, mg.asarray(g.nodes["x"]), message, edges=mg.astype(mg.asarray(g.edges), "float32"), how=how
    )  # fmt: skip
    pooled = lambda g: gnn.aggregate(g.membership, run(g), "mean")
    a, b = run(whole).numpy(), run(padded).numpy()
    np.testing.assert_array_equal(a, b[: whole.num_nodes])
    assert not b[whole.num_nodes :].any()
    grad = lambda g: mg.grad(
        lambda x: mg.sum(mg.sin(run(g.replace(nodes={**g.nodes, "x": x})))[: whole.num_nodes])
    )(g.nodes["x"]).numpy()
    da, db = grad(whole), grad(padded)
    np.testing.assert_allclose(da, db[: whole.num_nodes], rtol=1e-5, atol=1e-6)
    assert not db[whole.num_nodes :].any()
    np.testing.assert_array_equal(pooled(whole).numpy(), pooled(padded).numpy()[: len(gs)])


def test_loops_are_remembered_also_past_padding(engine, rng):
    """A batch whose graphs have their loops needs no new ones, and GCN gives what it gave."""
    one = gnn.graph(rng.normal(size=(3, 2)).astype("float32"), [0, 1], [1, 2])
    looped = one.replace(index=gnn.add_self_loops(one.index)[0])
    both = gnn.batch([looped, looped], num_nodes=9, num_edges=20)
    assert both.index.loops and all(g.index.loops for g in gnn.unbatch(both))
    store = mg.Store(seed=0)
    call = store.bind(lambda scope, g: gnn.gcn_conv(scope / "gcn", g.index, g.nodes, 4), engine)
    alone = call(one).numpy()
    np.testing.assert_allclose(call(both).numpy()[:6], [*alone, *alone], rtol=1e-6, atol=1e-6)


def test_loops_of_padding_are_left_out(rng):
    one = gnn.graph(rng.normal(size=(3, 2)), [0, 2], [1, 0])
    padded = gnn.batch([one, one], num_nodes=8, num_edges=6)
    index, places = gnn.add_self_loops(padded.index)  # the two nodes of padding have loops, too
    out = gnn.unbatch(padded.replace(index=index, edges=places))
    want, places = gnn.add_self_loops(one.index)
    same(out[0].index, want)
    same(out[1].index, want)
    assert out[0].edges.tolist() == places.tolist()
    assert unpadded(one) is one


def test_edges_into_padding_are_refused():
    one = gnn.graph(np.zeros((3, 1)), [0, 2], [1, 2])
    bad = gnn.GraphBatch(
        one.nodes, one.index, None, None, np.int32([0, 0, 1]), np.int32([0, 2]), np.int32(1)
    )
    assert len(gnn.unbatch(bad)) == 1  # a loop of padding
    cross = gnn.edge_index([0, 2], [2, 1], 3)[0]
    with pytest.raises(ArgumentError, match="edges between its graphs and its padding"):
        gnn.unbatch(bad.replace(index=cross))


def test_tensors_of_any_engine_are_batched(engine):
    one = gnn.graph(np.ones((2, 3), "float32"), [0], [1])
    on = mg.jit(lambda g: g).on(engine)(one)
    same(gnn.batch([on, one]), gnn.batch([one, one]))


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ((np.zeros((3, 2)), [0, 7, -1], [1, 3, 0]), ArgumentError,
         ["senders[1] is 7, of 3 nodes (2 senders are out of range)", "receivers[1] is 3"]),
        ((np.zeros((3, 2)), [0.5], [1]), DTypeError, ["senders must be integers, got float64"]),
        ((np.zeros((3, 2)), [0, 1], [1]), ShapeError, ["(2,) and (1,)"]),
        (((np.zeros((3, 2)), np.zeros(4)), [0], [1], np.zeros((2, 5))), ShapeError,
         ["nodes: 3 rows are needed, an array has shape (4,)", "edges: 1 rows are needed, an array has shape (2, 5)"]),
        ((np.zeros((3, 2)), [9], [1], np.zeros(4)), ArgumentError,
         ["senders[0] is 9", "edges: 1 rows are needed"]),
        ((None, [], []), ArgumentError, ["needs num_nodes="]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_is_said_at_once(arguments, kind, said):
    nodes, senders, receivers, *edges = arguments
    with pytest.raises(kind) as e:
        gnn.graph(nodes, senders, receivers, edges=edges[0] if edges else None)
    assert [s for s in said if s not in str(e.value)] == []
    assert str(e.value).startswith(__file__)


def test_features_that_are_not_finite_are_named_where_asked_for():
    x = np.zeros((3, 2))
    x[1, 1], x[2, 0] = np.nan, np.inf
    arguments = dict(
        nodes={"x": x, "n": np.arange(3)}, senders=[0], receivers=[1], edges=np.float32([-np.inf])
    )
    gnn.graph(**arguments)
    with pytest.raises(ArgumentError) as e:
        gnn.graph(**arguments, check=True)
    assert "nodes['x'][1, 1] is nan (2 values are not finite); edges[0] is -inf" in str(e.value)


def test_batches_that_do_not_fit_are_refused():
    a = gnn.graph(np.zeros((2, 3)), [0], [1])
    with pytest.raises(
        ArgumentError, match="4 nodes do not fit num_nodes=3; 2 edges do not fit num_edges=1"
    ):
        gnn.batch([a, a], num_nodes=3, num_edges=1)
    with pytest.raises(ArgumentError, match="no graphs to batch"):
        gnn.batch([])
    b = gnn.graph(np.zeros((2, 4)), [0], [1])
    with pytest.raises(
        ShapeError, match=r"nodes of graph 1 .* array \(4,\) per row, there array \(3,\)"
    ):
        gnn.batch([a, b])
    c = gnn.graph({"x": np.zeros((2, 3))}, [0], [1], edges=np.zeros(1))
    with pytest.raises(ShapeError, match=r"nodes of graph 2 .*\['x'\] \(3,\)"):
        gnn.batch([a, a, c])
    with pytest.raises(ArgumentError, match="there is no graph 2 in"):
        take_graphs(gnn.batch([a, a]), [0, 2])
    with pytest.raises(ArgumentError, match="outside of traced functions"):
        mg.jit(lambda g: gnn.batch([g]))(a)

"""Typed graphs: batched, padded and taken apart; layers that do not see the padding; errors."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, ShapeError

BUYS, KNOWS, SOLD = ("user", "buys", "item"), ("user", "knows", "user"), ("item", "sold", "shop")
LISTS = ("shop", "lists", "item")  # the second that arrives at items
RELATIONS = (BUYS, KNOWS, SOLD, LISTS)
WIDTH = {"user": 4, "item": 6, "shop": 6}


def random_graph(rng, most=5):
    counts = {k: int(rng.integers(0, most)) for k in WIDTH}
    edges, features = {}, {}
    for r in RELATIONS:
        n = int(rng.integers(0, 2 * most)) if counts[r[0]] and counts[r[2]] else 0
        edges[r] = tuple(rng.integers(0, max(counts[k], 1), n) for k in (r[0], r[2]))
    features[BUYS] = rng.normal(size=(len(edges[BUYS][0]), 3)).astype("float32")
    nodes = {k: rng.normal(size=(n, WIDTH[k])).astype("float32") for k, n in counts.items()}
    return gnn.hetero_graph(nodes, edges, features, graphs=np.float32(rng.normal()))


def same(a, b):
    left, right = mg.tree.flatten(a), mg.tree.flatten(b)
    assert left[1] == right[1]
    for x, y in zip(left[0], right[0]):
        np.testing.assert_array_equal(x, y)


ROOM = {
    "num_nodes": {"user": 30, "item": 31, "shop": 32}, "num_graphs": 9,
    "num_edges": {BUYS: 70, KNOWS: 71, SOLD: 72, LISTS: 73},
}  # fmt: skip


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.booleans())
@settings(max_examples=25, deadline=None)
def test_what_is_batched_comes_back(seed, count, padded):
    rng = np.random.default_rng(seed)
    graphs = [random_graph(rng) for _ in range(count)]
    made = gnn.hetero_batch(graphs, **(ROOM if padded else {}))
    for got, want in zip(gnn.hetero_unbatch(made), graphs, strict=True):
        same(got, want)
    again = gnn.hetero_batch([made, graphs[0]])  # batches may be batched, their padding is dropped
    assert again.num_graphs == count + 1
    same(gnn.hetero_unbatch(again)[count], graphs[0])
    assert int(mg.sum(mg.astype(made.graph_mask, "int32"))) == count
    for k in WIDTH:
        assert made.num_nodes(k) == (ROOM["num_nodes"][k] if padded else sum(
            g.num_nodes(k) for g in graphs))  # fmt: skip
        mask = made.node_mask(k).numpy()
        assert (
            mask.sum() == sum(g.num_nodes(k) for g in graphs)
            and not np.diff(mask * 1).max(initial=-1) > 0
        )
        sums = gnn.aggregate(made.membership(k), made.nodes[k]).numpy()
        want = [g.nodes[k].sum(0) for g in graphs]
        np.testing.assert_allclose(sums[:count], want, rtol=1e-4, atol=1e-5)
        assert not sums[count:].any()
    for r in RELATIONS:
        assert made.edge_mask(r).numpy().sum() == sum(g.index[r].num_edges for g in graphs)


def every_layer(scope, g, x):
    """All layers over several types, as one tree."""
    x = {k: mg.asarray(v) for k, v in x.items()}
    even = {k: v[:, :4] for k, v in x.items()}
    gat = lambda scope, index, x: gnn.gat_conv(scope, index, x, 4, heads=2, add_self_loops=False)
    return {
        "hgt": gnn.hgt_conv(scope / "hgt", g, x, 6, heads=2),
        "han": gnn.han_conv(scope / "han", g, x, 6, heads=2),
        "rgcn": gnn.hetero_rgcn_conv(scope / "rgcn", g, x, 6),
        "bases": gnn.hetero_rgcn_conv(scope / "bases", g, even, 6, bases=2),
        "max": gnn.hetero_rgcn_conv(scope / "max", g, x, 6, how="max"),
        "gat": gnn.hetero(scope / "gat", g, x, gat, how="max"),
    }  # fmt: skip


def outcome(scope, g):
    """Results of nodes that are no padding, and the gradients of their squares by all else."""
    names = {k: scope.parameter(f"x/{k}", v.shape, 0.0, "float32") for k, v in g.nodes.items()}

    def loss():
        x = {k: scope.read(f"x/{k}") for k in names}
        out = every_layer(scope / "layers", g, x)
        real = {
            name: {k: mg.where(g.node_mask(k)[:, None], y, 0) for k, y in ys.items()}
            for name, ys in out.items()
        }
        return sum(mg.sum(mg.sin(y)) for y in mg.tree.leaves(real)), real

    (_, real), grads = scope.value_and_grad(loss, has_aux=True)()
    return real, grads


@pytest.mark.parametrize("seed", [0, 1])
def test_layers_do_not_see_padding(engine, seed):
    rng = np.random.default_rng(seed)
    graphs = [random_graph(rng) for _ in range(3)]
    results = []
    for room in ({}, ROOM):
        g = gnn.hetero_batch(graphs, **room)
        store = mg.Store(seed=0)
        call = store.bind(outcome, engine)  # the graph is an argument: nothing of it is known
        call.trace(g)
        for k, v in g.nodes.items():
            store[f"x/{k}"] = v
        results.append((call(g), {k: int(g.graph_offsets[k][-1]) for k in g.nodes}))
    (plain, counts), (padded, _) = results
    for name, ys in plain[0].items():
        for k, y in ys.items():
            got = padded[0][name][k].numpy()
            np.testing.assert_allclose(got[: counts[k]], y.numpy(), rtol=2e-5, atol=2e-5)
            assert not got[counts[k] :].any()
    for path, grad in plain[1].items():
        got, want = padded[1][path], grad
        if want is None or got is None:
            assert want is got, path
            continue
        got = got.numpy()
        assert np.isfinite(got).all(), path
        rows = want.shape[0] if want.ndim else None
        np.testing.assert_allclose(got[:rows], want.numpy(), rtol=2e-4, atol=2e-5, err_msg=path)
        if path.startswith("x/"):
            assert not got[rows:].any()


def test_a_graph_without_anything(engine):
    nodes = {k: np.zeros((0, n), "float32") for k, n in WIDTH.items()}
    g = gnn.hetero_graph(nodes, {r: ([], []) for r in RELATIONS})
    store = mg.Store(seed=0)
    out = store.bind(lambda scope, g: every_layer(scope, g, g.nodes), engine)(g)
    for ys in out.values():
        assert all(y.shape[0] == 0 for y in ys.values())


def test_nobody_sends(engine, rng):
    """Relations without edges: zeros and biases, root weights, skips; no NaN."""
    nodes = {k: rng.normal(size=(3, n)).astype("float32") for k, n in WIDTH.items()}
    g = gnn.hetero_graph(nodes, {r: ([], []) for r in RELATIONS})
    store = mg.Store(seed=0)
    out, grads = store.bind(outcome, engine)(g)
    assert not out["han"]["item"].numpy().any() and not out["gat"]["item"].numpy().any()
    assert all(np.isfinite(v.numpy()).all() for v in mg.tree.leaves((out, grads)))


@pytest.mark.parametrize("parts", [{}, {"bases": 2}, {"blocks": 2}, {"how": "max"}])
@pytest.mark.parametrize("featured", [True, False], ids=["features", "none"])
def test_rgcn_does_not_see_padding(engine, rng, parts, featured):
    if not featured and "blocks" in parts:
        pytest.skip("blocks need features")
    senders, receivers = rng.integers(0, 7, (2, 20))
    types = rng.integers(0, 3, 20).astype("int32")
    g = gnn.graph(
        rng.normal(size=(7, 4)).astype("float32"), senders, receivers, edges=types
    )  # fmt: skip
    wide = gnn.batch([g], num_nodes=7 if not featured else 11, num_edges=26, num_graphs=2)
    wide = wide.replace(edges=np.where(np.arange(26) < 20, wide.edges, 99))  # as may be

    def layer(scope, g):
        x = g.nodes if featured else None
        return gnn.rgcn_conv(scope, g.index, x, 6, types=g.edges, relations=3, **parts)

    store = mg.Store(seed=0)
    want = store.bind(layer, engine)(g).numpy()
    for call in (lambda: store.bind(layer, engine)(wide),  # as an argument, and known
                 lambda: store.bind(lambda scope: layer(scope, wide), engine)()):  # fmt: skip
        np.testing.assert_allclose(call().numpy()[:7], want, rtol=1e-5, atol=1e-6)


def test_rgcn_without_edges_or_nodes(engine):
    for nodes in (3, 0):
        g = gnn.graph(np.ones((nodes, 4), "float32"), [], [])
        for parts in ({}, {"bases": 2}, {"blocks": 2}):
            layer = lambda scope, g, parts=parts: gnn.rgcn_conv(
                scope, g.index, g.nodes, 6, types=np.zeros(0, "int32"), relations=3,
                root_weight=False, **parts,
            )  # fmt: skip
            out = mg.Store(seed=0).bind(layer, engine)(g).numpy()
            assert out.shape == (nodes, 6) and not out.any()


# ---- bad input


def one(**nodes):
    return gnn.hetero_graph(
        {"user": np.ones((2, 4), "float32"), "item": np.ones((3, 6), "float32"), **nodes},
        {BUYS: ([0, 1], [1, 2])},
    )


def test_what_does_not_fit_is_named_all_at_once():
    with pytest.raises(
        ArgumentError, match=r"test_hetero.*no 'shop'.*4 'user' do not fit 3.*fit 2"
    ):
        gnn.hetero_batch([one(), one()], num_nodes={"user": 3, "shop": 1, "item": 2})
    with pytest.raises(ArgumentError, match=r"4 \('user', 'buys', 'item'\) do not fit 3"):
        gnn.hetero_batch([one(), one()], num_edges={BUYS: 3})
    with pytest.raises(
        ArgumentError, match="graph 1 and graph 0 differ in nodes: only one has 'shop'"
    ):
        gnn.hetero_batch([one(), one(shop=2)])
    with pytest.raises(ShapeError, match="item nodes of graph 1 are of another structure or shape"):
        gnn.hetero_batch([one(), one(item=np.ones((3, 5), "float32"))])
    with pytest.raises(ArgumentError, match="no graphs to batch"):
        gnn.hetero_batch([])
    with pytest.raises(
        ArgumentError, match=r"'user'.*receivers\[0\] is 9, of 2.*no nodes of type x"
    ):
        gnn.hetero_graph({"user": 2}, {KNOWS: ([0], [9]), ("x", "y", "user"): ([], [])})
    with pytest.raises(ArgumentError, match="type 'user' are no array with a row each"):
        gnn.hetero_graph({"user": np.float32(3)}, {})


def test_layers_that_cannot_be_are_refused():
    g, store = one(), mg.Store(seed=0)

    def call(fn):
        return store.bind(fn, "numpy")(g)

    with pytest.raises(ArgumentError, match=r"no relation \('a', 'b', 'c'\).*how='median'; known"):
        call(lambda s, g: gnn.hetero(s, g, g.nodes, {("a", "b", "c"): None}, how="median"))
    with pytest.raises(ArgumentError, match="x has nothing of type 'item'"):
        call(lambda s, g: gnn.hetero(s, g, {"user": g.nodes["user"]}, lambda *a: None))
    with pytest.raises(
        ShapeError, match="hgt_conv 'hgt': channels=7 must be a multiple of heads=2"
    ):
        call(lambda s, g: gnn.hgt_conv(s / "hgt", g, g.nodes, 7, heads=2))
    with pytest.raises(ShapeError, match="4 features are no multiple of blocks=3"):
        call(lambda s, g: gnn.hetero_rgcn_conv(s / "rgcn", g, g.nodes, 6, blocks=3))


def test_types_that_cannot_be_are_refused():
    index, _ = gnn.edge_index([0, 1], [1, 0], 2)
    x, store = np.ones((2, 4), "float32"), mg.Store(seed=0)

    def call(index=index, x=x, **options):
        return store.bind(
            lambda s: gnn.rgcn_conv(s / "r", index, mg.asarray(x), 4, **options), "numpy"
        )()

    with pytest.raises(ArgumentError, match=r"types\[1\] is 3, of 3 relations"):
        call(types=np.int32([0, 3]), relations=3)
    with pytest.raises(ShapeError, match=r"types must be \[edges\], 2 of them, got \(3,\)"):
        call(types=np.int32([0, 1, 2]), relations=3)
    with pytest.raises(mg.errors.DTypeError, match="types must be integers, got float64"):
        call(types=np.array([0.0, 1.0]), relations=3)
    with pytest.raises(ArgumentError, match="bases=2 or blocks=2, not both"):
        call(types=np.int32([0, 1]), relations=3, bases=2, blocks=2)
    with pytest.raises(ArgumentError, match="needs types=, or an index of typed_index"):
        call(relations=3)
    with pytest.raises(ArgumentError, match="relations=0"):
        call(types=np.int32([0, 1]), relations=0)


def test_loops_of_padding_are_left_out_and_known_loops_stay():
    knows = ("user", "knows", "user")
    one = gnn.hetero_graph({"user": np.ones((3, 2))}, {knows: ([0, 2], [1, 0])})
    padded = gnn.hetero_batch([one, one], num_nodes={"user": 8}, num_edges={knows: 6})
    index, _ = gnn.add_self_loops(padded.index[knows])  # the two nodes of padding have loops, too
    looped = padded.replace(index={knows: index})
    want, _ = gnn.add_self_loops(one.index[knows])
    for out in (gnn.hetero_unbatch(looped), gnn.hetero_unbatch(gnn.hetero_batch([looped, looped]))):
        for g in out:
            assert g.index[knows].loops
            for a, b in zip(g.index[knows].arrays, want.arrays):
                np.testing.assert_array_equal(a, b)


def test_edges_into_padding_and_unknown_fields_are_refused():
    knows = ("user", "knows", "user")
    one = gnn.hetero_graph({"user": np.ones((3, 2))}, {knows: ([0, 2], [1, 0])})
    padded = gnn.hetero_batch([one], num_nodes={"user": 5})
    crossing, _ = gnn.edge_index([0, 4], [1, 0], 5)
    with pytest.raises(mg.errors.ArgumentError, match="edges between its graphs and its padding"):
        gnn.hetero_unbatch(padded.replace(index={knows: crossing}))
    for g in (one, gnn.graph(np.ones((2, 1)), [0], [1])):
        with pytest.raises(TypeError, match="noodes"):
            g.replace(noodes=1)

"""Pooling against PyG's, in batches with an empty graph, a single node, and padding."""

import itertools

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

torch = pytest.importorskip("torch", reason="the reference")

SIZES = (5, 1, 0, 7)
N = sum(SIZES)
same = lambda a: a


@pytest.fixture
def ends(rng):
    """Senders and receivers, within graphs."""
    starts = np.cumsum((0, *SIZES))
    pairs = [rng.integers(a, b, (2, 3 * (b - a))) for a, b in itertools.pairwise(starts) if b > a]
    return np.concatenate(pairs, axis=1)


@pytest.fixture
def graphs(ends):
    """Those of `SIZES`, padded; of edges their place in ``ends`` is known."""
    starts, parts = np.cumsum((0, *SIZES)), []
    for a, b in itertools.pairwise(starts):
        mine = np.flatnonzero((ends[0] >= a) & (ends[0] < b))
        part = gnn.graph(np.zeros((b - a, 1), "float32"), *(ends[:, mine] - a), edges=mine)
        parts.append(part)
    return gnn.batch(parts, num_nodes=N + 4, num_edges=ends.shape[1] + 3, num_graphs=6)


@pytest.fixture
def of():
    """The graph of each node, for PyG."""
    return torch.tensor(np.repeat(np.arange(4), SIZES))


def padded(x):
    """With rows that must not count."""
    return mg.concat([x, mg.full((4, *x.shape[1:]), 1e3, dtype=x.dtype)])


def features(rng, width=6):
    return rng.normal(size=(N, width)).astype("float32")


def with_padding(result):
    """A reference's rows for four graphs, and zeros for two that are none."""
    return torch.cat([result, result.new_zeros(2, *result.shape[1:])])


POOLS = {
    "global_add_pool": gnn.global_add_pool,
    "global_mean_pool": gnn.global_mean_pool,
    "global_max_pool": gnn.global_max_pool,
}


@pytest.mark.parametrize("name", POOLS)
def test_global_pools(pyg, agrees, engine, graphs, of, rng, name):
    agrees(
        engine, lambda scope, x: POOLS[name](graphs, padded(x)), [features(rng)], {},
        lambda x: with_padding(getattr(pyg, name)(x, of, 4)),
    )  # fmt: skip


@pytest.mark.parametrize("wide", [False, True], ids=["per-node", "per-feature"])
def test_attentional_aggregation(pyg, agrees, engine, graphs, of, rng, wide):
    out = 4 if wide else 1
    gate, transform = torch.nn.Linear(6, out), torch.nn.Linear(6, 4)
    module = pyg.AttentionalAggregation(gate, transform)
    weights = {}
    for name, linear in (("gate", gate), ("transform", transform)):
        weights |= {
            f"{name}/kernel": (linear.weight, np.transpose), f"{name}/bias": (linear.bias, same),
        }  # fmt: skip
    agrees(
        engine,
        lambda scope, x: gnn.attentional_aggregation(
            scope, graphs, padded(x), (lambda s, x: nn.dense(s, x, out)) if wide else None,
            lambda s, x: nn.dense(s, x, 4),
        ),
        [features(rng)],
        weights,
        lambda x: with_padding(module(x, of, dim_size=4)),
    )  # fmt: skip


@pytest.mark.parametrize("channels", [0, 1, 6], ids=["fixed", "one", "each"])
def test_softmax_aggregation(pyg, agrees, engine, graphs, of, rng, channels):
    module = pyg.SoftmaxAggregation(0.5, learn=bool(channels), channels=channels or 1)
    if channels:
        torch.nn.init.normal_(module.t)
    agrees(
        engine,
        lambda scope, x: gnn.softmax_aggregation(
            scope, graphs, padded(x), temperature=0.5, learn=bool(channels), channels=channels or 1
        ),
        [features(rng)],
        {"temperature": (module.t, same)} if channels else {},
        lambda x: with_padding(module(x, of, dim_size=4)),
    )


def test_set2set(pyg, agrees, engine, graphs, of, rng):
    module = pyg.Set2Set(6, 3)
    torch.nn.init.zeros_(module.lstm.bias_hh_l0)  # ours has one bias
    some = torch.tensor(np.asarray(SIZES) > 0)[:, None]
    agrees(
        engine,
        lambda scope, x: gnn.set2set(scope, graphs, padded(x), 3),
        [features(rng)],
        {
            "lstm/kernel": (module.lstm.weight_ih_l0, np.transpose),
            "lstm/recurrent_kernel": (module.lstm.weight_hh_l0, np.transpose),
            "lstm/bias": (module.lstm.bias_ih_l0, same),
        },
        lambda x: with_padding(torch.where(some, module(x, of, dim_size=4), 0)),
    )


@pytest.mark.parametrize("k", [1, 3, 9])
def test_sort_aggregation(pyg, agrees, engine, graphs, of, rng, k):
    module = pyg.SortAggregation(k)
    agrees(
        engine, lambda scope, x: gnn.sort_aggregation(scope, graphs, padded(x), k),
        [features(rng)], {}, lambda x: with_padding(module(x, of, dim_size=4)),
    )  # fmt: skip


@given(
    ids=st.lists(st.integers(-1, 4), max_size=12),
    extreme=st.sampled_from([0.0, 80.0, 1e30]),
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_segment_softmax_is_a_softmax_per_segment(ids, extreme, seed):
    ids = np.asarray(ids, "int32")
    values = np.random.default_rng(seed).normal(size=(len(ids), 2)) + extreme
    got = gnn.segment_softmax(values, ids, 4).numpy()
    want = np.zeros_like(values)
    for i in range(4):
        e = np.exp(values[ids == i] - values[ids == i].max(axis=0, initial=-np.inf))
        want[ids == i] = e / e.sum(axis=0)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-300)


def test_segment_softmax_has_the_gradient_of_pygs(pyg, agrees, engine, rng):
    from torch_geometric.utils import softmax

    ids = rng.integers(0, 4, N)
    agrees(
        engine, lambda scope, x: gnn.segment_softmax(x, ids, 5), [features(rng)], {},
        lambda x: softmax(x, torch.tensor(ids), num_nodes=5),
    )  # fmt: skip


def edges_of(senders, receivers, values, like):
    real = np.asarray(senders) < like
    return {(a, b, v) for a, b, v, r in zip(senders, receivers, values, real) if r}


def compare_with_pyg(engine, graphs, ends, of, x, layer, module, path):
    """The nodes that are left, their features, graphs and edges are PyG's."""
    store = mg.Store(seed=0)
    bound = store.bind(lambda scope, g, x: layer(scope, g, padded(x)), engine)
    bound.trace(graphs, x)
    for name, parameter in path.items():
        value = parameter.detach().numpy()
        store[name] = value.reshape(store.spec(name).shape) if value.ndim < 2 else value.T
    left, kept, scores = mg.tree.map(lambda a: a.numpy(), bound(graphs, x))
    number = torch.arange(ends.shape[1])
    want_x, want_edges, want_number, want_of, perm, want_scores = module(
        torch.tensor(x), torch.tensor(ends), number, of
    )
    n = len(perm)
    assert kept[:n].tolist() == perm.tolist()
    assert (kept[n:] == graphs.num_nodes).all()
    np.testing.assert_allclose(left.nodes[:n], want_x.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert (left.nodes[n:] == 0).all()
    np.testing.assert_allclose(scores[:n], want_scores.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert left.node_graph[:n].tolist() == want_of.tolist()
    assert (left.node_graph[n:] == graphs.num_graphs).all()
    found = edges_of(left.index.senders, left.index.receivers, left.edges, left.num_nodes)
    assert found == {*zip(*want_edges.tolist(), want_number.tolist())}
    again, _ = gnn.edge_index(*want_edges.numpy(), left.num_nodes)
    assert left.index.offsets.tolist() == again.offsets.tolist()
    assert gnn.unbatch(left)[3].num_nodes == (want_of == 3).sum()
    pooled = gnn.global_add_pool(left, left.nodes).numpy()
    want = torch.zeros(4, x.shape[1]).index_add(0, want_of, want_x.detach())
    np.testing.assert_allclose(pooled, with_padding(want).numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"ratio": 0.5}, {"ratio": 0.8}, {"ratio": 3}, {"ratio": 99}, {"min_score": 0.2}],
    ids=str,
)  # fmt: skip
def test_top_k_keeps_what_pyg_keeps(pyg, engine, graphs, ends, of, rng, options):
    module = pyg.TopKPooling(6, multiplier=1.5, **options)
    compare_with_pyg(
        engine, graphs, ends, of, features(rng),
        lambda scope, g, x: gnn.top_k_pooling(scope, g, x, multiplier=1.5, **options),
        module, {"projection": module.select.weight[0]},
    )  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"min_score": 0.2}], ids=str)
def test_sag_keeps_what_pyg_keeps(pyg, engine, graphs, ends, of, rng, options):
    module = pyg.SAGPooling(6, **options)
    torch.nn.init.normal_(module.gnn.lin_rel.bias)
    compare_with_pyg(
        engine, graphs, ends, of, features(rng),
        lambda scope, g, x: gnn.sag_pooling(scope, g, x, **options), module,
        {
            "projection": module.select.weight[0],
            "gnn/neighbor/kernel": module.gnn.lin_rel.weight,
            "gnn/neighbor/bias": module.gnn.lin_rel.bias,
            "gnn/root/kernel": module.gnn.lin_root.weight,
        },
    )  # fmt: skip


@pytest.mark.parametrize("options", [{"ratio": 0.5}, {"min_score": 0.2}], ids=str)
def test_top_k_has_pygs_gradients(pyg, agrees, engine, graphs, ends, of, rng, options):
    module = pyg.TopKPooling(6, **options)
    n = len(
        module(torch.tensor(features(np.random.default_rng(0))), torch.tensor(ends), batch=of)[0]
    )
    agrees(
        engine,
        lambda scope, x: gnn.top_k_pooling(scope, graphs, padded(x), **options)[0].nodes[:n],
        [features(np.random.default_rng(0))],
        {"projection": (module.select.weight, lambda a: a[0])},
        lambda x: module(x, torch.tensor(ends), batch=of)[0],
    )


def test_pooling_nothing(engine):
    """A batch of empty graphs: zeros, and no NaN in gradients."""
    g = gnn.graph(np.zeros((0, 3), "float32"), [], [])

    def everything(scope, g):
        left, *_ = gnn.top_k_pooling(scope / "top", g, g.nodes)
        left, *_ = gnn.sag_pooling(scope / "sag", left, left.nodes, 2)
        return mg.concat([
            gnn.attentional_aggregation(scope / "attention", g, g.nodes),
            gnn.softmax_aggregation(scope / "softmax", g, g.nodes, learn=True),
            gnn.set2set(scope / "set", g, g.nodes, 2),
            gnn.sort_aggregation(scope, g, g.nodes, 2),
            gnn.global_max_pool(left, left.nodes),
        ], axis=1)  # fmt: skip

    store = mg.Store(seed=0)
    assert (store.bind(everything, engine)(g).numpy() == np.zeros((1, 21))).all()
    _, grads = store.bind(
        lambda scope, g: scope.value_and_grad(lambda: mg.sum(everything(scope, g)))(), engine
    )(g)
    assert all((v.numpy() == 0).all() for v in grads.values())


def test_pooling_edges_into_nodes(rng):
    """Along any index, not only from nodes to graphs."""
    index, _ = gnn.edge_index([0, 1, 2], [2, 2, 0], 4)
    x = rng.normal(size=(3, 5)).astype("float32")
    pool = lambda scope, x: gnn.softmax_aggregation(scope, index, x)
    want = gnn.aggregate(index, x, "softmax").numpy()
    np.testing.assert_allclose(mg.Store().bind(pool)(x).numpy(), want, rtol=1e-6)


@pytest.mark.parametrize("ratio", [0, -1, 1.5, 2.0])
def test_a_ratio_that_means_nothing_is_refused(graphs, ratio):
    with pytest.raises(mg.errors.ArgumentError, match=rf"ratio={ratio} must be a share"):
        mg.Store().bind(lambda s, g: gnn.top_k_pooling(s, g, padded(mg.ones((N, 2))), ratio))(
            graphs
        )

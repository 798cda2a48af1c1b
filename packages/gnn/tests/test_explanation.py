"""Explanations against PyG's, against what they must sum to, and on a graph whose reasons are known."""

import warnings

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import monograph_train as train
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")

GRADIENTS = ("saliency", "input_x_gradient", "integrated_gradients")
CLASSES = {"mode": "multiclass_classification", "task_level": "node", "return_type": "raw"}


def pyg_explain():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch_geometric.explain", reason="the reference")


@pytest.fixture
def problem(rng, pyg):
    """A graph, and one model as ours and as PyG's: GCN, then GAT."""
    senders = rng.integers(0, 12, 40)
    receivers = (senders + rng.integers(1, 11, 40)) % 12
    g = gnn.graph(rng.normal(size=(12, 5)).astype("float32"), senders, receivers)

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = pyg.GCNConv(5, 8), pyg.GATConv(8, 3)

        def forward(self, x, edges):
            return self.second(torch.tanh(self.first(x, edges)), edges)

    torch.manual_seed(0)
    net, store = Net(), mg.Store(seed=0)

    def model(scope, g):
        x = mg.tanh(gnn.gcn_conv(scope / "first", g.index, g.nodes, 8))
        return gnn.gat_conv(scope / "second", g.index, x, 3)

    store.bind(model).trace(g)
    for path, value in {
        "first/kernel": net.first.lin.weight.T, "first/bias": net.first.bias,
        "second/kernel": net.second.lin.weight.T, "second/bias": net.second.bias,
        "second/attention_sender": net.second.att_src[0],
        "second/attention_receiver": net.second.att_dst[0],
    }.items():  # fmt: skip
        store[path] = np.ascontiguousarray(value.detach().numpy())
    ends = torch.tensor(np.stack([g.index.senders, g.index.receivers])).long()
    return g, model, store, net, torch.tensor(g.nodes), ends


def masked(net, gates, ends):
    """PyG's own masks on edges, as its explainers set them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch_geometric.explain.algorithm.utils import set_masks
    set_masks(net, gates, ends, apply_sigmoid=False)
    for module in (net.first, net.second):
        module._parameters.pop("_edge_mask", None)
        module._edge_mask = gates  # a parameter would take the gradient


def reference(net, x, ends, method, steps=50):
    def grads(at):
        gates = torch.full(ends.shape[1:], at, requires_grad=True)
        features = (x * at).requires_grad_()
        masked(net, gates, ends)
        net(features, ends)[4, 1].backward()
        return gates.grad, features.grad

    if method == "integrated_gradients":
        points, weights = np.polynomial.legendre.leggauss(steps)
        each = [(w / 2, grads(float(1 + p) / 2)) for p, w in zip(points, weights)]
        edges, nodes = (sum(w * g[i] for w, g in each) for i in (0, 1))
        return edges, nodes * x
    edges, nodes = grads(1.0)
    return (edges.abs(), nodes.abs()) if method == "saliency" else (edges, nodes * x)


@pytest.mark.parametrize("method", GRADIENTS)
def test_gradients_are_those_through_pygs_masks(problem, engine, method):
    g, model, store, net, x, ends = problem
    found = gnn.explain(model, store, g, lambda y: y[4, 1], method=method, engine=engine)
    edges, nodes = reference(net, x, ends, method)
    np.testing.assert_allclose(found.edges, edges.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.nodes, nodes.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "theirs"),
    [*zip(GRADIENTS, ("Saliency", "InputXGradient", "IntegratedGradients"))],
)
@pytest.mark.filterwarnings("ignore")  # captum's own
def test_gradients_are_pygs_through_captum(problem, method, theirs):
    pytest.importorskip("captum", reason="PyG's gradients are captum's")
    pyg = pyg_explain()
    g, model, store, net, x, ends = problem
    explainer = pyg.Explainer(
        net, pyg.CaptumExplainer(theirs), explanation_type="model", node_mask_type="attributes",
        edge_mask_type="object", model_config=CLASSES,
    )  # fmt: skip
    label = int(net(x, ends)[4].argmax())
    want = explainer(x, ends, index=4)
    found = gnn.explain(model, store, g, lambda y: y[4, label], method=method)
    for got, mask in ((found.edges, want.edge_mask), (found.nodes, want.node_mask)):
        np.testing.assert_allclose(got, mask.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_masks_are_pygs(problem, engine, monkeypatch):
    """From the same first masks, and charged from the first step on, both learn the same."""
    pyg = pyg_explain()
    g, model, store, net, x, ends = problem
    label = int(net(x, ends)[4].argmax())
    found = gnn.explain(
        model, store, g, lambda y: mg.log_softmax(y[4])[label], method="gnn_explainer", steps=40,
        engine=engine,
    )  # fmt: skip

    class Charged(pyg.GNNExplainer):
        def _initialize_masks(self, *args):
            super()._initialize_masks(*args)
            self.hard_edge_mask = torch.tensor(found.edges != 0)
            self.hard_node_mask = torch.tensor(found.nodes != 0)

    monkeypatch.setattr(torch, "randn", lambda *shape, device=None: torch.zeros(*shape))
    explainer = pyg.Explainer(
        net, Charged(epochs=40, lr=0.01), explanation_type="model", node_mask_type="attributes",
        edge_mask_type="object", model_config=CLASSES,
    )  # fmt: skip
    want = explainer(x, ends, index=4)
    np.testing.assert_allclose(found.edges, want.edge_mask.numpy(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.nodes, want.node_mask.numpy(), rtol=1e-4, atol=1e-5)
    assert 0 < (found.edges == 0).sum() < 40  # what does not reach the node


def test_integrated_gradients_sum_to_the_difference(problem):
    g, model, store, *_ = problem
    found = gnn.explain(model, store, g, lambda y: y[4, 1], over=["nodes"])
    nothing = store.bind(model)(g.replace(nodes=np.zeros_like(g.nodes))).numpy()[4, 1]
    assert found.edges is None
    assert found.nodes.sum() == pytest.approx(found.value - nothing, abs=1e-4)
    assert found.node_scores.shape == (12,)


def test_padding_has_no_part_and_the_store_stays(problem):
    g, model, store, *_ = problem
    before = store.numpy()
    padded = gnn.batch([g], num_nodes=15, num_edges=50)
    for method in gnn.explanation.METHODS:
        of = gnn.Explainer(model, store, lambda y, node: y[node, 1], method=method, steps=3)
        small, large = of(g, np.int32(4)), of(padded, np.int32(4))
        np.testing.assert_allclose(large.edges[:40], small.edges, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(large.nodes[:12], small.nodes, rtol=1e-5, atol=1e-6)
        assert (large.edges[40:] == 0).all()
        assert (large.nodes[12:] == 0).all()
        np.testing.assert_array_equal(of(g, np.int32(4)).edges, small.edges)  # nothing lingers
    assert store.numpy().keys() == before.keys()
    assert all((store[k].numpy() == v).all() for k, v in before.items())


def test_several_relations_and_arrays(rng, engine):
    g = gnn.hetero_graph(
        {"user": {"age": rng.normal(size=(4, 3)), "id": np.arange(4)}, "item": rng.normal(size=(3, 3))},
        {("user", "buys", "item"): ([0, 1, 3], [2, 2, 0]), ("item", "of", "user"): ([0, 2], [1, 1])},
    )  # fmt: skip

    def model(scope, g):
        bought = gnn.neighbor_sum(g.index["user", "buys", "item"], g.nodes["user"]["age"])
        return gnn.neighbor_sum(g.index["item", "of", "user"], mg.sin(bought) * g.nodes["item"])

    found = gnn.explain(model, mg.Store(), g, lambda y: y[1, 0], method="saliency", engine=engine)
    assert found.edges["user", "buys", "item"].shape == (3,)
    assert (found.edges["item", "of", "user"] != 0).all()
    assert found.nodes["user"]["id"] is None
    assert found.node_scores["user"].tolist()[2] == 0
    step = 1e-6
    moved = g.nodes["item"].copy()
    moved[2, 0] += step
    value = lambda nodes: (
        mg.Store().bind(model, engine)(g.replace(nodes=g.nodes | {"item": nodes})).numpy()[1, 0]
    )
    slope = (value(moved) - value(g.nodes["item"])) / step
    assert found.nodes["item"][2, 0] == pytest.approx(abs(slope), rel=1e-4)


def test_explaining_through_pooling(rng):
    g = gnn.graph(rng.normal(size=(6, 3)).astype("float32"), [0, 1, 2, 3, 4], [1, 2, 3, 4, 5])

    def model(scope, g):
        left, *_ = gnn.top_k_pooling(scope / "top", g, g.nodes, 5)
        return gnn.global_add_pool(left, gnn.gcn_conv(scope / "gcn", left.index, left.nodes, 2))

    found = gnn.explain(model, mg.Store(seed=0), g, lambda y: y[0, 0], method="saliency")
    assert 3 <= (found.edges != 0).sum() < 5


def test_what_is_unknown_is_named_at_once(problem):
    g, model, store, *_ = problem
    with pytest.raises(mg.errors.ArgumentError) as e:
        gnn.explain(
            model, store, g, lambda y: y[0, 0], method="guess", over=["edge"],
            penalties={"size": 1.0},
        )  # fmt: skip
    for part in ("'guess'", "'edge'", "'size'", "gnn_explainer", "edge_size", __file__):
        assert part in str(e.value)
    with pytest.raises(mg.errors.MonographError, match="scalar"):
        gnn.explain(model, store, g, lambda y: y[0])


# ---- houses on a random graph (Ying et al. 2019, "BA-shapes")


def houses(nodes=150, count=40):
    """Senders, receivers, each node's role, and whether each edge is of a house."""
    nx = pytest.importorskip("networkx", reason="it makes the graph")
    rng = np.random.default_rng(0)
    pairs = [*nx.barabasi_albert_graph(nodes, 5, seed=0).edges]
    roles, of_house = [0] * nodes, [False] * len(pairs)
    for _ in range(count):
        first = len(roles)
        house = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 4)]
        pairs += [(first + a, first + b) for a, b in house]
        pairs.append((first + 3, int(rng.integers(nodes))))
        of_house += [True] * 6 + [False]
        roles += [1, 2, 2, 3, 3]
    a, b = np.asarray(pairs).T
    return np.r_[a, b], np.r_[b, a], np.asarray(roles, "int32"), np.asarray(of_house * 2)


def auc(scores, truth):
    """The chance that a true one scores higher than a false one, ties being half."""
    high, low = scores[truth][:, None], scores[~truth]
    return (high > low).mean() + (high == low).mean() / 2


@pytest.fixture(scope="module")
def trained():
    """The graph, which of its edges are of houses, and a GCN that knows every node's role by its place."""
    senders, receivers, roles, of_house = houses()
    g = gnn.graph(np.ones((len(roles), 5), "float32"), senders, receivers)
    _, places = gnn.edge_index(senders, receivers, len(roles))

    def model(scope, g):
        x, seen = g.nodes, []
        for i in range(3):
            x = mg.relu(gnn.gcn_conv(scope / f"gcn{i}", g.index, x, 20))
            seen.append(x)
        return nn.dense(scope / "roles", mg.concat(seen, axis=-1), 4)

    store, optimizer = mg.Store(seed=0), train.adam(0.005)

    def step(scope, g, roles):
        _, grads = scope.value_and_grad(lambda: mg.mean(mg.cross_entropy(model(scope, g), roles)))()
        optimizer(scope / "optimizer", grads)

    call = store.bind(step)
    for _ in range(600):
        call(g, roles)
    assert (store.bind(model)(g).numpy().argmax(1) == roles).mean() > 0.9
    return g, roles, of_house[places], model, store


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients"])
def test_a_role_in_a_house_rests_on_the_house(trained, method):
    g, roles, of_house, model, store = trained
    explain = gnn.Explainer(
        model, store, lambda y, node, role: y[node][role], method=method, steps=20
    )
    found = []
    for node in range(150, 250, 7):
        near = {node}
        for _ in range(3):  # layers
            reached = np.isin(g.index.receivers, [*near])
            near |= {*g.index.senders[reached].tolist()}
        edges = explain(g, np.int32(node), roles[node]).edges
        found.append(auc(np.abs(edges[reached]), of_house[reached]))
    assert np.mean(found) >= 0.9

"""Polynomials of the adjacency matrix, ARMA and Cluster-GCN against PyG's: results and all gradients."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")

WEIGHTED = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])


@pytest.fixture
def compared(agrees, engine, edges, rng):
    """A function that compares ours, ``(scope, index, x, weights) -> y``, and a torch module."""
    index, places = gnn.edge_index(*edges, 20)
    x = rng.normal(size=(20, 7)).astype("float32")
    w = rng.uniform(0.5, 1.5, 50).astype("float32")

    def compare(weighted, ours, module, weights, **kwargs):
        agrees(
            engine,
            lambda scope, x, *w: ours(scope, index, x, w[0][places] if w else None),
            [x, w] if weighted else [x],
            weights,
            lambda x, *w: module(x, torch.tensor(np.stack(edges)), *w, **kwargs),
        )

    return compare


@WEIGHTED
@pytest.mark.parametrize("normalize", [True, False])
def test_appnp(pyg, compared, weighted, normalize):
    module = pyg.APPNP(4, 0.2, normalize=normalize)
    ours = lambda scope, index, x, w: gnn.appnp(
        scope, index, x, 4, 0.2, edge_weight=w, normalize=normalize
    )
    compared(weighted, ours, module, {})


@WEIGHTED
@pytest.mark.parametrize("channels", [5, 9], ids=["narrower", "wider"])
def test_sg(pyg, compared, shaken, weighted, channels):
    module = shaken(pyg.SGConv(7, channels, K=2))
    weights = {"": module.lin}
    ours = lambda scope, index, x, w: gnn.sg_conv(scope, index, x, channels, k=2, edge_weight=w)
    compared(weighted, ours, module, weights)


@WEIGHTED
@pytest.mark.parametrize("normalize", [True, False])
def test_tag(pyg, compared, shaken, weighted, normalize):
    module = shaken(pyg.TAGConv(7, 5, K=2, normalize=normalize))
    weights = {"bias": module.bias}
    for i, linear in enumerate(module.lins):
        weights |= {str(i): linear}
    ours = lambda scope, index, x, w: gnn.tag_conv(
        scope, index, x, 5, k=2, edge_weight=w, normalize=normalize
    )
    compared(weighted, ours, module, weights)


@WEIGHTED
@pytest.mark.parametrize("normalization", ["sym", "rw", None])
@pytest.mark.parametrize("k", [1, 4])
def test_cheb(pyg, compared, shaken, weighted, normalization, k):
    module = shaken(pyg.ChebConv(7, 5, k, normalization=normalization))
    weights = {"bias": module.bias}
    for i, linear in enumerate(module.lins):
        weights |= {str(i): linear}
    ours = lambda scope, index, x, w: gnn.cheb_conv(
        scope, index, x, 5, k, edge_weight=w, normalization=normalization
    )
    if k > 1 or not weighted:  # else PyG has no gradient for the weights
        compared(weighted, ours, module, weights)


@pytest.mark.parametrize("per_graph", [False, True])
def test_cheb_with_eigenvalues(pyg, compared, shaken, per_graph):
    of = np.repeat([0, 1], [17, 3])  # no edge leads to the last three
    values = np.float32([1.5, 2.5])
    module = shaken(pyg.ChebConv(7, 5, 3))
    weights = {"bias": module.bias}
    for i, linear in enumerate(module.lins):
        weights |= {str(i): linear}
    given = values[of] if per_graph else 1.5
    ours = lambda scope, index, x, w: gnn.cheb_conv(scope, index, x, 5, 3, lambda_max=given)
    theirs = dict(batch=torch.tensor(of), lambda_max=torch.tensor(values if per_graph else 1.5))
    compared(False, ours, module, weights, **theirs)


def test_cluster_gcn(pyg, compared, shaken):
    module = shaken(pyg.ClusterGCNConv(7, 5, diag_lambda=0.4))
    weights = {"neighbor": module.lin_out} | {"root": module.lin_root}
    ours = lambda scope, index, x, w: gnn.cluster_gcn_conv(scope, index, x, 5, diag_lambda=0.4)
    compared(False, ours, module, weights)


def test_cluster_gcn_with_loops_of_its_own(pyg, agrees, shaken, engine, edges, rng):
    """PyG's own takes only graphs with one at every node."""
    others = edges[0] != edges[1]
    ends = np.concatenate([np.stack(edges)[:, others], [np.arange(20)] * 2], axis=1)
    index, _ = gnn.edge_index(*ends, 20)
    module = shaken(pyg.ClusterGCNConv(7, 5, diag_lambda=0.4, add_self_loops=False))
    agrees(
        engine,
        lambda scope, x: gnn.cluster_gcn_conv(
            scope, index, x, 5, diag_lambda=0.4, add_self_loops=False
        ),
        [rng.normal(size=(20, 7)).astype("float32")],
        {"neighbor": module.lin_out} | {"root": module.lin_root},
        lambda x: module(x, torch.tensor(ends)),
    )


@WEIGHTED
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("layers", [1, 3])
def test_arma(pyg, compared, shaken, weighted, shared, layers):
    module = shaken(pyg.ARMAConv(7, 5, 2, layers, shared_weights=shared, act=torch.nn.Tanh()))
    weights = {"0/kernel": module.init_weight}
    steps = range(1 if shared else layers)
    for i in steps:
        weights[f"{i}/root_kernel"] = module.root_weight, lambda a, i=i: a[i]
        weights[f"{i}/bias"] = module.bias, lambda a, i=i: a[i, :, 0]
    if shared and layers > 1:
        weights["0/recurrent_kernel"] = module.weight, lambda a: a[0]
    for i in steps[1:]:
        weights[f"{i}/kernel"] = module.weight, lambda a, i=i: a[i - 1]
    ours = lambda scope, index, x, w: gnn.arma_conv(
        scope, index, x, 5, num_stacks=2, num_layers=layers, shared_weights=shared,
        activation="tanh", edge_weight=w,
    )  # fmt: skip
    compared(weighted, ours, module, weights)


@pytest.mark.parametrize("normalization", ["sym", "rw", None])
def test_chebyshev_of_nodes_without_edges_is_finite(engine, normalization):
    index, _ = gnn.edge_index([], [], 3)

    def loss(scope, x):
        call = lambda x: mg.sum(gnn.cheb_conv(scope, index, x, 2, 3, normalization=normalization))
        return mg.value_and_grad(call)(x)

    for value in mg.Store(seed=0).bind(loss, engine)(np.ones((3, 4), "float32")):
        assert np.isfinite(value.numpy()).all()

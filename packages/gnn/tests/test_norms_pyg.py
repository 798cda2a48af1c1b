"""Norms over graphs against PyG's, in batches with an empty graph, a single node, and padding."""

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")

SIZES = (5, 1, 0, 7)
N = sum(SIZES)
same = lambda a: a


@pytest.fixture
def graphs():
    """Those of `SIZES`, with four nodes of padding and a graph."""
    parts = [gnn.graph(np.zeros((n, 1), "float32"), [], []) for n in SIZES]
    return gnn.batch(parts, num_nodes=N + 4, num_graphs=6)


@pytest.fixture
def of():
    """The graph of each node, for PyG."""
    return torch.tensor(np.repeat(np.arange(4), SIZES))


def padded(x):
    """With rows that must not count."""
    return mg.concat([x, mg.full((4, *x.shape[1:]), 1e3, dtype=x.dtype)])


def features(rng, width=6):
    return rng.normal(2, 3, (N, width)).astype("float32")


def affine(module):
    for p in (module.weight, module.bias):
        torch.nn.init.normal_(p)
    return {"gamma": (module.weight, same), "beta": (module.bias, same)}


def test_graph_norm(pyg, agrees, engine, graphs, of, rng):
    module = pyg.GraphNorm(6)
    torch.nn.init.normal_(module.mean_scale)
    weights = affine(module) | {"mean_scale": (module.mean_scale, same)}
    agrees(
        engine, lambda scope, x: gnn.graph_norm(scope, graphs, padded(x))[:N], [features(rng)],
        weights, lambda x: module(x, of, 4),
    )  # fmt: skip


@pytest.mark.parametrize("with_affine", [True, False], ids=["affine", "plain"])
@pytest.mark.parametrize("kind", ["LayerNorm", "InstanceNorm"])
def test_layer_and_instance_norm(pyg, agrees, engine, graphs, of, rng, kind, with_affine):
    module = getattr(pyg, kind)(6, affine=with_affine)
    layer = {"LayerNorm": gnn.graph_layer_norm, "InstanceNorm": gnn.graph_instance_norm}[kind]
    agrees(
        engine,
        lambda scope, x: layer(scope, graphs, padded(x), scale=with_affine, center=with_affine)[:N],
        [features(rng)],
        affine(module) if with_affine else {},
        lambda x: module(x, of, 4),
        3e-5,  # a graph of one node: 1 / sqrt(epsilon) of what rounding leaves
    )


@pytest.mark.parametrize("individually", [False, True])
@pytest.mark.parametrize("scale", [1.0, 2.5])
def test_pair_norm(pyg, agrees, engine, graphs, of, rng, scale, individually):
    module = pyg.PairNorm(scale, individually)
    agrees(
        engine,
        lambda scope, x: gnn.pair_norm(
            scope, graphs, padded(x), scale=scale, scale_individually=individually
        )[:N],
        [features(rng)],
        {},
        lambda x: module(x, of, 4),
    )


@pytest.mark.parametrize("kind", ["MeanSubtractionNorm", "GraphSizeNorm"])
def test_norms_without_options(pyg, agrees, engine, graphs, of, rng, kind):
    module = getattr(pyg, kind)()
    layer = gnn.graph_size_norm if kind == "GraphSizeNorm" else gnn.mean_subtraction_norm
    agrees(
        engine, lambda scope, x: layer(scope, graphs, padded(x))[:N], [features(rng)], {},
        lambda x: module(x, of, 4),
    )  # fmt: skip


@pytest.mark.parametrize("learn", [False, True])
def test_message_norm(pyg, agrees, engine, rng, learn):
    module = pyg.MessageNorm(learn)
    x, messages = features(rng), features(rng, 3)
    x[2], messages[4] = 0, 0
    agrees(
        engine, lambda scope, x, m: gnn.message_norm(scope, x, m, learn_scale=learn),
        [x, messages], {"scale": (module.scale, same)} if learn else {}, module,
    )  # fmt: skip


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_diff_group_norm(pyg, agrees, engine, graphs, rng, training):
    module = pyg.DiffGroupNorm(6, 3, lamda=0.7).train(training)
    weights = {f"norm/{k}": v for k, v in affine(module.norm).items()}
    agrees(
        engine,
        lambda scope, x: gnn.diff_group_norm(
            scope, graphs, padded(x), 3, lamda=0.7, training=training
        )[:N],
        [features(rng)],
        weights | {"assignment/kernel": (module.lin.weight, np.transpose)},
        module,
    )


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_batch_norm_leaves_out_padding(pyg, agrees, engine, graphs, rng, training):
    module = pyg.BatchNorm(6).train(training)
    agrees(
        engine,
        lambda scope, x: nn.batch_norm(
            scope, padded(x), mask=graphs.node_mask, training=training, epsilon=1e-5
        )[:N],
        [features(rng)],
        affine(module.module),
        module,
    )


def test_batch_norm_moves_as_pygs(pyg, engine, graphs, rng):
    module, x = pyg.BatchNorm(6).train(), features(rng)
    module(torch.tensor(x))
    store = mg.Store()
    store.bind(
        lambda scope, x: nn.batch_norm(
            scope, x, mask=graphs.node_mask, training=True, momentum=0.9, unbiased=True
        ),
        engine,
    )(padded(mg.asarray(x)))
    for ours, theirs in (("moving_mean", "running_mean"), ("moving_variance", "running_var")):
        want = getattr(module.module, theirs).numpy()
        np.testing.assert_allclose(store[ours].numpy(), want, rtol=1e-5)

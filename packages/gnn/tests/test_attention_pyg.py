"""GATv2, SuperGAT and the graph transformer against PyG's: results and all gradients."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")

first = lambda a: a[0]
PAIR_EDGES = np.random.default_rng(1).integers(0, [[9], [6]], (2, 30))


def floats(rng, *shape):
    return rng.normal(size=shape).astype("float32")


def tensor_of(edges):
    return torch.tensor(np.stack(edges))


def gatv2_weights(module):
    return {
        "sender": module.lin_l, "receiver": None if module.share_weights else module.lin_r,
        "attention": (module.att, first), "bias": module.bias, "edge": module.lin_edge,
        "residual": module.res,
    }  # fmt: skip


GATV2 = {
    "plain": {},
    "edge-features": dict(edge_dim=4, residual=True),
    "mean-shared": dict(concat=False, share_weights=True, residual=True),
    "no-loops": dict(add_self_loops=False, bias=False, negative_slope=0.3),
}


@pytest.mark.parametrize("options", GATV2.values(), ids=GATV2)
def test_gatv2(pyg, agrees, shaken, engine, edges, rng, options):
    index, places = gnn.edge_index(*edges, 20)
    module = shaken(pyg.GATv2Conv(7, 5, heads=3, **options))
    known = "edge_dim" in options
    ours = {{"bias": "use_bias"}.get(k, k): v for k, v in options.items() if k != "edge_dim"}
    agrees(
        engine,
        lambda scope, x, *e: gnn.gatv2_conv(
            scope, index, x, 5, heads=3, edges=e[0][places] if known else None, **ours
        ),
        [floats(rng, 20, 7), *([floats(rng, 50, 4)] if known else [])],
        gatv2_weights(module),
        lambda x, *e: module(x, tensor_of(edges), *e),
    )


def test_gatv2_between_nodes_of_two_kinds(pyg, agrees, shaken, engine, rng):
    index, _ = gnn.edge_index(*PAIR_EDGES, 6, 9)
    module = pyg.GATv2Conv((7, 3), 5, heads=2, add_self_loops=False, residual=True)
    agrees(
        engine,
        lambda scope, a, b: gnn.gatv2_conv(scope, index, (a, b), 5, heads=2, residual=True),
        [floats(rng, 9, 7), floats(rng, 6, 3)],
        gatv2_weights(shaken(module)),
        lambda a, b: module((a, b), tensor_of(PAIR_EDGES)),
    )


TRANSFORMER = {
    "plain": {},
    "edge-features": dict(edge_dim=4, beta=True),
    "mean": dict(concat=False, beta=True, bias=False),
    "neighbors-alone": dict(root_weight=False, edge_dim=4),
}


@pytest.mark.parametrize("options", TRANSFORMER.values(), ids=TRANSFORMER)
def test_transformer(pyg, agrees, shaken, engine, edges, rng, options):
    index, places = gnn.edge_index(*edges, 20)
    module = shaken(pyg.TransformerConv(7, 5, heads=3, **options))
    parts = dict(query="query", key="key", value="value", root="skip", edge="edge", beta="beta")
    if not module.root_weight:
        del parts["root"]
    weights = {name: getattr(module, f"lin_{part}") for name, part in parts.items()}
    known = "edge_dim" in options
    ours = {{"bias": "use_bias"}.get(k, k): v for k, v in options.items() if k != "edge_dim"}
    agrees(
        engine,
        lambda scope, x, *e: gnn.transformer_conv(
            scope, index, x, 5, heads=3, edges=e[0][places] if known else None, **ours
        ),
        [floats(rng, 20, 7), *([floats(rng, 50, 4)] if known else [])],
        weights,
        lambda x, *e: module(x, tensor_of(edges), *e),
    )


def test_transformer_between_nodes_of_two_kinds(pyg, agrees, shaken, engine, rng):
    index, _ = gnn.edge_index(*PAIR_EDGES, 6, 9)
    module = shaken(pyg.TransformerConv((7, 3), 5, heads=2))
    parts = dict(query="query", key="key", value="value", root="skip")
    weights = {name: getattr(module, f"lin_{part}") for name, part in parts.items()}
    agrees(
        engine,
        lambda scope, a, b: gnn.transformer_conv(scope, index, (a, b), 5, heads=2),
        [floats(rng, 9, 7), floats(rng, 6, 3)],
        weights,
        lambda a, b: module((a, b), tensor_of(PAIR_EDGES)),
    )


@pytest.mark.parametrize("kind", ["MX", "SD"])
@pytest.mark.parametrize("concat", [True, False], ids=["side-by-side", "mean"])
def test_supergat(pyg, agrees, shaken, engine, edges, rng, kind, concat):
    """Results, and in training the loss of telling edges from others, as a part of what is summed."""
    index, _ = gnn.edge_index(*edges, 20)
    others = rng.integers(0, 20, (2, 15))
    negatives, _ = gnn.edge_index(*others, 20)
    module = shaken(pyg.SuperGATConv(7, 5, heads=3, concat=concat, attention_type=kind))
    weights = {"": module.lin, "bias": module.bias}
    if kind == "MX":
        weights["attention_sender"] = module.att_l, first
        weights["attention_receiver"] = module.att_r, first

    def ours(scope, x):
        y = gnn.supergat_conv(
            scope, index, x, 5, heads=3, concat=concat, attention_type=kind, negatives=negatives,
            training=True, loss_weight=0.5,
        )  # fmt: skip
        return y + scope.losses[0]

    def theirs(x):
        y = module(x, tensor_of(edges), neg_edge_index=torch.tensor(others))
        return y + 0.5 * module.get_attention_loss()

    agrees(engine, ours, [floats(rng, 20, 7)], weights, theirs)


@pytest.mark.parametrize("layer", [gnn.gatv2_conv, gnn.transformer_conv])
def test_attention_comes_back(edges, rng, layer):
    index, _ = gnn.edge_index(*edges, 20)
    call = mg.Store(seed=0).bind(
        lambda scope, x: layer(scope, index, x, 5, heads=2, return_attention=True), "numpy"
    )
    y, (along, weights) = call(floats(rng, 20, 7))
    total = np.zeros((20, 2), "float32")
    np.add.at(total, along.receivers.numpy(), weights.numpy())
    some = np.diff(along.offsets.numpy()) > 0
    np.testing.assert_allclose(total[some], 1, rtol=1e-5)
    assert y.shape == (20, 10) and (total[~some] == 0).all()

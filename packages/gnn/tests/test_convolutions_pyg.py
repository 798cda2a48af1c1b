"""GraphSAGE, GIN, NNConv, EdgeConv and gated convolutions against PyG's: results and all gradients."""

import monograph as mg
import monograph_gnn as gnn
import monograph_layers as nn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")

PAIR_EDGES = np.random.default_rng(1).integers(0, [[9], [6]], (2, 30))


def floats(rng, *shape):
    return rng.normal(size=shape).astype("float32")


def tensor_of(edges):
    return torch.tensor(np.stack(edges))


def network(units):
    """Two dense layers and what they are in torch."""

    def ours(scope, x):
        x = nn.dense(scope / "0", x, 6, activation="tanh")
        return nn.dense(scope / "1", x, units)

    def theirs(width):
        return torch.nn.Sequential(
            torch.nn.Linear(width, 6), torch.nn.Tanh(), torch.nn.Linear(6, units)
        )

    return ours, theirs


def network_weights(module):
    return {"network/0": module[0], "network/1": module[2]}


SAGE = {
    "mean": {},
    "max-normalized": dict(aggr="max", normalize=True),
    "sum-projected": dict(aggr="sum", project=True),
    "several": dict(aggr=["mean", "max"]),
    "neighbors-alone": dict(root_weight=False, bias=False),
}


@pytest.mark.parametrize("channels", [5, 9], ids=["narrower", "wider"])
@pytest.mark.parametrize("options", SAGE.values(), ids=SAGE)
def test_sage(pyg, agrees, shaken, engine, edges, rng, options, channels):
    index, _ = gnn.edge_index(*edges, 20)
    module = shaken(pyg.SAGEConv(7, channels, **options))
    weights = {"neighbor": module.lin_l}
    weights |= {"root": getattr(module, "lin_r", None), "project": getattr(module, "lin", None)}
    names = {"aggr": "how", "bias": "use_bias"}
    ours = {names.get(k, k): v for k, v in options.items()}
    agrees(
        engine,
        lambda scope, x: gnn.sage_conv(scope, index, x, channels, **ours),
        [floats(rng, 20, 7)],
        weights,
        lambda x: module(x, tensor_of(edges)),
    )


PAIRS = {
    "sage": (gnn.sage_conv, "SAGEConv", dict(neighbor="lin_l", root="lin_r")),
    "graph": (gnn.graph_conv, "GraphConv", dict(neighbor="lin_rel", root="lin_root")),
    "le": (gnn.le_conv, "LEConv", dict(neighbor="lin1", difference="lin2", root="lin3")),
}


@pytest.mark.parametrize("layer, theirs, parts", PAIRS.values(), ids=PAIRS)
def test_between_nodes_of_two_kinds(pyg, agrees, shaken, engine, rng, layer, theirs, parts):
    index, _ = gnn.edge_index(*PAIR_EDGES, 6, 9)
    module = shaken(getattr(pyg, theirs)((7, 3), 5))
    weights = {name: getattr(module, part) for name, part in parts.items()}
    agrees(
        engine,
        lambda scope, a, b: layer(scope, index, (a, b), 5),
        [floats(rng, 9, 7), floats(rng, 6, 3)],
        weights,
        lambda a, b: module((a, b), tensor_of(PAIR_EDGES)),
    )


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("name", ["graph", "le"])
def test_weighted(pyg, agrees, shaken, engine, edges, rng, name, weighted):
    layer, theirs, parts = PAIRS[name]
    index, places = gnn.edge_index(*edges, 20)
    module = shaken(getattr(pyg, theirs)(7, 5))
    weights = {name: getattr(module, part) for name, part in parts.items()}
    agrees(
        engine,
        lambda scope, x, *w: layer(scope, index, x, 5, edge_weight=w[0][places] if w else None),
        [floats(rng, 20, 7), *([floats(rng, 50)] if weighted else [])],
        weights,
        lambda x, *w: module(x, tensor_of(edges), *w),
    )


@pytest.mark.parametrize("train_eps", [False, True])
def test_gin(pyg, agrees, shaken, engine, edges, rng, train_eps):
    index, _ = gnn.edge_index(*edges, 20)
    ours, theirs = network(5)
    module = pyg.GINConv(theirs(7), eps=0.3, train_eps=train_eps)
    module = shaken(module) if train_eps else module
    weights = network_weights(module.nn) | ({"eps": module.eps} if train_eps else {})
    agrees(
        engine,
        lambda scope, x: gnn.gin_conv(scope, index, x, ours, eps=0.3, train_eps=train_eps),
        [floats(rng, 20, 7)],
        weights,
        lambda x: module(x, tensor_of(edges)),
    )


@pytest.mark.parametrize("width", [7, 4], ids=["as-wide", "projected"])
def test_gine(pyg, agrees, shaken, engine, edges, rng, width):
    index, places = gnn.edge_index(*edges, 20)
    ours, theirs = network(5)
    projected = width != 7
    module = pyg.GINEConv(theirs(7), edge_dim=width if projected else None, train_eps=True)
    shaken(module)
    weights = network_weights(module.nn) | {"eps": module.eps}
    weights |= {"edge": module.lin} if projected else {}
    agrees(
        engine,
        lambda scope, x, e: gnn.gine_conv(
            scope, index, x, ours, edges=e[places], train_eps=True, project_edges=projected
        ),
        [floats(rng, 20, 7), floats(rng, 50, width)],
        weights,
        lambda x, e: module(x, tensor_of(edges), e),
    )


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
def test_nn(pyg, agrees, shaken, engine, edges, rng, how):
    index, places = gnn.edge_index(*edges, 20)
    ours, theirs = network(7 * 5)
    module = shaken(pyg.NNConv(7, 5, theirs(4), aggr=how, root_weight=how != "max"))
    weights = network_weights(module.nn) | {"bias": module.bias}
    weights |= {"root": module.lin} if how != "max" else {}
    agrees(
        engine,
        lambda scope, x, e: gnn.nn_conv(
            scope, index, x, 5, ours, edges=e[places], how=how, root_weight=how != "max"
        ),
        [floats(rng, 20, 7), floats(rng, 50, 4)],
        weights,
        lambda x, e: module(x, tensor_of(edges), e),
    )


@pytest.mark.parametrize("how", ["max", "mean"])
def test_edge(pyg, agrees, shaken, engine, edges, rng, how):
    index, _ = gnn.edge_index(*edges, 20)
    ours, theirs = network(5)
    module = shaken(pyg.EdgeConv(theirs(14), aggr=how))
    agrees(
        engine,
        lambda scope, x: gnn.edge_conv(scope, index, x, ours, how=how),
        [floats(rng, 20, 7)],
        network_weights(module.nn),
        lambda x: module(x, tensor_of(edges)),
    )


def test_dynamic_edge(pyg, agrees, shaken, engine, rng):
    """PyG's own needs a compiled library: its EdgeConv on a graph that torch finds is the reference."""
    of = np.repeat([0, 1, 2], [8, 9, 3])
    x = floats(rng, 20, 7)
    ours, theirs = network(5)
    module = shaken(pyg.EdgeConv(theirs(14)))
    ends = [(j, i) for i in range(20) for j in nearest(x, i, 4, of)]
    agrees(
        engine,
        lambda scope, x: gnn.dynamic_edge_conv(scope, x, ours, 4, node_graph=of),
        [x],
        network_weights(module.nn),
        lambda x: module(x, torch.tensor(ends).T),
    )


def nearest(x, i, k, of):
    others = np.flatnonzero(of == of[i])
    far = ((x[others].astype("float64") - x[i]) ** 2).sum(axis=1)
    return others[np.argsort(far, kind="stable")[:k]]


@pytest.mark.parametrize("known", [True, False], ids=["known", "traced"])
def test_nearest_neighbors(engine, rng, known):
    x, of = floats(rng, 20, 3) + 1e3, np.repeat([0, 1, 2], [8, 9, 3])
    find = lambda x: gnn.nearest_neighbors(x, 4, node_graph=of, loops=False)
    index = find(x) if known else mg.jit(find).on(engine)(x)
    real = int(index.offsets[-1])
    assert index.num_edges == 80 and real == 8 * 4 + 9 * 4 + 3 * 2
    got = [*zip(index.senders.tolist(), index.receivers.tolist())]
    want = [(j, i) for i in range(20) for j in nearest(x, i, 5, of) if i != j]
    assert sorted(got[:real]) == sorted(want) and set(got[real:]) == {(20, 20)}


@pytest.mark.parametrize("how", ["sum", "max"])
def test_gated_graph(pyg, agrees, shaken, engine, edges, rng, how):
    index, places = gnn.edge_index(*edges, 20)
    module = shaken(pyg.GatedGraphConv(9, 3, aggr=how))
    rnn = module.rnn
    agrees(
        engine,
        lambda scope, x, w: gnn.gated_graph_conv(
            scope, index, x, 9, 3, edge_weight=w[places], how=how
        ),
        [floats(rng, 20, 7), floats(rng, 50)],
        {
            "kernel": module.weight,
            "gru/kernel": (rnn.weight_ih, lambda a: gates(a).T),
            "gru/recurrent_kernel": (rnn.weight_hh, lambda a: gates(a).T),
            "gru/bias": ([rnn.bias_ih, rnn.bias_hh], lambda a: np.stack([*map(gates, a)])),
        },
        lambda x, w: module(x, tensor_of(edges), w),
    )


def gates(a):
    """Torch's rows for the gates r, z, n in the order z, r, n."""
    r, z, n = np.split(a, 3)
    return np.concatenate([z, r, n])


@pytest.mark.parametrize("known", [False, True], ids=["plain", "edge-features"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_res_gated_graph(pyg, agrees, shaken, engine, edges, rng, known, activation):
    index, places = gnn.edge_index(*edges, 20)
    act = {"sigmoid": torch.nn.Sigmoid(), "tanh": torch.nn.Tanh()}[activation]
    module = shaken(pyg.ResGatedGraphConv(7, 5, act=act, edge_dim=4 if known else None))
    weights = {"root": module.lin_skip, "bias": module.bias}
    for name in ("key", "query", "value"):
        weights |= {name: getattr(module, f"lin_{name}")}
    agrees(
        engine,
        lambda scope, x, *e: gnn.res_gated_graph_conv(
            scope, index, x, 5, edges=e[0][places] if e else None, activation=activation
        ),
        [floats(rng, 20, 7), *([floats(rng, 50, 4)] if known else [])],
        weights,
        lambda x, *e: module(x, tensor_of(edges), *e),
    )


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch-norm"])
def test_cg(pyg, agrees, shaken, engine, edges, rng, norm):
    index, places = gnn.edge_index(*edges, 20)
    module = shaken(pyg.CGConv(7, dim=4, aggr="mean", batch_norm=norm))
    weights = {"gate": module.lin_f, "core": module.lin_s}
    if norm:
        weights["norm"] = module.bn

    def ours(scope, x, e):
        return gnn.cg_conv(
            scope, index, x, edges=e[places], how="mean", batch_norm=norm, training=True
        )

    agrees(
        engine, ours, [floats(rng, 20, 7), floats(rng, 50, 4)], weights,
        lambda x, e: module(x, tensor_of(edges), e),
    )  # fmt: skip


@pytest.mark.parametrize("relations", [1, 3])
@pytest.mark.parametrize("given", [False, True], ids=["dense", "network"])
def test_film(pyg, agrees, shaken, engine, edges, rng, relations, given):
    types = rng.integers(0, relations, 50)
    senders, receivers = edges
    indices = [
        gnn.edge_index(senders[types == r], receivers[types == r], 20)[0] for r in range(relations)
    ]
    ours, theirs = network(10)
    module = shaken(pyg.FiLMConv(7, 5, relations, nn=theirs(7) if given else None))
    film = lambda path, m: {f"{path}/0": m[0]} | {f"{path}/1": m[2]} if given else {path: m}
    weights = {"root": module.lin_skip} | film("root_film", module.film_skip)
    for i, (linear, part) in enumerate(zip(module.lins, module.films)):
        weights |= {str(i): linear} | film(f"{i}/film", part)
    agrees(
        engine,
        lambda scope, x: gnn.film_conv(
            scope, indices if relations > 1 else indices[0], x, 5, network=ours if given else None
        ),
        [floats(rng, 20, 7)],
        weights,
        lambda x: module(x, tensor_of(edges), torch.tensor(types)),
    )


GEN = {
    "softmax": dict(aggr="softmax", learn_t=True, t=0.5),
    "softmax_sg": dict(aggr="softmax_sg", t=2.0, norm="layer"),
    "power": dict(aggr="power", learn_p=True, p=1.5, norm=None),
    "max": dict(aggr="max", msg_norm=True, learn_msg_scale=True, num_layers=3, bias=True),
    "several": dict(aggr=["mean", "max"]),
}


@pytest.mark.parametrize("options", GEN.values(), ids=GEN)
def test_gen(pyg, agrees, shaken, engine, edges, rng, options):
    index, places = gnn.edge_index(*edges, 20)
    module = pyg.GENConv(7, 5, edge_dim=4, **options)
    shaken(module)
    weights, parts = {}, dict(sender="src", edge="edge", receiver="dst", aggregated="aggr_out")
    for name, part in parts.items():
        weights[name] = getattr(module, f"lin_{part}", None)
    for name, parameter in (("t", "t"), ("p", "p")):
        value = getattr(module.aggr_module, parameter, None)
        weights |= {name: value} if isinstance(value, torch.nn.Parameter) else {}
    if options.get("msg_norm"):
        weights["scale"] = module.msg_norm.scale
    inner = [m for m in module.mlp if type(m).__name__ == "Linear"]
    norms = [m for m in module.mlp if isinstance(m, (torch.nn.BatchNorm1d, torch.nn.LayerNorm))]
    for i, linear in enumerate(inner):
        weights |= {f"mlp/{i}": linear}
    for i, norm in enumerate(norms):
        weights[f"mlp/{i}/norm"] = norm
    names = {"aggr": "how", "bias": "use_bias"}
    ours = {names.get(k, k): v for k, v in options.items()}
    agrees(
        engine,
        lambda scope, x, e: gnn.gen_conv(
            scope, index, x, 5, edges=e[places], training=True, **ours
        ),
        [floats(rng, 20, 7), floats(rng, 50, 4)],
        weights,
        lambda x, e: module(x, tensor_of(edges), e),
    )


def edge_pairs():
    """Layers with edge features between two kinds of nodes: ours, PyG's, what its parameters are."""
    ours, theirs = network(7 * 5)
    inner, theirs_inner = network(5)
    gate = lambda m: {"gate": m.lin_f, "core": m.lin_s}
    gated = lambda m: {
        "key": m.lin_key, "query": m.lin_query, "value": m.lin_value, "root": m.lin_skip,
        "bias": m.bias,
    }  # fmt: skip
    generalised = lambda m: {
        "sender": m.lin_src, "edge": m.lin_edge, "receiver": m.lin_dst, "mlp/0": m.mlp[0],
        "mlp/0/norm": m.mlp[1], "mlp/1": m.mlp[4],
    }  # fmt: skip
    return {
        "nn": (
            3,
            lambda s, i, x, e: gnn.nn_conv(s, i, x, 5, ours, edges=e),
            lambda conv: conv.NNConv((7, 3), 5, theirs(4)),
            lambda m: network_weights(m.nn) | {"root": m.lin, "bias": m.bias},
        ),
        "gine": (
            7,
            lambda s, i, x, e: gnn.gine_conv(s, i, x, inner, edges=e, project_edges=True),
            lambda conv: conv.GINEConv(theirs_inner(7), edge_dim=4),
            lambda m: network_weights(m.nn) | {"edge": m.lin},
        ),
        "res_gated_graph": (
            3,
            lambda s, i, x, e: gnn.res_gated_graph_conv(s, i, x, 5, edges=e),
            lambda conv: conv.ResGatedGraphConv((7, 3), 5, edge_dim=4),
            gated,
        ),
        "cg": (
            3,
            lambda s, i, x, e: gnn.cg_conv(s, i, x, edges=e),
            lambda conv: conv.CGConv((7, 3), dim=4),
            gate,
        ),
        "gen": (
            3,
            lambda s, i, x, e: gnn.gen_conv(s, i, x, 5, edges=e, training=True),
            lambda conv: conv.GENConv((7, 3), 5, edge_dim=4),
            generalised,
        ),
    }


@pytest.mark.parametrize("width, ours, theirs, weights", edge_pairs().values(), ids=edge_pairs())
def test_with_edge_features_between_nodes_of_two_kinds(
    pyg, agrees, shaken, engine, rng, width, ours, theirs, weights
):
    index, places = gnn.edge_index(*PAIR_EDGES, 6, 9)
    module = shaken(theirs(pyg))
    agrees(
        engine,
        lambda scope, a, b, e: ours(scope, index, (a, b), e[places]),
        [floats(rng, 9, 7), floats(rng, 6, width), floats(rng, 30, 4)],
        weights(module),
        lambda a, b, e: module((a, b), tensor_of(PAIR_EDGES), e),
    )


MISFITS = {
    "gat": lambda s, i, x, e: gnn.gat_conv(s, i, x, 2, edges=e, add_self_loops=False),
    "gat-loops": lambda s, i, x, e: gnn.gat_conv(s, i, x, 2, edges=e),
    "gatv2": lambda s, i, x, e: gnn.gatv2_conv(s, i, x, 2, edges=e, add_self_loops=False),
    "transformer": lambda s, i, x, e: gnn.transformer_conv(s, i, x, 2, edges=e),
    "gine": lambda s, i, x, e: gnn.gine_conv(s, i, x, lambda s, x: x, edges=e),
    "nn": lambda s, i, x, e: gnn.nn_conv(s, i, x, 1, lambda s, e: e, edges=e),
    "cg": lambda s, i, x, e: gnn.cg_conv(s, i, x, edges=e),
    "d_mpnn": lambda s, i, x, e: gnn.d_mpnn(s, i, x, 2, edges=e),
}


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("layer", MISFITS.values(), ids=MISFITS)
def test_a_row_is_needed_for_each_edge(layer, rows):
    """One row, too, which would broadcast."""
    index, _ = gnn.edge_index([0, 1], [1, 2], 3)
    with pytest.raises(mg.errors.ShapeError, match="must have 2 rows, one for each of EdgeIndex"):
        mg.Store(seed=0).bind(lambda scope, *xs: layer(scope, index, *xs), "numpy")(
            np.ones((3, 4), "float32"), np.ones((rows, 4), "float32")
        )


def test_what_does_not_fit_is_named():
    index, _ = gnn.edge_index([0, 1], [1, 2], 3)
    x, e = np.ones((3, 4), "float32"), np.ones((2, 3), "float32")
    same = lambda scope, x: x
    for pattern, layer in {
        "project_edges=True": lambda s: gnn.gine_conv(s, index, x, same, edges=e),
        r"4 \* 2.*gave \(2, 3\)": lambda s: gnn.nn_conv(s, index, x, 2, same, edges=e),
        "4 features do not fit into 3": lambda s: gnn.gated_graph_conv(s, index, x, 3, 1),
        "norm='group'": lambda s: gnn.gen_conv(s, index, x, 4, norm="group"),
        "k=0": lambda s: gnn.nearest_neighbors(x, 0),
    }.items():
        with pytest.raises(mg.errors.MonographError, match=pattern):
            mg.Store(seed=0).bind(layer, "numpy")()

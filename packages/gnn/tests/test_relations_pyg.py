"""R-GCN, HGT, HAN and the wrapper of layers against PyG's: results and all gradients, weights copied."""

import warnings

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")

same = lambda a: a
first = lambda a: a[0]
NODES, RELATIONS = 20, 4


@pytest.fixture
def edges(rng):
    """Senders, receivers and types: nodes and a relation (2) without edges, one edge twice."""
    ends = rng.integers(0, 17, (2, 50))
    ends[:, 3] = ends[:, 5]
    types = rng.choice([0, 1, 3], 50).astype("int32")
    types[3] = types[5]
    return *ends, types


def tensor_of(*ends):
    return torch.tensor(np.stack(ends))


def rgcn_weights(module, bases=None, root=True):
    weights = {"kernel": (module.weight, same)}
    weights |= {"coefficients": (module.comp, same)} if bases else {}
    weights |= {"root_kernel": (module.root, same)} if root else {}
    return weights | ({"bias": (module.bias, same)} if module.bias is not None else {})


PARTS = [{}, {"bases": 3}, {"blocks": 2}]


@pytest.mark.parametrize(
    "known, fast", [(True, False), (False, True)], ids=["known-RGCNConv", "traced-FastRGCNConv"]
)
@pytest.mark.parametrize("parts", PARTS, ids=["full", "bases", "blocks"])
def test_rgcn(pyg, agrees, engine, edges, rng, parts, fast, known):
    *ends, types = edges
    index, places = gnn.edge_index(*ends, NODES)
    module = (pyg.FastRGCNConv if fast else pyg.RGCNConv)(
        6, 4, RELATIONS, **{f"num_{k}": n for k, n in parts.items()}
    )
    torch.nn.init.normal_(module.bias)

    def layer(scope, x):
        # ids that depend on an input are sorted as a part of the graph
        t = mg.asarray(types[places])
        t = t if known else t + mg.astype(x[0, 0] * 0, "int32")
        return gnn.rgcn_conv(scope, index, x, 4, types=t, relations=RELATIONS, **parts)

    agrees(
        engine, layer, [rng.normal(size=(NODES, 6)).astype("float32")],
        rgcn_weights(module, **{k: n for k, n in parts.items() if k == "bases"}),
        lambda x: module(x, tensor_of(*ends), torch.tensor(types, dtype=torch.long)),
    )  # fmt: skip


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
@pytest.mark.parametrize("parts", PARTS, ids=["full", "bases", "blocks"])
def test_rgcn_between_nodes_of_two_kinds(pyg, agrees, engine, edges, rng, parts, how):
    senders, receivers, types = edges
    receivers = receivers % 9
    index, places = gnn.edge_index(senders, receivers, 11, NODES)
    typed, _ = gnn.typed_index(index, types[places], RELATIONS)  # beforehand
    module = pyg.RGCNConv(
        (6, 5), 4, RELATIONS, aggr=how, bias=False, **{f"num_{k}": n for k, n in parts.items()}
    )
    agrees(
        engine,
        lambda scope, a, b: gnn.rgcn_conv(
            scope, typed, (a, b), 4, relations=RELATIONS, how=how, use_bias=False, **parts
        ),
        [rng.normal(size=s).astype("float32") for s in ((NODES, 6), (11, 5))],
        rgcn_weights(module, parts.get("bases")),
        lambda a, b: module((a, b), tensor_of(senders, receivers), torch.tensor(types).long()),
    )  # fmt: skip


@pytest.mark.parametrize("parts", PARTS[:2], ids=["full", "bases"])
def test_rgcn_of_nodes_of_which_nothing_is_known(pyg, agrees, engine, edges, parts):
    *ends, types = edges
    index, places = gnn.edge_index(*ends, NODES)
    module = pyg.RGCNConv(NODES, 4, RELATIONS, **{f"num_{k}": n for k, n in parts.items()})
    agrees(
        engine,
        lambda scope: gnn.rgcn_conv(
            scope, index, None, 4, types=types[places], relations=RELATIONS, **parts
        ),
        [],
        rgcn_weights(module, parts.get("bases")),
        lambda: module(None, tensor_of(*ends), torch.tensor(types).long()),
    )


# ---- several types of nodes

COUNTS = {"author": 7, "field": 4, "paper": 9}
WRITES, CITES, EMPTY, HAS = (
    ("author", "writes", "paper"), ("paper", "cites", "paper"), ("field", "of", "paper"),
    ("paper", "has", "field"),
)  # fmt: skip
TYPES = ["author", "field", "paper"]


@pytest.fixture
def hetero(rng):
    """A graph: nothing arrives at authors, a relation has no edges, some papers receive nothing."""

    def ends(relation, n):
        return tuple(rng.integers(0, COUNTS[k] - 2, n) for k in (relation[0], relation[2]))

    edges = {r: ends(r, n) for r, n in ((WRITES, 12), (CITES, 15), (EMPTY, 0), (HAS, 6))}
    return gnn.hetero_graph(COUNTS, edges)


def features(rng, width=8):
    return [rng.normal(size=(COUNTS[k], width)).astype("float32") for k in TYPES]


def theirs(graph):
    return {r: tensor_of(i.senders, i.receivers).long() for r, i in graph.index.items()}


def joined(out):
    """All types of a result as one array, in the order of their names."""
    assert sorted(out) == ["field", "paper"]
    cat = torch.cat if isinstance(out["paper"], torch.Tensor) else mg.concat
    return cat([out[k] for k in sorted(out)])


@pytest.mark.parametrize("channels", [8, 12], ids=["skip", "no-skip"])
def test_hgt(pyg, agrees, engine, hetero, rng, channels):
    module = pyg.HGTConv(8, channels, (TYPES, list(hetero.index)), heads=2)
    for p in module.parameters():
        torch.nn.init.normal_(p, 0, 0.4)
    weights = {}
    for k in TYPES:
        lin = module.kqv_lin.lins[k]
        weights |= {
            f"{k}/kqv/kernel": (lin.weight, np.transpose),
            f"{k}/kqv/bias": (lin.bias, same),
        }
    for k in ("field", "paper"):
        lin = module.out_lin.lins[k]
        weights |= {
            f"{k}/out/kernel": (lin.weight, np.transpose),
            f"{k}/out/bias": (lin.bias, same),
        }
        if channels == 8:
            weights[f"{k}/skip"] = (module.skip[k], same)
    n = len(hetero.index)
    for i, r in enumerate(hetero.index):
        name = "-".join(r)
        weights |= {
            f"{name}/key_kernel": (module.k_rel.weight, lambda a, i=i: a[i::n]),
            f"{name}/value_kernel": (module.v_rel.weight, lambda a, i=i: a[i::n]),
            f"{name}/prior": (module.p_rel["__".join(r)], first),
        }
    agrees(
        engine,
        lambda scope, *x: joined(
            gnn.hgt_conv(scope, hetero, dict(zip(TYPES, x)), channels, heads=2)
        ),
        features(rng),
        weights,
        lambda *x: joined(module(dict(zip(TYPES, x)), theirs(hetero))),
    )


def test_han(pyg, agrees, engine, hetero, rng):
    module = pyg.HANConv(8, 12, (TYPES, list(hetero.index)), heads=3)
    weights = {
        "semantic/kernel": (module.k_lin.weight, np.transpose),
        "semantic/bias": (module.k_lin.bias, same),
        "semantic/query": (module.q, first),
    }
    for k in TYPES:
        lin = module.proj[k]
        weights |= {f"{k}/kernel": (lin.weight, np.transpose), f"{k}/bias": (lin.bias, same)}
    for r in hetero.index:
        for end, their in (("sender", module.lin_src), ("receiver", module.lin_dst)):
            weights[f"{'-'.join(r)}/attention_{end}"] = (their["__".join(r)], first)
    for parameter, _ in weights.values():
        torch.nn.init.normal_(parameter)

    def reference(*x):
        out = module(dict(zip(TYPES, x)), theirs(hetero))
        return joined({k: v for k, v in out.items() if v is not None})

    agrees(
        engine,
        lambda scope, *x: joined(gnn.han_conv(scope, hetero, dict(zip(TYPES, x)), 12, heads=3)),
        features(rng), weights, reference,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["sum", "mean", "max", "min", "cat", "stack"])
def test_any_layer_over_each_relation(pyg, agrees, engine, hetero, rng, how):
    """GAT between two types, GCN within one."""
    modules = {
        r: pyg.GCNConv(8, 6) if r[0] == r[2] else pyg.GATConv((8, 8), 6, add_self_loops=False)
        for r in hetero.index
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of types nothing arrives at
        module = pyg.HeteroConv(modules, None if how == "stack" else how)
    layers, weights = {}, {}
    for r, m in modules.items():
        own = {"bias": (m.bias, same)}
        torch.nn.init.normal_(m.bias)
        if r[0] == r[2]:
            layers[r] = lambda scope, index, x: gnn.gcn_conv(scope, index, x, 6)
            own["kernel"] = (m.lin.weight, np.transpose)
        else:
            layers[r] = lambda scope, index, x: gnn.gat_conv(scope, index, x, 6)
            own |= {
                "kernel": (m.lin_src.weight, np.transpose),
                "receiver_kernel": (m.lin_dst.weight, np.transpose),
                "attention_sender": (m.att_src, first),
                "attention_receiver": (m.att_dst, first),
            }
        weights |= {f"{'-'.join(r)}/{name}": value for name, value in own.items()}

    def flat(out, reshape):  # three relations arrive at papers, one at fields
        return joined({k: reshape(y, (-1, 6)) for k, y in out.items()})

    agrees(
        engine,
        lambda scope, *x: flat(
            gnn.hetero(scope, hetero, dict(zip(TYPES, x)), layers, how=how), mg.reshape
        ),
        features(rng),
        weights,
        lambda *x: flat(module(dict(zip(TYPES, x)), theirs(hetero)), torch.reshape),
    )


def test_hetero_rgcn(pyg, agrees, engine, hetero, rng):
    """As a SAGE layer without bias per relation, and a linear one per type that receives."""
    modules = {r: pyg.SAGEConv((8, 8), 6, root_weight=False, bias=False) for r in hetero.index}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pyg.HeteroConv(modules, "sum")
    roots = {k: torch.nn.Linear(8, 6) for k in TYPES}
    weights = {
        f"{'-'.join(r)}/kernel": (m.lin_l.weight, lambda a: a.T[None]) for r, m in modules.items()
    }
    for k, m in roots.items():
        weights |= {f"{k}/root_kernel": (m.weight, np.transpose), f"{k}/bias": (m.bias, same)}

    def reference(*x):
        x = dict(zip(TYPES, x))
        out = module(x, theirs(hetero))
        return torch.cat([out.get(k, 0) + roots[k](x[k]) for k in TYPES])

    def layer(scope, *x):
        out = gnn.hetero_rgcn_conv(scope, hetero, dict(zip(TYPES, x)), 6)
        return mg.concat([out[k] for k in TYPES])

    agrees(engine, layer, features(rng), weights, reference)


@pytest.mark.parametrize("parts", PARTS[1:], ids=["bases", "blocks"])
def test_hetero_rgcn_is_rgcn_of_the_same_graph_without_types(engine, hetero, rng, parts):
    x = dict(zip(TYPES, features(rng)))
    starts = dict(zip(TYPES, np.cumsum([0, *COUNTS.values()])))
    order = sorted(hetero.index)
    ends = [
        np.concatenate([getattr(hetero.index[r], end) + starts[r[at]] for r in order])
        for end, at in (("senders", 0), ("receivers", 2))
    ]
    types = np.repeat(np.arange(4, dtype="int32"), [hetero.index[r].num_edges for r in order])
    index, places = gnn.edge_index(*ends, sum(COUNTS.values()))

    def typed(scope):
        return gnn.hetero_rgcn_conv(scope, hetero, x, 4, root_weight=False, use_bias=False, **parts)

    def plain(scope):
        return gnn.rgcn_conv(
            scope, index, mg.concat([x[k] for k in TYPES]), 4, types=types[places], relations=4,
            root_weight=False, use_bias=False, **parts,
        )  # fmt: skip

    store, other = mg.Store(seed=0), mg.Store(seed=0)
    got = store.bind(typed, engine)()
    other.bind(plain, engine).trace()
    for name in other.trainable:
        value = (
            [store[f"{'-'.join(r)}/{name}"].numpy() for r in order] if "blocks" in parts else None
        )
        other[name] = store[name].numpy() if value is None else np.concatenate(value)
    want = other.bind(plain, engine)()
    got = np.concatenate([got[k].numpy() for k in TYPES])
    np.testing.assert_allclose(got, want.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 300])
def test_attention_over_several_relations_is_one_softmax(engine, rng, scale):
    """As over one index of all edges; also where all of a node's logits are far below 0."""
    ends = [rng.integers(0, 6, (2, n)) for n in (9, 14, 0)]
    indices = [gnn.edge_index(*e, 8, 7)[0] for e in ends]
    logits = [
        (scale * rng.normal(size=(i.num_edges, 2)) - scale).astype("float32") for i in indices
    ]
    values = [rng.normal(size=(7, 2, 3)).astype("float32") for _ in indices]
    merged, places = gnn.edge_index(
        np.concatenate([i.senders + 7 * k for k, i in enumerate(indices)]),
        np.concatenate([i.receivers for i in indices]), 8, 21,
    )  # fmt: skip

    def several(logits, values):
        return gnn.hetero_attention.attend_over([*zip(indices, logits, values)])

    def one(logits, values):
        weights = gnn.edge_softmax(merged, mg.concat(logits)[mg.asarray(places)])
        return gnn.neighbor_sum(merged, mg.concat(values), weights)

    def outcome(fn):
        call = mg.value_and_grad(
            lambda *a: (lambda y: (mg.sum(mg.sin(y)), y))(fn(*a)), argnums=(0, 1), has_aux=True
        )
        return mg.tree.leaves(mg.jit(call, engine=engine)(logits, values))

    for got, want in zip(outcome(several), outcome(one), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert np.abs(outcome(several)[1].numpy()).max() > 0.5


def test_kernels_begin_as_each_relation_s_own(rng):
    index, _ = gnn.edge_index([0], [1], 2)
    store = mg.Store(seed=0)
    layer = lambda scope, x: gnn.rgcn_conv(
        scope, index, x, 60, types=np.int32([0]), relations=9, blocks=2
    )
    store.bind(layer, "numpy").trace(mg.Spec((2, 40), "float32"))
    kernel = store["kernel"].numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (20 + 30)), rel=0.05)
    assert len(np.unique(kernel[:, :, 0, 0])) == 18

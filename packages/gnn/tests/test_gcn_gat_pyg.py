"""GCN and GAT against PyG's: results and all gradients, weights copied over."""

import monograph_gnn as gnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")

same = lambda a: a
first = lambda a: a[0]


def index_of(edges, nodes=20):
    return gnn.edge_index(*edges, nodes)


def tensor_of(edges):
    return torch.tensor(np.stack(edges))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("loops", ["outside", "inside", "none"])
def test_gcn(pyg, agrees, engine, edges, rng, weighted, loops):
    index, places = index_of(edges)
    module = pyg.GCNConv(7, 5, add_self_loops=loops != "none")
    torch.nn.init.normal_(module.bias)
    w = rng.uniform(0.5, 1.5, 50).astype("float32")
    if loops == "outside":  # known beforehand
        index, looped = gnn.add_self_loops(index)
        ours = lambda w: gnn.fill_edges(w[places], looped, 1)
    else:
        ours = lambda w: w[places]
    agrees(
        engine,
        lambda scope, x, *w: gnn.gcn_conv(
            scope, index, x, 5, edge_weight=ours(w[0]) if w else None,
            add_self_loops=loops != "none",
        ),
        [rng.normal(size=(20, 7)).astype("float32"), *([w] if weighted else [])],
        {"kernel": (module.lin.weight, np.transpose), "bias": (module.bias, same)},
        lambda x, *w: module(x, tensor_of(edges), *w),
    )  # fmt: skip


@pytest.mark.parametrize("concat", [True, False], ids=["side-by-side", "mean"])
@pytest.mark.parametrize("known", [False, True], ids=["plain", "edge-features"])
def test_gat(pyg, agrees, engine, edges, rng, concat, known):
    index, places = index_of(edges)
    module = pyg.GATConv(7, 5, heads=3, concat=concat, edge_dim=4 if known else None)
    torch.nn.init.normal_(module.bias)
    weights = {
        "kernel": (module.lin.weight, np.transpose),
        "bias": (module.bias, same),
        "attention_sender": (module.att_src, first),
        "attention_receiver": (module.att_dst, first),
    }
    if known:
        weights["edge_kernel"] = (module.lin_edge.weight, np.transpose)
        weights["attention_edge"] = (module.att_edge, first)
    inputs = [rng.normal(size=(20, 7)), *([rng.normal(size=(50, 4))] if known else [])]
    agrees(
        engine,
        lambda scope, x, *e: gnn.gat_conv(
            scope, index, x, 5, heads=3, concat=concat, edges=e[0][places] if e else None
        ),
        [x.astype("float32") for x in inputs],
        weights,
        lambda x, *e: module(x, tensor_of(edges), *e),
    )


def test_gat_between_nodes_of_two_kinds(pyg, agrees, engine, rng):
    senders, receivers = rng.integers(0, 9, 30), rng.integers(0, 6, 30)
    index, _ = gnn.edge_index(senders, receivers, 6, 9)
    module = pyg.GATConv((7, 3), 5, heads=2, add_self_loops=False)
    agrees(
        engine,
        lambda scope, a, b: gnn.gat_conv(scope, index, (a, b), 5, heads=2),
        [rng.normal(size=(9, 7)).astype("float32"), rng.normal(size=(6, 3)).astype("float32")],
        {
            "kernel": (module.lin_src.weight, np.transpose),
            "receiver_kernel": (module.lin_dst.weight, np.transpose),
            "bias": (module.bias, same),
            "attention_sender": (module.att_src, first),
            "attention_receiver": (module.att_dst, first),
        },
        lambda a, b: module((a, b), tensor_of((senders, receivers)), size=(9, 6)),
    )

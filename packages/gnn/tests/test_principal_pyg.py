"""PNA against PyG's: results and all gradients."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")


def towers(name, networks):
    out = {}
    for i in range(0, len(networks[0]), 2):  # an activation is between two
        path = f"{name}/{i // 2}"
        kernels = [n[i].weight for n in networks]
        out[f"{path}/kernel"] = kernels, lambda a: a.transpose(0, 2, 1)
        out[f"{path}/bias"] = [n[i].bias for n in networks], lambda a: a
    return out


CASES = {
    "plain": (["mean", "max", "min", "std"], ["identity", "amplification", "attenuation"], {}),
    "towers": (["sum", "var"], ["linear", "inverse_linear"], dict(towers=3, divide_input=True)),
    "learnt": (["mean"], ["amplification", "linear"], dict(train_norm=True, towers=2, edge_dim=4)),
    "deep": (["mean", "max"], ["identity"], dict(pre_layers=2, post_layers=3, edge_dim=4)),
}


@pytest.mark.parametrize("aggregators, scalers, options", CASES.values(), ids=CASES)
def test_pna(pyg, agrees, shaken, engine, edges, rng, aggregators, scalers, options):
    index, places = gnn.edge_index(*edges, 20)
    degrees = gnn.degree_histogram(index)
    # in double precision: PyG's mean of squares less the mean's square is off by 1e-3 of slopes of std
    module = shaken(
        pyg.PNAConv(6, 6, aggregators, scalers, torch.tensor(degrees), **options)
    ).double()
    weights = towers("pre", module.pre_nns) | towers("post", module.post_nns) | {"": module.lin}
    known, ours = "edge_dim" in options, {k: v for k, v in options.items() if k != "edge_dim"}
    if known:
        weights["edge"] = module.edge_encoder
    if options.get("train_norm"):
        weights["mean_degree"] = module.aggr_module.avg_deg_lin
        weights["mean_log_degree"] = module.aggr_module.avg_deg_log
    inputs = [rng.normal(size=(20, 6)), *([rng.normal(size=(50, 4))] if known else [])]
    agrees(
        engine,
        lambda scope, x, *e: gnn.pna_conv(
            scope, index, x, 6, aggregators, scalers, degrees, edges=e[0][places] if e else None,
            **ours,
        ),
        [x.astype("float32") for x in inputs],
        weights,
        lambda x, *e: module(x.double(), torch.tensor(np.stack(edges)), *[v.double() for v in e]),
    )  # fmt: skip


def test_degrees_are_counted_over_graphs(pyg, edges):
    from torch_geometric.data import Data
    from torch_geometric.loader import DataLoader

    ends = torch.tensor(np.stack(edges))
    loader = DataLoader(
        [Data(edge_index=ends, num_nodes=20), Data(edge_index=ends[:, :5], num_nodes=17)]
    )
    want = pyg.PNAConv.get_degree_histogram(loader)
    ours = [gnn.edge_index(*edges, 20)[0], gnn.edge_index(*(e[:5] for e in edges), 17)[0]]
    assert gnn.degree_histogram(ours).tolist() == want.tolist()


def test_all_that_is_wrong_is_named(edges):
    index, _ = gnn.edge_index(*edges, 20)
    x = np.ones((20, 7), "float32")
    with pytest.raises(
        mg.errors.ArgumentError, match=r"(?s)'cubic' is no scaler.*5 channels.*7 features"
    ):
        mg.Store().bind(
            lambda scope, x: gnn.pna_conv(
                scope, index, x, 5, ["mean"], ["cubic"], [1, 2], towers=2, divide_input=True
            )
        )(x)
    with pytest.raises(mg.errors.ArgumentError, match="histogram"):
        mg.Store().bind(
            lambda scope, x: gnn.pna_conv(scope, index, x, 5, ["mean"], ["identity"], [0, 0])
        )(x)

"""Gates on edges: any layer heeds them, none needs to know."""

import dataclasses
import inspect
import warnings

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")


@pytest.fixture
def edges(rng):
    """Senders and receivers without loops, and a gate for each."""
    senders = rng.integers(0, 12, 40)
    receivers = (senders + rng.integers(1, 12, 40)) % 12
    return senders, receivers, rng.uniform(0.1, 2, 40).astype("float32")


def gated(edges, nodes=12):
    index, places = gnn.edge_index(*edges[:2], nodes)
    return dataclasses.replace(index, gates=edges[2][places])


CONVOLUTIONS = [
    name
    for name in gnn.__all__
    if name.endswith("_conv")
    and [
        p.name
        for p in inspect.signature(getattr(gnn, name)).parameters.values()
        if p.default is p.empty and p.kind is not p.VAR_KEYWORD
    ]
    == ["scope", "index", "x", "channels"]
]


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_convolution_heeds_gates(edges, rng, name, engine):
    """Open gates change nothing; the slope by each gate is what the result does, and most matter."""
    index = gated(edges)
    x = rng.normal(size=(12, 5))
    store = mg.Store(seed=0)

    def layer(scope, gates):
        given = dataclasses.replace(index, gates=gates)
        return getattr(gnn, name)(scope / "layer", given, x, 4)

    loss = lambda scope, gates: mg.sum(mg.sin(layer(scope, gates)))
    slopes = lambda scope, gates: mg.grad(lambda g: loss(scope, g))(gates)
    call, at = store.bind(layer, engine), index.gates.astype("float64")
    np.testing.assert_allclose(
        call(np.ones(40)).numpy(), call(None).numpy(), rtol=1e-12, atol=1e-12
    )
    got, step = store.bind(slopes, engine)(at).numpy(), 1e-6 * rng.normal(size=40)
    there = store.bind(loss, "numpy")
    change = there(at + step).item() - there(at - step).item()
    assert got @ step * 2 == pytest.approx(change, rel=1e-5, abs=1e-12)
    # none where a sender is weighed by 0, as one without edges by GCN's norm, or past a relu
    assert (got != 0).mean() > 0.5


@pytest.mark.parametrize("heads", [0, 3])
@pytest.mark.parametrize("how", ["sum", "mean", "max", "softmax", ["sum", "std"]], ids=str)
def test_messages_are_multiplied_once(edges, rng, how, heads):
    index, x = gated(edges), rng.normal(size=(12, 3, 2)).astype("float32")
    weights = rng.normal(size=(40, 3) if heads else 40).astype("float32")
    wide = index.gates[:, None] if heads else index.gates
    for message in (None, lambda sender, receiver, edge: sender):
        got = gnn.propagate(index, x, message, weights=weights, how=how)
        want = gnn.propagate(index.ungated, x, message, weights=weights * wide, how=how)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-5, atol=1e-6)
        plain = gnn.propagate(index, x, message, how=how)
        want = gnn.propagate(index.ungated, x, message, weights=index.gates, how=how)
        np.testing.assert_allclose(plain.numpy(), want.numpy(), rtol=1e-5, atol=1e-6)


def test_what_layers_add_has_no_gate(edges):
    index = dataclasses.replace(gated(edges), gates=np.zeros(40, "float32"))
    looped, _ = gnn.add_self_loops(index)
    loops = looped.senders == looped.receivers
    assert looped.gates.numpy().tolist() == loops.astype(float).tolist()


@pytest.mark.parametrize("kind", ["GCNConv", "GATConv"])
def test_gates_are_pygs_edge_masks(pyg, agrees, engine, edges, rng, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch_geometric.explain.algorithm.utils import set_masks
    ends = torch.tensor(np.stack(edges[:2]))
    module = getattr(pyg, kind)(5, 4)
    index, places = gnn.edge_index(*edges[:2], 12)
    same = lambda a: a
    if kind == "GCNConv":
        layer, weights = gnn.gcn_conv, {"kernel": (module.lin.weight, np.transpose)}
    else:
        layer, weights = (
            gnn.gat_conv,
            {
                "kernel": (module.lin.weight, np.transpose),
                "attention_sender": (module.att_src, lambda a: a[0]),
                "attention_receiver": (module.att_dst, lambda a: a[0]),
            },
        )

    def reference(x, gates):
        set_masks(module, gates, ends, apply_sigmoid=False)
        module._parameters.pop("_edge_mask", None)
        module._edge_mask = gates  # a parameter would take the gradient
        return module(x, ends)

    agrees(
        engine,
        lambda scope, x, gates: layer(
            scope, dataclasses.replace(index, gates=gates[places]), x, 4
        ),
        [rng.normal(size=(12, 5)).astype("float32"), edges[2]],
        weights | {"bias": (module.bias, same)},
        reference,
    )  # fmt: skip


def without(index, edge):
    """The index of all edges but one, as padding."""
    kept = np.delete(np.arange(index.num_edges), edge)
    return gnn.edge_index(index.senders[kept], index.receivers[kept], index.num_receivers)[0], kept


@pytest.mark.parametrize(
    "layer",
    [
        lambda s, i, x, t: gnn.rgcn_conv(s, i, x, 4, types=t, relations=3, how="sum"),
        lambda s, i, x, t: gnn.rgcn_conv(s, i, x, 4, types=t, relations=3, how="sum", bases=2),
        lambda s, i, x, t: gnn.le_conv(s, i, x, 4),
        lambda s, i, x, t: gnn.d_mpnn(s, i, x, 4),
        lambda s, i, x, t: gnn.sage_conv(s, i, x, 4, how="sum"),
    ],
    ids=["rgcn", "rgcn-bases", "le", "d_mpnn", "sage"],
)
def test_a_shut_gate_is_an_edge_that_is_not_there(edges, rng, engine, layer):
    """Where an edge counts only by what is sent along it."""
    index, x = gated(edges), rng.normal(size=(12, 5)).astype("float32")
    types = rng.integers(0, 3, 40).astype("int32")
    smaller, kept = without(index, 7)
    shut = dataclasses.replace(index, gates=np.where(np.arange(40) == 7, 0, 1).astype("float32"))
    store = mg.Store(seed=0)
    run = lambda i, t: store.bind(lambda s: layer(s / "layer", i, x, t), engine)().numpy()
    got, want = run(shut, types), run(smaller, types[kept])
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    assert np.abs(got - run(index.ungated, types)).max() > 1e-3


def test_gates_come_after_attention_over_several_relations(edges, rng, engine):
    from monograph_gnn.hetero_attention import attend_over

    index = gated(edges)
    logits, values = rng.normal(size=(40, 2)), rng.normal(size=(12, 2, 3))
    half = dataclasses.replace(index, gates=np.full(40, 0.5))
    run = lambda i: mg.jit(lambda: attend_over([(i, mg.asarray(logits), mg.asarray(values))])).on(
        engine
    )()
    np.testing.assert_allclose(run(half).numpy(), run(index.ungated).numpy() / 2, rtol=1e-6)


def test_gates_go_with_their_edges_into_batches_and_out_of_them(edges):
    one = gnn.graph(np.ones((12, 1)), *edges[:2])
    one = one.replace(index=dataclasses.replace(one.index, gates=np.arange(40, dtype="float32")))
    plain = gnn.graph(np.ones((2, 1)), [0], [1])
    made = gnn.batch([one, plain], num_nodes=16, num_edges=50, num_graphs=3)
    assert made.index.gates.tolist() == [*range(40), *[1] * 10]
    assert gnn.unbatch(made)[0].index.gates.tolist() == [*range(40)]
    assert gnn.take_graphs(made, [1, 0]).index.gates.tolist() == [1, *range(40)]

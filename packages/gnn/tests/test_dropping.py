"""DropEdge: what is left is the graph of the edges that were drawn, for every layer."""

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest


def dropped(index, rate=0.5, engine="numpy", seed=0, **options):
    model = lambda scope, index: gnn.edge_dropout(scope, index, rate, training=True, **options)
    made, places = mg.Store(seed=seed).bind(model, engine)(index)
    return mg.tree.map(lambda x: x.numpy(), made), places.numpy()


def test_what_is_left_is_an_index_of_those_edges(engine, edges):
    index, _ = gnn.edge_index(*edges, 20)
    got, places = dropped(index, engine=engine)
    kept = np.sort(places[places >= 0])
    assert 10 < len(kept) < 40
    want, _ = gnn.edge_index(index.senders[kept], index.receivers[kept], 20)
    real = len(kept)
    for name in ("senders", "receivers", "order", "targets"):
        np.testing.assert_array_equal(getattr(got, name)[:real], getattr(want, name), err_msg=name)
    for name in ("offsets", "sender_offsets"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name), err_msg=name)
    assert (got.senders[real:] == 20).all() and (got.receivers[real:] == 20).all()
    assert (got.targets[real:] == 20).all() and (places[real:] == -1).all()


@pytest.mark.parametrize(
    "layer", [gnn.gcn_conv, gnn.gatv2_conv, gnn.sage_conv, gnn.tag_conv, gnn.d_mpnn]
)
def test_layers_see_the_smaller_graph(engine, edges, rng, layer):
    index, _ = gnn.edge_index(*edges, 20)
    x = rng.normal(size=(20, 6)).astype("float32")
    got, places = dropped(index)
    kept = places[places >= 0]
    want, _ = gnn.edge_index(index.senders[kept], index.receivers[kept], 20)
    call = mg.Store(seed=0).bind(lambda scope, index: layer(scope, index, x, 4), engine)
    np.testing.assert_allclose(call(got).numpy(), call(want).numpy(), rtol=1e-5, atol=1e-6)


def test_gradients_through_it_are_finite_and_only_of_what_is_left(engine, edges, rng):
    index, _ = gnn.edge_index(*edges, 20)
    weights = rng.uniform(0.5, 1, 50).astype("float32")

    def model(scope, weights):
        left, places = gnn.edge_dropout(scope, index, 0.5, training=True)

        def loss(w):
            y = gnn.neighbor_sum(left, mg.ones((20, 1)), gnn.fill_edges(w, places, 0))
            return mg.sum(y)

        return mg.grad(loss)(weights), places

    grad, places = (v.numpy() for v in mg.Store(seed=0).bind(model, engine)(weights))
    want = np.zeros(50, "float32")
    want[places[places >= 0]] = 1
    np.testing.assert_array_equal(grad, want)


def test_padding_stays_padding_and_is_never_drawn(edges):
    g = gnn.batch([gnn.graph(None, *edges, num_nodes=20)], num_nodes=24, num_edges=60)
    for seed in range(5):
        got, places = dropped(g.index, rate=0.1, seed=seed)
        real = int(got.offsets[-1])
        assert (places[:real] < 50).all() and (places[real:] == -1).all()
        assert (got.receivers[real:] == 24).all() and (
            np.sort(got.order[:real]) == np.arange(real)
        ).all()


def test_directions_go_together():
    a, b = np.triu_indices(8, 1)
    index, _ = gnn.edge_index([*a, *b], [*b, *a], 8)
    got, _ = dropped(index, reverse=gnn.reverse_edges(index))
    real = int(got.offsets[-1])
    pairs = {*zip(got.senders[:real].tolist(), got.receivers[:real].tolist())}
    assert 0 < len(pairs) < 56 and pairs == {(j, i) for i, j in pairs}


def test_loops_that_are_known_stay(edges):
    index, _ = gnn.add_self_loops(gnn.edge_index(*edges, 20)[0])
    got, _ = dropped(index, rate=0.9)
    ends = [*zip(got.senders.tolist(), got.receivers.tolist())]
    assert got.loops and {(i, i) for i in range(20)} <= {*ends} and len({*ends}) < 40


def test_the_share_that_goes_is_the_rate_and_engines_agree(edges):
    n = 4000
    index, _ = gnn.edge_index(np.zeros(n, int), np.arange(n), n)
    drawn = [dropped(index, 0.3, e)[1] for e in ("numpy", *OTHERS)]
    assert abs((drawn[0] < 0).mean() - 0.3) < 0.03
    for other in drawn[1:]:
        np.testing.assert_array_equal(drawn[0], other)


OTHERS = [e.name for e in mg.engines() if e.ok and e.name in ("xla", "torch")]


def test_outside_of_training_nothing_happens_and_bad_rates_are_named(edges):
    index, _ = gnn.edge_index(*edges, 20)
    out = mg.Store().bind(lambda scope, index: gnn.edge_dropout(scope, index, 0.5), "numpy")(index)
    assert out[0].senders.tolist() == index.senders.tolist() and out[1].tolist() == [*range(50)]
    with pytest.raises(mg.errors.ArgumentError, match=r"rate=1.0 must be in \[0, 1\)"):
        dropped(index, 1.0)

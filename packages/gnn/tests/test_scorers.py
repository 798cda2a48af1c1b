"""Knowledge-graph scorers against PyG's models, and against every entity tried one by one; decoders."""

import math

import monograph as mg
import monograph_gnn as gnn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the reference")

ENTITIES, RELATIONS, WIDTH, BATCH = 11, 3, 6, 7


@pytest.fixture
def triples(rng):
    return [rng.integers(0, n, BATCH) for n in (ENTITIES, RELATIONS, ENTITIES)]


def parts(module):
    """Entities' and relations' weights as ours: real and imaginary parts side by side."""
    entity, relation = module.node_emb.weight, module.rel_emb.weight
    if hasattr(module, "node_emb_im"):
        entity = torch.cat([entity, module.node_emb_im.weight], 1)
    if hasattr(module, "rel_emb_im"):
        relation = torch.cat([relation, module.rel_emb_im.weight], 1)
    return entity, relation


CASES = {
    "DistMult": (gnn.distmult_score, {}),
    "ComplEx": (gnn.complex_score, {}),
    "TransE": (gnn.transe_score, {"p": 1}),
    "TransE-2": (gnn.transe_score, {"p": 2}),
    "RotatE": (gnn.rotate_score, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_scores_are_pyg_s(pyg, agrees, engine, triples, name):
    import torch_geometric.nn.kge as kge

    score, options = CASES[name]
    norm = {"p_norm": options["p"]} if options else {}
    module = getattr(kge, name.partition("-")[0])(ENTITIES, RELATIONS, WIDTH, **norm)
    entity, relation = (torch.nn.Parameter(x.detach()) for x in parts(module))
    head, rel, tail = triples

    def unit(x):  # PyG scales TransE's entities in the score
        if not options:
            return x
        size = (
            mg.sum(mg.abs(x), axis=-1) if options["p"] == 1 else mg.linalg.vector_norm(x, axis=-1)
        )
        return x / size[:, None]

    def layer(scope, e, r):
        return score(unit(e)[head], r[rel], unit(e)[tail], **options)

    def reference(e, r):
        real = (
            (e[:, :WIDTH], e[:, WIDTH:], r[:, :WIDTH], r[:, WIDTH:])
            if hasattr(module, "node_emb_im")
            else (e, None, r, None)
        )
        names = ("node_emb", "node_emb_im", "rel_emb", "rel_emb_im")
        given = {f"{n}.weight": x for n, x in zip(names, real) if hasattr(module, n)}
        out = torch.func.functional_call(module, given, tuple(map(torch.tensor, triples)))
        return out - module.margin if name == "RotatE" else out  # ours has none: losses do

    agrees(engine, layer, [x.detach().numpy() for x in (entity, relation)], {}, reference)


def test_rotate_by_the_sum_of_moduli(engine, triples, rng):
    head, rel, tail = triples
    x = rng.normal(size=(ENTITIES, 2 * WIDTH)).astype("float32")
    angles = rng.uniform(0, 2 * math.pi, (RELATIONS, WIDTH)).astype("float32")
    z = x[:, :WIDTH] + 1j * x[:, WIDTH:].astype("complex128")
    want = -np.abs(z[head] * np.exp(1j * angles[rel].astype("float64")) - z[tail]).sum(-1)
    got = mg.jit(gnn.rotate_score, engine=engine, static_argnames="p")(
        x[head], angles[rel], x[tail], p=1
    )
    np.testing.assert_allclose(got, want, rtol=1e-5)


def own_score(head, relation, tail):
    return mg.sum(mg.tanh(head + relation) * tail, axis=-1)


ALL = [
    (gnn.distmult_score, {}, WIDTH, WIDTH), (gnn.complex_score, {}, 2 * WIDTH, 2 * WIDTH),
    (gnn.transe_score, {"p": 1}, WIDTH, WIDTH), (gnn.transe_score, {"p": 2}, WIDTH, WIDTH),
    (gnn.rotate_score, {"p": 1}, 2 * WIDTH, WIDTH), (gnn.rotate_score, {"p": 2}, 2 * WIDTH, WIDTH),
    (own_score, {}, WIDTH, WIDTH),
]  # fmt: skip


@pytest.mark.parametrize("score, options, width, relation_width", ALL)
def test_all_entities_at_once(engine, triples, rng, score, options, width, relation_width):
    head, rel, tail = triples
    x = rng.normal(size=(ENTITIES, width)).astype("float32")
    r = rng.normal(size=(RELATIONS, relation_width)).astype("float32")

    def both(x, r):
        tails = gnn.score_tails(score, x[head], r[rel], x, **options)
        return tails, gnn.score_heads(score, r[rel], x[tail], x, **options)

    tails, heads = mg.jit(both, engine=engine)(x, r)
    for i in range(BATCH):
        want = [score(x[head[i]], r[rel[i]], e, **options).item() for e in x]
        np.testing.assert_allclose(tails[i], want, rtol=1e-5, atol=1e-5)
        want = [score(e, r[rel[i]], x[tail[i]], **options).item() for e in x]
        np.testing.assert_allclose(heads[i], want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("score", [gnn.transe_score, gnn.rotate_score])
@pytest.mark.parametrize("p", [1, 2])
def test_no_distance_has_no_slope_but_no_nan_either(engine, score, p):
    x, r = np.ones((2, 4), "float32"), np.zeros((2, 4), "float32")
    r = r[:, :2] if score is gnn.rotate_score else r
    grads = mg.jit(
        mg.grad(lambda *a: mg.sum(score(*a, p=p)), argnums=(0, 1, 2)), engine=engine
    )(x, r, x)  # fmt: skip
    assert all(np.isfinite(g.numpy()).all() for g in grads)


def test_bad_widths_and_norms_are_named():
    x = np.ones((2, 3), "float32")
    with pytest.raises(mg.errors.ShapeError, match=r"test_scorers.*real and imaginary.*\[2,3\]"):
        gnn.complex_score(x, x, x)
    with pytest.raises(mg.errors.ArgumentError, match="p=3 must be 1 or 2"):
        gnn.transe_score(x, x, x, p=3)


# ---- links


def test_inner_products_are_pyg_s(pyg, agrees, engine, rng):
    senders, receivers = rng.integers(0, 9, (2, 14))
    module = pyg.InnerProductDecoder()
    x = rng.normal(size=(9, 5)).astype("float32")
    theirs = lambda x: module(x, torch.tensor(np.stack([senders, receivers])), sigmoid=False)
    pairs = (senders, receivers)
    agrees(engine, lambda scope, x: gnn.inner_product_decoder(x, pairs), [x], {}, theirs)
    index, places = gnn.edge_index(*pairs, 9)
    agrees(
        engine, lambda scope, x: gnn.inner_product_decoder(x, index), [x], {},
        lambda x: theirs(x)[torch.tensor(places).long()],
    )  # fmt: skip


@pytest.mark.parametrize("symmetric", [False, True])
def test_a_perceptron_of_both_ends(agrees, engine, rng, symmetric):
    senders, receivers = rng.integers(0, 9, 14), rng.integers(0, 4, 14)
    hidden, out = torch.nn.Linear(5 if symmetric else 10, 6), torch.nn.Linear(6, 1)
    weights = {}
    for i, m in enumerate((hidden, out)):
        weights |= {
            f"dense_{i}/kernel": (m.weight, np.transpose), f"dense_{i}/bias": (m.bias, lambda a: a)
        }  # fmt: skip

    def theirs(a, b):
        a, b = a[senders], b[receivers]
        return out(torch.relu(hidden(a * b if symmetric else torch.cat([a, b], 1))))[:, 0]

    agrees(
        engine,
        lambda scope, a, b: gnn.mlp_decoder(
            scope, (a, b), (senders, receivers), (6,), symmetric=symmetric
        ),
        [rng.normal(size=(9, 5)).astype("float32"), rng.normal(size=(4, 5)).astype("float32")],
        weights, theirs,
    )  # fmt: skip


def test_pairs_out_of_range_are_named():
    x = np.ones((3, 2), "float32")
    with pytest.raises(mg.errors.ArgumentError, match=r"receivers\[1\] is 3, of 3 nodes"):
        gnn.inner_product_decoder(x, ([0, 1], [1, 3]))

"""Chinchilla: the paper's parameter counts, and a reference in float64 with every sum written out."""

import json
import math

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError
from monograph_zoo.chinchilla import CHINCHILLA, TABLE_A9, Size, caches, chinchilla

TINY = Size(d_model=8, ffw_size=12, kv_size=4, n_heads=2, n_layers=2)
IDS = np.random.default_rng(0).integers(0, 20, (2, 7))


def test_the_counts_of_table_a9(shared_data):
    rows = json.loads((shared_data / "chinchilla/table_a9.json").read_text())["rows"]
    assert len(rows) == len(TABLE_A9) == 50
    for row, size in zip(rows, TABLE_A9):
        assert size._asdict() == {k: v for k, v in row.items() if k != "params_millions"}
        assert abs(size.parameters() / 1e6 - row["params_millions"]) <= 1, row


@pytest.mark.parametrize("size", [*TABLE_A9[::12], CHINCHILLA], ids=str)
def test_the_model_has_as_many(size):
    outline = mg.Outline()
    outline.bind(chinchilla, size=size).trace(mg.Spec((1, 2), "int32"))
    counted = {p: outline.spec(p).size for p in outline if not p.endswith("/scale")}
    assert sum(counted.values()) == size.parameters()


def random_store():
    store, rng = mg.Store(seed=1), np.random.default_rng(1)
    store.bind(chinchilla, size=TINY, vocabulary=20)(IDS)
    for path in store:  # biases and scales too
        store[path] = rng.normal(size=store.spec(path).shape) * 0.5
    return store


def written_out(v, ids):
    """Logits of one sequence, place by place."""
    d, e, heads = TINY.d_model, TINY.kv_size, TINY.n_heads

    def norm(x, path):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * v[f"{path}/scale"]

    def gelu(x):
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def encoding(distance):  # sines, then cosines
        rates = 1 / 10_000 ** (np.arange(0, d, 2) / d)
        return np.concatenate([np.sin(distance * rates), np.cos(distance * rates)])

    x = v["embedding/embeddings"][ids]
    for i in range(TINY.n_layers):
        at = f"layer{i + 1}/attention"
        y = norm(x, f"layer{i + 1}/attention_norm")
        q, k, val = (
            np.einsum("nd,dhe->nhe", y, v[f"{at}/{n}/kernel"]) + v[f"{at}/{n}/bias"]
            for n in ("query", "key", "value")
        )
        out = np.zeros((len(ids), heads, e))
        for h in range(heads):
            for t in range(len(ids)):
                scores = []
                for s in range(t + 1):
                    r = encoding(t - s) @ v[f"{at}/relative/kernel"][:, h]
                    content = (q[t, h] + v[f"{at}/content_bias"][h]) @ k[s, h]
                    place = (q[t, h] + v[f"{at}/position_bias"][h]) @ r
                    scores.append((content + place) / math.sqrt(e))
                w = np.exp(np.array(scores) - max(scores))
                out[t, h] = (w / w.sum()) @ val[: t + 1, h]
        o = v[f"{at}/attention_output/kernel"], v[f"{at}/attention_output/bias"]
        x = x + np.einsum("nhe,hed->nd", out, o[0]) + o[1]
        y = (
            norm(x, f"layer{i + 1}/norm") @ v[f"layer{i + 1}/up/kernel"]
            + v[f"layer{i + 1}/up/bias"]
        )
        x = x + gelu(y) @ v[f"layer{i + 1}/down/kernel"] + v[f"layer{i + 1}/down/bias"]
    return norm(x, "norm") @ v["embedding/embeddings"].T


def test_logits_are_those_written_out():
    store = random_store()
    values = {p: a.astype("float64") for p, a in store.numpy().items()}
    got = store.bind(chinchilla, size=TINY, vocabulary=20)(IDS).numpy()
    for row, ids in zip(got, IDS):
        np.testing.assert_allclose(row, written_out(values, ids), rtol=1e-4, atol=1e-4)


def test_with_caches_it_goes_on_where_it_ended():
    store = random_store()
    call = store.bind(chinchilla, size=TINY, vocabulary=20)
    whole, cache, parts = call(IDS).numpy(), caches(TINY, 2, 7), []
    for part in (IDS[:, :4], IDS[:, 4:5], IDS[:, 5:]):
        logits, cache = call(part, *cache)
        parts.append(logits.numpy())
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(ArgumentError, match="1 caches for 2 layers"):
        call(IDS, cache[0])

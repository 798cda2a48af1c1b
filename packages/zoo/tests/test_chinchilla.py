"""Chinchilla: the paper's parameter counts, and a reference in float64 with every sum written out."""

import json
import math

import monograph as mg
import numpy as np
import pytest
from monograph_zoo import chinchilla, chinchilla_parameters, chinchillas

TINY = dict(vocabulary=20, features=8, inner=12, key_dim=4, heads=2, layers=2)
IDS = np.random.default_rng(0).integers(0, 20, (2, 7))


def test_the_counts_of_table_a9(shared_data):
    rows = json.loads((shared_data / "chinchilla/table_a9.json").read_text())["rows"]
    assert len(rows) == len(chinchillas) == 50
    for row, (millions, options) in zip(rows, chinchillas.items()):
        ours = dict(
            params_millions=millions, d_model=options["features"], ffw_size=4 * options["features"],
            kv_size=options["key_dim"], n_heads=options["heads"], n_layers=options["layers"],
        )  # fmt: skip
        assert ours == row
        assert abs(chinchilla_parameters(**options) / 1e6 - millions) <= 1, row


LARGEST = dict(vocabulary=32_000, features=8192, layers=80, heads=64, key_dim=128)


@pytest.mark.parametrize("millions", [*list(chinchillas)[::12], 70_000])
def test_the_model_has_as_many(millions):
    size = chinchillas.get(millions, LARGEST)
    specs = mg.variables(chinchilla, mg.Spec((1, 2), "int32"), **size)
    counted = sum(spec.size for path, spec in specs.items() if not path.endswith("/scale"))
    assert counted == chinchilla_parameters(**size)
    assert abs(counted / 1e6 - millions) <= (1 if millions < 70_000 else 500)


def random_store():
    store, rng = mg.Store(seed=1), np.random.default_rng(1)
    store.bind(chinchilla, **TINY)(IDS)
    for path in store:  # biases and scales too
        store[path] = rng.normal(size=store.spec(path).shape) * 0.5
    return store


def written_out(v, ids):
    """Logits of one sequence, place by place."""
    d, e, heads = TINY["features"], TINY["key_dim"], TINY["heads"]

    def norm(x, path):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * v[f"{path}/scale"]

    def gelu(x):
        return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))

    def encoding(distance):  # sines, then cosines
        rates = 1 / 10_000 ** (np.arange(0, d, 2) / d)
        return np.concatenate([np.sin(distance * rates), np.cos(distance * rates)])

    x = v["embedding/embeddings"][ids]
    for i in range(TINY["layers"]):
        block = f"block{i + 1}"
        at = f"{block}/attention"
        y = norm(x, f"{block}/attention_norm")
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
        at = f"{block}/feed_forward"
        y = norm(x, f"{at}_norm") @ v[f"{at}/up/kernel"] + v[f"{at}/up/bias"]
        x = x + gelu(y) @ v[f"{at}/down/kernel"] + v[f"{at}/down/bias"]
    return norm(x, "norm") @ v["embedding/embeddings"].T


def test_logits_are_those_written_out():
    store = random_store()
    values = {p: a.astype("float64") for p, a in store.numpy().items()}
    got = store.bind(chinchilla, **TINY)(IDS).numpy()
    for row, ids in zip(got, IDS):
        np.testing.assert_allclose(row, written_out(values, ids), rtol=1e-4, atol=1e-4)


def test_with_a_cache_it_goes_on_where_it_ended():
    store = random_store()
    whole = store.bind(chinchilla, **TINY)(IDS).numpy()
    begin = store.bind(chinchilla, **TINY, cache=7)
    go_on = store.bind(lambda scope, ids, cache: chinchilla(scope, ids, cache=cache, **TINY))
    first, cache = begin(IDS[:, :4])
    parts = [first]
    for part in (IDS[:, 4:5], IDS[:, 5:]):
        logits, cache = go_on(part, cache)
        parts.append(logits)
    np.testing.assert_allclose(
        np.concatenate([p.numpy() for p in parts], 1), whole, rtol=1e-4, atol=1e-5
    )

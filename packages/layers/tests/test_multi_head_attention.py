"""Multi-head attention against formulas written out: positions, masks and decoding with a cache."""

import math

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
from monograph.errors import ArgumentError, ShapeError

ENGINES = [e.name for e in mg.engines() if e.ok and e.name in ("numpy", "xla", "torch")]
on_every_engine = pytest.mark.parametrize("engine", ENGINES)
RNG = np.random.default_rng(0)


def drawn(store):
    """Variables away from zeros, which biases begin as."""
    rng = np.random.default_rng(1)
    for path in store.trainable:
        store[path] = rng.normal(size=store.spec(path).shape).astype("float32") * 0.5
    return store


WAYS = {
    "plain": {},
    "grouped": {"num_key_value_heads": 2},
    "rotary": {"rotary": 100.0, "num_key_value_heads": 1},
    "relative": {"relative": True},
    "window": {"sliding_window": 3},
    "gate": {"use_gate": True, "value_dim": 5},
}


@on_every_engine
@pytest.mark.parametrize("way", WAYS)
def test_decoding_token_by_token_gives_what_the_causal_pass_gives(engine, way):
    options = dict(num_heads=4, key_dim=6, use_causal_mask=True) | WAYS[way]
    x = RNG.normal(size=(2, 7, 8)).astype("float32")
    store = mg.Store(seed=0)
    full = store.bind(lambda s, x: nn.multi_head_attention(s, x, **options), engine)
    full(x)
    want = drawn(store) and full(x).numpy()

    traces = []

    def model(scope, x, cache):
        traces.append(x.shape)
        return nn.multi_head_attention(scope, x, cache=cache, **options)

    step = store.bind(model, engine)
    kv_heads, value_dim = options.get("num_key_value_heads", 4), options.get("value_dim")
    cache = nn.attention_cache(2, 9, kv_heads, 6, value_dim=value_dim)
    got = []
    for part in (x[:, :3], *(x[:, i : i + 1] for i in range(3, 7))):  # a prompt, then its sequel
        y, cache = step(part, cache)
        got.append(y.numpy())
    np.testing.assert_allclose(np.concatenate(got, 1), want, rtol=2e-5, atol=2e-5)
    assert traces == [(2, 3, 8), (2, 1, 8)], "one compiled step serves every position"
    assert cache.position.item() == 7 and (cache.key.numpy()[:, 7:] == 0).all()


@on_every_engine
def test_decoding_can_be_one_compiled_loop(engine):
    x = RNG.normal(size=(2, 5, 8)).astype("float32")
    options = dict(num_heads=2, key_dim=4, rotary=100.0, use_causal_mask=True)
    store = mg.Store(seed=0)
    want = store.bind(lambda s, x: nn.multi_head_attention(s, x, **options), engine)(x).numpy()

    def model(scope, x):
        shared = scope.shared("heads")
        nn.multi_head_attention(shared, x, **options)  # its variables, outside the loop

        def body(cache, at):
            y, cache = nn.multi_head_attention(shared, at[:, None], cache=cache, **options)
            return cache, y[:, 0]

        cache = nn.attention_cache(2, 5, 2, 4)
        return mg.swapaxes(mg.scan(body, cache, mg.swapaxes(x, 0, 1))[1], 0, 1)

    loop = mg.Store(seed=0)
    call = loop.bind(model, engine)
    call.trace(x)
    for path, value in store.numpy().items():
        loop[f"heads/{path}"] = value
    np.testing.assert_allclose(call(x).numpy(), want, rtol=2e-5, atol=2e-5)


def test_a_policy_leaves_a_cache_in_its_dtype():
    class Half:
        param, compute, output = mg.float32, mg.dtypes.dtype("bfloat16"), mg.float32

    def model(scope, x, cache):
        scope = scope.with_policy(Half)
        return nn.multi_head_attention(scope, x, num_heads=2, key_dim=4, cache=cache)

    cache = nn.attention_cache(1, 4, 2, 4, dtype="bfloat16")
    y, after = mg.Store().bind(model, "numpy")(np.ones((1, 1, 8), "float32"), cache)
    assert y.dtype is mg.float32 and after.key.dtype.name == "bfloat16"


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@on_every_engine
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("queries, keys", [(5, 5), (9, 9), (3, 6)])
def test_relative_scores_are_those_of_transformer_xl(engine, causal, queries, keys):
    """Dai et al. 2019, section 3.3, term by term: (q + u) k + (q + v) W r of the distance."""
    heads, dim, features = 2, 6, 8
    x = RNG.normal(size=(2, queries, features)).astype("float32")
    z = x if queries == keys else RNG.normal(size=(2, keys, features)).astype("float32")
    store = mg.Store(seed=0)
    call = store.bind(
        lambda s, x, z: nn.multi_head_attention(
            s, x, z, num_heads=heads, key_dim=dim, relative=True, use_causal_mask=causal
        ),
        engine,
    )
    call(x, z)
    w = {p: v.astype("float64") for p, v in drawn(store).numpy().items()}
    q, k, v = (
        np.einsum("bnf,fhd->bnhd", a, w[f"{n}/kernel"]) + w[f"{n}/bias"]
        for n, a in (("query", x), ("key", z), ("value", z))
    )
    inverse = 10_000.0 ** (-np.arange(0, features, 2) / features)
    scores = np.full((2, heads, queries, keys), -np.inf)
    for i in range(queries):
        for j in range(keys):
            if causal and j > i:
                continue
            angle = (i - j) * inverse
            r = np.concatenate([np.sin(angle), np.cos(angle)])
            far = np.einsum("f,fhd->hd", r, w["relative/kernel"])
            near = (q[:, i] + w["content_bias"]) * k[:, j]
            scores[:, :, i, j] = (near + (q[:, i] + w["position_bias"]) * far).sum(-1)
    mixed = np.einsum("bhqk,bkhd->bqhd", softmax(scores / math.sqrt(dim)), v)
    out = w["attention_output/kernel"], w["attention_output/bias"]
    want = np.einsum("bqhd,hdf->bqf", mixed, out[0]) + out[1]
    np.testing.assert_allclose(call(x, z).numpy(), want, rtol=1e-5, atol=1e-5)


def test_relative_attention_has_as_many_numbers_as_chinchillas():
    """Hoffmann et al. 2022, table A9: 5 d e + 5 e + d for attention, of width e = heads * dim."""
    features, heads, dim = 12, 3, 5
    store = mg.Store(seed=0)
    store.bind(
        lambda s, x: nn.multi_head_attention(s, x, num_heads=heads, key_dim=dim, relative=True),
        "numpy",
    ).trace(np.zeros((1, 2, features), "float32"))
    e = heads * dim
    assert sum(store.spec(p).size for p in store) == 5 * features * e + 5 * e + features


def test_rotary_products_depend_on_the_distance_alone():
    q, k = (np.tile(RNG.normal(size=(1, 1, 1, 8)), (1, 12, 1, 1)) for _ in range(2))
    turn = mg.Store().bind(nn.rotary_embedding, "numpy")
    products = np.einsum("bihd,bjhd->ij", turn(q).numpy(), turn(k).numpy())
    for far in range(-11, 12):
        diagonal = np.diagonal(products, far)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-10)
    assert np.ptp(products) > 0.1


def test_a_query_that_sees_nothing_gets_zeros_either_way():
    x = RNG.normal(size=(1, 3, 4)).astype("float32")
    mask = np.array([[[True, False, True], [False] * 3, [True] * 3]])
    for more in ({}, {"return_attention_scores": True}):
        call = mg.Store(seed=0).bind(
            lambda s, x, m, more=more: nn.multi_head_attention(
                s, x, num_heads=2, key_dim=2, attention_mask=m, **more
            ),
            "numpy",
        )
        y = mg.tree.leaves(call(x, mask))[0].numpy()
        np.testing.assert_array_equal(y[:, 1], 0)
        assert (y[:, [0, 2]] != 0).all()


def test_a_float_mask_is_added_with_bool_masks_and_weights_agree_with_the_fused_way():
    x = RNG.normal(size=(2, 4, 6)).astype("float32")
    bias = RNG.normal(size=(2, 4, 4)).astype("float32")
    seen = np.array([[True, True, False, True], [True, False, True, True]])

    def model(scope, x, bias, seen, scores):
        return nn.multi_head_attention(
            scope, x, num_heads=2, key_dim=3, attention_mask=bias, key_mask=seen,
            use_causal_mask=True, relative=True, return_attention_scores=scores,
        )  # fmt: skip

    store = mg.Store(seed=0)
    y, weights = store.bind(lambda *a: model(*a, True), "numpy")(x, bias, seen)
    fused = store.bind(lambda *a: model(*a, False), "numpy")(x, bias, seen)
    np.testing.assert_allclose(y.numpy(), fused.numpy(), rtol=1e-5, atol=1e-6)
    w = weights.numpy()
    np.testing.assert_allclose(w.sum(-1), 1, rtol=1e-5)
    assert (w[0, :, :, 2] == 0).all() and (np.triu(w, 1) == 0).all() and w[0, :, 3, 0].all()


@pytest.mark.parametrize(
    "options, error, words",
    [
        (dict(num_heads=4, num_key_value_heads=3), ShapeError, "4 heads are no multiple of 3"),
        (dict(num_heads=2, cache=(1, 1, 2, 3)), ShapeError, "2 queries in a cache of length 1"),
        (dict(num_heads=2, cache=(1, 8, 2, 3), value=True), ArgumentError, "the query's own"),
    ],
)
def test_mistakes_are_explained(options, error, words):
    def model(scope, x):
        given = dict(options)
        if "cache" in given:
            given["cache"] = nn.attention_cache(*given["cache"])
        value = x if given.pop("value", False) else None
        return nn.multi_head_attention(scope / "heads", x, value, key_dim=3, **given)

    with pytest.raises(error, match=rf"attention.py:\d+: multi_head_attention 'heads': .*{words}"):
        mg.Store().bind(model, "numpy")(np.ones((1, 2, 4), "float32"))


@on_every_engine
def test_heads_projected_elsewhere_attend_by_the_formula(engine):
    """`attend` with a scale, a soft cap, a window and padding, at once and by way of a cache."""
    q, k, v = (RNG.normal(size=(2, 6, heads, 4)).astype("float32") for heads in (4, 2, 2))
    seen = np.ones((2, 6), bool)
    seen[1, :2] = False
    options = dict(use_causal_mask=True, sliding_window=3, scale=0.7, soft_cap=1.5)

    def at_once(q, k, v, seen):
        return nn.attend(q, k, v, key_mask=seen, return_attention_scores=True, **options)[:2]

    def by_cache(q, k, v, seen):
        cache, out = nn.attention_cache(2, 8, 2, 4), []
        for part in (slice(0, 4), slice(4, 6)):
            y, _, cache = nn.attend(
                q[:, part], k[:, part], v[:, part], key_mask=seen, cache=cache, **options
            )
            out.append(y)
        return mg.concat(out, axis=1)

    distance = np.arange(6)[:, None] - np.arange(6)
    allowed = (distance >= 0) & (distance < 3) & seen[:, None, None, :]
    wide = [np.repeat(x.astype("float64"), 4 // x.shape[2], axis=2) for x in (q, k, v)]
    scores = 1.5 * np.tanh(np.einsum("bqhd,bkhd->bhqk", *wide[:2]) * 0.7 / 1.5)
    weights = np.where(allowed, np.exp(scores), 0.0)
    weights /= np.maximum(weights.sum(-1, keepdims=True), 1e-30)
    want = np.einsum("bhqk,bkhd->bqhd", weights, wide[2])
    y, got = mg.jit(at_once, engine=engine)(q, k, v, seen)
    np.testing.assert_allclose(got.numpy(), weights, atol=1e-6)
    np.testing.assert_allclose(y.numpy(), want, atol=1e-5)
    longer = np.pad(seen, ((0, 0), (0, 2)))
    cached = mg.jit(by_cache, engine=engine)(q, k, v, longer).numpy()
    np.testing.assert_allclose(cached, want, atol=1e-5)


def test_rotary_positions_with_frequencies_of_ones_own():
    x = RNG.normal(size=(1, 5, 2, 6)).astype("float32")
    waves = np.array([0.5, 0.2, 0.0], "float32")
    call = mg.Store().bind(nn.rotary_embedding, "numpy", frequencies=waves)
    pairs = x[..., :3] + 1j * x[..., 3:]  # a turn is a product with exp(i angle)
    turned = pairs * np.exp(1j * np.arange(5)[:, None] * waves)[None, :, None]
    want = np.concatenate([turned.real, turned.imag], axis=-1)
    np.testing.assert_allclose(call(x).numpy(), want, atol=1e-6)

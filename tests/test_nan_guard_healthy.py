"""Healthy models with masks and infinities inside: the guard raises no alarm and changes no result."""

import functools

import monograph as mg
import monograph_layers as nn
import monograph_train as train
import numpy as np
import pytest

ENGINES = ("numpy", "xla", "torch")
INF = mg.inf
RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 6)).astype("float32")
MASK = np.tril(np.ones((4, 6), bool))
MODELS = {}


def healthy(*args):
    def enter(fn):
        MODELS[fn.__name__] = (fn, args)
        return fn

    return enter


def grad_of(fn, x, *rest):
    return mg.grad(lambda v: mg.sum(fn(v, *rest)))(x)


@healthy(X, MASK)
def masked_softmax(x, mask):
    def f(v, m):
        return mg.softmax(mg.where(m, v, -INF)) ** 2

    return f(x, mask), grad_of(f, x, mask)


@healthy(X, MASK)
def masked_log_softmax_loss(x, mask):
    def f(v, m):
        return -mg.log_softmax(mg.where(m, v, -INF))[:, 0]

    return f(x, mask), grad_of(f, x, mask)


@healthy(X, MASK)
def masked_logsumexp(x, mask):
    return mg.logsumexp(mg.where(mask, x, -INF), axis=1)


@healthy(X, MASK)
def additive_mask(x, mask):
    bias = mg.where(mask, 0.0, -INF)
    return mg.softmax(x + bias), mg.argmax(x + bias, axis=1), mg.max(x + bias, axis=1)


@healthy(np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]], "float32"))
def entropy_hidden_by_where(p):
    return mg.sum(mg.where(p > 0, p * mg.log(p), 0.0), axis=1)


@healthy(np.array([0.0, 1.0, 2.0], "float32"))
def double_where(x):
    def f(v):
        safe = mg.where(v > 0, v, 1.0)
        return mg.where(v > 0, mg.sqrt(safe) + mg.log(safe), 0.0)

    return f(x), grad_of(f, x)


@healthy(np.array([0.0, 1.0, 2.0], "float32"))
def division_hidden_by_where(x):
    return mg.where(x != 0, 1 / x, 0.0)


@healthy(RNG.normal(size=(2, 7, 7, 3)).astype("float32"))
def max_pool_with_padding(x):
    def f(v):
        return mg.max_pool(v, 3, strides=2, padding="same")

    return f(x), grad_of(f, x)


@healthy(X)
def running_maximum(x):
    """An infinite first carry."""

    def body(top, row):
        top = mg.maximum(top, row)
        return top, top

    return mg.scan(body, mg.full((6,), -INF), x)


@healthy(X, MASK)
def online_softmax(x, mask):
    """Flash attention's loop: the first maximum is -inf."""
    masked = mg.where(mask, x, -INF)

    def body(carry, column):
        top, total = carry
        new = mg.maximum(top, column)
        total = total * mg.exp(top - new) + mg.exp(column - new)
        return (new, total), ()

    first = (mg.full((4,), -INF), mg.zeros((4,)))
    top, total = mg.scan(body, first, mg.matrix_transpose(masked))[0]
    return top + mg.log(total)


@healthy(X, MASK)
def a_mask_handed_out(x, mask):
    return mg.where(mask, x, -INF), mg.full((3,), INF), mg.sum(x)


@healthy(X, MASK)
def a_mask_handed_in_and_out(x, mask):
    bias = mg.where(mask, 0.0, -INF)
    return x + bias, mg.stack([bias, bias]), mg.min(bias)


@healthy(np.array([[0.0, 1.0], [1.0, 1.0]], "float32"))
def an_allowed_logarithm(counts):
    bias = mg.allow_nonfinite(mg.log(counts))
    return bias, mg.softmax(bias + 1.0), bias * 2


@healthy(X)
def nearest_so_far(x):
    """Infinite where nothing was found yet, minimised over."""
    distance = mg.where(x > 1, mg.abs(x), INF)
    return mg.argmin(distance, axis=1), mg.minimum(mg.min(distance, axis=1), 10.0)


@healthy(X, MASK)
def best_of_masked(x, mask):
    values, order = mg.top_k(mg.where(mask, x, -INF), 1)
    return values, order, mg.sort(mg.where(mask, x, INF), axis=1)[:, 0]


@healthy(X)
def infinities_looked_for(x):
    y = 1 / (x - x)
    return mg.isinf(y), mg.any(mg.isnan(y)), mg.nan_to_num(mg.where(x > 0, INF, x))


@healthy(X)
def beam_search(x):
    """Scores of -inf for beams that are not there."""
    start = mg.concat([mg.zeros((1,)), mg.full((3,), -INF)])

    def body(scores, row):
        total = mg.reshape(scores, (4, 1)) + mg.log_softmax(row)
        best, index = mg.top_k(mg.reshape(total, (-1,)), 4)
        return best, index

    return mg.scan(body, start, x)


@healthy(np.arange(5.0, dtype="float32"))
def branch_not_taken(x):
    return mg.cond(x[0] > 0, lambda: mg.log(x - 10), lambda: x * 2)


@healthy(RNG.normal(size=(2, 3, 5, 4)).astype("float32"))
def attention_with_masks(x):
    def f(v):
        causal = mg.attention(v, v, v, is_causal=True)
        keys = mg.where(mg.arange(3) < 2, 0.0, -INF)
        return causal + mg.attention(v, v, v, mask=mg.broadcast_to(keys, (3, 3)))

    return f(x), grad_of(f, x)


@healthy(np.array([1e30, 1.0], "float32"))
def clipped_after_overflow(x):
    return mg.clip(mg.exp(x), 0.0, 10.0), mg.tanh(x * x), 1 / (1 + mg.exp(x))


@healthy(X)
def complex_numbers(x):
    z = mg.astype(x, "complex64") * 1j
    return mg.exp(z), mg.abs(z)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", MODELS)
def test_no_alarm(name, engine):
    fn, args = MODELS[name]
    f = mg.jit(fn, engine=engine)
    want = f(*args)
    with mg.nan_guard():
        for _ in range(2):
            got = f(*args)
            for a, b in zip(mg.tree.leaves(got), mg.tree.leaves(want), strict=True):
                np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-6, atol=2e-6)


def test_the_models_have_infinities_inside():
    """Were there none, no alarm would say nothing."""
    from monograph.engine import resolve
    from monograph.examine.walk import walk

    device, without = resolve("numpy"), []
    for name, (fn, args) in MODELS.items():
        graph = mg.trace(fn, *args)
        odd = []
        for inner in (graph, *graph.subgraphs()):
            if inner is graph:
                odd += walk(inner, [mg.tensor(x).numpy() for x in args], device).kinds.values()
        if not odd:
            without.append(name)
    assert without == [
        "double_where",
        "max_pool_with_padding",
        "branch_not_taken",
        "complex_numbers",
    ]
    assert len(MODELS) >= 20


def test_innocent_results_are_not_replayed_again(monkeypatch):
    from monograph.examine import guard

    calls = []
    walk = guard.walk
    monkeypatch.setattr(guard, "walk", lambda *args: calls.append(1) or walk(*args))
    f = mg.jit(lambda x, m: mg.where(m, x, -INF), engine="numpy")
    with mg.nan_guard():
        for _ in range(5):
            f(X, MASK)
    assert len(calls) == 1


def test_eager_masks_raise_no_alarm():
    with mg.nan_guard():
        x, mask = mg.tensor(X), mg.tensor(MASK)
        scores = mg.where(mask, x, -INF)
        assert np.isfinite(mg.softmax(scores).numpy()).all()
        assert mg.max(scores + mg.full((4, 6), -INF)).item() == -INF
        mg.allow_nonfinite(scores)


# ---- models that train


def rnn(scope, x, training=False):
    y = nn.lstm(scope / "lstm", x, 8)
    return nn.dense(scope / "logits", y[:, -1] if y.ndim == 3 else y, 3)


def cnn(scope, x, training=False):
    y = nn.conv2d(scope / "conv", x[..., None], 4, 3, padding="same", activation="relu")
    y = nn.batch_norm(scope / "norm", y, training=training)
    y = nn.max_pooling2d(scope / "pool", y, 2, padding="same")
    y = nn.dropout(scope / "dropout", nn.flatten(scope / "flat", y), 0.5, training=training)
    return nn.dense(scope / "logits", y, 3)


def transformer(scope, x, training=False):
    s = scope / "block"
    y = nn.multi_head_attention(
        s / "attention", nn.layer_norm(s / "norm", x), num_heads=2, key_dim=4,
        use_causal_mask=True, key_mask=mg.where(mg.arange(5) < 4, True, False)[None, :],
    )  # fmt: skip
    return nn.dense(scope / "logits", mg.mean(x + y, axis=1), 3)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", [rnn, cnn, transformer], ids=lambda m: m.__name__)
def test_training_goes_as_without_the_guard(model, engine):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(16, 5, 6)).astype("float32")
    y = rng.integers(0, 3, 16)
    loss = functools.partial(train.sparse_categorical_crossentropy, from_logits=True)

    def trained(guard):
        t = train.Trainer(
            model, loss, train.adam(1e-2), [train.accuracy], engine=engine, nan_guard=guard
        )
        history = t.fit((x, y), epochs=2, batch_size=8, progress=False, validation=(x, y))
        return history[-1].metrics, t.store.numpy()

    (metrics, want), (guarded, got) = trained(False), trained(True)
    assert metrics == pytest.approx(guarded, rel=1e-5)
    for path in want:
        np.testing.assert_allclose(got[path], want[path], rtol=1e-5, atol=1e-6, err_msg=path)

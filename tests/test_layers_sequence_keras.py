"""Layers agree with Keras 3: outputs, new state, and gradients of inputs and weights, from one table.

Keras computes in float64, Monograph in float32. Weights have the same names on both sides.
"""

import os
import warnings

os.environ.setdefault("KERAS_BACKEND", "torch")

import functools

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest

pytest.importorskip("torch", reason="Keras computes its gradients with torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="Keras is what the layers are held against")
import torch

ENGINES = ("xla", "torch")
TOLERANCE = 1e-5  # of each array's largest magnitude: float32 against float64
L = keras.layers if keras else None


class Listed:
    """A layer of Keras that takes its inputs and masks as lists, called with them one by one."""

    def __init__(self, layer):
        self.layer, self.get_config = layer, layer.get_config

    def from_config(self, config):
        return Listed(self.layer.__class__.from_config(config))

    def __call__(self, *inputs, key_mask=None, **options):
        mask = None if key_mask is None else [None, key_mask]
        return self.layer(list(inputs), mask=mask, **options)

    @property
    def weights(self):
        return self.layer.weights


# name: (Keras's layer, ours, shapes of the inputs (a list of them: a state's), options of the call:
# values, or shapes of bool masks)
CASES = {
    "batch_norm": (L.BatchNormalization(), nn.batch_norm, [(4, 3, 5)], {}),
    "batch_norm training": (L.BatchNormalization(), nn.batch_norm, [(8, 5)], {"training": True}),
    "batch_norm options": (
        L.BatchNormalization(momentum=0.7, epsilon=0.1, center=False),
        functools.partial(nn.batch_norm, momentum=0.7, epsilon=0.1, center=False),
        [(4, 3, 5)], {"training": True},
    ),
    "batch_norm masked": (
        L.BatchNormalization(scale=False), functools.partial(nn.batch_norm, scale=False),
        [(4, 3, 5)], {"training": True, "mask": (4, 3)},
    ),
    "layer_norm": (L.LayerNormalization(), nn.layer_norm, [(3, 4, 5)], {}),
    "layer_norm options": (
        L.LayerNormalization(axis=(1, 3), epsilon=1e-2, center=False),
        functools.partial(nn.layer_norm, axis=(1, 3), epsilon=1e-2, center=False),
        [(2, 3, 4, 5)], {},
    ),
    "layer_norm without scale": (
        L.LayerNormalization(scale=False), functools.partial(nn.layer_norm, scale=False),
        [(2, 6, 4)], {},
    ),
    "group_norm": (L.GroupNormalization(), nn.group_norm, [(2, 3, 64)], {}),
    "group_norm options": (
        L.GroupNormalization(groups=2, epsilon=1e-2, scale=False),
        functools.partial(nn.group_norm, groups=2, epsilon=1e-2, scale=False),
        [(2, 3, 4, 6)], {},
    ),
    "group_norm of instances": (
        L.GroupNormalization(groups=-1), functools.partial(nn.group_norm, groups=-1),
        [(2, 5, 3)], {},
    ),
    "rms_norm": (L.RMSNormalization(), nn.rms_norm, [(3, 4, 5)], {}),
    "rms_norm options": (
        L.RMSNormalization(axis=(1, 2), epsilon=0.1),
        functools.partial(nn.rms_norm, axis=(1, 2), epsilon=0.1), [(3, 4, 5)], {},
    ),
    "unit_norm": (L.UnitNormalization(), nn.unit_norm, [(3, 4)], {}),
    "unit_norm options": (
        L.UnitNormalization(axis=(1, 2)), functools.partial(nn.unit_norm, axis=(1, 2)),
        [(2, 3, 4)], {},
    ),
    "prelu": (L.PReLU(), nn.prelu, [(3, 4, 5)], {}),
    "prelu shared": (
        L.PReLU(shared_axes=[1]), functools.partial(nn.prelu, shared_axes=(1,)), [(3, 4, 5)], {},
    ),
    "dropout is off": (L.Dropout(0.5), functools.partial(nn.dropout, rate=0.5), [(3, 4)], {}),
    "dense": (
        L.Dense(4, activation="gelu"), functools.partial(nn.dense, units=4, activation="gelu"),
        [(2, 3, 5)], {},
    ),
    "attention": (
        L.MultiHeadAttention(num_heads=2, key_dim=3),
        functools.partial(nn.multi_head_attention, num_heads=2, key_dim=3),
        [(2, 4, 6), (2, 5, 7)], {"attention_mask": (2, 4, 5)},
    ),
    "attention, causal": (
        L.MultiHeadAttention(num_heads=2, key_dim=3, use_bias=False, output_shape=5),
        functools.partial(
            nn.multi_head_attention, num_heads=2, key_dim=3, use_bias=False, output_shape=5
        ),
        [(2, 4, 6), (2, 4, 7), (2, 4, 8)], {"use_causal_mask": True},
    ),
    "attention, weights": (
        L.MultiHeadAttention(num_heads=2, key_dim=3, value_dim=4, use_gate=True),
        functools.partial(nn.multi_head_attention, num_heads=2, key_dim=3, value_dim=4, use_gate=True),
        [(2, 5, 6), (2, 5, 7)], {"return_attention_scores": True, "use_causal_mask": True},
    ),
    "attention, window": (
        L.MultiHeadAttention(num_heads=2, key_dim=3, sliding_window=2),
        functools.partial(nn.multi_head_attention, num_heads=2, key_dim=3, sliding_window=2),
        [(2, 5, 6), (2, 5, 7)], {"use_causal_mask": True},
    ),
    "attention, grouped": (
        L.GroupQueryAttention(head_dim=3, num_query_heads=4, num_key_value_heads=2),
        functools.partial(nn.multi_head_attention, num_heads=4, num_key_value_heads=2, key_dim=3),
        [(2, 4, 6), (2, 5, 7)], {"attention_mask": (2, 4, 5)},
    ),
    "attention, grouped, weights": (
        L.GroupQueryAttention(head_dim=3, num_query_heads=4, num_key_value_heads=1, use_bias=False),
        functools.partial(
            nn.multi_head_attention, num_heads=4, num_key_value_heads=1, key_dim=3, use_bias=False
        ),
        [(2, 4, 6), (2, 5, 7)], {"return_attention_scores": True, "attention_mask": (2, 4, 5)},
    ),
    "dot attention": (Listed(L.Attention()), nn.attention, [(2, 3, 4), (2, 5, 4)], {}),
    "dot attention options": (
        Listed(L.Attention(use_scale=True, score_mode="concat")),
        functools.partial(nn.attention, use_scale=True, score_mode="concat"),
        [(2, 5, 4), (2, 5, 4), (2, 5, 4)],
        {"use_causal_mask": True, "return_attention_scores": True, "key_mask": (2, 5)},
    ),
    "additive_attention": (
        Listed(L.AdditiveAttention()), nn.additive_attention, [(2, 3, 4), (2, 5, 4)],
        {"key_mask": (2, 5), "return_attention_scores": True},
    ),
    "additive_attention options": (
        Listed(L.AdditiveAttention(use_scale=False)),
        functools.partial(nn.additive_attention, use_scale=False),
        [(2, 5, 4), (2, 5, 4)], {"use_causal_mask": True},
    ),
    "simple_rnn": (L.SimpleRNN(4), functools.partial(nn.simple_rnn, units=4), [(2, 5, 3)], {}),
    "simple_rnn options": (
        L.SimpleRNN(4, activation="relu", use_bias=False, return_sequences=True, go_backwards=True),
        functools.partial(
            nn.simple_rnn, units=4, activation="relu", use_bias=False, return_sequences=True,
            go_backwards=True,
        ),
        [(2, 5, 3)], {"mask": (2, 5)},
    ),
    "lstm": (L.LSTM(4), functools.partial(nn.lstm, units=4), [(2, 5, 3)], {}),
    "lstm options": (
        L.LSTM(4, activation="softsign", recurrent_activation="hard_sigmoid", return_state=True,
               return_sequences=True, go_backwards=True),
        functools.partial(
            nn.lstm, units=4, activation="softsign", recurrent_activation="hard_sigmoid",
            return_state=True, return_sequences=True, go_backwards=True,
        ),
        [(2, 5, 3)], {"mask": (2, 5)},
    ),
    "lstm from a state": (
        L.LSTM(4, use_bias=False, return_sequences=True),
        functools.partial(nn.lstm, units=4, use_bias=False, return_sequences=True),
        [(2, 5, 3), [(2, 4), (2, 4)]], {"mask": (2, 5)},
    ),
    "gru": (L.GRU(4), functools.partial(nn.gru, units=4), [(2, 5, 3)], {}),
    "gru options": (
        L.GRU(4, reset_after=False, return_sequences=True, return_state=True),
        functools.partial(
            nn.gru, units=4, reset_after=False, return_sequences=True, return_state=True
        ),
        [(2, 5, 3)], {"mask": (2, 5)},
    ),
    "gru from a state": (
        L.GRU(4, use_bias=False, go_backwards=True),
        functools.partial(nn.gru, units=4, use_bias=False, go_backwards=True),
        [(2, 5, 3), [(2, 4)]], {},
    ),
    "bidirectional": (
        L.Bidirectional(L.LSTM(4)), functools.partial(nn.bidirectional, fn=nn.lstm, units=4),
        [(2, 5, 3)], {},
    ),
    "bidirectional sum": (
        L.Bidirectional(L.GRU(4, return_sequences=True, return_state=True), merge_mode="sum"),
        functools.partial(
            nn.bidirectional, fn=nn.gru, units=4, return_sequences=True, return_state=True,
            merge_mode="sum",
        ),
        [(2, 5, 3)], {"mask": (2, 5)},
    ),
    "bidirectional pair": (
        L.Bidirectional(L.SimpleRNN(4, return_sequences=True), merge_mode=None),
        functools.partial(
            nn.bidirectional, fn=nn.simple_rnn, units=4, return_sequences=True, merge_mode=None
        ),
        [(2, 5, 3), [(2, 4), (2, 4)]], {},
    ),
}  # fmt: skip


def our_path(path):
    """``"lstm/lstm_cell/kernel"`` as ``"layer/kernel"``: what wraps a layer has no scope here."""
    rest = [p for p in path.split("/")[1:] if not p.endswith("_cell")]
    sides = [p.split("_")[0] if p.startswith(("forward_", "backward_")) else p for p in rest]
    return "/".join(["layer", *sides])


def split(inputs):
    """Arrays, and the state they begin from where there is one."""
    states = [x for x in inputs if isinstance(x, list)]
    arrays = [x for x in inputs if not isinstance(x, list)]
    return arrays, {"initial_state": states[0]} if states else {}


def by_keras(layer, inputs, options, rng):
    """Outputs, weights, new state and gradients of ``sum(output * cotangent)``, and the cotangents."""
    layer = layer.from_config(layer.get_config() | {"dtype": "float64"})
    leaves = [torch.tensor(x, requires_grad=True) for x in mg.tree.leaves(inputs)]
    given, state = split(mg.tree.unflatten(mg.tree.flatten(inputs)[1], leaves))
    options = options | state
    extra = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()}
    layer(*given, **extra)  # makes the weights
    weights = {our_path(w.path): w for w in layer.weights if "seed" not in w.path}
    for w in weights.values():
        w.assign(rng.uniform(0.1, 0.9, w.shape) * rng.choice([-1, 1], w.shape) if w.trainable
                 else rng.uniform(0.5, 1.5, w.shape))  # fmt: skip
    start = {p: w.value.detach().numpy().copy() for p, w in weights.items()}
    outs = [y for y in keras.tree.flatten(layer(*given, **extra)) if y is not None]
    cotangents = [rng.normal(size=tuple(y.shape)) for y in outs]
    sum((y * torch.tensor(g)).sum() for y, g in zip(outs, cotangents)).backward()
    new = {p: w.value.detach().numpy() for p, w in weights.items() if not w.trainable}
    grads = {p: w.value.grad.numpy() for p, w in weights.items() if w.trainable}
    grads |= {f"input/{i}": x.grad.numpy() for i, x in enumerate(leaves)}
    return [y.detach().numpy() for y in outs], start, new, grads, cotangents


def by_monograph(engine, layer, inputs, options, start, cotangents):
    """Outputs, new state and gradients of the same."""

    def model(scope, arrays, cotangents):
        def loss():
            xs = [scope.parameter(f"input/{i}", x.shape) for i, x in enumerate(leaves)]
            given, state = split(mg.tree.unflatten(mg.tree.flatten(inputs)[1], xs))
            outs = mg.tree.leaves(layer(scope / "layer", *given, **fixed, **arrays, **state))
            return sum(mg.sum(y * g) for y, g in zip(outs, cotangents, strict=True)), outs

        (_, outs), grads = scope.value_and_grad(loss, has_aux=True)()
        return outs, grads

    leaves = mg.tree.leaves(inputs)
    arrays = {k: v for k, v in options.items() if isinstance(v, np.ndarray)}
    fixed = {k: v for k, v in options.items() if k not in arrays}
    store = mg.Store(seed=0)
    call = store.bind(model, engine)
    call.trace(arrays, [g.astype("float32") for g in cotangents])
    mine = {p for p in store if p.startswith("layer/")}
    assert mine == set(start), "the variables' names differ"
    for path, value in start.items():
        assert store.spec(path).shape == value.shape, path
        store[path] = value.astype("float32")
    for i, x in enumerate(leaves):
        store[f"input/{i}"] = x.astype("float32")
    outs, grads = call(arrays, [g.astype("float32") for g in cotangents])
    return [y.numpy() for y in outs], store.numpy(), {p: g.numpy() for p, g in grads.items()}


def close(got, want, what, scale=0.0):
    atol = TOLERANCE * max(scale, np.abs(want).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=TOLERANCE, atol=atol, err_msg=what)


def some_true(rng, shape):
    """Bools; the first of each last axis is true: who may look at nothing differs by design."""
    out = rng.integers(0, 2, shape).astype(bool)
    out[..., 0] = True
    return out


@pytest.mark.parametrize("case", CASES)
def test_layer_is_that_of_keras(case):
    theirs, ours, shapes, given = CASES[case]
    rng = np.random.default_rng(0)
    inputs = [
        [rng.normal(size=n) for n in s] if isinstance(s, list) else rng.normal(size=s)
        for s in shapes
    ]
    options = {k: some_true(rng, v) if isinstance(v, tuple) else v for k, v in given.items()}
    outs, start, new, grads, cotangents = by_keras(theirs, inputs, options, rng)
    for engine in ENGINES:
        got, state, slopes = by_monograph(engine, ours, inputs, options, start, cotangents)
        for i, (a, b) in enumerate(zip(got, outs, strict=True)):
            close(a, b, f"{engine}: output {i}")
        for path, value in new.items():
            close(state[path], value, f"{engine}: new {path}")
        # some are 0 but for roundings: that of a key's bias, which softmax does not see
        scale = max(np.abs(g).max() for g in grads.values())
        for path, value in grads.items():
            close(slopes[path], value, f"{engine}: gradient of {path}", scale)


A = nn.activations
OPTIONS = {
    "relu": [{"negative_slope": 0.1, "max_value": 1.0, "threshold": 0.3}, {"max_value": 6}],
    "leaky_relu": [{"negative_slope": 0.3}], "elu": [{"alpha": 0.5}], "celu": [{"alpha": 0.5}],
    "gelu": [{"approximate": True}], "glu": [{"axis": 0}], "softmax": [{"axis": 0}],
    "log_softmax": [{"axis": 0}], "soft_shrink": [{"threshold": 0.2}], "squareplus": [{"b": 1.0}],
    "hard_shrink": [{"threshold": 0.2}],
}  # fmt: skip
# Keras 3.15's sparsemax on torch sums what it should take the last of: its result has no sum of 1
ALL = [(n, o) for n in sorted(A.ACTIVATIONS) if n != "sparsemax" for o in ({}, *OPTIONS.get(n, ()))]


def test_every_activation_of_keras_is_known():
    theirs = keras.src.activations.ALL_OBJECTS_DICT
    assert set(theirs) - set(A.ACTIVATIONS) == {"threshold"}  # which needs its options
    assert set(A.ACTIVATIONS) - set(theirs) == set()


@pytest.mark.parametrize("name, options", ALL, ids=str)
def test_activation_is_that_of_keras(name, options):
    x = np.random.default_rng(0).normal(size=(4, 6)) * 3
    g = np.random.default_rng(1).normal(size=(4, 6))
    at = torch.tensor(x, requires_grad=True)
    y = getattr(keras.activations, name)(at, **options)
    cut = tuple(slice(n) for n in y.shape)
    y.backward(torch.tensor(g[cut]))
    fn = A.ACTIVATIONS[name]

    def run(x, g):
        y, pull = mg.vjp(lambda v: fn(v, **options), x)
        return y, pull(g)

    for engine in ENGINES:
        got, slope = mg.jit(run).on(engine)(x.astype("float32"), g[cut].astype("float32"))
        close(got.numpy(), y.detach().numpy(), f"{engine}: {name}")
        slope = slope[0] if isinstance(slope, tuple) else slope
        close(slope.numpy(), at.grad.numpy(), f"{engine}: gradient of {name}")


def test_threshold_is_that_of_keras():
    x = np.linspace(-2, 2, 9).astype("float32")
    want = keras.activations.threshold(torch.tensor(x), 0.5, -3.0).numpy()
    np.testing.assert_array_equal(A.threshold(x, 0.5, -3.0).numpy(), want)


@pytest.mark.parametrize("engine", ENGINES)
def test_sparsemax_is_the_nearest_distribution(engine):
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32") * 2
    y = mg.jit(lambda v: A.sparsemax(v, axis=1)).on(engine)(x).numpy()
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-5)
    # the projection's condition: where y > 0, x - y is one number, and elsewhere x is no larger
    tau = np.where(y > 0, x - y, -np.inf).max(1, keepdims=True)
    assert (y > 0).sum(1).max() > 1 and (y == 0).any()
    np.testing.assert_allclose(y, np.maximum(x - tau, 0), atol=1e-6)


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_orthogonal_regularizer_is_that_of_keras(mode):
    w = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    want = keras.regularizers.OrthogonalRegularizer(0.3, mode)(torch.tensor(w)).item()
    got = nn.regularizers.orthogonal_regularizer(0.3, mode)(mg.tensor(w)).item()
    assert got == pytest.approx(want, rel=1e-5)


def test_activity_regularization_is_that_of_keras():
    x = np.random.default_rng(0).normal(size=(4, 6)).astype("float32")
    layer = L.ActivityRegularization(l1=0.2, l2=0.3)
    layer(torch.tensor(x))

    def model(scope, x):
        nn.activity_regularization(scope, x, l1=0.2, l2=0.3)
        return scope.losses[0]

    got = mg.Store().bind(model, "torch")(x).item()
    assert got == pytest.approx(layer.losses[0].item(), rel=1e-5)

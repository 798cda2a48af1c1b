"""onnxruntime: variables as constants, what it refuses, and models against the NumPy reference."""

from __future__ import annotations

import importlib

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest
from monograph_onnxruntime.engine import AGAIN

module = importlib.import_module("monograph_onnxruntime.engine")


@pytest.fixture
def made(monkeypatch):
    """How many inputs were constants, of each session that is made."""
    found = []
    real = module.session
    monkeypatch.setattr(module, "session", lambda g, v: found.append(len(v)) or real(g, v))
    return found


def dense(scope, x):
    return nn.dense(scope / "logits", x, 5)


def test_variables_are_constants_of_the_session(made):
    store = mg.Store(seed=0)
    call = store.bind(dense, "onnxruntime")
    x = mg.ones((2, 3))
    want = store.bind(dense, "numpy")(x).numpy()
    for _ in range(4):
        np.testing.assert_allclose(call(x).numpy(), want, rtol=1e-6)
    assert made == [2]


def test_a_new_value_counts_at_once_and_becomes_a_constant_once_it_stays(made):
    store = mg.Store(seed=0)
    call = store.bind(dense, "onnxruntime")
    x = mg.ones((2, 3))
    call(x)
    for step in range(3):
        store["logits/bias"] = np.full(5, step, "float32")
        assert np.ptp(call(x).numpy() - store["logits/kernel"].numpy().sum(0)) < 1e-6
    assert made == [2, 0]  # one session that takes them as inputs serves all
    for _ in range(AGAIN):
        call(x)
    assert made == [2, 0, 2]
    store["logits/bias"] = np.full(5, -1, "float32")
    np.testing.assert_allclose(
        call(x).numpy()[0], store["logits/kernel"].numpy().sum(0) - 1, rtol=1e-6
    )


def test_a_variable_that_is_written_is_no_constant(made):
    def count(scope, x):
        n = scope.variable("n", (), init=0.0)
        n.assign(n.value + 1)
        return x * n.value

    store = mg.Store()
    call = store.bind(count, "onnxruntime")
    assert [call(mg.tensor([1.0])).item() for _ in range(4)] == [1, 2, 3, 4]
    assert made == [0]


def test_what_it_lacks_is_named_at_once():
    def both(x):
        return mg.linalg.qr(x)[0] + mg.linalg.svd(x)[0]

    with pytest.raises(mg.errors.UnsupportedOp, match="qr") as e:
        mg.jit(both).on("onnxruntime")(mg.ones((3, 3)))
    assert "svd" in str(e.value) and "onnxruntime" in str(e.value)


@pytest.mark.parametrize("dtype", ["float64", "complex64"])
def test_a_dtype_it_lacks_is_refused_with_what_to_do(dtype):
    with pytest.raises(mg.errors.EngineError, match="astype"):
        mg.jit(lambda x: x + x).on("onnxruntime")(np.ones(3, dtype))


def test_an_operation_it_lacks_for_a_dtype_is_refused():
    f = mg.jit(lambda x: mg.maximum(x, x)).on("onnxruntime")
    with pytest.raises(mg.errors.EngineError, match=r"test_onnx.*maximum of uint64.*astype"):
        f(np.ones(3, "uint64"))
    largest = mg.jit(lambda x: mg.segment_max(x, np.array([0, 0, 1]), 2)).on("onnxruntime")
    with pytest.raises(mg.errors.EngineError, match=r"scatter of uint64"):
        largest(np.ones(3, "uint64"))


def test_random_numbers_are_those_of_every_engine():
    draw = mg.jit(lambda: mg.random.normal(mg.random.split(mg.random.key(3), 2)[1], (5,)))
    np.testing.assert_allclose(
        draw.on("onnxruntime")().numpy(), draw.on("numpy")().numpy(), rtol=2e-6
    )


def convolutional(scope, x):
    for i, stride in enumerate((1, 2)):
        x = nn.conv2d(scope / f"conv{i}", x, 8, 3, strides=stride, padding="same", use_bias=False)
        x = mg.relu(nn.batch_norm(scope / f"norm{i}", x))
    x = nn.separable_conv2d(scope / "separable", x, 12, 3)
    x = mg.clip(mg.max_pool(x, 2), 0.0, 6.0)
    return nn.dense(scope / "logits", mg.mean(x, axis=(1, 2)), 4)


def recurrent(scope, x):
    x = mg.reshape(x, (x.shape[0], -1, 6))
    x = nn.bidirectional(scope / "both", x, nn.gru, 5, return_sequences=True)
    return nn.lstm(scope / "lstm", x, 7)


def attentive(scope, x):
    x = mg.reshape(x, (x.shape[0], -1, 8))
    x = nn.layer_norm(scope / "norm", x)
    y = nn.multi_head_attention(
        scope / "attention", x, num_heads=2, key_dim=4, use_causal_mask=True
    )
    return mg.gelu(x + y)


@pytest.mark.parametrize("model", [convolutional, recurrent, attentive])
def test_models_agree_with_the_reference(model):
    store, x = (
        mg.Store(seed=1),
        np.random.default_rng(0).normal(size=(2, 12, 12, 4)).astype("float32"),
    )
    want = store.bind(model, "numpy")(x).numpy()
    call = store.bind(model, "onnxruntime")
    for _ in range(2):
        np.testing.assert_allclose(call(x).numpy(), want, rtol=1e-4, atol=1e-5)


def test_loops_and_branches_inside_each_other():
    def fn(x, n):
        def body(carry):
            i, y = carry
            y = mg.switch(i % 3, [lambda v: v + 1, lambda v: v * 2, lambda v: v - i], y)
            return i + 1, y

        return mg.while_loop(lambda c: c[0] < n, body, (0, x))[1]

    x = np.arange(3, dtype="float32")
    for n in (0, 1, 7):
        want = mg.jit(fn).on("numpy")(x, n).numpy()
        np.testing.assert_array_equal(mg.jit(fn).on("onnxruntime")(x, n).numpy(), want)


def test_auto_asks_it_and_passes_it_over_where_it_lacks_operations(tmp_path, monkeypatch):
    from monograph import auto, choices

    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    store = mg.Store(seed=0)
    graph = store.bind(convolutional, "numpy").trace(np.ones((1, 12, 12, 4), "float32"))
    assert "onnxruntime" in [d.engine.name for d in auto.candidates(graph)]
    store.bind(convolutional, "auto")(np.ones((1, 12, 12, 4), "float32"))
    (kept,) = choices.every()
    assert kept.seconds["onnxruntime:cpu:0"] > 0
    solve = mg.jit(lambda a: mg.linalg.inv(a), engine="auto")
    np.testing.assert_allclose(solve(2 * np.eye(3, dtype="float32")).numpy(), np.eye(3) / 2)
    assert [c.seconds["onnxruntime:cpu:0"] is None for c in choices.every()].count(True) == 1


def test_results_of_threads_are_their_own():
    from concurrent.futures import ThreadPoolExecutor

    store = mg.Store(seed=0)
    call = store.bind(dense, "onnxruntime")
    call(mg.ones((1, 3)))
    kernel = store["logits/kernel"].numpy()
    xs = [np.full((1, 3), i, "float32") for i in range(64)]
    with ThreadPoolExecutor(4) as pool:
        for x, y in zip(xs, pool.map(call, xs)):
            np.testing.assert_allclose(y.numpy(), x @ kernel, rtol=1e-5, atol=1e-5)


def test_without_steady_inputs_one_session_is_made(made):
    f = mg.jit(lambda x, y: x @ y).on("onnxruntime")
    for n in range(3):
        assert f(np.full((2, 2), n, "float32"), np.eye(2, dtype="float32")).numpy()[0, 0] == n
    assert made == [0]


NAN, INF = np.nan, np.inf
AWKWARD = np.array([[1, NAN, 2], [INF, 0, -INF], [-1, 5, 3]], "float32")
CASES = {
    "max": (mg.max, AWKWARD), "min": (lambda x: mg.min(x, axis=1), AWKWARD),
    "bounded below": (lambda x: mg.maximum(x, 0.0), AWKWARD),
    "bounded above": (lambda x: mg.minimum(x, 0.0), AWKWARD),
    "bounded by NaN": (lambda x: mg.maximum(x, NAN), AWKWARD),
    "bounded twice": (lambda x: (mg.maximum(x, 0.0), mg.minimum(mg.maximum(x, 0.0), 2.0)), AWKWARD),
    "largest of segments": (lambda x: mg.segment_max(x, np.array([0, 0, 1]), 2), AWKWARD),
    "log of a sigmoid": (lambda x: mg.log(mg.sigmoid(x)), np.array([-20, -80, 3], "float32")),
    "product of int64": (mg.prod, np.full(39, 3)),
    "products of int64": (lambda x: mg.prod(x, axis=0), np.arange(1, 22).reshape(7, 3) + 2**20),
    "sum over an image": (lambda x: mg.sum(x, axis=(1, 2)), np.ones((2, 7, 7, 3), "float32")),
    "to uint64": (lambda x: x.astype("uint64"), np.array([-1, 3.5, 2.0**63, 1.5 * 2.0**63, INF, NAN], "float32")),
    "bools in order": (mg.sort, np.array([True, False, True])),
    "a large order": (lambda x: mg.argsort(x, axis=1), np.sin(np.arange(400)).reshape(20, 20)),
    "a large iota": (lambda i: mg.one_hot(i, 50), np.arange(40)),
    "no results": (lambda x: (), AWKWARD),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_where_onnx_or_onnxruntime_means_something_else(case):
    fn, x = CASES[case]
    x = x.astype("float32") if x.dtype == "float64" else x
    got, want = (mg.tree.leaves(mg.jit(fn).on(e)(x)) for e in ("onnxruntime", "numpy"))
    for y, w in zip(got, want, strict=True):
        np.testing.assert_allclose(y.numpy(), w.numpy(), rtol=1e-6)


@pytest.mark.parametrize("shape", [(2, 1, 1, 4), (1, 2, 4, 1), (2, 1, 4, 4), (1, 1, 1, 1)])
@pytest.mark.parametrize("kind", [bool, "float32"])
@pytest.mark.parametrize("causal", [False, True])
def test_masks_of_attention_broadcast(shape, kind, causal):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(2, 4, 2, 8)).astype("float32")
    mask = (rng.normal(size=shape) > -0.5).astype(kind)
    attend = mg.jit(lambda q, m: mg.attention(q, q, q, mask=m, is_causal=causal))
    got, want = (attend.on(e)(q, mask).numpy() for e in ("onnxruntime", "numpy"))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_a_lowering_for_it_by_another_is_not_asked_for(ops_of_one_test):
    @mg.op(infer=lambda x: x, vjp=None, lower={"onnxruntime": lambda *xs: None})
    def foreign(x):
        """The operand."""
        return x

    with pytest.raises(mg.errors.UnsupportedOp, match="foreign"):
        mg.jit(lambda x: foreign(x)).on("onnxruntime")(np.ones(3, "float32"))

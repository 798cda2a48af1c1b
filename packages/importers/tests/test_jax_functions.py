"""Functions of JAX: values and gradients as JAX gives them, on every engine."""

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph_importers.jax import load

jax, jnp = pytest.importorskip("jax"), pytest.importorskip("jax.numpy")
lax = jax.lax

RNG = np.random.default_rng(0)
X = RNG.uniform(0.1, 0.9, (5, 4)).astype("float32")
S = (X @ X.T + np.eye(5)).astype("float32")  # symmetric, positive definite
KEY = np.array([3, 7], "uint32")


def typed(x):
    return jax.random.wrap_key_data(x)


SMOOTH = {
    "tanh and friends": lambda x: jnp.tanh(x) + jnp.arctan2(x, x + 1) + jnp.expm1(x) * jnp.log1p(x) + jnp.cbrt(x),
    "special": lambda x: jax.scipy.special.erf(x) + jax.scipy.special.gammaln(x) + jax.scipy.special.digamma(x) + lax.erf_inv(x),
    "softmax": lambda x: jax.nn.softmax(x) * jax.nn.log_softmax(x, 0) + jax.nn.gelu(x),
    "cumulative": lambda x: jnp.cumsum(x, 0) + jnp.cumprod(x, 1) + lax.cummax(x),
    "sort": lambda x: jnp.sort(x, 0) + jnp.sort(x, 1, descending=True) * x,
    "indexing": lambda x: x.at[1].set(2.0).at[:, 1].mul(3.0).at[jnp.array([0, 0, 2])].add(x[:3]) + x[jnp.array([4, 0, 0, 1, 2])],
    "pooling": lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (1, 1), "SAME") + lax.reduce_window(x, 0.0, lax.add, (2, 2), (1, 1), "SAME"),
    "resize": lambda x: jax.image.resize(x, (8, 8), "bilinear"),
    "convolution": lambda x: lax.conv_general_dilated(x[None, :, :, None], X[None, :2, :2, None][0][..., None], (2, 1), "SAME", rhs_dilation=(1, 2), dimension_numbers=("NHWC", "HWIO", "NHWC")),
    "scan": lambda x: jnp.outer(*lax.scan(lambda c, r: (jnp.tanh(c @ X[:4] + r), c.sum()), x[0], x)),
    "scan, backwards": lambda x: lax.scan(lambda c, r: (c * r, c + r), x[0], x, reverse=True)[1],
    "fori_loop": lambda x: lax.fori_loop(0, 3, lambda i, c: c * x[0] + x[i], x[1]),
    "cond": lambda x: lax.cond(x.sum() > 1, jnp.sin, jnp.cos, x) + lax.map(lambda r: lax.cond(r[0] > 0.5, jnp.sin, jnp.cos, r), x),
    "checkpoint": jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))),
    "custom gradient": lambda x: jax.nn.relu(x - 0.5) + jax.nn.silu(x),
    "linear algebra": lambda x: jnp.linalg.cholesky(S * x[0, 0]) @ x + jax.scipy.linalg.solve_triangular(S, x, lower=True),
    "transforms": lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * 2) + jnp.fft.fft(x).real,
    "top_k": lambda x: lax.top_k(x, 2)[0],
    "einsum": lambda x: jnp.einsum("ij,kj,kl->il", x, x + 1, x),
}  # fmt: skip
ROUGH = {
    "integers": lambda x: (jnp.argmax(x, 1), jnp.argsort(x, 0), jnp.bincount(jnp.array([1, 1, 3]), length=4), lax.top_k(x, 2)[1], jnp.histogram(x, bins=4)[0]),
    "qr": lambda x: (*jnp.linalg.qr(x), *jnp.linalg.qr(x[:, :3] + 1j * x[:, 1:], mode="complete"), *lax.linalg.lu(jnp.stack([S, S + 1]))),
    "solve": lambda x: (jnp.linalg.solve(S, x), jnp.linalg.det(S * x[0, 0]), jnp.linalg.eigvalsh(S), jnp.linalg.svd(x, compute_uv=False)),
    "while": lambda x: lax.while_loop(lambda c: c.sum() < 100, lambda c: c * 2, x),
    "bits": lambda x: (lax.bitcast_convert_type(x, jnp.uint8), lax.population_count(lax.bitcast_convert_type(x, jnp.int32)), lax.reduce_precision(x, 5, 3)),
    "lexsort": lambda x: (jnp.lexsort((x[0], jnp.round(x[1]))), jnp.unique(jnp.round(x * 3), size=4)),
    "odd reductions": lambda x: (lax.reduce(x, jnp.float32(0), lambda a, b: a + b + a * b * 0, (0,)), lax.associative_scan(jnp.add, x), jnp.median(x)),
}  # fmt: skip
RANDOM = {
    "normal": lambda k: jax.random.normal(typed(k), (3, 4)),
    "split": lambda k: jax.random.key_data(jax.random.split(typed(k), 3)),
    "permutation": lambda k: jax.random.permutation(typed(k), 20),
    "categorical": lambda k: jax.random.categorical(typed(k), jnp.zeros((4, 3))),
}


def same(got, want, tolerance=1e-5):
    for a, b in zip(mg.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype.name == np.dtype(b.dtype).name
        np.testing.assert_allclose(a.numpy(), b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", SMOOTH)
def test_values_and_gradients(name):
    fn = SMOOTH[name]
    loaded = load(fn, example=(X,))
    weight = np.cos(np.arange(np.prod(jax.eval_shape(fn, X).shape), dtype="float32")).reshape(
        jax.eval_shape(fn, X).shape
    )
    slope = jax.jit(jax.grad(lambda x: (fn(x) * weight).sum()))
    source = load(slope, example=(X,))  # a gradient's graph is a program like any other
    for engine in ("xla", "torch"):
        same(loaded.on(engine).call(X), jax.jit(fn)(X))
        ours = mg.grad(lambda x: mg.sum(loaded.run(None, x) * weight))
        with mg.engine(engine):
            same(ours(mg.tensor(X)), slope(X), 1e-4)
    same(source.on("torch").call(X), slope(X), 1e-4)


@pytest.mark.parametrize("name", ROUGH)
def test_values(name):
    loaded = load(ROUGH[name], example=(X,))
    for engine in ("numpy", "xla", "torch"):
        same(loaded.on(engine).call(X), jax.jit(ROUGH[name])(X))


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_are_jaxs(name):
    loaded = load(RANDOM[name], example=(KEY,))
    for engine in ("xla", "torch"):
        same(loaded.on(engine).call(KEY), RANDOM[name](KEY))


@settings(max_examples=6, deadline=None)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    kind=st.sampled_from(["uint8", "uint16", "uint32"]),
)
def test_bits_of_xlas_generator(shape, kind):
    state = np.array([1, 2, 3, 4], "uint32")
    fn = lambda k: lax.rng_bit_generator(k, shape, kind, lax.RandomAlgorithm.RNG_THREE_FRY)
    same(load(fn, example=(state,)).on("numpy").call(state), jax.jit(fn)(state))


def test_loops_that_count_are_scans():
    loaded = load(SMOOTH["scan"], example=(X,))
    ops = [node.op.name for node in loaded.graph.nodes]
    assert ops.count("scan") == 1 and "while" not in ops
    loop = next(n for n in loaded.graph.nodes if n.op.name == "scan")
    assert loop.attrs["num_carry"] == 1  # what is scanned and stacked is no part of the carry


def test_any_length_of_named_axes():
    def fn(batch, scale):
        return {"out": [batch["images"].sum((1, 2)) * scale]}

    loaded = load(
        fn,
        example=({"images": np.zeros((2, 3, 4), "float32")}, 2.0),
        axes={"batch/images": {0: "n", 2: "w"}},
    )
    assert str(loaded.signature.inputs[0]) == "batch/images: float32[n,3,w]"
    for n, w in ((1, 4), (5, 7)):
        x = RNG.normal(size=(n, 3, w)).astype("float32")
        np.testing.assert_allclose(
            loaded.call(x, 3.0)["out"][0].numpy(), x.sum((1, 2)) * 3, rtol=1e-5
        )


def test_parameters_of_a_function_are_variables():
    def fn(x, params):
        return x @ params["layer"]["w"] + params["layer"]["b"]

    params = {"layer": {"w": X, "b": np.ones(4, "float32")}}
    loaded = load(fn, example=(X[:, :5].T[:1].repeat(5, 1)[:, :5], params), parameters=1)
    assert sorted(loaded.parameters) == ["layer/b", "layer/w"]
    assert [i.name for i in loaded.signature.inputs] == ["x"]
    x = RNG.normal(size=(1, 5)).astype("float32")
    same(loaded.call(x), fn(x, params))
    assert sorted(loaded.store.trainable) == ["layer/b", "layer/w"]


def test_keys_are_inputs():
    loaded = load(
        lambda key, x: jax.random.normal(key, x.shape) + x, example=(jax.random.key(0), X)
    )
    same(
        loaded.call(jax.random.key_data(jax.random.key(5)), X),
        jax.random.normal(jax.random.key(5), X.shape) + X,
    )


def test_the_nan_guard_names_the_line_of_the_jax_function():
    def fn(x):
        return jnp.log(x - 1.0) * 2  # the line

    loaded = load(fn, example=(X,))
    with mg.nan_guard(), pytest.raises(mg.errors.NonFinite) as e:
        loaded.call(X)
    where = fn.__code__.co_firstlineno + 1
    assert f"test_jax_functions.py:{where}" in str(e.value)


def test_what_cannot_be_had_is_listed_before_anything_runs():
    def fn(x):
        return jax.pure_callback(np.sin, x, x) + jax.pure_callback(np.cos, x, x)

    loaded = load(fn, example=(X,))
    (found,) = loaded.unsupported
    assert found.count == 2 and "callback" in found.op and "test_jax_functions.py" in found.where
    with pytest.raises(mg.errors.UnsupportedModel, match="callback"):
        loaded.call(X)


def test_bindings_that_print_no_generic_text(monkeypatch):
    from monograph_importers.stablehlo import mlir

    monkeypatch.setattr(mlir, "printed", lambda module: module.no_such_method())
    same(load(jnp.sin, example=(X,)).call(X), jnp.sin(X))


def test_what_is_asked_wrongly():
    with pytest.raises(mg.errors.ArgumentError, match="example="):
        load(lambda x: x)
    with pytest.raises(
        mg.errors.ArgumentError, match=r"axes names \['y'\]; the inputs are \['x'\]"
    ):
        load(lambda x: x, example=(X,), axes={"y": {0: "n"}})
    with pytest.raises(mg.errors.ArgumentError, match="parameters=3"):
        load(lambda x: x, example=(X,), parameters=3)

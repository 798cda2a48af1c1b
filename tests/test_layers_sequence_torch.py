"""Layers that PyTorch or transformers has and Keras has not agree with theirs, gradients included."""

import warnings

import monograph as mg
import monograph_layers as nn
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is what these are held against")

parametrizations = torch.nn.utils.parametrizations
ENGINES = ("xla", "torch")
on_engines = pytest.mark.parametrize("engine", ENGINES)


def gradients(model, store, engine, x, g):
    """Output, and gradients by path; the input's is that of ``"input"``."""

    def run(scope, g):
        def loss():
            y = model(scope, scope.parameter("input", x.shape))
            return mg.sum(y * g), y

        (_, y), grads = scope.value_and_grad(loss, has_aux=True)()
        return y, grads

    store["input"] = x
    y, grads = store.bind(run, engine)(g)
    return y.numpy(), {p: v.numpy() for p, v in grads.items()}


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(b).max()))


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


@on_engines
@pytest.mark.parametrize("affine", [False, True])
def test_instance_norm(engine, affine):
    x, g = draw(2, 4, 5, 3), draw(2, 4, 5, 3, seed=1)
    theirs = torch.nn.InstanceNorm2d(3, affine=affine).double()
    at = torch.tensor(x.astype("float64"), requires_grad=True)
    store = mg.Store(seed=0)
    if affine:
        scale, shift = draw(3, seed=2), draw(3, seed=3)
        theirs.weight.data, theirs.bias.data = (
            torch.tensor(scale).double(),
            torch.tensor(shift).double(),
        )
        store["gamma"], store["beta"] = scale, shift
    want = theirs(at.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    want.backward(torch.tensor(g.astype("float64")))
    y, grads = gradients(
        lambda s, v: nn.instance_norm(s, v, scale=affine, center=affine), store, engine, x, g
    )
    close(y, want.detach().numpy())
    close(grads["input"], at.grad.numpy())
    if affine:
        close(grads["gamma"], theirs.weight.grad.numpy())
        close(grads["beta"], theirs.bias.grad.numpy())


@on_engines
def test_weight_norm(engine):
    x, g, w, b = draw(5, 4), draw(5, 3, seed=1), draw(3, 4, seed=2), draw(3, seed=3)
    linear = torch.nn.Linear(4, 3).double()
    linear.weight.data, linear.bias.data = torch.tensor(w).double(), torch.tensor(b).double()
    parametrizations.weight_norm(linear)
    store = mg.Store(seed=0)
    store["logits/kernel"], store["logits/bias"] = w.T, b
    model = lambda s, v: nn.dense(nn.weight_norm(s / "logits"), v, 3)
    store.bind(model, engine).trace(x)
    lengths = linear.parametrizations.weight.original0
    close(store["logits/kernel_g"].numpy()[0], lengths.detach().numpy()[:, 0])
    moved = np.array([0.5, 2.0, -1.0])  # the length is learned apart
    lengths.data, store["logits/kernel_g"] = torch.tensor(moved[:, None]), moved[None]
    at = torch.tensor(x.astype("float64"), requires_grad=True)
    want = linear(at)
    want.backward(torch.tensor(g.astype("float64")))
    y, grads = gradients(model, store, engine, x, g)
    close(y, want.detach().numpy())
    close(grads["input"], at.grad.numpy())
    close(grads["logits/kernel"], linear.parametrizations.weight.original1.grad.numpy().T)
    close(grads["logits/kernel_g"][0], lengths.grad.numpy()[:, 0])


@pytest.mark.parametrize(
    "axis, shape", [(-1, (1, 1, 1, 6)), (None, (1, 1, 1, 1)), (2, (1, 1, 4, 1))]
)
def test_weight_norm_of_a_convolution_changes_nothing_before_training(axis, shape):
    x = draw(2, 5, 5, 4)
    store = mg.Store(seed=0)
    want = store.bind(lambda s, v: nn.conv2d(s / "c", v, 6, 3), "xla")(x).numpy()
    got = store.bind(lambda s, v: nn.conv2d(nn.weight_norm(s / "c", axis=axis), v, 6, 3), "xla")(x)
    assert store.spec("c/kernel_g").shape == shape
    close(got.numpy(), want)


@on_engines
@pytest.mark.parametrize("steps", [1, 3])
def test_spectral_norm(engine, steps):
    x, g, w, b = draw(5, 4), draw(5, 3, seed=1), draw(3, 4, seed=2), draw(3, seed=3)
    linear = torch.nn.Linear(4, 3).double()
    linear.weight.data, linear.bias.data = torch.tensor(w).double(), torch.tensor(b).double()
    parametrizations.spectral_norm(linear, n_power_iterations=steps)
    theirs = linear.parametrizations.weight[0]
    u, v = draw(3, seed=4), draw(4, seed=5)  # far from the singular vectors
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    store = mg.Store(seed=0)
    store["d/kernel"], store["d/bias"] = w.T, b

    def model(training):
        norm = dict(training=training, power_iterations=steps)
        return lambda s, x: nn.dense(nn.spectral_norm(s / "d", **norm), x, 3)

    store.bind(model(False), engine).trace(x)
    largest = np.linalg.svd(w)[1][0]
    first = store["d/kernel_v"].numpy() @ w.T @ store["d/kernel_u"].numpy()
    assert abs(first / largest - 1) < 1e-2  # after 15 steps
    store["d/kernel_u"], store["d/kernel_v"] = u, v
    theirs._u.data, theirs._v.data = torch.tensor(u).double(), torch.tensor(v).double()
    for training in (True, False):  # training moves the vectors, inference takes them as they are
        linear.train(training)
        at = torch.tensor(x.astype("float64"), requires_grad=True)
        linear.zero_grad()
        want = linear(at)
        want.backward(torch.tensor(g.astype("float64")))
        before = store["d/kernel_u"].numpy()
        y, grads = gradients(model(training), store, engine, x, g)
        assert (store["d/kernel_u"].numpy() != before).any() == training
        close(y, want.detach().numpy())
        close(grads["input"], at.grad.numpy())
        close(grads["d/kernel"], linear.parametrizations.weight.original.grad.numpy().T)
        close(store["d/kernel_u"].numpy(), theirs._u.numpy())
        close(store["d/kernel_v"].numpy(), theirs._v.numpy())


@pytest.fixture(scope="module")
def llama():
    """Transformers' LLaMA, and a small configuration with grouped queries."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = pytest.importorskip(
            "transformers.models.llama.modeling_llama", reason="LLaMA's code is the reference"
        )
    config = found.LlamaConfig(
        hidden_size=32, num_attention_heads=4, num_key_value_heads=2, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
    )  # fmt: skip
    return found, config


@on_engines
def test_rotary_embedding_is_that_of_llama(engine, llama):
    code, config = llama
    x = draw(2, 7, 3, 8)
    positions = np.array([[0, 1, 2, 3, 4, 5, 6], [3, 4, 5, 9, 1, 0, 2]])
    cos, sin = code.LlamaRotaryEmbedding(config)(torch.tensor(x), torch.tensor(positions))
    at = torch.tensor(x).transpose(1, 2)
    want = code.apply_rotary_pos_emb(at, at, cos, sin)[0].transpose(1, 2).numpy()
    call = mg.Store().bind(
        lambda s, v, p: nn.rotary_embedding(s, v, max_wavelength=500.0, positions=p), engine
    )
    close(call(x, positions).numpy(), want)
    plain = mg.Store().bind(lambda s, v: nn.rotary_embedding(s, v, max_wavelength=500.0), engine)
    close(plain(x).numpy()[0], want[0])


@on_engines
def test_a_block_of_llama_attends_as_theirs(engine, llama):
    """RMS norm, grouped queries, rotary positions and a causal mask at once."""
    code, config = llama
    norm, theirs = code.LlamaRMSNorm(32, 1e-5), code.LlamaAttention(config, 0)
    for i, p in enumerate((*norm.parameters(), *theirs.parameters())):
        p.data = torch.tensor(draw(*p.shape, seed=i) * 0.4)
    x, g = draw(2, 7, 32), draw(2, 7, 32, seed=1)
    at = torch.tensor(x, requires_grad=True)
    places = code.LlamaRotaryEmbedding(config)(at, torch.arange(7)[None])
    hidden = torch.triu(torch.full((7, 7), -torch.inf), 1)[None, None]
    want = theirs(norm(at), places, hidden)[0]
    want.backward(torch.tensor(g))

    def model(scope, x):
        x = nn.rms_norm(scope / "norm", x, epsilon=1e-5)
        return nn.multi_head_attention(
            scope / "heads", x, num_heads=4, key_dim=8, num_key_value_heads=2, use_bias=False,
            rotary=500.0, use_causal_mask=True,
        )  # fmt: skip

    store = mg.Store(seed=0)
    store["norm/scale"] = norm.weight.data.numpy()
    weights = {
        "query/kernel": (theirs.q_proj, (32, 4, 8)), "key/kernel": (theirs.k_proj, (32, 2, 8)),
        "value/kernel": (theirs.v_proj, (32, 2, 8)),
        "attention_output/kernel": (theirs.o_proj, (4, 8, 32)),
    }  # fmt: skip
    for path, (linear, shape) in weights.items():
        store[f"heads/{path}"] = linear.weight.data.numpy().T.reshape(shape)
    y, grads = gradients(model, store, engine, x, g)
    close(y, want.detach().numpy())
    close(grads["input"], at.grad.numpy())
    for path, (linear, shape) in weights.items():
        close(grads[f"heads/{path}"], linear.weight.grad.numpy().T.reshape(shape))


@on_engines
def test_sine_position_encoding_is_the_papers(engine):
    """Vaswani et al. 2017, section 3.5."""
    place, i = np.arange(5)[:, None] + 3, np.arange(4)[None]
    angle = place / 1000.0 ** (2 * i / 8)
    want = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(5, 8)
    call = mg.Store().bind(
        lambda s, v, n: nn.sine_position_encoding(s, v, max_wavelength=1000.0, start_index=n),
        engine,
    )
    close(call(np.zeros((2, 5, 8), "float32"), np.int32(3)).numpy(), want)


@on_engines
def test_position_embedding_takes_rows_from_where_it_starts(engine):
    store = mg.Store(seed=0)
    call = store.bind(lambda s, v, n: nn.position_embedding(s, v, 9, start_index=n), engine)
    y = call(np.zeros((2, 3, 4), "float32"), np.int32(5)).numpy()
    np.testing.assert_array_equal(y, store["embeddings"].numpy()[5:8])
    with pytest.raises(mg.errors.ShapeError, match="place 9 is past sequence_length=9"):
        store.bind(lambda s, v: nn.position_embedding(s, v, 9, start_index=7), engine)(y[None])

"""Attention on every engine against PyTorch's and jax.nn's, forward and gradients."""

import jax
import jax.numpy as jnp
import monograph as mg
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monograph import ops
from monograph.engine import get_engine

ENGINES = ("numpy", "xla", "torch")
# Relative to the largest magnitude: a few roundings of the result's own dtype, as softmax statistics
# are float32; torch's kernels round the weights, and gradients of them, to 16 bits once more.
TOLERANCE = {"float64": 1e-12, "float32": 5e-6, "float16": 8 * 2**-10, "bfloat16": 8 * 2**-7}

HIDDEN = np.array([[True, True, False, True], [False] * 4, [True, False, True, False]])
CASES = {
    "plain": ((3, 2), (4, 2), None, {}),
    "scaled": ((3, 2), (4, 2), None, {"scale": 0.3}),
    "grouped": ((3, 6), (4, 2), None, {}),
    "one key head": ((3, 4), (4, 1), None, {"is_causal": True}),
    "causal": ((4, 2), (4, 2), None, {"is_causal": True}),
    "causal, fewer keys": ((5, 2), (3, 2), None, {"is_causal": True}),
    "causal, more keys": ((3, 2), (5, 2), None, {"is_causal": True}),
    "bool mask": ((3, 2), (4, 2), HIDDEN, {}),
    "bool mask per head, grouped": ((3, 4), (4, 2), np.arange(48).reshape(4, 3, 4) % 5 > 1, {}),
    "bool mask per batch": ((3, 2), (4, 2), np.arange(8).reshape(2, 1, 1, 4) % 4 < 3, {}),
    "bias": ((3, 2), (4, 2), "bias", {}),
    "bias per batch, grouped": ((3, 4), (4, 2), "batch bias", {}),
    "one query": ((1, 2), (7, 2), None, {}),
}


def drawn(case, dtype, features=8):
    """q, k, v, and the mask or None, as float64 numbers that ``dtype`` holds exactly."""
    (queries, heads), (keys, kv), mask, attrs = CASES[case]
    rng = np.random.default_rng(5)

    def draw(*shape):
        x = torch.tensor(rng.normal(size=shape)).to(getattr(torch, dtype))
        return x.double().numpy()

    q, k, v = (
        draw(2, queries, heads, features),
        draw(2, keys, kv, features),
        draw(2, keys, kv, features),
    )
    if isinstance(mask, str):
        mask = draw(2, 1, 1, keys) if mask == "batch bias" else draw(heads, queries, keys)
    return (q, k, v), mask, attrs


def by_torch(qkv, mask, g, is_causal=False, scale=None):
    """PyTorch's result and gradients in float64; the bias' too where there is one."""
    leaves = [torch.tensor(x, requires_grad=True) for x in qkv]
    bias = mask
    if mask is not None:
        bias = torch.tensor(mask, requires_grad=mask.dtype != bool)
        if bias.ndim < 2:
            bias = bias[None]
    q, k, v = (x.transpose(1, 2) for x in leaves)
    out = F.scaled_dot_product_attention(
        q, k, v, attn_mask=bias, is_causal=is_causal, scale=scale, enable_gqa=True
    ).transpose(1, 2)
    if mask is not None and mask.dtype != bool:
        leaves.append(bias)
    out.backward(torch.tensor(g))
    return [x.detach().numpy() for x in (out, *[x.grad for x in leaves])]


def by_monograph(engine, dtype, qkv, mask, g, **attrs):
    learned = mask is not None and mask.dtype != bool

    @mg.jit
    def run(xs, m, g):
        def attend(*operands):
            bias = operands[3] if learned else m
            return mg.attention(*operands[:3], mask=bias, **attrs)

        out, pull = mg.vjp(attend, *xs, *([m] if learned else []))
        return out, *pull(g)

    convert = lambda x: mg.asarray(x).astype(dtype)
    m = convert(mask) if learned else mask
    outs = run.on(engine)([convert(x) for x in qkv], m, convert(g))
    assert all(str(o.dtype) == dtype for o in outs)
    return [o.astype("float64").numpy() for o in outs]


def close(got, want, dtype):
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        scale = max(1.0, np.abs(b).max(initial=0))
        np.testing.assert_allclose(
            a / scale, b / scale, rtol=0, atol=TOLERANCE[dtype], err_msg=f"{i}"
        )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES)
def test_attention_and_its_gradients_are_those_of_torch(case, engine):
    qkv, mask, attrs = drawn(case, "float32")
    g = np.random.default_rng(6).normal(size=qkv[0].shape).astype("float32").astype("float64")
    want = by_torch(qkv, mask, g, **attrs)
    close(by_monograph(engine, "float32", qkv, mask, g, **attrs), want, "float32")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
@pytest.mark.parametrize("case", ["grouped", "causal", "bool mask", "bias"])
def test_attention_in_other_floats(case, dtype, engine):
    qkv, mask, attrs = drawn(case, dtype)
    g = np.sign(np.random.default_rng(6).normal(size=qkv[0].shape))
    want = by_torch(qkv, mask, g, **attrs)
    close(by_monograph(engine, dtype, qkv, mask, g, **attrs), want, dtype)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", ["plain", "grouped", "scaled", "bias"])
def test_attention_is_that_of_jax(case, engine):
    qkv, mask, attrs = drawn(case, "float32")
    qkv = [x.astype("float32") for x in qkv]
    bias = None if mask is None else jnp.asarray(mask, "float32")[None]
    want = jax.nn.dot_product_attention(*map(jnp.asarray, qkv), bias=bias, **attrs)
    mask = None if mask is None else mask.astype("float32")
    got = mg.jit(lambda q, k, v: mg.attention(q, k, v, mask=mask, **attrs)).on(engine)(*qkv)
    close([got.numpy()], [np.asarray(want)], "float32")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("as_bias", [False, True])
def test_a_query_that_may_look_at_nothing_gives_zeros_and_finite_gradients(engine, as_bias):
    (q, k, v), mask, _ = drawn("bool mask", "float32")
    mask = np.where(mask, 0.0, -np.inf) if as_bias else mask
    g = np.ones_like(q)
    out, dq, *rest = by_monograph(engine, "float32", (q, k, v), mask, g)
    assert not out[:, 1].any() and not dq[:, 1].any()
    assert out[:, 0].all() and all(np.isfinite(x).all() for x in rest)


@pytest.mark.parametrize("engine", ENGINES)
def test_attention_of_nothing(engine):
    z = np.zeros
    shape = lambda *xs: mg.jit(mg.attention).on(engine)(*xs).shape
    assert shape(z((0, 3, 2, 4)), z((0, 5, 2, 4)), z((0, 5, 2, 4))) == (0, 3, 2, 4)
    assert shape(z((2, 0, 2, 4)), z((2, 5, 2, 4)), z((2, 5, 2, 4))) == (2, 0, 2, 4)
    # no keys: nothing to look at (torch's flash kernel takes the process down there)
    out = mg.jit(mg.attention).on(engine)(np.ones((2, 3, 2, 4)), z((2, 0, 2, 4)), z((2, 0, 2, 4)))
    assert out.shape == (2, 3, 2, 4) and not out.numpy().any()


@pytest.mark.parametrize("engine", ENGINES)
def test_values_may_have_features_of_their_own(engine):
    rng = np.random.default_rng(0)
    q, k, v = (rng.normal(size=(2, 3, 2, f)) for f in (4, 4, 6))
    got = mg.jit(mg.attention).on(engine)(q, k, v)
    want = F.scaled_dot_product_attention(*[torch.tensor(x).transpose(1, 2) for x in (q, k, v)])
    close([got.numpy()], [want.transpose(1, 2).numpy()], "float64")


def hessian_product(attend, q, p):
    return mg.grad(lambda x: mg.sum(mg.grad(lambda y: mg.sum(attend(y) ** 2))(x) * p))(q)


@pytest.mark.parametrize("engine", ENGINES)
def test_second_derivatives_are_those_of_torch(engine):
    (q, k, v), _, attrs = drawn("one key head", "float64")
    p = np.random.default_rng(8).normal(size=q.shape)
    got = mg.jit(lambda q: hessian_product(lambda x: mg.attention(x, k, v, **attrs), q, p)).on(
        engine
    )(q)

    def attend(x):
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return F.scaled_dot_product_attention(
                x.transpose(1, 2), *[torch.tensor(y).transpose(1, 2) for y in (k, v)],
                enable_gqa=True, **attrs,
            )  # fmt: skip

    want = torch.autograd.functional.hvp(
        lambda x: (attend(x) ** 2).sum(), torch.tensor(q), torch.tensor(p)
    )[1]
    close([got.numpy()], [want.numpy()], "float64")


def test_torch_runs_attention_and_its_backward_natively():
    # private operators: when torch drops them the record's body takes over, and this says so
    from monograph_torch.lowerings import attention

    assert attention.FORWARD is not None, "torch lost its flash attention for the CPU"
    assert attention.BACKWARD is not None, "torch lost the backward of its flash attention"
    q = mg.Spec((1, 4, 2, 8), "float32")
    graph = mg.trace(mg.grad(lambda x: mg.sum(mg.attention(x, x, x))), q)
    native = {n.op for n in get_engine("torch").prepare(graph).nodes}
    assert {ops.attention, ops.attention_backward} <= native


@pytest.mark.parametrize(
    ("shapes", "mask", "message"),
    [
        (((2, 3, 4, 8), (2, 5, 3, 8), (2, 5, 3, 8)), None, "q has 4 heads, no multiple of the 3 kv_heads"),
        (((2, 3, 4, 8), (1, 5, 4, 8), (2, 5, 4, 8)), None, "axis batch is 2 in q and 1 in k"),
        (((2, 3, 4, 8), (2, 5, 4, 8), (2, 6, 4, 8)), None, "axis keys is 5 in k and 6 in v"),
        (((2, 3, 4, 8), (2, 5, 4, 9), (2, 5, 4, 9)), None, "axis features is 8 in q and 9 in k"),
        (((2, 3, 8), (2, 5, 4, 8), (2, 5, 4, 8)), None, "must have the axes"),
        (
            ((2, 3, 4, 8), (2, 5, 4, 8), (2, 5, 4, 8)), np.ones((3, 4), bool),
            r"does not broadcast to \[batch, heads, queries, keys\], here \(2, 4, 3, 5\)",
        ),
    ],
)  # fmt: skip
def test_shape_errors_name_the_axes_at_the_users_line(shapes, mask, message):
    xs = [np.zeros(s, "float32") for s in shapes]
    with pytest.raises(mg.errors.ShapeError, match=message) as caught:
        mg.jit(lambda q, k, v: mg.attention(q, k, v, mask=mask)).on("numpy")(*xs)
    assert "test_attention.py" in str(caught.value).partition("attention:")[0]


def test_a_mask_of_integers_is_refused():
    x = np.zeros((1, 2, 2, 4), "float32")
    with pytest.raises(mg.errors.DTypeError, match="the mask has dtype int64; needs bool"):
        mg.attention(x, x, x, mask=np.ones((2, 2), "int64"))


@pytest.mark.parametrize("engine", ENGINES)
def test_large_scores_do_not_overflow(engine):
    q = np.full((1, 2, 1, 4), 300.0, "float32")
    v = np.arange(2.0, dtype="float32").reshape(1, 2, 1, 1) * np.ones(4, "float32")
    out = mg.jit(mg.attention).on(engine)(q, q, v)
    np.testing.assert_array_equal(out.numpy(), np.full_like(out.numpy(), 0.5))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_directional_derivative_is_that_of_jax(engine):
    qkv, _, _ = drawn("grouped", "float32")
    qkv = tuple(x.astype("float32") for x in qkv)
    ts = tuple(np.cos(x) for x in qkv)
    want = jax.jvp(jax.nn.dot_product_attention, qkv, ts)[1]
    got = mg.jit(lambda xs, ts: mg.jvp(mg.attention, xs, ts)[1]).on(engine)(qkv, ts)
    close([got.numpy()], [np.asarray(want)], "float32")

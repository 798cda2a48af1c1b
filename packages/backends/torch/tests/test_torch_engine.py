"""What is special to the Torch engine; the ops themselves are the conformance kit's business."""

from types import MappingProxyType

import monograph as mg
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monograph import ops
from monograph.engine import Options


def compiled(fn, *specs):
    return mg.trace(fn, *specs).compile("torch")


def test_source_is_flat_readable_and_frees_what_is_no_longer_needed():
    run = compiled(lambda x: mg.sum(mg.exp(x)), mg.Spec((3,))).executable
    assert "torch.sum(v1, (0,))" in run.source and "del v1" in run.source


def test_an_input_handed_straight_out_is_a_copy():
    x = mg.tensor([1.0, 2.0], device="torch")
    y = mg.jit(lambda v: v, engine="torch")(x)
    assert y.buffer.data_ptr() != x.buffer.data_ptr()


def test_changing_an_array_after_it_was_handed_over_never_shows():
    x = np.ones(100, "float32")
    t = mg.tensor(x, device="torch")
    x[:] = 5
    assert t.numpy().max() == 1


def test_network_and_gradients_agree_with_torch():
    rng = np.random.default_rng(0)
    x, k, w = (rng.normal(size=s).astype("float32") for s in ((4, 8, 8, 3), (3, 3, 3, 6), (96, 10)))
    labels = rng.integers(0, 10, 4)

    def ours(x, k, w):
        h = mg.max_pool(mg.relu(mg.conv(x, k, padding="same")), 2)
        return mg.mean(mg.cross_entropy(mg.reshape(h, (4, -1)) @ w, labels))

    tx, tk, tw = (torch.tensor(v, requires_grad=True) for v in (x, k, w))
    h = F.max_pool2d(F.relu(F.conv2d(tx.permute(0, 3, 1, 2), tk.permute(3, 2, 0, 1), padding=1)), 2)
    loss = F.cross_entropy(h.permute(0, 2, 3, 1).reshape(4, -1) @ tw, torch.tensor(labels))
    loss.backward()
    for engine in ("numpy", "xla", "torch"):
        value, grads = mg.value_and_grad(ours, (0, 1, 2)).on(engine)(x, k, w)
        np.testing.assert_allclose(value.item(), loss.item(), rtol=1e-5)
        for got, want in zip(grads, (tx.grad, tk.grad, tw.grad)):
            np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-6)


def test_what_attention_computes_by_its_body_may_be_overwritten():
    """Values of another width than keys: no kernel takes them. The short program reuses the result."""

    def fn(q, v):
        return mg.exp(mg.attention(q, q, v) * 2.0)

    q = np.linspace(-1, 1, 24, dtype="float32").reshape(1, 3, 2, 4)
    want = mg.jit(fn).on("numpy")(q, q[..., :2]).numpy()
    assert np.allclose(mg.jit(fn).on("torch")(q, q[..., :2]).numpy(), want, rtol=1e-5)


def test_layer_norm_attention_and_gelu_agree_with_torch():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 5, 4, 8)).astype("float32")
    scale, bias = rng.normal(size=(2, 8)).astype("float32")
    tx = torch.tensor(x)
    cases = [
        (
            lambda v: mg.layer_norm(v, scale, bias),
            F.layer_norm(tx, (8,), *map(torch.tensor, (scale, bias))),
        ),
        (lambda v: mg.gelu(v), F.gelu(tx)),
        (lambda v: mg.gelu(v, approximate=True), F.gelu(tx, approximate="tanh")),
        (
            lambda v: mg.attention(v, v, v, is_causal=True),
            F.scaled_dot_product_attention(*[tx.transpose(1, 2)] * 3, is_causal=True).transpose(
                1, 2
            ),
        ),
    ]
    for ours, want in cases:
        for engine in ("numpy", "xla", "torch"):
            got = mg.jit(ours, engine=engine)(x).numpy()
            np.testing.assert_allclose(got, want.numpy(), rtol=2e-5, atol=2e-6)


def test_the_private_fused_adam_is_there_and_agrees_with_the_decomposition():
    assert hasattr(torch, "_fused_adam_"), "torch lost _fused_adam_; the fallback is in use"
    rng = np.random.default_rng(2)
    p, g, m = (rng.normal(size=(7,)).astype("float32") for _ in range(3))
    v = np.abs(m) + 0.1
    f = mg.jit(lambda lr, t, *a: mg.ops.adam_update(lr, t, *a, count=1))
    args = (np.float32(0.01), np.float32(3), p, g, m, v)
    for got, want in zip(f.on("torch")(*args), f.on("numpy")(*args)):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6)


def test_two_losses_with_gradients_share_one_log_softmax_each():
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=(5, 4)).astype("float32") for _ in range(2))
    labels = np.array([0, 3, 1, 2, 9])  # the last is out of range and counts for nothing

    def loss(a, b):
        both = mg.cross_entropy(a, labels) * 2.0 + mg.cross_entropy(b, labels)
        return mg.sum(both)

    step = mg.value_and_grad(loss, (0, 1))
    value, grads = step.on("torch")(a, b)
    want, expected = step.on("numpy")(a, b)
    np.testing.assert_allclose(value.item(), want.item(), rtol=1e-6)
    for g, e in zip(grads, expected):
        np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("exponent", [2.0, 3.0, -1.0, 0.5, -0.5, 1.7, np.inf, np.nan, 0.0])
def test_a_constant_power_is_the_power(exponent):
    x = np.array([-np.inf, -2.0, -0.0, 0.0, 0.3, 2.0, np.inf, np.nan], "float32")
    got = mg.jit(lambda x: mg.ops.power(x, mg.ops.full(exponent, x.spec)), engine="torch")(x)
    with np.errstate(all="ignore"):
        want = np.power(x, np.full_like(x, exponent))  # by a number it has shortcuts
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


@pytest.mark.parametrize("name", ["_fused_adam_", "_fused_adamw_", "_fused_sgd_"])
def test_private_kernels_are_there(name):
    assert hasattr(torch, name), f"torch lost {name}; the op's own body runs instead"


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_agrees_with_torch(decay):
    p, g = torch.linspace(-1, 1, 6).reshape(2, 3), torch.linspace(2, -1, 6).reshape(2, 3)
    theirs = torch.nn.Parameter(p.clone())
    optimizer = torch.optim.AdamW([theirs], lr=0.01, weight_decay=decay)
    update = mg.jit(
        lambda lr, t, *a: mg.ops.adam_update(lr, t, *a, count=1, weight_decay=decay), engine="torch"
    )
    state = [p.numpy(), np.zeros((2, 3), "float32"), np.zeros((2, 3), "float32")]
    for step in range(1, 4):
        theirs.grad = g * step
        optimizer.step()
        ours = [state[0], (g * step).numpy(), *state[1:]]
        state = update(np.float32(0.01), np.float32(step), *ours)
    np.testing.assert_allclose(state[0].numpy(), theirs.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd_agrees_with_torch(momentum, nesterov):
    p, g = torch.linspace(-1, 1, 6).reshape(2, 3), torch.linspace(2, -1, 6).reshape(2, 3)
    theirs = torch.nn.Parameter(p.clone())
    optimizer = torch.optim.SGD([theirs], lr=0.1, momentum=momentum, nesterov=nesterov)
    update = mg.jit(
        lambda lr, *a: mg.ops.sgd_update(lr, *a, count=1, momentum=momentum, nesterov=nesterov),
        engine="torch",
    )
    state = [p.numpy(), *([np.zeros((2, 3), "float32")] if momentum else [])]
    for step in range(1, 4):
        theirs.grad = g * step
        optimizer.step()
        state = update(np.float32(0.1), state[0], (g * step).numpy(), *state[1:])
    np.testing.assert_allclose(state[0].numpy(), theirs.detach().numpy(), rtol=1e-5)


def test_batch_norm_and_its_gradients_agree_with_torch():
    rng = np.random.default_rng(4)
    x, weights = (rng.normal(3, 2, (4, 5, 6, 3)).astype("float32") for _ in range(2))
    scale, bias = rng.normal(size=(2, 3)).astype("float32")
    tx, ts, tb = (torch.tensor(v, requires_grad=True) for v in (x, scale, bias))
    mean, var = torch.zeros(3), torch.ones(3)
    y = F.batch_norm(tx.permute(0, 3, 1, 2), mean, var, ts, tb, True, 1.0, 1e-3).permute(0, 2, 3, 1)
    (y * torch.tensor(weights)).sum().backward()

    def ours(x, scale, bias):
        out, *stats = mg.ops.batch_norm_training(x, scale, bias, epsilon=1e-3)
        return mg.sum(out * weights), (out, *stats)

    run = mg.value_and_grad(ours, (0, 1, 2), has_aux=True).on("torch")
    (_, (out, batch_mean, batch_var)), grads = run(x, scale, bias)
    n = x[..., 0].size
    for got, want, rtol in (
        (out, y, 1e-4),
        (batch_mean, mean, 1e-5),
        (batch_var, var * (n - 1) / n, 1e-4),
        *zip(grads, (tx.grad, ts.grad, tb.grad), (1e-3,) * 3),
    ):
        np.testing.assert_allclose(got.numpy(), want.detach().numpy(), rtol=rtol, atol=1e-4)


def test_a_tie_in_a_window_goes_to_the_first():
    x = np.zeros((1, 4, 4, 2), "float32")
    grad = mg.grad(lambda x: mg.sum(mg.max_pool(x, 2)))
    np.testing.assert_array_equal(grad.on("torch")(x).numpy(), grad.on("numpy")(x).numpy())


def test_a_loop_writes_into_the_carry_it_made():
    big = mg.Spec((256, 1024))

    def fill(x):
        def turn(c):
            i, rows = c
            row = mg.zeros((1, 1024)) + mg.astype(i, "float32")
            return i + 1, mg.ops.dynamic_update_slice(rows, row, i, mg.asarray(0, dtype=i.dtype))

        return mg.while_loop(lambda c: c[0] < 256, turn, (mg.asarray(0, dtype="int32"), x))[1]

    run = compiled(fill, big)
    x = mg.tensor(np.full((256, 1024), -1, "float32"), device="torch")
    with torch.profiler.profile(profile_memory=True) as seen:
        out = run(x)
    assert (out.numpy() == np.arange(256, dtype="float32")[:, None]).all() and x.numpy().max() == -1
    copies = sum(e.count for e in seen.key_averages() if e.key == "aten::clone")
    assert copies < 10, f"{copies} copies of the carry"


@pytest.mark.parametrize(
    ("shapes", "product"),
    [
        (((5, 3), (3, 4), (4,)), lambda x, w: x @ w),
        (((2, 5, 3), (3, 4), (4,)), lambda x, w: x @ w),
        (((5, 3), (3, 2, 4), (4,)), lambda x, w: mg.tensordot(x, w, axes=1)),  # not one axis
        (((5, 3), (3, 4), (1,)), lambda x, w: x @ w),
        (((5, 3), (3, 4), (5, 1)), lambda x, w: x @ w),
        (((2, 5, 5, 3), (2, 2, 3, 4), (4,)), lambda x, w: mg.conv(x, w)),
        (((2, 5, 3), (1, 3, 4), (5, 1)), lambda x, w: mg.conv(x, w)),
    ],
)
def test_a_bias_goes_to_the_product_only_where_it_is_one(shapes, product):
    rng = np.random.default_rng(5)
    arrays = [rng.normal(size=s).astype("float32") for s in shapes]
    for fn in (lambda x, w, b: product(x, w) + b, lambda x, w, b: b + product(x, w)):
        got, want = (mg.jit(fn, engine=e)(*arrays).numpy() for e in ("torch", "numpy"))
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_without_the_private_kernel_adam_runs_its_own_body():
    from monograph_torch import TorchEngine

    class Lacking(TorchEngine):
        LOWER = MappingProxyType(
            {op: how for op, how in TorchEngine.LOWER.items() if op is not mg.ops.adam_update}
        )

    engine, rng = Lacking(), np.random.default_rng(6)
    arrays = [np.float32(0.01), np.float32(2), *rng.uniform(0.1, 1, (4, 3)).astype("float32")]
    graph = mg.trace(lambda *a: mg.ops.adam_update(*a, count=1), *map(mg.Spec.of, arrays))
    buffers = [engine.put(a, engine.devices[0]) for a in arrays]
    run = engine.compile(engine.prepare(graph), Options(engine.devices[0]))
    want = graph.compile("torch")(*arrays)
    for got, w in zip(run(*buffers), want):
        np.testing.assert_allclose(got.numpy(), w.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "d", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
)
def test_shifts_by_a_constant_fill_with_the_sign_bit(d):
    x = np.array([255, 254, 128, 3]).astype(d)
    f = mg.jit(lambda x: ops.shift_right_arithmetic(x, mg.full(x.shape, 1, dtype=d)))
    np.testing.assert_array_equal(f.on("torch")(x).numpy(), f.on("numpy")(x).numpy())


def test_complex_zero_to_the_power_of_zero_is_one():
    a, b = np.array([0, 0, 1 + 1j, 2]), np.array([0, 1, 0, 2j])
    got = mg.jit(ops.power, engine="torch")(a.astype("complex128"), b).numpy()
    np.testing.assert_allclose(got, np.power(a.astype("complex128"), b), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["<c16", ">f4", ">i8", "?"])
def test_arrays_of_any_byte_order_are_constants(dtype):
    a = np.ones(2, np.dtype(dtype).newbyteorder(dtype[0] if dtype[0] in "<>" else "="))
    got = mg.jit(lambda: mg.asarray(a) + 0 if dtype != "?" else mg.asarray(a)).on("torch")()
    assert got.tolist() == [1, 1]

"""What is special to the Torch engine; the ops themselves are the conformance kit's business."""

import monograph as mg
import numpy as np
import torch
import torch.nn.functional as F


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

"""Matrix products and kernels of one pixel by oneDNN and by BLAS, against NumPy in float64."""

import monograph as mg
import numpy as np
import pytest
import torch
from monograph import choices, ops
from monograph_torch import onednn
from monograph_torch.lowerings import convolution

CPU = torch.device("cpu")
RNG = np.random.default_rng(0)


@pytest.fixture(params=[True, False], ids=["oneDNN", "BLAS"])
def calls(request, monkeypatch):
    """oneDNN's calls; None where BLAS takes all."""
    made = []

    def counted(fn):
        return lambda *xs: made.append(fn) or fn(*xs)

    monkeypatch.setattr(onednn, "chosen", lambda *sizes: "oneDNN" if request.param else "BLAS")
    for name in ("mm", "addmm"):
        monkeypatch.setattr(onednn, name, counted(getattr(onednn, name)))
    return made if request.param else None


def drawn(*shape):
    return RNG.normal(size=shape).astype("float32")


def check(fn, want, xs, calls, count):
    got = mg.jit(fn).on("torch")(*xs)
    wants = want(*[x.astype("float64") for x in xs])
    for g, w in zip(mg.tree.leaves(got), wants, strict=True):
        scale = np.abs(w).max()
        np.testing.assert_allclose(g.numpy() / scale, w / scale, rtol=0, atol=3e-6)
    assert calls is None or len(calls) == count


@pytest.mark.parametrize("left", [0, 1])
@pytest.mark.parametrize("right", [0, 1])
def test_products_of_every_orientation(left, right, calls):
    m, k, n = 130, 150, 140
    x = drawn(m, k) if left else drawn(k, m)
    y = drawn(n, k) if right else drawn(k, n)
    product = lambda x, y: ops.dot_general(x, y, lhs_contracting=(left,), rhs_contracting=(right,))
    want = lambda x, y: [np.tensordot(x, y, ((left,), (right,)))]
    check(product, want, (x, y), calls, 1)


def test_products_of_views_and_with_biases(calls):
    x, w, b = drawn(2, 80, 300), drawn(300, 256), drawn(256)
    fn = lambda x, w, b: (x[:, :, ::2] @ w[::2, ::2] + b[::2], x[:, :, 1::2] @ w[150:] + b)
    want = lambda x, w, b: fn(x, w, b)
    check(fn, want, (x, w, b), calls, 2)


def test_what_is_not_finite_stays_where_it_is(calls):
    x, w = drawn(128, 128), drawn(128, 128)
    x[0, 0], x[1, 1] = np.nan, np.inf
    got = mg.jit(lambda x, w: x @ w).on("torch")(x, w).numpy()
    np.testing.assert_array_equal(np.isfinite(got), np.isfinite(x.astype("float64") @ w))


@pytest.mark.parametrize(
    "image, channels", [((8, 16, 16), (32, 64)), ((3, 7, 11), (128, 80)), ((2, 6, 6), (256, 160))]
)
def test_kernels_of_one_pixel_and_their_gradients(image, channels, calls):
    x, k, b = drawn(*image, channels[0]), drawn(1, 1, *channels), drawn(channels[1])
    g = drawn(*image, channels[1])

    def fn(x, k, b, g):
        y, pull = mg.vjp(lambda *xs: mg.conv(xs[0], xs[1]) + xs[2], x, k, b)
        return y, *pull(g)

    def want(x, k, b, g):
        dk = np.einsum("bhwi,bhwo->io", x, g)[None, None]
        return x @ k[0, 0] + b, g @ k[0, 0].T, dk, g.sum((0, 1, 2))

    # a kernel's gradient over many pixels is a convolution of images in a row
    products = 2 if np.prod(image) > 2 * max(channels) else 3
    check(fn, want, (x, k, b, g), calls, products)


SMALL = dict(padding=((1, 1), (1, 1)), strides=(1, 1), lhs_dilation=(1, 1), rhs_dilation=(1, 1))
HOW = {
    "plain": {}, "halved": dict(strides=(2, 2)), "uneven": dict(padding=((0, 1), (2, 1))),
    "spread": dict(lhs_dilation=(2, 1), rhs_dilation=(1, 2)), "cut": dict(padding=((-1, 1), (1, -1))),
    "of one pixel": dict(strides=(2, 2), padding=((0, 0), (0, 0))),
}  # fmt: skip


@pytest.mark.parametrize("how", HOW)
def test_small_images_of_many_channels(how, calls):
    attrs = {**SMALL, **HOW[how]}
    size, i = (1, 1024) if how == "of one pixel" else (3, 256)
    x, k = drawn(2, 4, 5, i), drawn(size, size, i, 192)

    def fn(x, k):
        y, pull = mg.vjp(lambda x, k: ops.convolution(x, k, feature_groups=1, **attrs), x, k)
        return y, *pull(mg.cos(y) + y)

    def want(x, k):
        return [v.numpy() for v in mg.jit(fn).on("numpy")(x, k)]

    check(fn, want, (x, k), calls, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes_are_as_before(dtype, calls):
    x, w = drawn(128, 256), drawn(256, 128)
    cast = lambda v: mg.astype(mg.asarray(v), dtype)
    got = mg.jit(lambda x, w: x @ w).on("torch")(cast(x), cast(w))
    assert str(got.dtype) == dtype
    exact = [cast(v).astype("float64").numpy() for v in (x, w)]
    np.testing.assert_allclose(
        got.astype("float64").numpy(), exact[0] @ exact[1], rtol=1e-2, atol=0.1
    )


@pytest.mark.parametrize("wrong", ["missing", "other numbers", "slower"])
def test_without_a_use_for_it_blas_takes_all(wrong, monkeypatch, tmp_path):
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))

    def missing(x, y):
        raise AttributeError("no such operation")

    def slower(x, y):
        return torch.stack([torch.mm(x, y) for _ in range(4)])[0]

    broken = {"missing": missing, "other numbers": lambda x, y: x @ y + 1, "slower": slower}
    monkeypatch.setattr(onednn, "mm", broken[wrong])
    onednn.chosen.cache_clear()
    try:
        assert not onednn.pays(CPU, 256, 256, 256)
        (kept,) = choices.every()
        assert kept.kind == "lowering" and kept.chosen == "BLAS" and "256,256" in kept.what
        assert (kept.seconds["oneDNN"] is None) == (wrong != "slower")
    finally:
        onednn.chosen.cache_clear()


def test_a_choice_is_kept_for_the_next_process_and_can_be_switched_off(monkeypatch, tmp_path):
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    onednn.chosen.cache_clear()
    try:
        first = onednn.pays(CPU, 300, 500, 200)
        onednn.chosen.cache_clear()
        monkeypatch.setattr(onednn, "mm", None)  # would be no way if it were tried
        assert onednn.pays(CPU, 290, 400, 250) == first  # the next powers of two are the same
        assert len(list(choices.every())) == 1
        onednn.chosen.cache_clear()
        monkeypatch.setenv("MONOGRAPH_TUNE", "0")
        assert not onednn.pays(CPU, 300, 500, 200)
    finally:
        onednn.chosen.cache_clear()


def test_small_and_narrow_products_are_blas(monkeypatch):
    monkeypatch.setattr(onednn, "chosen", lambda *sizes: "oneDNN")
    assert onednn.pays(CPU, 128, 128, 128)
    assert not onednn.pays(CPU, 64, 128, 128)
    assert not onednn.pays(CPU, 2, 4096, 4096)
    assert not onednn.pays(torch.device("cuda"), 512, 512, 512)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of Inductor's own imports
def test_inductor_compiles_them():
    fn = torch.compile(lambda x, y, b: (onednn.mm(x, y), onednn.addmm(b, x, y)), fullgraph=True)
    x, y, b = (torch.tensor(drawn(*shape)) for shape in ((128, 128), (128, 128), (128,)))
    with torch.no_grad():
        for got, want in zip(fn(x, y, b), (x @ y, x @ y + b)):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-4)


def test_a_convolution_and_its_gradient_pad_the_image_once(monkeypatch):
    spreads, real = [], convolution._spread
    monkeypatch.setattr(convolution, "_spread", lambda *xs: spreads.append(xs) or real(*xs))
    attrs = {**SMALL, "padding": ((0, 1), (0, 1)), "strides": (2, 2), "feature_groups": 4}

    def fn(x, k):
        y, pull = mg.vjp(lambda x, k: ops.convolution(x, k, **attrs), x, k)
        return y, *pull(mg.cos(y))

    x, k = drawn(2, 8, 8, 4), drawn(3, 3, 1, 4)
    for got, want in zip(mg.jit(fn).on("torch")(x, k), mg.jit(fn).on("numpy")(x, k)):
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-4, atol=1e-5)
    assert len(spreads) == 1


def test_a_bias_of_one_number_is_spread(calls):
    x, w, b = drawn(200, 300), drawn(300, 256), drawn(1)
    check(
        lambda x, w, b: (x @ w + mg.tile(b, (256,)),),
        lambda x, w, b: [x @ w + b],
        (x, w, b),
        calls,
        1,
    )


@pytest.mark.parametrize(
    "image, kernel", [((1, 34), (3,)), ((1, 1, 34), (1, 3)), ((1, 6, 3), (3, 3))]
)
def test_convolutions_of_one_image(image, kernel, calls):
    x, k = drawn(*image, 512), drawn(*kernel, 512, 256)

    def fn(x, k):
        y, pull = mg.vjp(lambda x, k: mg.conv(x, k, padding="valid"), x, k)
        return y, *pull(mg.cos(y) + y)

    want = lambda x, k: [v.numpy() for v in mg.jit(fn).on("numpy")(x, k)]
    check(fn, want, (x, k), None, 0)

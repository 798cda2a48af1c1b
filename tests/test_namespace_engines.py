"""The namespace on every engine against jax and torch: random numbers, transforms, indexing, einsum."""

import jax
import monograph as mg
import numpy as np
import pytest
import torch

ENGINES = ("numpy", "xla", "torch")
RNG = np.random.default_rng(0)


@pytest.fixture(params=ENGINES)
def engine(request):
    with mg.engine(request.param):
        yield request.param


def keys(seed):
    return mg.random.key(seed), jax.random.key(seed)


def words(key):
    return np.asarray(jax.random.key_data(key))


# ---- random numbers


@pytest.mark.parametrize("seed", [0, 1, 2**31 + 7])
def test_derived_keys_are_those_of_jax(engine, seed):
    ours, theirs = keys(seed)
    assert np.array_equal(mg.random.split(ours, 5).numpy(), words(jax.random.split(theirs, 5)))
    for data in (0, 7, 2**31, 2**32 - 1):
        want = words(jax.random.fold_in(theirs, np.uint32(data)))
        assert np.array_equal(mg.random.fold_in(ours, data).numpy(), want)
    step = mg.tensor(np.int32(7))
    want = words(jax.random.fold_in(theirs, 7))
    assert np.array_equal(mg.jit(mg.random.fold_in)(ours, step).numpy(), want)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("int32", 0, 10), ("int32", -(2**31), 2**31 - 1), ("uint8", 0, 256), ("int16", -5, 100),
        ("int64", 0, 3), ("int64", -(2**63), 2**63 - 1), ("uint32", 0, 2**32), ("int32", 4, 2**31),
    ],
)  # fmt: skip
def test_integers_are_those_of_jax(engine, dtype, low, high):
    ours, theirs = keys(3)
    with jax.enable_x64(True):
        want = np.asarray(jax.random.randint(theirs, (40, 2), low, high, dtype))
    got = mg.random.randint(ours, (40, 2), low, high, dtype).numpy()
    assert got.dtype == want.dtype
    assert np.array_equal(got, want)


@pytest.mark.parametrize("n", [1, 2, 500, 2500])  # sorted once, and twice
def test_permutations_are_those_of_jax(engine, n):
    ours, theirs = keys(5)
    want = np.asarray(jax.random.permutation(theirs, n))
    assert np.array_equal(mg.random.permutation(ours, n).numpy(), want)
    x = RNG.normal(size=(3, 4)).astype("float32")
    want = np.asarray(jax.random.permutation(theirs, x, axis=1))
    assert np.array_equal(mg.random.permutation(ours, x, axis=1).numpy(), want)


@pytest.mark.parametrize("name", ["normal", "gumbel", "exponential"])
def test_real_numbers_are_those_of_jax_to_the_engines_last_places(engine, name):
    ours, theirs = keys(2)
    got = getattr(mg.random, name)(ours, (4000,)).numpy()
    want = np.asarray(getattr(jax.random, name)(theirs, (4000,)))
    if engine == "xla":
        assert np.array_equal(got, want)
    # XLA's inverse error function in float32 is good to 3e-5 in the tails
    np.testing.assert_allclose(got, want, atol=3e-5)


def test_truncated_normal_and_bernoulli_are_those_of_jax(engine):
    ours, theirs = keys(9)
    want = np.asarray(jax.random.truncated_normal(theirs, -1.0, 2.0, (1000,)))
    got = mg.random.truncated_normal(ours, -1.0, 2.0, (1000,)).numpy()
    np.testing.assert_allclose(got, want, atol=3e-6)
    want = np.asarray(jax.random.bernoulli(theirs, 0.3, (500,)))
    assert np.array_equal(mg.random.bernoulli(ours, 0.3, (500,)).numpy(), want)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_categories_are_those_of_jax(engine, axis):
    ours, theirs = keys(4)
    logits = RNG.normal(size=(50, 7)).astype("float32")
    want = np.asarray(jax.random.categorical(theirs, logits, axis=axis))
    assert np.array_equal(mg.random.categorical(ours, logits, axis=axis).numpy(), want)


# ---- Fourier transforms


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("fft", {"n": 6}), ("ifft", {"axis": 0}), ("rfft", {"axis": 1}), ("irfft", {"n": 7}),
        ("fftn", {}), ("rfftn", {"axes": (2, 0)}), ("irfftn", {"s": (4, 5), "axes": (0, 1)}),
        ("hfft", {"n": 5}), ("ihfft", {"n": 4}),
    ],
)  # fmt: skip
def test_transforms_and_their_gradients_are_those_of_torch(engine, name, how, norm):
    x = RNG.normal(size=(3, 4, 5))
    if name not in ("rfft", "rfftn", "ihfft"):
        x = x + 1j * RNG.normal(size=x.shape)
    theirs = torch.tensor(x, requires_grad=True)
    renamed = {{"axis": "dim", "axes": "dim"}.get(k, k): v for k, v in how.items()}
    y = getattr(torch.fft, name)(theirs, norm=norm, **renamed).resolve_conj()
    weight = RNG.normal(size=y.shape)
    score = y * torch.tensor(weight)
    (score.real + 0.5 * y.imag if y.is_complex() else score).sum().backward()

    def loss(x):
        y = getattr(mg.fft, name)(x, norm=norm, **how)
        score = mg.real(y) * weight
        return mg.sum(score + 0.5 * mg.imag(y) if y.dtype.is_complex else score)

    ours = getattr(mg.fft, name)(mg.tensor(x), norm=norm, **how)
    np.testing.assert_allclose(ours.numpy(), y.detach().numpy(), atol=1e-12)
    np.testing.assert_allclose(mg.grad(loss)(x).numpy(), theirs.grad.numpy(), atol=1e-12)


# ---- reading, writing, products


KEYS = [
    (0, slice(None), [1, 2]), ([0, 1], slice(None, None, -1), [2, 3]), (slice(None), None, [1, 0]),
    (1, 2, 3), (..., np.array([True, False, True, False, True])), (-1, slice(3, 0, -2)),
    ([[0], [1]], [0, 2]),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_reading_and_writing_agree_with_numpy_on_every_engine(engine, key):
    x = RNG.normal(size=(3, 4, 5)).astype("float32")
    want = x[key]
    assert np.array_equal(mg.tensor(x)[key].numpy(), want)
    assert np.array_equal(mg.jit(lambda x: x[key])(x).numpy(), want)
    values = RNG.normal(size=want.shape).astype("float32")
    written, added = x.copy(), x.copy()
    written[key] = values
    np.add.at(added, key, values)
    assert np.array_equal(mg.jit(lambda x, v: x.at[key].set(v))(x, values).numpy(), written)
    np.testing.assert_allclose(mg.tensor(x).at[key].add(values).numpy(), added, rtol=1e-6)


def test_what_is_found_on_the_host_lives_where_its_array_does(engine):
    x = mg.tensor(np.array([3.0, 0.0, 3.0], "float32"))
    assert x.engine == engine
    found = (*mg.unique_all(x), *mg.nonzero(x), x[x > 0], mg.searchsorted(mg.sort(x), x))
    assert {y.device for y in found} == {x.device}
    assert [y.tolist() for y in found[-2:]] == [[3, 3], [1, 0, 1]]


def test_writing_one_place_twice_keeps_the_last_value_as_jax_differentiates_it(engine):
    x, v = RNG.normal(size=5).astype("float32"), RNG.normal(size=3).astype("float32")
    places, weight = np.array([4, 1, 4]), np.arange(1, 6, dtype="float32")
    got = mg.grad(lambda x, v, i: mg.sum(x.at[i].set(v) * weight), argnums=(0, 1))(x, v, places)
    want = jax.grad(lambda x, v: (x.at[places].set(v) * weight).sum(), argnums=(0, 1))(x, v)
    for a, b in zip(got, want):
        assert np.array_equal(a.numpy(), np.asarray(b))


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)]), ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 2)]),
     ("...ii->...i", [(2, 3, 3)]), ("ij,ij,j->", [(2, 3), (2, 3), (3,)])],
)  # fmt: skip
def test_einsum_and_its_gradient_are_those_of_torch(engine, subscripts, shapes):
    xs = [RNG.normal(size=s) for s in shapes]
    theirs = [torch.tensor(x, requires_grad=True) for x in xs]
    y = torch.einsum(subscripts, *theirs)
    (y**2).sum().backward()
    got = mg.grad(
        lambda *xs: mg.sum(mg.einsum(subscripts, *xs) ** 2), argnums=tuple(range(len(xs)))
    )(*xs)  # fmt: skip
    np.testing.assert_allclose(mg.einsum(subscripts, *xs).numpy(), y.detach().numpy(), atol=1e-10)
    for a, b in zip(got, theirs):
        np.testing.assert_allclose(a.numpy(), b.grad.numpy(), atol=1e-10)


@pytest.mark.parametrize(
    ("strides", "padding", "dilation", "more", "groups"),
    [(1, 0, 1, 0, 1), (2, 1, 1, 1, 1), (3, 0, 2, 2, 1), (2, 1, 1, 0, 2)],
)
def test_transposed_convolution_is_torchs(engine, strides, padding, dilation, more, groups):
    x = RNG.normal(size=(2, 5, 6, 4)).astype("float32")
    kernel = RNG.normal(size=(3, 2, 6 // groups, 4)).astype("float32")
    want = torch.nn.functional.conv_transpose2d(
        torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(kernel).permute(3, 2, 0, 1), None, strides,
        padding, more, groups, dilation,
    ).permute(0, 2, 3, 1)  # fmt: skip
    got = mg.conv_transpose(
        x, kernel, strides=strides, padding=padding, dilation=dilation, output_padding=more, groups=groups
    )  # fmt: skip
    np.testing.assert_allclose(got.numpy(), want.numpy(), atol=1e-4)

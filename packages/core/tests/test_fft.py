"""Fourier transforms against NumPy's."""

import monograph as mg
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from monograph.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(0)
NORMS = ("backward", "ortho", "forward")


@st.composite
def one_axis(draw):
    shape = tuple(draw(st.lists(st.integers(2, 5), min_size=1, max_size=3)))
    return {
        "shape": shape,
        "axis": draw(st.integers(-len(shape), len(shape) - 1)),
        "n": draw(st.none() | st.integers(1, 7)),
        "norm": draw(st.sampled_from(NORMS)),
    }


@st.composite
def many_axes(draw):
    shape = tuple(draw(st.lists(st.integers(2, 4), min_size=1, max_size=4)))
    axes = draw(st.permutations(range(len(shape))))[: draw(st.integers(1, len(shape)))]
    lengths = [draw(st.integers(2, 5)) for _ in axes]
    return {
        "shape": shape,
        "axes": tuple(axes),
        "s": draw(st.none() | st.just(tuple(lengths))),
        "norm": draw(st.sampled_from(NORMS)),
    }


def signal(shape, is_complex):
    x = RNG.normal(size=shape)
    return x + 1j * RNG.normal(size=shape) if is_complex else x


def check(name, case, is_complex):
    case = dict(case)
    x = signal(case.pop("shape"), is_complex)
    want = getattr(np.fft, name)(x, **case)
    got = getattr(mg.fft, name)(mg.tensor(x), **case)
    assert got.shape == want.shape
    assert got.numpy().dtype == want.dtype
    np.testing.assert_allclose(got.numpy(), want, atol=1e-12)


@pytest.mark.parametrize("name", ["fft", "ifft", "rfft", "irfft", "hfft", "ihfft"])
@given(one_axis())
@settings(max_examples=40, deadline=None, database=None)
def test_along_one_axis_as_numpy(name, case):
    check(name, case, name not in ("rfft", "ihfft"))


@pytest.mark.parametrize("name", ["fftn", "ifftn", "rfftn", "irfftn"])
@given(many_axes())
@settings(max_examples=40, deadline=None, database=None)
def test_along_several_axes_in_any_order_as_numpy(name, case):
    check(name, case, name != "rfftn")


def test_single_precision_stays_single_and_real_input_becomes_complex():
    x = mg.ones((4,))
    assert mg.fft.fft(x).dtype is mg.fft.rfft(x).dtype is mg.complex64
    assert mg.fft.irfft(mg.fft.rfft(x)).dtype is mg.float32
    assert mg.fft.rfft(mg.ones((4,), dtype="float64")).dtype is mg.complex128
    assert mg.fft.fft(mg.tensor([1, 2])).dtype is mg.complex64


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_frequencies_and_shifts_as_numpy(n):
    d = 0.25
    for name in ("fftfreq", "rfftfreq"):
        got = getattr(mg.fft, name)(n, d=d, dtype=mg.float64)
        assert np.array_equal(got.numpy(), getattr(np.fft, name)(n, d))
    x = RNG.normal(size=(n, 3))
    for name in ("fftshift", "ifftshift"):
        for axes in (None, 0, (1,), (0, 1)):
            got = getattr(mg.fft, name)(mg.tensor(x), axes=axes)
            assert np.array_equal(got.numpy(), getattr(np.fft, name)(x, axes))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mg.fft.fft(mg.ones((3,)), norm="none"), ArgumentError, "norm='none' is none of"),
        (lambda: mg.fft.fft(mg.ones((3, 0))), ShapeError, "at least one element along axis 1"),
        (lambda: mg.fft.irfft(mg.ones((1,))), ShapeError, "at least one element along axis 0"),
        (lambda: mg.fft.rfft(mg.ones((3,), dtype="complex64")), DTypeError, "use fft"),
        (lambda: mg.fft.fftn(mg.ones((3, 3)), s=(1,), axes=(0, 1)), ArgumentError, "1 lengths"),
        (lambda: mg.fft.fft(mg.ones((3,)), axis=1), IndexError, "axes=1 is out of range"),
        (lambda: mg.fft.fftfreq(0), ArgumentError, "at least one bin"),
        (lambda: mg.fft.fftfreq(4, dtype="int32"), DTypeError, "real floating"),
    ],
)
def test_mistakes_are_explained_at_the_users_line(call, error, words):
    with pytest.raises(error, match=f"test_fft.py.*{words}"):
        call()


def test_a_filter_is_differentiated_through_both_transforms():
    x = mg.tensor(RNG.normal(size=9))
    gain = mg.tensor(RNG.normal(size=5))

    def filtered(x, gain):
        return mg.sum(mg.fft.irfft(mg.fft.rfft(x) * gain, n=9) ** 2)

    # Parseval: the gradient by a bin's gain is its power, twice for bins with a mirror image
    power = np.abs(np.fft.rfft(x.numpy())) ** 2 / 9 * np.array([1, 2, 2, 2, 2])
    got = mg.grad(filtered, argnums=1)(x, gain)
    np.testing.assert_allclose(got.numpy(), 2 * gain.numpy() * power, rtol=1e-12)

"""Many small parts of an array by one C function, and packed variables, which are such parts."""

import functools

import monograph as mg
import numpy as np
import pytest
from monograph import ops, packs
from monograph.errors import NativeError
from monograph_xla import native, splitting

SIZES = (3, 0, 1, 7, 5)


def parts(x):
    return ops.split(x, sizes=SIZES, axis=0)


def program(fn, *args):
    call = mg.jit(fn, engine="xla")
    out = call(*args)
    (made,) = call._cache.values()
    return out, made.executable.as_text()


@pytest.mark.parametrize("dtype", splitting._DTYPES)
def test_every_dtype_and_shape(dtype):
    bits = np.random.default_rng(0).integers(0, 2, (16, 2, 16), dtype="uint8")
    for shape in ((16,), (16, 2)):
        x = bits[..., 0][:, : shape[1]] if shape[1:] else bits[:, 0, 0]
        x = x.astype(mg.dtypes.dtype(dtype).numpy)
        got, text = program(parts, x)
        assert "monograph_native" in text
        for y, want in zip(got, np.split(x, np.cumsum(SIZES)[:-1]), strict=True):
            np.testing.assert_array_equal(y.numpy(), want)


@pytest.mark.parametrize(
    "sizes, axis, shape",
    [((3, 13), 0, (16,)), ((4,) * 4, 1, (2, 16)), ((20_000,) * 4, 0, (80_000,))],
)
def test_few_large_or_inner_parts_are_left_to_xla(sizes, axis, shape):
    x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
    got, text = program(lambda x: ops.split(x, sizes=sizes, axis=axis), x)
    assert "monograph_native" not in text
    for y, want in zip(got, np.split(x, np.cumsum(sizes)[:-1], axis), strict=True):
        np.testing.assert_array_equal(y.numpy(), want)


def test_without_c_functions_parts_are_slices_and_nothing_is_packed(monkeypatch):
    monkeypatch.setenv("MONOGRAPH_NATIVE", "0")
    x = np.arange(16, dtype="float32")
    got, text = program(parts, x)
    assert "monograph_native" not in text and got[3].tolist() == x[4:11].tolist()
    assert trained(1).reads[0].pack is None


def test_a_handler_that_does_not_compile_is_told_of_once_and_parts_are_slices(monkeypatch):
    def fails(*args, **options):
        raise NativeError("a header has changed")

    monkeypatch.setattr(native, "_trampoline", functools.cache(native._trampoline.__wrapped__))
    monkeypatch.setattr(native, "build", fails)
    x = np.arange(16, dtype="float32")
    with pytest.warns(UserWarning, match="a header has changed") as told:
        for _ in range(2):
            got, text = program(parts, x)
            assert "monograph_native" not in text and got[3].tolist() == x[4:11].tolist()
    assert len(told) == 1


def test_gradients_pass():
    x = np.linspace(-1, 1, 16, dtype="float32")
    got = mg.jit(mg.grad(lambda x: sum(mg.sum(mg.sin(p)) for p in parts(x)[:-1])), engine="xla")(x)
    np.testing.assert_allclose(got.numpy(), np.cos(x) * (np.arange(16) < 11), rtol=1e-6)


NAMES = [f"w{i}" for i in range(30)]


def step(scope, x):
    def loss():
        y = x
        for name in NAMES:
            y = mg.tanh(y @ scope.parameter(name, (8, 8), lambda k, s, d: mg.random.normal(k, s)))
        return mg.sum(y * y)

    value, grads = scope.value_and_grad(loss)()
    kept = [scope.variable(f"{p}/velocity", (8, 8), 0.0) for p in grads]
    arrays = [*[scope.read(p) for p in grads], *grads.values(), *[v.value for v in kept]]
    out = ops.sgd_update(mg.asarray(1e-3), *arrays, momentum=0.9, count=len(grads))
    for p, new in zip(grads, out):
        scope.assign(p, new)
    for v, new in zip(kept, out[len(grads) :]):
        v.assign(new)
    return value


def trained(turns, store=None):
    """The compiled step, once it has run."""
    call = (store if store is not None else mg.Store(seed=1)).bind(step, "xla")
    x = np.random.default_rng(1).normal(size=(4, 8)).astype("float32")
    for _ in range(turns):
        call(x)
    (entry,) = call._cache.values()
    return entry


def test_a_packed_step_computes_what_one_with_an_array_each_does(monkeypatch):
    stores = mg.Store(seed=1), mg.Store(seed=1)
    packed = trained(5, stores[0])
    monkeypatch.setattr(packs, "SHARE", 1e9)
    plain = trained(5, stores[1])
    assert len(packed.reads) == len(packed.writes) == 2 and len(plain.reads) == 60
    for path, want in stores[1].numpy().items():
        np.testing.assert_allclose(stores[0][path].numpy(), want, rtol=1e-5, atol=1e-6)

"""float8 on every engine: rounded as ml_dtypes rounds, stored and moved, never computed with."""

import ml_dtypes
import monograph as mg
import numpy as np
import pytest

KINDS = ["e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e4m3b11fnuz"]
NAMES = [f"float8_{k}" for k in KINDS]
PAIRS = [
    (engine, name)
    for engine in ("numpy", "xla", "torch")
    for name in NAMES
    if (engine, name) != ("torch", "float8_e4m3b11fnuz")  # which torch does not have
]


def _numbers(name):
    """Numbers in ``name``: all sorts, ties between float8 numbers, and neighbours of ties."""
    if name == "float64":
        with np.errstate(all="ignore"):  # NaN
            x = _numbers("float32").astype(name)
        return np.concatenate([x, np.nextafter(x, np.inf), np.nextafter(x, -np.inf)])
    if name == "int32":
        return np.arange(-70000, 70000, 7, dtype=name)
    if name == "float32":
        ties = np.arange(2**13, dtype="uint32") << 19
        return np.concatenate([ties, ties + 1, ties - 1]).view(name)
    return np.arange(2**16, dtype="uint16").view(getattr(ml_dtypes, name, name))


def _same(got, want):
    """Bit for bit, but that any NaN is as good as another."""
    got, want = got.astype("float32"), want.astype("float32")
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got[got == 0]), np.signbit(want[want == 0]))


@pytest.mark.parametrize("engine, name", PAIRS)
def test_conversions_round_as_ml_dtypes(engine, name):
    numpy = np.dtype(getattr(ml_dtypes, name))
    for source in ("float64", "float32", "float16", "bfloat16", "int32"):
        x = _numbers(source)
        with np.errstate(all="ignore"):
            want = x.astype(numpy)
        got = mg.jit(lambda v: mg.astype(v, name)).on(engine)(x)
        assert str(got.dtype) == name and got.numpy().dtype == numpy
        _same(got.numpy(), want)
    every = np.arange(256, dtype="uint8").view(numpy)
    for target in ("float64", "float32", "float16", "bfloat16"):
        got = mg.jit(lambda v, target=target: mg.astype(v, target)).on(engine)(every)
        _same(got.numpy(), every.astype(mg.dtypes.dtype(target).numpy))


def test_too_large_is_infinite_in_e5m2_and_nan_elsewhere():
    for name in NAMES:
        got = mg.astype(mg.tensor([1e6, -np.inf]), name).numpy().astype("float32")
        assert np.isinf(got).all() if name == "float8_e5m2" else np.isnan(got).all()


@pytest.mark.parametrize("engine, name", PAIRS)
def test_tensors_hold_it_and_structural_functions_move_its_bits(engine, name):
    numpy = np.dtype(getattr(ml_dtypes, name))
    every = np.arange(256, dtype="uint8").view(numpy).reshape(16, 16)

    def moved(x):
        joined = mg.concat([x[2:5], mg.flip(x.T, axis=0)[:4]])
        chosen = mg.where(mg.asarray(np.arange(16) % 2 == 0), joined, joined[::-1])
        rows = mg.take(chosen, mg.asarray([3, 1, 6]), axis=0)
        return mg.pad(mg.reshape(rows, (6, 8)), ((1, 0), (0, 2)))

    x = mg.tensor(every, device=engine)
    assert x.dtype is mg.dtypes.dtype(name) and x.dtype.itemsize == 1
    assert x.numpy().tobytes() == every.tobytes()
    joined = np.concatenate([every[2:5], every.T[::-1][:4]])
    chosen = np.where(np.arange(16) % 2 == 0, joined, joined[::-1])
    want = np.pad(chosen[[3, 1, 6]].reshape(6, 8), ((1, 0), (0, 2)))
    _same(mg.jit(moved).on(engine)(x).numpy(), want)


@pytest.mark.parametrize("name", NAMES)
def test_files_keep_its_bits(name, tmp_path):
    from monograph.files import read_container, write_container

    every = np.arange(256, dtype="uint8").view(getattr(ml_dtypes, name))
    write_container(tmp_path / "x", {"kind": "test"}, [every])
    (got,) = read_container(tmp_path / "x")[1]
    assert got.dtype == every.dtype and got.tobytes() == every.tobytes()


@pytest.mark.parametrize(
    "compute",
    [
        lambda x: x + x,
        lambda x: x * 2,
        lambda x: x + 0.5,
        lambda x: x == x,
        lambda x: mg.sum(x),
        lambda x: mg.sort(x),
        lambda x: mg.gelu(x),
        lambda x: mg.matmul(x[None], x[:, None]),
        lambda x: x + mg.tensor([1.0, 2.0]),
    ],
)
def test_arithmetic_says_to_convert_first(compute):
    x = mg.astype(mg.tensor([1.0, 2.0]), "float8_e4m3fn")
    with pytest.raises(mg.errors.DTypeError, match=r"test_float8.py:\d+.*\n?.*[Cc]onvert"):
        compute(x)


def test_no_gradient_flows_through_it_as_through_rounding():
    def loss(x):
        return mg.sum(mg.astype(mg.astype(x, "float8_e5m2"), "float32") * x)

    x = mg.tensor([1.1, 3.3])
    assert mg.grad(loss)(x).tolist() == [1.0, 3.5]  # of the plain factor alone


@pytest.mark.parametrize("engine", ["numpy", "xla"])
def test_what_an_engine_lacks_it_refuses(engine):
    run = mg.jit(lambda v: mg.astype(v, "float8_e4m3b11fnuz"))
    assert run.on(engine)(np.float32(0.1)).dtype.kind == "float8"
    with pytest.raises(mg.errors.EngineError, match="float8_e4m3b11fnuz"):
        run.on("torch")(np.float32(0.1))

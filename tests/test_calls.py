"""Calling compiled functions on every engine: what goes in is copied, donated, or found too big."""

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, EngineError

ENGINES = ["numpy", "xla", "torch"]
NUMPY_DTYPES = ["bool", "int8", "int64", "uint32", "float32", "float64", "complex64", "complex128"]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", NUMPY_DTYPES)
def test_numpy_arguments_keep_their_dtype_and_are_copied(engine, dtype):
    # 64-bit numbers beyond 32 bits, so that narrowing would show
    x = (np.arange(6).reshape(2, 3) * (2.0**40 + 1 if dtype.endswith("64") else 1)).astype(dtype)
    f = mg.jit(lambda x: (x, x.T), engine=engine)
    for _ in range(2):
        same, turned = f(x)
        assert same.dtype.name == turned.dtype.name == dtype
        np.testing.assert_array_equal(same.numpy(), x)
        np.testing.assert_array_equal(turned.numpy(), x.T)
        assert not np.shares_memory(same.numpy(), x)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_array_may_change_as_soon_as_the_call_returns(engine):
    f = mg.jit(lambda x: mg.sum(mg.sin(x) ** 2 + mg.cos(x) ** 2), engine=engine)
    x = np.zeros(1 << 18, "float32")  # large enough to be computed after the call has returned
    out = []
    for i in range(8):
        x[:] = i
        out.append(f(x))
        x[:] = np.nan
    assert [round(float(y) / x.size, 3) for y in out] == [1.0] * 8


@pytest.mark.parametrize("engine", ENGINES)
def test_mixed_arguments_share_one_compilation(engine):
    f = mg.jit(lambda x, y: x + y, engine=engine)
    array = np.arange(3, dtype="float32")
    here, elsewhere = mg.tensor(array, device=engine), mg.tensor(array, device="numpy")
    for x in (array, here, elsewhere):
        for y in (array, here, elsewhere):
            assert f(x, y).tolist() == [0, 2, 4]
    assert f.cache_info()[:2] == (8, 1)


def huge(x):
    return mg.broadcast_to(x, (1 << 47,)) * 2.0


@pytest.mark.parametrize("engine", ENGINES)
def test_running_out_of_memory_starts_at_the_users_line(engine):
    call = mg.jit(huge, engine=engine)
    with pytest.raises(EngineError) as e:
        call(np.float32(1))
    assert str(e.value).startswith(f"{__file__}:{e.traceback[0].lineno + 1}: engine '{engine}' ")
    assert "graph 'huge'" in str(e.value) and e.value.__cause__ is not None


@pytest.mark.parametrize("engine", ENGINES)
def test_a_donated_tensor_is_gone_on_every_engine(engine):
    update = mg.jit(lambda w, g: w - 0.5 * g, engine=engine, donate_argnums=0)
    w, g = mg.tensor([1.0, 2.0], device=engine), mg.tensor([2.0, 2.0], device=engine)
    new = update(w, g)
    assert new.tolist() == [0, 1] and update(new, g).tolist() == [-1, 0]
    for use in (lambda: update(w, g), lambda: w + g, lambda: w.numpy(), lambda: mg.jit(huge)(new)):
        with pytest.raises(ArgumentError, match=r"test_calls.py:\d+: .*donated to .* as arg\[0\]"):
            use()
    with pytest.raises(ArgumentError, match="one tensor is given as"):
        update(g, g)
    assert g.tolist() == [2, 2]


@pytest.mark.parametrize("engine", ENGINES)
def test_donated_numpy_arrays_stay_the_users(engine):
    f = mg.jit(lambda x: x + 1.0, engine=engine, donate_argnums=0)
    x = np.ones(64, "float32")
    for _ in range(3):
        assert set(f(x).tolist()) == {2.0}
    assert set(x) == {1.0}


@pytest.mark.parametrize("engine", ENGINES)
def test_arguments_of_a_bound_model_can_be_donated(engine):
    def model(scope, x, y):
        count = scope.variable("count", (), 0)
        count.assign(count.value + 1)
        return {"sum": x["a"] + x["b"] * scope.parameter("w", (2,), 2.0) + y}

    store = mg.Store()
    call = store.bind(model, engine, donate_argnums=0)
    a, b, y = (mg.tensor([float(i), 1.0], device=engine) for i in range(3))
    assert call({"a": a, "b": b}, y)["sum"].tolist() == [4.0, 4.0]
    assert y.tolist() == [2.0, 1.0], "the other argument is the caller's"
    for gone in (a, b):
        with pytest.raises(ArgumentError, match="this tensor was donated to model"):
            gone.tolist()
    with pytest.raises(ArgumentError, match="but .* is donated"):
        call({"a": y, "b": y}, y)
    own = np.ones(2, "float32")
    for _ in range(3):
        call({"a": own, "b": own.copy()}, y)
    assert own.tolist() == [1.0, 1.0], "memory of NumPy's is never written to"
    assert store["count"].item() == 4.0

"""NumPy's functions on tensors and traced values mean Monograph's, or say why they cannot."""

import monograph as mg
import numpy as np
import pytest

X = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], "float32")
CALLS = {
    "sin": np.sin,
    "power": lambda x: np.power(x, 2),
    "array on the left": lambda x: X - x,
    "array compared": lambda x: np.float32(3) < x,
    "NumPy scalar times": lambda x: np.float64(2) * x,
    "sum": lambda x: np.sum(x, axis=0),
    "mean": lambda x: np.mean(x, axis=1, keepdims=True),
    "concatenate": lambda x: np.concatenate([x, X], axis=0),
    "stack": lambda x: np.stack([x, X]),
    "where": lambda x: np.where(x > 2, x, 0),
    "arctan2": lambda x: np.arctan2(x, X),
    "reshape": lambda x: np.reshape(x, (3, 2)),
}


@pytest.mark.parametrize("name", CALLS)
def test_numpy_functions_give_tensors_and_can_be_traced(name):
    want = CALLS[name](X)
    eager = CALLS[name](mg.tensor(X))
    traced = mg.jit(CALLS[name], engine="numpy")(X)
    assert isinstance(eager, mg.Tensor)
    for got in (eager, traced):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-6)


def test_a_numpy_scalar_does_not_widen():
    assert (np.float64(2) * mg.tensor(X)).dtype is mg.float32


def test_numpy_updates_its_own_array_in_place():
    y = X.copy()
    y += mg.tensor(X)
    np.testing.assert_array_equal(y, 2 * X)


def test_functions_only_numpy_has_take_the_numbers():
    assert np.percentile(mg.tensor(X), 50) == 3.5
    assert np.add.reduce(mg.tensor(X), axis=1).tolist() == [6.0, 15.0]
    np.testing.assert_array_equal(np.mean(mg.tensor(X), dtype="float64"), 3.5)


def test_functions_only_numpy_has_refuse_a_traced_value_at_the_users_line():
    for call in (lambda x: np.percentile(x, 50), lambda x: np.add.reduce(x)):
        with pytest.raises(mg.errors.TraceError, match=r"test_numpy_protocol.py:\d+: numpy\.") as e:
            mg.jit(call)(X)
        assert "traced" in str(e.value)


def test_our_own_errors_come_through():
    with pytest.raises(mg.errors.ShapeError, match="broadcast"):
        np.add(mg.tensor(X), mg.ones((4,)))

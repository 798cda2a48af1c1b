"""Ops from outside core on devices other than the CPU go by jax's callback: here made to on the CPU."""

import monograph as mg
import numpy as np
import pytest
from monograph.engine import engine
from monograph.errors import EngineError
from monograph.op import _REGISTRY
from monograph_xla import host, outside


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    init = outside.Target.__init__
    monkeypatch.setattr(outside.Target, "__init__", lambda self, platform: init(self, "cuda"))
    monkeypatch.setattr(host, "call", None)
    before = dict(_REGISTRY)
    with engine("xla"):
        yield
    _REGISTRY.clear()
    _REGISTRY.update(before)


def both(value):
    @mg.op(
        infer=lambda x: (x, x.with_(x.shape[::-1])),
        vjp=mg.NOT_DIFFERENTIABLE,
        multi=True,
        bits=True,
    )
    def body(x):
        """x and its transpose."""
        value(x)
        return x, x.T

    return mg.jit(lambda x: body(x))


DTYPES = (
    "bool", "int8", "int32", "int64", "uint64", "float16", "float32", "float64", "complex64",
    "complex128",
)  # fmt: skip


@pytest.mark.parametrize("name", DTYPES)
def test_every_dtype_and_shape_goes_there_and_back_bit_for_bit(name):
    seen = []
    f = both(lambda x: seen.append((x.dtype, x.shape)))
    d = np.dtype(name)
    for shape in ((), (3,), (2, 3), (0, 2)):
        x = np.asarray(np.random.default_rng(0).normal(size=shape) * 100).astype(d)
        if d.kind == "c":
            x = (x + 0.1j * x).astype(d)
        same, turned = f(x)
        assert same.numpy().tobytes() == x.tobytes() and turned.numpy().tobytes() == x.T.tobytes()
        assert same.numpy().dtype == turned.numpy().dtype == d
    assert seen[:3] == [(d, s) for s in ((), (3,), (2, 3))]


def test_what_a_body_raises_is_chained_and_not_logged(capfd):
    def value(x):
        raise LookupError("nowhere")

    with pytest.raises(EngineError, match=rf"^{__file__}:\d+: .*LookupError: nowhere") as e:
        both(value)(np.ones(3))[0].numpy()
    assert isinstance(e.value.__cause__, LookupError)
    assert capfd.readouterr() == ("", "")

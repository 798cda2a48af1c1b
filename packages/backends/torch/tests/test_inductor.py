"""``torch:inductor``: what Inductor makes is taken when it is right and pays, and else is not."""

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
import torch
from monograph_torch import inductor

X = np.random.default_rng(0).normal(size=(16, 8)).astype("float32")


def first(key, shape, dtype):
    return mg.random.normal(key, shape, dtype) / shape[0] ** 0.5


def step(scope, x):
    """A layer or two, a loss, momentum."""

    def loss():
        y = mg.gelu(x @ scope.parameter("w", (8, 12), first) + scope.parameter("b", (12,), 0.0))
        y = mg.softmax(y @ scope.parameter("v", (12, 5), first), axis=-1)
        return mg.mean(mg.square(y - 0.1))

    value, grads = scope.value_and_grad(loss)()
    kept = [scope.variable(f"{p}/velocity", g.shape, 0.0) for p, g in grads.items()]
    arrays = [*[scope.read(p) for p in grads], *grads.values(), *[v.value for v in kept]]
    out = mg.ops.sgd_update(mg.asarray(0.5), *arrays, momentum=0.9, count=len(grads))
    for p, new in zip(grads, out):
        scope.assign(p, new)
    for v, new in zip(kept, out[len(grads) :]):
        v.assign(new)
    return value


def train(engine, turns=3):
    """Losses, the store, and the program."""
    store = mg.Store(seed=1)
    call = store.bind(step, engine)
    losses = [call(X).item() for _ in range(turns)]
    (entry,) = call._cache.values()
    return losses, store.numpy(), entry.compiled.executable


def agree(a, b):
    np.testing.assert_allclose(a[0], b[0], rtol=1e-5)
    assert a[1].keys() == b[1].keys()
    for path in a[1]:
        np.testing.assert_allclose(a[1][path], b[1][path], rtol=1e-4, atol=1e-5, err_msg=path)


WHOLE = """
import json, math, sys
sys.path.insert(0, {folder!r})
import numpy as np, test_inductor as t
t.inductor.FASTER = math.inf
(got, store, run), (want, plain, _) = t.train("torch:inductor"), t.train("torch:cpu")
off = max(float(np.abs(store[p] - plain[p]).max()) for p in plain)
print(json.dumps([run.adopted, got, want, off]))
"""


def test_a_whole_step_is_compiled_and_its_numbers_are_the_same(tmp_path):
    """With a cache of its own: Inductor's may hold code for other instruction sets, and does not tell."""
    code = WHOLE.format(folder=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False,
        env={**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    adopted, got, want, off = json.loads(done.stdout.splitlines()[-1])
    if not adopted and "Inductor cannot compile it" in done.stderr:
        pytest.skip("Inductor needs a C++ compiler")
    assert adopted and off < 1e-5
    np.testing.assert_allclose(got, want, rtol=1e-5)


def compiled_as(monkeypatch, change):
    """Has ``torch.compile`` make ``change`` of a function, which passes for quicker."""
    monkeypatch.setattr(inductor, "FASTER", math.inf)
    monkeypatch.setattr(torch, "compile", lambda fn, **options: change(fn))


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda fn: lambda *xs: [x * 1.001 for x in fn(*xs)], "is off by 0.001 of its length"),
        (lambda fn: lambda *xs: [x * math.nan for x in fn(*xs)], "is off by inf"),
        (lambda fn: lambda *xs: [x.double() for x in fn(*xs)], "is off by inf"),
        (lambda fn: lambda *xs: fn(*xs)[:-1], "results instead of"),
    ],
)
def test_what_computes_otherwise_is_not_taken(monkeypatch, caplog, change, said):
    compiled_as(monkeypatch, change)
    with caplog.at_level(logging.WARNING, "monograph.torch"):
        got = train("torch:inductor")
    assert got[2].adopted is False and said in caplog.text
    agree(got, train("torch:cpu"))


def test_what_hangs_on_rounding_may_differ(monkeypatch):
    def noise(x):  # zero, but for the order of sums
        for _ in range(4):
            x = x + mg.sin(x)
        return mg.sum(x) - mg.sum(mg.flip(mg.reshape(x, (-1,)))) + 1e-6 * mg.sum(x) * 0

    def wide(fn):
        return lambda *xs: tuple(y.float() for y in fn(*[x.double() for x in xs]))

    compiled_as(monkeypatch, wide)
    x = np.random.default_rng(1).normal(size=(64, 999)).astype("float32")
    call = mg.jit(noise, engine="torch:inductor")
    call(x)
    (made,) = call._cache.values()
    assert made.executable.adopted


def test_what_fails_or_is_no_quicker_is_not_taken(monkeypatch, caplog):
    def fails(fn):
        raise RuntimeError("no compiler")

    plain = train("torch:cpu")
    for change, patience, said in (
        (fails, math.inf, "no compiler"),
        (lambda fn: fn, 0, "of the time"),
    ):
        compiled_as(monkeypatch, change)
        monkeypatch.setattr(inductor, "FASTER", patience)
        with caplog.at_level(logging.INFO, "monograph.torch"):
            got = train("torch:inductor")
        assert got[2].adopted is False and said in caplog.text
        agree(got, plain)


def test_small_programs_are_left_alone():
    call = mg.jit(lambda x: mg.sum(mg.tanh(x)), engine="torch:inductor")
    assert call(X).item() == pytest.approx(np.tanh(X).sum(), rel=1e-5)
    (made,) = call._cache.values()
    assert not isinstance(made.executable, inductor.Inductor)


def test_it_is_a_device_of_its_own():
    x = mg.tensor(X, device="torch:inductor")
    assert str(x.device) == "torch:inductor:0" and x.engine == "torch"
    np.testing.assert_array_equal(x.on("torch:cpu").numpy(), X)
    assert x.device.handle == mg.tensor(X, device="torch").device.handle

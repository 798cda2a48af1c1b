"""Loss scaling on every engine: a step that overflows leaves nothing behind but a smaller scale."""

import monograph as mg
import numpy as np
import pytest
import torch
from monograph_dtypes import DynamicLossScale, StaticLossScale, mixed_float16
from monograph_layers import batch_norm, dense, dropout
from monograph_train import adam

ENGINES = ["numpy", "xla", "torch"]


def _stepped(engine, scaling, policy=mixed_float16):
    """A step of a small model with batch statistics and random numbers, and its variables."""
    optimizer = adam(0.01)

    def model(scope, x):
        x = dense(scope / "first", x, 8)
        x = batch_norm(scope / "norm", mg.relu(x), training=True)
        x = dropout(scope / "drop", x, 0.2, training=True)
        return dense(scope / "last", x, 1)

    def step(scope, x, y):
        def forward():
            out = model(scope.with_policy(policy), x)
            loss = mg.mean((mg.astype(out, "float32") - y) ** 2)
            return scaling.scale(scope, loss), loss

        (_, loss), grads = scope.value_and_grad(forward, has_aux=True)()
        good = scaling.apply(scope, grads, lambda g: optimizer(scope / "optimizer", g))
        return loss, good

    store = mg.Store(seed=0)
    return store, store.bind(step, engine)


def _batch(rng):
    x = rng.normal(size=(16, 4)).astype("float32")
    return x, x.sum(1, keepdims=True)


def _values(store):
    return {path: store[path].numpy().copy() for path in store if "loss_scale" not in path}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("where", ["forward", "backward"])
def test_an_overflow_at_any_step_changes_the_scale_only(engine, where):
    scaling = DynamicLossScale(initial=2.0**10, growth_interval=100)
    store, step = _stepped(engine, scaling)
    rng = np.random.default_rng(0)
    losses = []
    for k in range(12):
        x, y = _batch(rng)
        if k == 5:
            before, scale = _values(store), float(store["loss_scale/scale"])
            # in the forward pass batch statistics become NaN too, in the backward pass gradients only
            bad = (x * 1e5, y) if where == "forward" else (x, y + 1e8)
            _, good = step(*bad)
            assert not bool(good)
            assert float(store["loss_scale/scale"]) == scale / 2
            for path, value in _values(store).items():
                np.testing.assert_array_equal(value, before[path], err_msg=path)
        loss, good = step(x, y)
        assert bool(good)
        losses.append(float(loss))
    assert float(store["optimizer/step"]) == 12 and int(store["loss_scale/good_steps"]) == 7
    assert all(np.isfinite(v).all() for v in _values(store).values())
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("engine", ENGINES)
def test_scaling_changes_no_gradient_that_fits(engine):
    """By powers of two, in float32: the same training, bit for bit, as with a scale of 1."""
    kept = []
    for scaling in (StaticLossScale(1.0), StaticLossScale(2.0**12), DynamicLossScale()):
        store, step = _stepped(engine, scaling, policy=None)
        rng = np.random.default_rng(1)
        for _ in range(3):
            step(*_batch(rng))
        kept.append(_values(store))
    for other in kept[1:]:
        for path, value in kept[0].items():
            np.testing.assert_array_equal(other[path], value, err_msg=path)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_scale_moves_as_torchs_grad_scaler(engine):
    scaling = DynamicLossScale(initial=2.0**4, growth_interval=3, factor=2.0)
    theirs = torch.amp.GradScaler("cpu", init_scale=2.0**4, growth_interval=3)

    def step(scope, x):
        forward = lambda: scaling.scale(scope, scope.parameter("w", (2,), 1.0).sum() * x)
        _, grads = scope.value_and_grad(forward)()
        scaling.apply(scope, grads, lambda g: scope.assign("w", scope.read("w") - g["w"]))
        return scope.read("loss_scale/scale")

    run = mg.Store().bind(step, engine)
    w = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=1.0)
    for x in [1, 1, 1, 1, np.inf, 1, 1, np.nan, 1, 1, 1, 1, 1, 1, 1e38, 1, *[np.inf] * 4]:
        ours = float(run(np.float32(x)))
        optimizer.zero_grad()
        theirs.scale(w.sum() * x).backward()
        theirs.step(optimizer)
        theirs.update()
        assert ours == theirs.get_scale()


def test_the_scale_stays_between_min_and_the_largest_float():
    scaling = DynamicLossScale(initial=2.0**127, growth_interval=1, min=2.0**125)

    def step(scope, x):
        scaling.apply(scope, {"x": x}, lambda g: None)
        return scope.read("loss_scale/scale")

    run = mg.Store().bind(step, "numpy")
    got = [float(run(np.float32(x))) for x in (1, np.inf, np.inf, np.inf, 1, 1, 1)]
    assert got == [2.0**k for k in (127, 126, 125, 125, 126, 127, 127)]


def test_a_static_scale_skips_too_and_keeps_no_variables():
    scaling = StaticLossScale(8.0)

    def step(scope, x):
        n = scope.variable("n", (), 0)
        return scaling.apply(scope, {"x": x}, lambda g: n.assign(n.value + g["x"]))

    store = mg.Store()
    run = store.bind(step, "numpy")
    assert [bool(run(np.float32(x))) for x in (8, np.nan, 16)] == [True, False, True]
    assert list(store) == ["n"] and float(store["n"]) == 3

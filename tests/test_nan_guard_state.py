"""State under the NaN guard: kept when a step trips, in every mode; faults in training by scope."""

import contextlib
import functools
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import monograph as mg
import monograph_dtypes
import monograph_layers as nn
import monograph_train as train
import numpy as np
import pytest
from monograph.errors import ArgumentError, NonFinite
from monograph.examine.guard import Guarded, NonFiniteWarning

ENGINES = ("numpy", "xla", "torch")
LINES = {
    m[1]: i
    for i, text in enumerate(Path(__file__).read_text().splitlines(), 1)
    if (m := re.search(r"# BAD (\w+)$", text))
}
RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 6)).astype("float32")
Y = RNG.integers(0, 3, 8)
LOSS = functools.partial(train.sparse_categorical_crossentropy, from_logits=True)


def model(scope, x, training=False):
    y = nn.dense(scope / "hidden", x, 128, activation="relu")
    y = nn.batch_norm(scope / "norm", y, training=training)
    y = y * mg.rsqrt(x[:, :1] + 10)  # BAD model
    return nn.dense(scope / "logits", mg.concat([y, y], axis=1)[:, :70], 3)


def poisoned():
    bad = X.copy()
    bad[3, 0] = -20
    return bad


def assert_same(a, b):
    assert a.keys() == b.keys()
    for path in a:
        np.testing.assert_array_equal(a[path], b[path], err_msg=path)


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.mark.parametrize("optimizer", [train.adam, train.sgd, train.optimizers.rmsprop])
def test_after_an_error_training_goes_on_as_if_the_step_had_not_been(engine, optimizer):
    def trainer(guard):
        return train.Trainer(model, LOSS, optimizer(1e-2), engine=engine, nan_guard=guard)

    plain, guarded = trainer(False), trainer(True)
    for _ in range(2):
        plain.step(X, Y), guarded.step(X, Y)
    before = guarded.store.numpy()
    assert_same(before, plain.store.numpy())
    for _ in range(2):  # the second time with memory that the first has written into
        with pytest.raises(NonFinite, match="training step") as caught:
            guarded.step(poisoned(), Y)
        assert caught.value.report.source.line == LINES["model"]
        assert_same(before, guarded.store.numpy())
    for _ in range(3):
        plain.step(X, Y), guarded.step(X, Y)
    assert_same(plain.store.numpy(), guarded.store.numpy())


def test_a_skipped_step_warns_once_and_changes_nothing(engine):
    trainer = train.Trainer(model, LOSS, train.adam(1e-2), engine=engine, nan_guard="skip")
    trainer.step(X, Y)
    before = trainer.store.numpy()
    with pytest.warns(NonFiniteWarning, match=r"rsqrt made 1 NaN.*(\n.*)*variables keep") as told:
        for _ in range(3):
            assert np.isnan(trainer.step(poisoned(), Y)["loss"].item())
    assert len(told) == 1
    assert_same(before, trainer.store.numpy())


def test_fit_goes_on_over_skipped_steps(engine):
    x, y = np.concatenate([X, poisoned(), X]), np.concatenate([Y, Y, Y])
    trainer = train.Trainer(model, LOSS, train.adam(1e-2), engine=engine, nan_guard="skip")
    data = train.Dataset.from_arrays(x, y).batch(8)
    with pytest.warns(NonFiniteWarning):
        history = trainer.fit(data, epochs=1, progress=False)
    assert np.isfinite(history[-1].metrics["loss"])
    assert trainer.store["optimizer/step"].item() == 2


@pytest.mark.parametrize("spelling", ["around", "SKIP"])
def test_a_skipped_step_does_not_count_however_one_asks(spelling):
    x, y = np.concatenate([X, poisoned(), X]), np.concatenate([Y, Y, Y])
    options = {} if spelling == "around" else {"nan_guard": spelling}
    trainer = train.Trainer(model, LOSS, train.adam(1e-2), engine="numpy", **options)
    data = train.Dataset.from_arrays(x, y).batch(8)
    around = mg.nan_guard("skip") if spelling == "around" else contextlib.nullcontext()
    with around, pytest.warns(NonFiniteWarning):
        history = trainer.fit(data, epochs=1, progress=False)
    assert np.isfinite(history[-1].metrics["loss"])
    assert trainer.store["optimizer/step"].item() == 2


def test_fit_tells_the_step(engine):
    x, y = np.concatenate([X, X, poisoned()]), np.concatenate([Y, Y, Y])
    trainer = train.Trainer(model, LOSS, engine=engine, nan_guard=True)
    with pytest.raises(NonFinite) as caught:
        trainer.fit(train.Dataset.from_arrays(x, y).batch(8), epochs=1, progress=False)
    assert caught.value.report.what == "training step 3"
    assert trainer.store["optimizer/step"].item() == 2


# ---- faults anywhere in training, by scope and line


def layer_fault(scope, x, training=False):
    y = nn.dense(scope / "block" / "up", x, 4)
    y = nn.dense(scope / "block" / "down", y, 3, activation=lambda v: mg.log(v - 1e6))  # BAD layer
    return y


def healthy(scope, x, training=False):
    return nn.dense(scope / "logits", x, 3)


def bad_loss(y_true, y_pred):
    return mg.log(mg.sum(y_pred - y_pred, axis=-1) - 1)  # BAD loss


def bad_loss_gradient(y_true, y_pred):
    y = y_pred * 0
    return mg.sqrt(mg.sum(y * y, axis=-1))  # BAD gradient


def bad_metric(y_true, y_pred):
    return mg.log(mg.max(y_pred, axis=-1) - 1e6)  # BAD metric


def half_overflow(scope, x, training=False):
    y = nn.dense(scope / "logits", x, 3)
    return y * 60000 * 60000  # BAD half


TRAINING = {
    "layer": (dict(model=layer_fault), "block/down", "log", False),
    "loss": (dict(loss=bad_loss), "loss", "log", False),
    "gradient": (dict(loss=bad_loss_gradient), "loss", "divide", True),
    "metric": (dict(metrics=[bad_metric]), "metrics", "log", False),
    "half": (dict(model=half_overflow, policy="mixed_float16"), "", "multiply", False),
}


@pytest.mark.parametrize("name", TRAINING)
def test_a_fault_in_training_is_found_by_line_and_scope(name, engine):
    options, scope, op, backward = TRAINING[name]
    options = {"model": healthy, "loss": LOSS, "engine": engine, "nan_guard": True} | options
    if "policy" in options:
        options["policy"] = getattr(monograph_dtypes, options["policy"])
    trainer = train.Trainer(**options)
    with pytest.raises(NonFinite) as caught:
        trainer.step(X, Y)
    found = caught.value.report
    assert (found.source.file, found.source.line) == (__file__, LINES[name]), str(found)
    assert (found.scope, found.op, found.backward) == (scope, op, backward)


OPTIMIZERS = {
    "rate": (lambda: train.sgd(lambda step: mg.asarray(mg.inf)), "sgd_update"),
    "overflow": (lambda: train.sgd(3e38), "sgd_update"),
    "adam": (lambda: train.adam(3e38), "adam_update"),
    "epsilon": (lambda: train.adam(1e-3, epsilon=0.0), "adam_update"),
    "rmsprop": (lambda: train.optimizers.rmsprop(1e-3, epsilon=0.0), "divide"),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_fault_in_the_optimizer_has_its_scope(name, engine):
    make, op = OPTIMIZERS[name]

    def dead(scope, x, training=False):  # half of its gradients are 0
        return nn.dense(scope / "logits", x * 1e3, 3) * mg.tensor([1.0, 0.0, 30.0])

    trainer = train.Trainer(dead, train.mean_squared_error, make(), engine=engine, nan_guard=True)
    before = None
    with pytest.raises(NonFinite) as caught:
        for _ in range(3):
            before = trainer.store.numpy()
            trainer.step(X, np.zeros((8, 3), "float32"))
    found = caught.value.report
    assert (found.scope, found.op, found.kind) == ("optimizer", op, "operation"), str(found)
    assert any(bad.startswith("variable ") for bad in found.bad)
    after = trainer.store.numpy()
    assert_same(after, before or after)
    assert all(np.isfinite(v).all() for v in after.values())


# ---- calls


def test_an_infinite_learning_rate_that_makes_no_nan(engine):
    rate = train.sgd(lambda step: mg.asarray(mg.inf))
    trainer = train.Trainer(
        lambda scope, x: x * scope.parameter("w", (), 1.0), train.mean_squared_error, rate,
        engine=engine, nan_guard=True,
    )  # fmt: skip
    with pytest.raises(
        NonFinite, match="sgd_update made 1 [+-]Inf of infinities it was given"
    ) as e:
        trainer.step(np.ones(4, "float32"), np.zeros(4, "float32"))
    assert e.value.report.scope == "optimizer" and trainer.store["w"].item() == 1.0


def test_a_mask_kept_in_a_variable_is_no_alarm(engine):
    def model(scope, x):
        mask = scope.variable("mask", x.shape, 0.0)
        mask.assign(mg.where(x > 0, 0.0, -mg.inf))
        best = scope.variable("best", (), mg.inf)
        best.assign(mg.minimum(best.value, mg.max(x)))
        return mg.softmax(x + mask.value)

    with mg.nan_guard():
        store = mg.Store()
        call = store.bind(model, engine)
        for _ in range(2):
            call(mg.tensor([1.0, -1.0]))
    assert store["mask"].tolist() == [0.0, -np.inf] and store["best"].item() == 1.0


@pytest.mark.parametrize("optimizer", [train.sgd(1.0, momentum=0.9), train.adam(1.0)])
def test_large_parameters_whose_sum_overflows_are_finite(engine, optimizer):
    def model(scope, x):
        w = scope.parameter("w", (64, 128), lambda key, shape, dtype: mg.full(shape, 2e38))
        return mg.sum(w * 1e-38, axis=1) * x

    trainer = train.Trainer(model, lambda y, p: p * y, optimizer, engine=engine, nan_guard=True)
    plain = train.Trainer(model, lambda y, p: p * y, optimizer, engine=engine)
    x, y = np.full(64, 1e-3, "float32"), np.full(64, 1.0, "float32")
    for _ in range(3):
        trainer.step(x, y), plain.step(x, y)
    assert_same(trainer.store.numpy(), plain.store.numpy())
    before = trainer.store.numpy()
    bad = y.copy()
    bad[5] = 3e38
    bad_x = x.copy()
    bad_x[5] = 3e38  # the gradient of one row alone overflows
    with pytest.raises(NonFinite):
        trainer.step(bad_x, bad)
    assert_same(before, trainer.store.numpy())


def test_donated_arguments_survive_an_error_only(engine):
    f = mg.jit(lambda x: mg.log(x), engine=engine, donate_argnums=0)
    good, bad = mg.tensor([1.0, 2.0], device=engine), mg.tensor([1.0, -2.0], device=engine)
    with mg.nan_guard():
        assert f(good).tolist() == pytest.approx([0.0, np.log(2.0)])
        with pytest.raises(ArgumentError, match="donated"):
            good.numpy()
        with pytest.raises(NonFinite):
            f(bad)
    assert bad.tolist() == [1.0, -2.0]


def test_a_guard_holds_for_its_own_thread(engine):
    f = mg.jit(lambda x: mg.log(x), engine=engine)
    bad, seen = mg.tensor([-1.0]), []

    def other():
        seen.append(f(bad).tolist())
        with mg.nan_guard():
            try:
                f(bad)
            except NonFinite as e:
                seen.append(e.report.op)

    with mg.nan_guard():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        with pytest.raises(NonFinite):
            f(bad)
    assert np.isnan(seen[0]) and seen[1] == "log"
    assert np.isnan(f(bad).tolist())


def test_threads_share_a_guarded_function(engine):
    f = mg.jit(lambda x: mg.sum(mg.log(x)), engine=engine)
    wrong = []

    def work(i):
        with mg.nan_guard():
            for k in range(10):
                sign = -1.0 if (i + k) % 3 == 0 else 1.0
                try:
                    f(mg.tensor([1.0, sign]))
                    wrong.extend([k] if sign < 0 else [])
                except NonFinite:
                    wrong.extend([k] if sign > 0 else [])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert wrong == []


def test_the_guarded_call_is_compiled_apart():
    f = mg.jit(lambda x: x * 2, engine="numpy")
    f(X)
    with mg.nan_guard():
        f(X)
        f(X)
    f(X)
    assert f.cache_info()[:2] == (2, 2)
    assert sorted(type(c) is Guarded for c in f._cache.values()) == [False, True]


def test_a_compiled_graph_is_guarded_too(engine):
    run = mg.trace(lambda x: {"y": mg.log(x)}, mg.Spec((2,))).compile(engine)
    for _ in range(2):
        assert np.isnan(run(mg.tensor([-1.0, 1.0]))["y"].tolist()[0])
        with mg.nan_guard():
            assert run(mg.tensor([1.0, 1.0]))["y"].tolist() == [0.0, 0.0]
            with pytest.raises(NonFinite) as caught:
                run(mg.tensor([-1.0, 1.0]))
        assert caught.value.report.bad == ("result['y']",)


def test_off_inside_another_and_other_modes():
    with mg.nan_guard(), mg.nan_guard("off"):
        assert np.isnan(mg.jit(mg.log, engine="numpy")(mg.tensor([-1.0])).tolist())
    with pytest.raises(ArgumentError, match="'raise', 'skip', 'off'"), mg.nan_guard("loud"):
        pass
    with pytest.raises(ArgumentError, match="nan_guard"):
        train.Trainer(healthy, LOSS, nan_guard="loud")
    from monograph import guarding

    assert guarding.on == 0


@pytest.mark.parametrize("mode, code", [("1", 1), ("skip", 0), ("0", 0)])
def test_the_environment_guards_everything(mode, code):
    program = "import monograph as mg; print(mg.jit(mg.log)(mg.tensor([-1.0])).tolist())"
    import os

    env = {**os.environ, "MONOGRAPH_NAN_GUARD": mode, "MONOGRAPH_ENGINE": "numpy"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert ("log made 1 NaN of finite numbers" in done.stderr) == (mode != "0")
    assert (done.stdout == "[nan]\n") == (mode != "1")


def test_bad_results_are_named():
    def fn(scope, x):
        scope.variable("n", (), 1.0).assign(mg.sum(mg.log(x)))
        return {"loss": mg.sum(mg.log(x)), "rest": (x, mg.log(x))}

    with mg.nan_guard(), pytest.raises(NonFinite) as caught:
        mg.Store().bind(fn, "numpy")(mg.tensor([-1.0, 1.0]))
    assert caught.value.report.bad == ("result['loss']", "result['rest'][1]", "variable n")


def test_overflow_that_a_loss_scale_skips_is_no_alarm(engine):
    trainer = train.Trainer(
        healthy, LOSS, train.sgd(0.1), engine=engine, policy=monograph_dtypes.mixed_float16,
        loss_scale=monograph_dtypes.DynamicLossScale(initial=2.0**24), nan_guard=True,
    )  # fmt: skip
    first = trainer.store.numpy()
    history = trainer.fit((X * 100, Y), epochs=30, batch_size=8, progress=False)
    assert np.isfinite([e.metrics["loss"] for e in history]).all()
    scale = next(v for p, v in trainer.store.numpy().items() if "scale" in p and v.ndim == 0)
    assert scale < 2.0**24 and first == {}


def test_the_picture_goes_where_one_says(tmp_path):
    with mg.nan_guard(folder=tmp_path / "graphs"), pytest.raises(NonFinite) as caught:
        mg.jit(lambda x: mg.log(x * 2) + 1, engine="numpy")(mg.tensor([-1.0]))
    (file,) = (tmp_path / "graphs").iterdir()
    assert caught.value.report.picture == file.resolve()
    (marked,) = [s for s in file.read_text().splitlines() if "penwidth=3" in s]
    assert "log" in marked and "NaN" in marked and Path(__file__).name in marked


def test_skipped_steps_of_one_cause_leave_one_picture(tmp_path):
    f = mg.jit(lambda x: mg.log(x), engine="numpy")
    with mg.nan_guard("skip", folder=tmp_path), pytest.warns(NonFiniteWarning):
        for _ in range(3):
            f(mg.tensor([-1.0]))
    assert len(list(tmp_path.iterdir())) == 1


# ---- check_finite and allow_nonfinite


def hidden_point(x):
    y = mg.check_finite(mg.log(x), "heights")  # BAD point
    return mg.where(x > 0, y, 0.0)


def in_loop(x):
    return mg.scan(lambda c, v: (c, hidden_point(v)), 0.0, x)[1]


def in_while(x):
    return mg.while_loop(
        lambda c: c[0] < 4, lambda c: (c[0] + 1, c[1] + hidden_point(x[c[0]])), (mg.tensor(0), 0.0)
    )


def in_branch(x):
    return mg.cond(x[0] > 0, lambda: hidden_point(x), lambda: x)


def in_body(x):
    return mg.checkpoint(hidden_point)(x)


@pytest.mark.parametrize("fn", [hidden_point, in_loop, in_while, in_branch, in_body])
def test_a_point_is_checked_where_no_result_shows_it(fn, engine):
    f = mg.jit(fn, engine=engine)
    good, bad = mg.tensor([1.0, 2.0, 3.0, 4.0]), mg.tensor([1.0, 2.0, -3.0, 4.0])
    f(bad)
    with mg.nan_guard():
        want = [np.asarray(v) for v in mg.tree.leaves(f(good))]
        with pytest.raises(NonFinite) as caught:
            f(bad)
    for a, b in zip(want, mg.tree.leaves(f(good))):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-6)
    found = caught.value.report
    assert (found.source.line, found.op, found.name) == (LINES["point"], "log", "heights")
    assert found.iteration == {in_loop: 2, in_while: 2}.get(fn)


def test_the_gradient_through_a_point_is_checked(engine):
    def fn(x):
        y = mg.check_finite(x * 1.0, "heights")
        return mg.sum(mg.where(x > 0, mg.sqrt(y), 0.0)) + mg.sum(x)  # BAD cotangent

    with mg.nan_guard(), pytest.raises(NonFinite) as caught:
        mg.jit(lambda x: mg.clip(mg.nan_to_num(mg.grad(fn)(x)), -1, 1), engine=engine)(
            mg.tensor([1.0, 0.0])
        )
    found = caught.value.report
    assert found.name == "the gradient of heights" and found.source.line == LINES["cotangent"]


def test_an_eager_point_raises_without_a_guard():
    assert mg.check_finite(mg.tensor([1.0]), "x").tolist() == [1.0]
    with pytest.raises(NonFinite, match=r"check_finite\('x'\) was given 1 \+Inf"):
        mg.check_finite(mg.tensor([1.0, np.inf]), "x")
    assert issubclass(NonFinite, FloatingPointError)


def test_points_survive_simplification_and_their_gradient_is_one():
    graph = mg.trace(lambda x: mg.check_finite(mg.allow_nonfinite(x), "x") + 0.0 * x, X)
    names = [n.op.name for n in graph.nodes]
    assert names.count("check_finite") == names.count("allow_nonfinite") == 1
    g = mg.grad(lambda x: mg.sum(mg.check_finite(mg.allow_nonfinite(x), "x") * 3.0))(mg.tensor(X))
    assert (g.numpy() == 3).all()


def test_points_go_through_vmap(engine):
    f = mg.jit(mg.vmap(hidden_point), engine=engine)
    with mg.nan_guard():
        f(mg.tensor([[1.0, 2.0]]))
        with pytest.raises(NonFinite):
            f(mg.tensor([[1.0, -2.0]]))


def test_no_warning_without_skip():
    with warnings.catch_warnings(), mg.nan_guard(), pytest.raises(NonFinite):
        warnings.simplefilter("error")
        mg.jit(mg.log, engine="numpy")(mg.tensor([-1.0]))

"""The Trainer: its step, fit, evaluate and predict, and what goes wrong."""

import contextlib
import io
import itertools
import json
import math
import os
import re
import threading
from types import SimpleNamespace

import monograph as mg
import monograph_layers as nn
import monograph_train as train
import numpy as np
import pytest
from monograph.errors import ArgumentError
from monograph_train import Dataset, Trainer, progress
from monograph_train.callbacks import Callback, EarlyStopping, LambdaCallback, every
from rich.console import Console
from rich.progress import Progress as Bar

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch", reason="a hand-written torch loop is the reference")

ENGINES = ["numpy", "xla", "torch"]
rng = np.random.default_rng(0)
X = rng.normal(size=(50, 3)).astype("float32")
Y = (X[:, 0] > 0).astype("int64")


def linear(scope, x, training=False):
    return x @ scope.parameter("w", (3, 2), 0.5) + scope.parameter("b", (2,), 0.0)


def cross_entropy(y, logits):
    return train.sparse_categorical_crossentropy(y, logits, from_logits=True)


def trainer(engine="numpy", **options):
    return Trainer(
        linear, cross_entropy, train.sgd(0.1), [train.accuracy], engine=engine, **options
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_an_epoch_of_uneven_batches_is_torchs_with_its_metrics_weighted_by_size(engine):
    t = trainer(engine)
    history = t.fit(Dataset.from_arrays(X, Y).batch(16), epochs=1, progress=False)
    w = torch.full((3, 2), 0.5, requires_grad=True)
    b = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.SGD([w, b], 0.1)
    losses, right = 0.0, 0
    for i in range(0, 50, 16):  # 16, 16, 16, 2
        x, y = torch.tensor(X[i : i + 16]), torch.tensor(Y[i : i + 16])
        logits = x @ w + b
        loss = torch.nn.functional.cross_entropy(logits, y)
        losses += loss.item() * len(x)
        right += (logits.argmax(-1) == y).sum().item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(t.store["w"].numpy(), w.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert history[0].metrics["loss"] == pytest.approx(losses / 50, rel=1e-5)
    assert history[0].metrics["accuracy"] == right / 50
    logits = (torch.tensor(X) @ w + b).detach()
    scores = t.evaluate((X, Y), batch_size=7)
    assert scores["accuracy"] == pytest.approx((logits.argmax(-1).numpy() == Y).mean())
    want = torch.nn.functional.cross_entropy(logits, torch.tensor(Y)).item()
    assert scores["loss"] == pytest.approx(want, rel=1e-5)
    np.testing.assert_allclose(t.predict(X, batch_size=7), logits.numpy(), rtol=1e-5, atol=1e-5)


def test_step_gives_this_batchs_values():
    t = trainer()
    got = t.step(X[:5], Y[:5])
    assert set(got) == {"loss", "accuracy"}
    assert got["loss"].item() == pytest.approx(math.log(2), rel=1e-6)  # equal logits


def test_sample_weights_count_in_loss_and_metrics():
    weight = np.arange(50, dtype="float32")
    t = trainer()
    got = t.evaluate((X, Y, weight), batch_size=50)
    logits = t.predict(X)
    each = -(logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[np.arange(50), Y]
    assert got["loss"] == pytest.approx((each * weight).mean(), rel=1e-5)
    right = logits.argmax(-1) == Y
    assert got["accuracy"] == pytest.approx((right * weight).sum() / weight.sum(), rel=1e-6)


def test_arrays_are_shuffled_by_seed_and_epoch_and_runs_repeat_exactly():
    def run(seed):
        t = trainer(seed=seed)
        t.fit((X, Y), epochs=2, batch_size=8, progress=False)
        return t.store["w"].numpy()

    assert (run(0) == run(0)).all() and (run(0) != run(1)).any()


def test_a_trainer_that_starts_over_is_a_new_one_of_the_seed():
    def model(scope, x, training=False):
        kernel = scope.parameter(
            "w", (3, 2), lambda key, shape, dtype: mg.random.normal(key, shape)
        )
        return nn.dropout(scope, x, 0.5, training=training) @ kernel

    def train_of(seed):
        return Trainer(model, cross_entropy, train.adam(0.1), engine="numpy", seed=seed)

    def fitted(t):
        t.fit((X, Y), epochs=2, batch_size=8, progress=False)
        return t.store.numpy()

    again, new = train_of(0), train_of(3)
    first = fitted(again)
    again.reset(seed=3)
    got, want = fitted(again), fitted(new)
    assert got.keys() == want.keys() and (got["w"] != first["w"]).any()
    for path, value in want.items():
        np.testing.assert_array_equal(got[path], value, path)


def test_penalties_of_the_model_are_part_of_the_loss():
    def model(scope, x):
        return x @ scope.parameter("w", (3, 2), 0.5, regularizer=lambda w: mg.sum(w * w))

    t = Trainer(model, cross_entropy, train.sgd(0.0), engine="numpy")
    assert t.step(X, Y)["loss"].item() == pytest.approx(math.log(2) + 6 * 0.25, rel=1e-6)


def test_a_line_per_epoch_where_there_is_no_terminal_and_a_bar_where_there_is():
    out = io.StringIO()
    trainer().fit((X, Y), epochs=3, validation=(X, Y), progress=Console(file=out, width=40))
    lines = out.getvalue().splitlines()
    assert [s.split()[1] for s in lines] == ["1/3", "2/3", "3/3"]
    assert all(re.search(r"  loss 0\.\d{4}  .*val_accuracy [01]\.\d{4}$", s) for s in lines)


def test_a_bar_on_a_terminal_is_redrawn_ten_times_a_second_at_most(monkeypatch):
    now = itertools.count()
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(now) / 100))
    drawn = []
    monkeypatch.setattr(Bar, "refresh", lambda self: drawn.append(self.tasks[0].completed))
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    data = Dataset.from_arrays(X, Y).batch(1)  # 50 steps, each of a hundredth of a second or two
    trainer().fit(data, epochs=1, progress=console)
    assert drawn[0] == 0 and drawn == sorted(drawn) and 3 <= len(set(drawn)) <= 10
    assert "epoch 1/1  " in screen.getvalue() and "loss" in screen.getvalue()


def test_callbacks_are_called_in_order_of_priority_and_may_stop():
    seen = []

    class Second(Callback):
        priority = 5

        def on_epoch_end(self, run):
            seen.append(("second", run.epoch))

    first = LambdaCallback("first", on_epoch_end=lambda run: seen.append(("first", run.epoch)))
    stop = LambdaCallback("stop", 9, on_epoch_end=lambda run: run.epoch == 2 and run.stop("enough"))
    history = trainer().fit((X, Y), epochs=5, callbacks=[Second(), stop, first], progress=False)
    assert seen == [("first", 1), ("second", 1), ("first", 2), ("second", 2)] and len(history) == 2
    steps = []
    cut = every(3, lambda run: (steps.append(run.step), run.stop()))
    trainer().fit((X, Y), epochs=5, batch_size=10, callbacks=[cut], progress=False)
    assert steps == [3]
    with pytest.raises(ArgumentError, match="no event is called on_batch"):
        LambdaCallback(on_batch=print)
    with pytest.raises(ArgumentError, match="several callbacks are called first"):
        trainer().fit((X, Y), callbacks=[first, first])


@pytest.mark.parametrize("patience", [0, 2])
def test_early_stopping_stops_where_keras_does(patience):
    keras = pytest.importorskip("keras", reason="its EarlyStopping is the reference")
    losses = [3.0, 2.0, 2.5, 1.9, 1.95, 1.92, 1.91, 1.0]
    theirs = keras.callbacks.EarlyStopping("loss", patience=patience, mode="min")

    class Model:
        stop_training = False

        def get_weights(self):
            return []

    model = Model()
    theirs.set_model(model)
    theirs.on_train_begin()
    stopped = len(losses)
    for i, loss in enumerate(losses):
        theirs.on_epoch_end(i, {"loss": loss})
        if model.stop_training:
            stopped = i + 1
            break
    given = iter(losses)
    report = LambdaCallback(
        "report", -1, on_epoch_end=lambda run: run.history[-1].metrics.update(loss=next(given))
    )
    ours = EarlyStopping("loss", patience=patience)
    assert (
        len(trainer().fit((X, Y), len(losses), callbacks=[report, ours], progress=False)) == stopped
    )


def test_early_stopping_puts_the_best_weights_back():
    kept = {}

    def keep(run):
        run.history[-1].metrics["score"] = {1: 1.0, 2: 5.0}.get(run.epoch, 0.0)
        kept[run.epoch] = run.trainer.store["w"].numpy()

    t = trainer()
    stop = EarlyStopping("score", patience=2, restore_best_weights=True)
    t.fit(
        (X, Y), 9, callbacks=[LambdaCallback(priority=-1, on_epoch_end=keep), stop], progress=False
    )
    assert len(kept) == 4 and (t.store["w"].numpy() == kept[2]).all()
    with pytest.raises(
        ArgumentError, match=r"no metric is called 'val_loss'; this run has loss, acc"
    ):
        t.fit((X, Y), 1, callbacks=[EarlyStopping()], progress=False)


class Crash(Exception):
    pass


@pytest.mark.parametrize(
    "engine, at",
    [("numpy", 2), ("numpy", 5), ("numpy", 8), ("numpy", 12), ("xla", 7), ("torch", 6)],
)
def test_a_resumed_run_ends_with_the_same_bits(tmp_path, engine, at):
    def model(scope, x, training=False):
        keep = mg.random.uniform(scope.key(), x.shape) > 0.2 if training else True
        return mg.where(keep, x, 0.0) @ scope.parameter("w", (3, 2), 0.5)

    def run(folder, callbacks=()):
        t = Trainer(model, cross_entropy, train.adam(0.05), [train.accuracy], engine=engine)
        data = Dataset.from_arrays(X, Y).shuffle(3).batch(13)  # four batches an epoch
        logger = train.JSONLogger(folder / "log.jsonl")
        t.fit(
            data, 3, validation=(X, Y), callbacks=[logger, *callbacks], checkpoints=folder / "kept",
            checkpoint_every=1, progress=False,
        )  # fmt: skip
        return t

    def crash(run):
        if run.step == at:
            raise Crash

    straight = run(tmp_path / "a")
    with pytest.raises(Crash):
        run(tmp_path / "b", [LambdaCallback("crash", on_step_end=crash)])
    resumed = run(tmp_path / "b")
    for path in straight.store:
        assert (straight.store[path].numpy() == resumed.store[path].numpy()).all(), path
    logs = [(tmp_path / f / "log.jsonl").read_text().splitlines() for f in "ab"]
    drop = lambda line: {k: v for k, v in json.loads(line).items() if k != "time"}
    assert [drop(s) for s in logs[0]] == [drop(s) for s in logs[1]] and len(logs[0]) == 3


@pytest.mark.parametrize("how", ["raises", "stops"])
def test_no_thread_of_the_data_outlives_training_that_ends_early(how):
    def end(run):
        if how == "raises":
            raise Crash
        run.stop()

    data = Dataset.from_arrays(X, Y).map(lambda s: s, workers=2).batch(2).prefetch()
    with pytest.raises(Crash) if how == "raises" else contextlib.nullcontext() as caught:
        trainer().fit(data, 2, callbacks=[every(3, end)], progress=False)
    assert not [t for t in threading.enumerate() if t.name.startswith("monograph-")]
    assert caught is None or caught.value.__traceback__  # which holds all that ran


def test_going_on_after_the_last_epoch_trains_no_more_and_tells_the_history(tmp_path):
    t = trainer()
    first = t.fit((X, Y), 2, checkpoints=tmp_path, progress=False)
    w = t.store["w"].numpy()
    again = trainer()
    assert again.fit((X, Y), 2, checkpoints=tmp_path, progress=False) == first
    assert (again.store["w"].numpy() == w).all()
    assert len(again.fit((X, Y), 3, checkpoints=tmp_path, progress=False)) == 3


@pytest.mark.parametrize(
    "data, words",
    [
        ((X[:0], Y[:0]), "no batch in epoch 1"),
        (Dataset.from_arrays(X, Y).batch(64, drop_remainder=True), "drop_remainder"),
        ((X, Y[:7]), "50.*7|7.*50"),
        (iter([(X, Y)]), "starts anew in each epoch"),
        (Dataset.from_arrays(X).batch(5), r"a batch is \(x, y\)"),
    ],
)
def test_data_that_cannot_be_trained_on_is_explained(data, words):
    with pytest.raises(ArgumentError, match=words):
        trainer().fit(data, progress=False)


@pytest.mark.parametrize("bad", [2, -1])
def test_a_label_that_is_no_class_is_found_before_anything_changes(bad):
    t = trainer()
    t.step(X, Y)
    before = t.store["w"].numpy()
    wrong = Y.copy()
    wrong[17] = bad
    for go in (t.step, lambda x, y: t.fit((x, y), progress=False), lambda x, y: t.evaluate((x, y))):
        with pytest.raises(ArgumentError, match=rf"{bad}.*(0 \.\. 1|2 classes)|17"):
            go(X, wrong)
    assert (t.store["w"].numpy() == before).all()


def test_a_loss_that_is_no_number_stops_training_and_keeps_the_checkpoints(tmp_path):
    t = trainer()
    t.fit((X, Y), 1, batch_size=10, checkpoints=tmp_path, progress=False)
    kept = train.Checkpoints(tmp_path).latest()
    x = X.copy()
    x[33] = np.nan
    data = Dataset.from_arrays(x, Y).batch(10)
    with pytest.raises(
        train.Diverged, match=r"loss is nan at epoch 2, batch 4 \(step 9\).*w \(6 of"
    ):
        t.fit(data, 2, checkpoints=tmp_path, checkpoint_every=1, progress=False)
    newest = train.Checkpoints(tmp_path).latest()
    assert kept.step == 5 and newest.step == 8
    assert np.isfinite(newest.store["w"].numpy()).all()


def test_a_model_with_nothing_to_train_is_refused():
    with pytest.raises(ArgumentError, match="nothing to train"):
        Trainer(lambda scope, x: x, train.mean_squared_error, engine="numpy").step(X, X)
    with pytest.raises(ArgumentError, match="several metrics are called accuracy"):
        trainer().__class__(linear, cross_entropy, metrics=[train.accuracy, train.accuracy])


def test_inputs_may_be_any_structure():
    def model(scope, x):
        return x["a"] @ scope.parameter("w", (3, 2), 0.5) + x["b"]

    t = Trainer(model, cross_entropy, train.sgd(0.1), engine="numpy")
    x = {"a": X, "b": np.zeros((50, 2), "float32")}
    t.fit((x, Y), epochs=1, batch_size=20, progress=False)
    assert t.predict(x).shape == (50, 2)


@pytest.mark.parametrize("engine", ENGINES)
def test_running_means_of_the_parameters_are_what_is_evaluated(engine):
    t, plain = trainer(engine, average=0.5), trainer(engine)
    assert t.evaluate((X, Y)) == plain.evaluate((X, Y)), "nothing was averaged yet"
    weights = []
    for i in range(3):
        for made in (t, plain):
            made.step(X[i::3], Y[i::3])
        weights.append(plain.store["w"].numpy())
    mean = 0.25 * weights[0] + 0.25 * weights[1] + 0.5 * weights[2]
    np.testing.assert_allclose(t.store["w"].numpy(), weights[-1], rtol=1e-6)
    plain.store["w"] = mean.astype("float32")
    b = plain.store["b"].numpy()
    np.testing.assert_allclose(
        t.predict(X) - train.wrappers.averaged(t.store)["b"].numpy(),
        plain.predict(X) - b,
        atol=1e-5,
    )
    assert t.evaluate((X, Y))["loss"] != trainer(engine, store=t.store).evaluate((X, Y))["loss"]

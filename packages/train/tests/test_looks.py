"""What people look at: the summary, plots, logs."""

import io
import json
import struct
import sys
import types

import monograph as mg
import monograph_train as train
import numpy as np
import pytest
from monograph_train.plots import LivePlot, plot
from monograph_train.run import Epoch, History
from monograph_train.summary import costs, short, summary
from rich.console import Console

X = np.random.default_rng(0).normal(size=(20, 3)).astype("float32")


def model(scope, x, training=False):
    x = mg.relu(x @ scope.parameter("hidden/kernel", (3, 8), 0.1))
    seen = scope.variable("seen", (), 0.0)
    seen.assign(seen.value + 1.0)
    return x @ scope.parameter("out/kernel", (8, 2), 0.1) + seen.value * 0


def fit(*callbacks, epochs=2):
    t = train.Trainer(model, train.mean_squared_error, train.sgd(0.1), engine="numpy")
    data = train.Dataset.from_arrays(X, X[:, :2]).batch(5)
    return t.fit(data, epochs, validation=data, callbacks=callbacks, progress=False)


def test_the_summary_counts_parameters_bytes_and_operations():
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(summary(model, mg.Spec((20, 3))))
    rows = {}
    for text in console.export_text().splitlines():
        cells = [c.strip() for c in text.strip("│┃ ").split("│")]
        rows[cells[0]] = cells[1:]
    assert rows["hidden/kernel"] == ["3×8", "float32", "24", "960", "96"]
    assert rows["out/kernel"] == ["8×2", "float32", "16", "640", "64"]
    assert rows["seen"][:3] == ["scalar", "float32", "(1)"]
    assert rows["not trained"][2] == "(1)"
    assert rows["total"][2] == "40" and rows["total"][4] == "164"


def test_operations_belong_to_the_variable_they_use():
    store = mg.Store()
    found = costs(store.bind(model, "numpy").trace(mg.Spec((20, 3))), store)
    assert found["hidden/kernel"] == 2 * 20 * 3 * 8 and found["out/kernel"] == 2 * 20 * 8 * 2
    assert found["seen"] == 1  # is counted up; what is made of the new value is nobody's
    assert found[""] == 20 * 8 + 1 + 20 * 2  # relu, the product with 0, the last addition


@pytest.mark.parametrize("n, want", [(0, "0"), (999, "999"), (1000, "1.00 k"), (123456, "123 k")])
def test_counts_are_short(n, want):
    assert short(n) == want


def test_a_plot_has_a_panel_per_metric_with_both_curves(tmp_path):
    matplotlib = pytest.importorskip("matplotlib", reason="plots are its")
    history = History(
        [Epoch(i, 0.1, {"loss": 1 / i, "val_loss": 2 / i, "mae": 1.0}) for i in (1, 2, 3)]
    )
    figure = plot(history, tmp_path / "p.png")
    assert [a.get_title() for a in figure.axes] == ["loss", "mae"]
    assert [[round(v, 3) for v in line.get_ydata()] for line in figure.axes[0].lines] == [
        [1.0, 0.5, 0.333], [2.0, 1.0, 0.667],
    ]  # fmt: skip
    assert matplotlib.image.imread(tmp_path / "p.png").std() > 0
    with pytest.raises(mg.errors.ArgumentError, match="nothing to plot"):
        plot(History())


def test_a_live_plot_is_redrawn_in_its_place(tmp_path, monkeypatch):
    from monograph_train import plots

    shown = []

    class Handle:
        def update(self, figure):
            shown.append("update")

    monkeypatch.setattr(plots, "in_notebook", lambda: True)
    ipython = types.ModuleType("IPython.display")  # what a notebook has
    ipython.display = lambda figure, display_id: shown.append("new") or Handle()
    monkeypatch.setitem(sys.modules, "IPython.display", ipython)
    fit(LivePlot(tmp_path / "live.svg"), epochs=3)
    assert shown == ["new", "update", "update"] and (tmp_path / "live.svg").stat().st_size > 1000


def test_json_lines_hold_epochs_and_steps(tmp_path):
    history = fit(train.JSONLogger(tmp_path / "deep" / "log.jsonl", every=3))
    lines = [json.loads(s) for s in (tmp_path / "deep" / "log.jsonl").read_text().splitlines()]
    assert [(s["kind"], s["epoch"], s["step"]) for s in lines] == [
        ("step", 1, 3), ("epoch", 1, 4), ("step", 2, 6), ("epoch", 2, 8),
    ]  # fmt: skip
    assert lines[1]["val_loss"] == history[0].metrics["val_loss"]
    (tmp_path / "file").write_text("")
    with pytest.raises(mg.errors.ArgumentError, match="cannot write metrics to"):
        fit(train.JSONLogger(tmp_path / "file" / "log.jsonl"))


def records(path):
    """The payloads of a TFRecord file: length, checksum, bytes, checksum."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (n,) = struct.unpack_from("<Q", data, at)
        yield data[at + 12 : at + 12 + n]
        at += n + 16


def test_tensorboard_files_hold_the_scalars(tmp_path):
    pytest.importorskip("tensorboardX", reason="it writes them")
    from tensorboardX.proto.event_pb2 import Event

    history = fit(train.TensorBoard(tmp_path))
    for kind, name in (("train", "loss"), ("validation", "val_loss")):
        (file,) = (tmp_path / kind).iterdir()
        found = [
            (v.tag, e.step, v.simple_value)
            for e in map(Event.FromString, records(file))
            for v in e.summary.value
        ]
        assert [(t, s) for t, s, _ in found] == [("epoch_loss", 1), ("epoch_loss", 2)]
        np.testing.assert_allclose([v for *_, v in found], history.history[name], rtol=1e-6)

"""``python -m monograph import``: what it prints, writes and returns."""

import json
import re

import monograph as mg
import numpy as np
import pytest
from monograph.tensorfile import load_safetensors, save_safetensors
from monograph_importers.command import import_

h5py = pytest.importorskip("h5py", reason="it writes the files")


@pytest.fixture
def model(tmp_path):
    """Two dense layers, as Keras writes them."""
    path = tmp_path / "two.h5"
    layers = [{"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, None, 3]}}]
    layers += [
        {"class_name": "Dense", "config": {"name": n, "units": 3, "activation": "relu"}}
        for n in ("first", "second")
    ]
    with h5py.File(path, "w") as f:
        f.attrs["keras_version"] = "3.0.0"
        config = {"class_name": "Sequential", "config": {"name": "two", "layers": layers}}
        f.attrs["model_config"] = json.dumps(config)
        for n in ("first", "second"):
            group = f.create_group(f"model_weights/{n}")
            group.attrs["weight_names"] = ["kernel", "bias"]
            group["kernel"], group["bias"] = np.eye(3, dtype="float32"), np.ones(3, "float32")
    return path


def run(capsys, *argv):
    status = import_([str(a) for a in argv])
    out = capsys.readouterr()
    return status, out.out, out.err


def row(text, name):
    return re.split(
        r"\s{2,}", next(line for line in text.splitlines() if line.strip().startswith(name)).strip()
    )


def test_a_models_signature_and_parameters(model, capsys):
    status, out, _ = run(capsys, model)
    assert status == 0
    assert out.splitlines()[0] == "two(x: float32[batch,x_1,3]) -> (second)"
    assert row(out, "first/kernel") == ["first/kernel", "3x3", "float32", "36"]
    assert row(out, "total") == ["total", "24 numbers", "4x", "96"]


def test_the_graph_is_folded_by_modules(model, capsys):
    _, out, _ = run(capsys, model, "--graph")
    assert re.search(r"first  \d nodes -> float32\[2,2,3\]", out) and "dot_general" in out
    _, out, _ = run(capsys, model, "--graph", "1", "--size", "x_1=7")
    assert re.search(r"first  \d nodes -> float32\[2,7,3\]", out) and "dot_general" not in out


@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_it_runs_once_on_an_engine(engine, model, capsys):
    status, out, _ = run(capsys, model, "--run", engine, "--size", "batch=5", "--size", "x_1=4")
    assert status == 0 and f"{engine}: compiled and run in" in out
    name, shape, dtype, mean, least, *_ = row(out[out.index("output") :], "second")
    assert (name, shape, dtype) == ("second", "5x4x3", "float32")
    assert float(least) >= 1 and float(mean) > 2  # relu(relu(x + 1) + 1)


def test_weights_and_graph_are_saved(model, tmp_path, capsys):
    folder = tmp_path / "out"
    assert run(capsys, model, "--save", folder)[0] == 0
    assert set(load_safetensors(folder / "weights.safetensors")) == {
        "first/kernel", "first/bias", "second/kernel", "second/bias",
    }  # fmt: skip
    assert mg.Graph.load(folder / "graph.mg").input_specs[0].shape == (2, 2, 3)
    assert run(capsys, folder / "weights.safetensors")[0] == 0


def test_long_tables_are_folded(tmp_path, capsys):
    path = tmp_path / "w.safetensors"
    arrays = {f"layers.{n}.{w}": np.ones((3, 2), "float32") for n in range(30) for w in "ab"}
    save_safetensors({**arrays, "[red]last": np.ones(2)}, path)
    _, out, _ = run(capsys, path)
    assert row(out, "layers.*.a") == ["layers.*.a", "3x2", "float32", "30x", "720"]
    assert row(out, "[red]last")[0] == "[red]last", "markup of a file is text"
    assert len(run(capsys, path, "--all")[1].splitlines()) == 61 + 5


def test_tied_and_quantised_arrays_are_noted(tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="it writes the file")
    w = torch.ones(2, 3)
    torch.save({"embedding": w, "head": w}, tmp_path / "w.pt")
    _, out, _ = run(capsys, tmp_path / "w.pt")
    assert row(out, "head")[-1] == "tied to embedding"
    assert out.splitlines()[0] == "Weights(w.pt, 2 arrays, 24 bytes)"


def test_what_is_unsupported_is_listed(model, capsys):
    with h5py.File(model, "r+") as f:
        config = json.loads(f.attrs["model_config"])
        config["config"]["layers"][1]["class_name"] = "Mystery"
        f.attrs["model_config"] = json.dumps(config)
    status, out, err = run(capsys, model)
    assert status == 1 and row(out, "Mystery") == ["Mystery", "1x", "first", "all of it"]
    status, _, err = run(capsys, model, "--run", "xla")
    assert status == 2 and "Mystery" in err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["/no/such/file"], "No such file"),
        (["{model}", "--size", "height=3"], "there is no axis height; the model has batch, x_1"),
        (["{model}", "--format", "nothing"], "no importer 'nothing'"),
        (["{model}", "--run", "gpuu"], "gpuu"),
        (["{weights}", "--run", "xla"], "weights alone have no graph"),
        (["{weights}", "--graph"], "weights alone have no graph"),
    ],
)
def test_errors_are_a_line_and_status_2(argv, says, model, tmp_path, capsys):
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    argv = [a.format(model=model, weights=tmp_path / "w.npz") for a in argv]
    status, _, err = run(capsys, *argv)
    assert status == 2 and says in err and "Traceback" not in err


def test_wrong_sizes_and_help(model, capsys):
    with pytest.raises(SystemExit):
        import_([str(model), "--size", "batch"])
    assert "is not AXIS=N, such as batch=8" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        import_(["--help"])
    assert "examples:" in capsys.readouterr().out

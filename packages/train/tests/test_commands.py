"""python -m monograph checkpoint: what it prints, writes and returns."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import monograph as mg
import numpy as np
import pytest
from monograph_train import save_checkpoint
from monograph_train.commands import checkpoint


@pytest.fixture
def folder(tmp_path):
    store = mg.Store(seed=3)
    store.add("net/[b]w", np.arange(6, dtype="float32").reshape(2, 3))
    store.add("net/mean", np.array([1, np.nan, np.inf], "float32"), trainable=False)
    store.add("half", mg.tensor([1.0, 2.0, 3e38], dtype="bfloat16"))
    store.add("optimizer/count", np.int64(3), trainable=False)
    (tmp_path / ("a" * 60)).mkdir()
    save_checkpoint(
        store, tmp_path / ("a" * 60) / "one.safetensors", step=1,
        meta={"rows": 5}, metrics={"val_loss": 0.25},
    )  # fmt: skip
    store["net/[b]w"] = np.array([[0, 1, 2], [3, 4, 5.5]], "float32")
    store.add("new", [1.0])
    save_checkpoint(store, tmp_path / ("a" * 60) / "two.safetensors", step=2)
    return tmp_path / ("a" * 60)


def run(capsys, *argv):
    status = checkpoint([str(a) for a in argv])
    out = capsys.readouterr()
    return status, out.out, out.err


def row(text, name):
    (line,) = [line for line in text.splitlines() if line.startswith(name)]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_pyproject_names_the_command():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
    points = tomllib.loads(text)["project"]["entry-points"]["monograph.commands"]
    assert points == {"checkpoint": "monograph_train.commands:checkpoint"}


def test_inspect_shows_every_variable_and_the_totals(folder, capsys):
    status, out, _ = run(capsys, "inspect", folder / "one.safetensors")
    assert status == 0 and str(folder / "one.safetensors") in out
    for line in ("step: 1", "seed: 3", 'metrics: {"val_loss": 0.25}', 'meta: {"rows": 5}'):
        assert line in out
    want = ["net/[b]w", "2x3", "float32", "6", "24", "2.5", "1.708", "0", "5"]
    assert row(out, "net/[b]w") == want
    assert row(out, "net/mean") == [
        "net/mean", "(state)", "3", "float32", "3", "12", "1", "0", "1", "1", "2",
    ]  # fmt: skip
    assert row(out, "half")[:5] == ["half", "3", "bfloat16", "3", "6"]
    assert row(out, "total") == ["total", "13", "50", "2"]


def test_inspect_reads_plain_safetensors_but_no_damaged_checkpoint(folder, capsys):
    mg.save_safetensors({"w": np.ones(3)}, folder / "plain")
    status, out, _ = run(capsys, "inspect", folder / "plain")
    assert status == 0 and "step" not in out and row(out, "w")[:3] == ["w", "3", "float64"]
    bad = bytearray((folder / "one.safetensors").read_bytes())
    bad[bad.index(b"val_loss")] ^= 1
    (folder / "one.safetensors").write_bytes(bad)
    status, out, err = run(capsys, "inspect", folder / "one.safetensors")
    assert status == 2 and "checksum" in err and out == ""


def test_names_cannot_command_the_terminal(tmp_path, capsys):
    mg.save_safetensors({"a\x1b[2Jb\n": np.ones(1)}, tmp_path / "odd")
    out = run(capsys, "inspect", tmp_path / "odd")[1]
    assert row(out, "a")[0] == r"a\x1b[2Jb\n"


def test_diff_tells_what_differs_and_by_how_much(folder, capsys):
    status, out, _ = run(capsys, "diff", folder / "one.safetensors", folder / "two.safetensors")
    assert status == 1 and "3 variables are the same, 2 differ" in out
    assert row(out, "net/[b]w") == ["net/[b]w", "values", "0.5", "0.0909", "1 of 6"]
    assert row(out, "new") == ["new", f"only in {folder / 'two.safetensors'}"]
    status, out, _ = run(capsys, "diff", folder / "one.safetensors", folder / "one.safetensors")
    assert status == 0 and "4 variables are the same, 0 differ" in out


@pytest.mark.parametrize(
    "a, b, shown",
    [
        (np.array([0.0]), np.array([-0.0]), ["values", "0", "0", "1 of 1"]),
        (np.array([1.0, np.nan]), np.array([np.nan, np.nan]), ["values", "nan", "nan", "1 of 2"]),
        (np.array([1 + 1j]), np.array([1 - 1j]), ["values", "2", "1.41", "1 of 1"]),
        (np.array([True]), np.array([False]), ["values", "1", "1", "1 of 1"]),
        (np.ones(2), np.ones(2, "float32"), ["float64[2] and float32[2]"]),
    ],
)
def test_diff_of_odd_values(tmp_path, capsys, a, b, shown):
    for name, value in (("a", a), ("b", b)):
        mg.save_safetensors({"w": value}, tmp_path / name)
    if a.dtype.kind == "c":  # a plain file holds pairs: only a checkpoint knows better
        for name, value in (("a", a), ("b", b)):
            store = mg.Store()
            store.add("w", value)
            save_checkpoint(store, tmp_path / name)
    status, out, _ = run(capsys, "diff", tmp_path / "a", tmp_path / "b")
    assert status == 1 and row(out, "w ") == ["w", *shown]


def test_verify_reads_files_and_folders(folder, capsys):
    status, out, _ = run(capsys, "verify", folder, folder / "one.safetensors")
    assert status == 0 and out.count(": whole, step 1, 4 variables, 50 bytes") == 2
    data = bytearray((folder / "two.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "two.safetensors").write_bytes(data)
    status, out, _ = run(capsys, "verify", folder)
    assert status == 1 and "one.safetensors: whole" in out
    assert "two.safetensors: the tensor" in out and "damaged" in out
    (folder / "none").mkdir()
    assert run(capsys, "verify", folder / "none")[0] == 1
    status, out, _ = run(capsys, "verify", folder / "missing")
    assert status == 1 and "No such file" in out


def test_convert_to_npz_widens_what_numpy_lacks(folder, capsys):
    status, out, _ = run(capsys, "convert", folder / "one.safetensors", folder / "w.npz")
    assert status == 0 and "w.npz: 4 variables" in out
    with np.load(folder / "w.npz", allow_pickle=False) as z:
        assert set(z) == {"net/[b]w", "net/mean", "half", "optimizer/count"}
        assert z["half"].dtype == np.float32 and z["half"][:2].tolist() == [1, 2]
        assert z["optimizer/count"] == 3 and z["net/[b]w"].shape == (2, 3)


def test_convert_to_another_dtype_and_without_some(folder, capsys):
    one, out_path = folder / "one.safetensors", folder / "w.safetensors"
    status, out, _ = run(
        capsys, "convert", one, out_path, "--dtype", "float16", "--without", "optimizer",
        "--without", "net/mean",
    )  # fmt: skip
    assert status == 0 and "too large for float16, now infinite: 1 numbers" in out
    got = mg.load_safetensors(out_path)
    assert {k: v.dtype.name for k, v in got.items()} == {"net/[b]w": "float16", "half": "float16"}
    status, out, _ = run(capsys, "convert", one, out_path, "--dtype", "bfloat16")
    got = mg.load_safetensors(out_path)
    assert got["net/[b]w"].dtype.name == "bfloat16" and got["optimizer/count"].dtype == np.int64
    assert "warning" not in out


@pytest.mark.parametrize(
    "argv, why",
    [
        (["w.pt"], "must end in .npz or .safetensors"),
        (["w.npz", "--dtype", "int8"], "only floating-point"),
        (["w.npz", "--dtype", "float9"], "is no dtype"),
        (["w.npz", "--without", "net", "--without", "half", "--without", "optimizer"], "is left"),
    ],
)
def test_convert_refuses(folder, capsys, argv, why):
    status, _, err = run(capsys, "convert", folder / "one.safetensors", folder / argv[0], *argv[1:])
    assert status == 2 and why in err and not (folder / argv[0]).exists()


def test_help_teaches_and_output_elsewhere_is_not_wrapped(folder):
    script = "import sys; from monograph_train.commands import checkpoint; sys.exit(checkpoint(sys.argv[1:]))"
    ran = subprocess.run(
        [sys.executable, "-c", script, "inspect", folder / "one.safetensors"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "40"},
    )  # fmt: skip
    assert str(folder / "one.safetensors") in ran.stdout.splitlines()
    assert any(
        "net/mean" in line and line.rstrip().endswith("2") for line in ran.stdout.splitlines()
    )
    ran = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True)
    assert ran.returncode == 0 and "python -m monograph checkpoint verify runs/" in ran.stdout

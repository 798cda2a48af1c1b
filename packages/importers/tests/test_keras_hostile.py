"""Keras's files made to harm: an error within a second or so and 256 MB, nothing else is read or run."""

import base64
import io
import json
import marshal
import os
import random
import zipfile

import monograph as mg
import numpy as np
import pytest
from monograph.errors import FileFormatError, MonographError
from monograph_importers import hdf5
from monograph_importers.hdf5 import read
from monograph_importers.keras import archive, built
from monograph_importers.testing.__main__ import mutated

h5py = pytest.importorskip("h5py", reason="it writes the files")

DENSE = {
    "class_name": "Sequential",
    "config": {
        "name": "s",
        "layers": [
            {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 3]}},
            {"class_name": "Dense", "config": {"name": "d", "units": 2, "activation": "relu"}},
        ],
    },
}


def h5_model(path, config=DENSE, change=lambda f: None):
    with h5py.File(path, "w") as f:
        f.attrs["keras_version"] = "3.0.0"
        f.attrs["model_config"] = json.dumps(config)
        group = f.create_group("model_weights/d")
        group.attrs["weight_names"] = ["d/kernel", "d/bias"]
        group["d/kernel"], group["d/bias"] = np.ones((3, 2), "float32"), np.ones(2, "float32")
        change(f)
    return path


def load(config):
    """The model of a config with the variables of the sound file, without one."""
    arrays = [np.ones((3, 2), "float32"), np.ones(2, "float32")]
    found = [("", archive.Array(mg.Spec.of(a), lambda a=a: a)) for a in arrays]
    source = archive.Source("a.h5", config, True, lambda names, keys, wanted: found)
    return built(source, training=False)


def test_the_sound_file_is_read(tmp_path):
    imported = mg.load(h5_model(tmp_path / "a.h5"))
    assert imported.call(np.ones((1, 3), "float32")).tolist() == [[4, 4]]


def test_many_layers_are_no_attack(tmp_path):
    names = [f"d{n}" for n in range(300)]

    def more(f):
        for name in names:
            f.copy("model_weights/d", f"model_weights/{name}")
            del f[f"model_weights/{name}/d/kernel"]
            f[f"model_weights/{name}/d/kernel"] = np.eye(2, dtype="float32")

    inputs, dense = DENSE["config"]["layers"]
    layers = [inputs, dense, *({**dense, "config": {**dense["config"], "name": n}} for n in names)]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    imported = mg.load(h5_model(tmp_path / "a.h5", config, more))
    assert len(imported.parameters) == 602


def replaced(make):
    def change(f):
        del f["model_weights/d/d/kernel"]
        make(f)

    return change


def virtual(f):
    layout = h5py.VirtualLayout((3, 2), "float32")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (3, 2))
    f.create_virtual_dataset("model_weights/d/d/kernel", layout)


def packed_often(f):
    made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    made.set_chunk((3, 2))
    for _ in range(5):
        made.set_deflate(9)
    kind, space = h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((3, 2))
    h5py.h5d.create(f["model_weights/d/d"].id, b"kernel", kind, space, made)


def in_two(f):
    f["model_weights/e"] = f["model_weights/d"]


def wide(f):
    for n in range(20_000):
        f[f"model_weights/{n}"] = f["model_weights/d/d/kernel"]


def deep(f):
    group = f
    for _ in range(60):
        group = group.create_group("g")


K = "model_weights/d/d/kernel"
TREES = {
    "a link to another file": replaced(lambda f: f.__setitem__(K, h5py.ExternalLink("/etc/passwd", "x"))),
    "a link inside": replaced(lambda f: f.__setitem__(K, h5py.SoftLink("/model_weights"))),
    "numbers in another file": replaced(
        lambda f: f.create_dataset(K, (3, 2), "float32", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
    ),
    "numbers of other files": replaced(virtual),
    "references": replaced(lambda f: f.create_dataset(K, (3,), h5py.ref_dtype)),
    "texts": replaced(lambda f: f.create_dataset(K, data=["a", "b"])),
    "records": replaced(lambda f: f.create_dataset(K, (3,), [("a", "f4")])),
    "a huge shape": replaced(lambda f: f.create_dataset(K, (2**40, 2), "float32", chunks=(64, 2))),
    "a bomb": replaced(
        lambda f: f.create_dataset(K, (2**26,), "float32", chunks=(2**20,), compression="gzip", fillvalue=0)
    ),
    "a group in itself": lambda f: f.__setitem__("model_weights/d/again", f["model_weights"]),
    "a group in two": in_two,
    "deep groups": deep,
    "very many names": wide,
    "packed again and again": replaced(packed_often),
    "a list of names that is no text": lambda f: f["model_weights/d"].attrs.__setitem__("weight_names", [1, 2]),
    "names that are not there": lambda f: f["model_weights/d"].attrs.__setitem__("weight_names", ["../../x", "y"]),
    "one name": lambda f: f["model_weights/d"].attrs.__setitem__("weight_names", ["d/bias"]),
    "a config that is no text": lambda f: f.attrs.__setitem__("model_config", 3),
    "a config that is no JSON": lambda f: f.attrs.__setitem__("model_config", "{"),
    "a config in itself": lambda f: f.attrs.__setitem__("model_config", "[" * 50_000),
}  # fmt: skip


@pytest.mark.parametrize("what", TREES)
def test_trees(what, tmp_path):
    path = h5_model(tmp_path / "a.h5", change=TREES[what])
    with pytest.raises(FileFormatError) as e:
        mg.load(path)
    assert str(path) in str(e.value)


def test_an_array_in_two_places_is_read(tmp_path):
    path = h5_model(tmp_path / "a.h5", change=lambda f: f.__setitem__("tied", f[K]))
    arrays = read(path).arrays
    assert arrays["tied"].make().tolist() == arrays[K].make().tolist() == [[1, 1]] * 3


def test_packed_arrays_are_read(tmp_path):
    arrays = {
        "a": np.random.default_rng(0).normal(size=(100, 30)), "b": np.arange(7, dtype=">i2"), "c": np.ones((3, 0)),
    }  # fmt: skip
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for name, a in arrays.items():
            f.create_dataset(
                name, data=a, maxshape=(None,) * a.ndim, compression="gzip", shuffle=True
            )
        f.create_dataset("d", (), "float32", fillvalue=3)
    found = {name: a.make() for name, a in read(tmp_path / "a.h5").arrays.items()}
    assert found.pop("d") == 3
    for name, a in arrays.items():
        np.testing.assert_array_equal(found[name], a, strict=False)


def test_parts_that_are_there_only_once(tmp_path):
    """The parts of one array, which two more say to have too, and which are cut off for those."""
    path, parts = tmp_path / "a.h5", []
    with h5py.File(path, "w") as f:
        for name in "abc":
            ones = f.create_dataset(name, data=np.ones((16, 4000), "float32"), chunks=(1, 4000))
            parts.append([ones.id.get_chunk_info(n).byte_offset for n in range(16)])
    raw = path.read_bytes()
    end, last = parts[2][0], len(raw).to_bytes(8, "little")
    assert len(raw) == parts[2][15] + 16_000
    for more in parts[1:]:
        for there, here in zip(more, parts[0]):
            raw = raw.replace(there.to_bytes(8, "little"), here.to_bytes(8, "little"))
    path.write_bytes(raw[:end].replace(last, end.to_bytes(8, "little")))
    with h5py.File(path) as f:
        assert f["c"][:].sum() == 64_000
    with pytest.raises(FileFormatError, match="lies over other arrays"):
        read(path)


def test_time_goes_by_what_is_in_a_file(tmp_path, monkeypatch):
    """A thousand groups take longer than what one has at first, and each brings some more."""
    path, child = tmp_path / "a.h5", tmp_path / "child.py"
    with h5py.File(path, "w") as f:
        for n in range(1000):
            f.create_group(f"{n}")
    text, times = hdf5.CHILD.read_text(), "PER_BYTE = 0.5, 7e-4"
    monkeypatch.setattr(hdf5, "CHILD", child)
    child.write_text(text.replace(times, "PER_BYTE = 0.02, 7e-4"))
    assert len(read(path).attributes) == 1001
    child.write_text(text.replace(times, "PER_BYTE = 0.02, 0"))
    with pytest.raises(FileFormatError, match="takes longer"):
        read(path)


def changed(**config):
    """The model of one layer, with other options."""
    inputs, dense = DENSE["config"]["layers"]
    layers = [inputs, {**dense, "config": {**dense["config"], **config}}]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}


def nested(n):
    model = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": [DENSE["config"]["layers"][0]]},
    }
    for i in range(n):
        model = {"class_name": "Sequential", "config": {"name": f"s{i}", "layers": [model]}}
    return model


INPUT = {"class_name": "InputLayer", "name": "x", "config": {"name": "x", "batch_shape": [None, 3]}}


def functional(*layers, outputs=("d", 0, 0)):
    config = {"name": "f", "layers": [INPUT, *layers], "input_layers": [["x", 0, 0]], "output_layers": [list(outputs)]}  # fmt: skip
    return {"class_name": "Functional", "config": config}


def dense(name, *nodes):
    config = {"name": name, "units": 2, "activation": "relu"}
    return {"class_name": "Dense", "name": name, "config": config, "inbound_nodes": list(nodes)}


CONFIGS = {
    "units that are no number": changed(units="many"),
    "units without end": changed(units=2**62),
    "no units": changed(units=None),
    "models in models": nested(40),
    "no layers": {"class_name": "Sequential", "config": {"name": "s", "layers": []}},
    "layers that are no layers": {"class_name": "Sequential", "config": {"layers": [1, 2]}},
    "no input": functional(dense("d", [["y", 0, 0, {}]])),
    "layers that wait for one another": functional(
        dense("d", [["e", 0, 0, {}]]), dense("e", [["d", 0, 0, {}]])
    ),
    "a layer that waits for itself": functional(dense("d", [["d", 0, 0, {}]])),
    "an output that is not there": functional(dense("d", [["x", 0, 0, {}]]), outputs=("q", 0, 0)),
    "an output of no call": functional(dense("d", [["x", 0, 0, {}]]), outputs=("d", 9, 0)),
    "an output of no result": functional(dense("d", [["x", 0, 0, {}]]), outputs=("d", 0, 9)),
    "a name twice": functional(dense("d", [["x", 0, 0, {}]]), dense("d", [["x", 0, 0, {}]])),
    "a result that is no number": functional(dense("d", [["x", "0", {}, {}]])),
    "an argument of a class": functional(
        dense("d", {"args": [{"class_name": "os.system", "config": {}}], "kwargs": {}})
    ),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_configs(what):
    with pytest.raises(MonographError):
        load(CONFIGS[what]).trace()


def test_lambdas_are_not_run(tmp_path):
    mark = tmp_path / "run"
    code = compile(f"__import__('os').system('touch {mark}')", "x", "eval")
    value = base64.b64encode(marshal.dumps(code)).decode()
    function = {"class_name": "__lambda__", "config": {"value": value}}
    for layer in (
        {"class_name": "Lambda", "name": "d", "config": {"name": "d", "function": function}},
        {**dense("d"), "config": {"name": "d", "units": 2, "activation": function}},
        {"class_name": "TFOpLambda", "name": "d", "config": {"name": "d", "function": "os.system"}},
        {"class_name": "mine>Evil", "module": "os", "registered_name": "system", "name": "d", "config": {"name": "d"}},
    ):  # fmt: skip
        imported = load(functional({**layer, "inbound_nodes": [[["x", 0, 0, {}]]]}))
        assert len(imported.unsupported) == 1
        with pytest.raises(MonographError):
            imported.call(np.ones((1, 3), "float32"))
    assert not mark.exists()


def test_keras_archives(tmp_path):
    data = io.BytesIO()
    h5py.File(data, "w").close()
    sound = {"config.json": json.dumps(DENSE), "model.weights.h5": data.getvalue()}
    for name, files in {
        "nothing": {}, "no weights": {"config.json": "{}"},
        "no config": {"model.weights.h5": b""}, "weights that are none": {**sound, "model.weights.h5": b"x"},
        "no variables": sound, "a long config": {**sound, "config.json": " " * 17_000_000},
        "paths out": {"../config.json": "{}", "/etc/x": "x"},
    }.items():  # fmt: skip
        path = tmp_path / f"{name}.keras"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
            for n, text in files.items():
                z.writestr(n, text)
        with pytest.raises(FileFormatError) as e:
            mg.load(path)
        assert str(path) in str(e.value)


def test_damaged_files_are_read_or_refused(tmp_path):
    """What libhdf5 dies of is an error here; ``nox -s fuzz`` goes on for longer."""
    raw, rng = h5_model(tmp_path / "a.h5").read_bytes(), random.Random(3)
    path, refused = tmp_path / "b.h5", 0
    for n in range(8):
        path.write_bytes(raw[: len(raw) * n // 4] if n < 4 else mutated([raw], rng))
        try:
            read(path)
        except FileFormatError:
            refused += 1
    assert refused >= 4


def test_a_file_that_libhdf5_does_not_come_back_from(tmp_path, monkeypatch):
    child = tmp_path / "child.py"
    monkeypatch.setattr("monograph_importers.hdf5.CHILD", child)
    path = h5_model(tmp_path / "a.h5")
    for code, says in (("import os; os.abort()", "dies of it"), ("while True: pass", "no end")):
        child.write_text(code)
        monkeypatch.setattr("monograph_importers.hdf5.PATIENCE", 1)
        with pytest.raises(FileFormatError, match=says):
            read(path)
    assert os.path.exists(path)

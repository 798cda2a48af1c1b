"""Checkpoints: what is written comes back bit for bit, and what is damaged is refused."""

import hashlib
import json
import os
import subprocess
import sys
import textwrap
import tracemalloc

import ml_dtypes
import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, FileFormatError, VariableError
from monograph_train import (
    Checkpoint,
    average,
    load_checkpoint,
    save_checkpoint,
)

DTYPES = [
    "bool", *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
    "float16", "bfloat16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


def arrays():
    rng = np.random.default_rng(0)
    out = {}
    for name in DTYPES:
        numpy = mg.Spec((), name).dtype.numpy
        raw = rng.integers(0, 2 if name == "bool" else 256, (3, 5 * numpy.itemsize), np.uint8)
        out[f"of/{name}"] = raw.view(numpy)  # any bits: NaN with payloads too
    return out | {
        "empty": np.zeros((0, 4), "float32"),
        "scalar": np.array(7, "int64"),
        "turned": np.arange(6.0).reshape(2, 3).T,
        'quote"\\ü/ \N{SNOWMAN}': np.ones(3, "float32"),
    }


def store_of(values, state=()):
    store = mg.Store(seed=4)
    for name, value in values.items():
        store.add(name, value, trainable=name not in state)
    return store


@pytest.fixture
def small(tmp_path):
    store = store_of({"a/w": np.arange(4, dtype="float32"), "n": np.int64(3)}, ["n"])
    path = tmp_path / "small.safetensors"
    meta = {"x": 1, "text": "so long that the file has ten thousand bits to flip " * 12}
    save_checkpoint(store, path, step=2, meta=meta, metrics={"loss": 0.5})
    return path


def test_every_dtype_comes_back_bit_for_bit(tmp_path):
    values = arrays()
    path = tmp_path / "all.safetensors"
    save_checkpoint(store_of(values, ["scalar"]), path, step=12, meta={"d": [1, {"k": None}]})
    again = load_checkpoint(path)
    assert (again.step, again.meta, again.metrics) == (12, {"d": [1, {"k": None}]}, {})
    assert again.path == path and again.store.seed == 4
    assert set(again.store) - set(again.store.trainable) == {"scalar"}
    for name, got in again.store.numpy().items():
        assert got.dtype == values[name].dtype and got.shape == values[name].shape
        assert got.tobytes() == values[name].tobytes(), name
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("framework", ["numpy", "pt"])
def test_the_safetensors_library_reads_it(tmp_path, framework):
    safetensors = pytest.importorskip("safetensors", reason="the format's own library")
    if framework == "pt":
        torch = pytest.importorskip("torch", reason="it reads bfloat16")
    path = tmp_path / "c.safetensors"
    values = {k: v for k, v in arrays().items() if "complex" not in k}
    if framework == "numpy":
        del values["of/bfloat16"]
    save_checkpoint(store_of(values), path, step=5)
    with safetensors.safe_open(path, framework=framework) as f:
        assert json.loads(f.metadata()["monograph"])["step"] == 5
        assert set(f.keys()) == set(values)
        for name in f.keys():  # noqa: SIM118
            got = f.get_tensor(name)
            if framework == "pt":
                got = got.contiguous().reshape(-1).view(torch.uint8).numpy()
            assert got.tobytes() == values[name].tobytes(), name


def test_complex_numbers_are_pairs_to_other_readers(tmp_path):
    z = np.array([[1 + 2j, 3 - 4j]], "complex64")
    save_checkpoint(store_of({"z": z}), tmp_path / "z")
    assert mg.load_safetensors(tmp_path / "z")["z"].tolist() == [[[1, 2], [3, -4]]]
    assert load_checkpoint(tmp_path / "z").store["z"].tolist() == z.tolist()


def test_float8_of_a_plug_in_comes_back(tmp_path):
    script = """
    import sys, ml_dtypes, numpy as np, monograph as mg
    from monograph.dtypes import DType, register
    from monograph_train import load_checkpoint, save_checkpoint
    store = mg.Store()
    for name in ("float8_e4m3fn", "float8_e5m2", "float8_e4m3b11fnuz"):
        register(DType(name, "float", getattr(ml_dtypes, name), "float32"))
        store.add(name, np.arange(256, dtype="uint8").view(name).reshape(2, 128))
    save_checkpoint(store, sys.argv[1])
    again = load_checkpoint(sys.argv[1]).store
    for name in store:
        assert again.spec(name) is store.spec(name)
        assert again[name].numpy().tobytes() == bytes(range(256))
    """
    path = tmp_path / "f8.safetensors"
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), path], check=True)
    safetensors = pytest.importorskip("safetensors", reason="the format's own library")
    torch = pytest.importorskip("torch", reason="it reads float8")
    with safetensors.safe_open(path, framework="pt") as f:
        assert f.get_tensor("float8_e5m2").dtype is torch.float8_e5m2


# ---- damage


def refused(path):
    """Whether loading says that this file is damaged."""
    try:
        load_checkpoint(path)
    except FileFormatError as e:
        return str(path) in str(e)
    return False


def test_every_truncation_is_noticed(small):
    data = small.read_bytes()
    small.write_bytes(data + b"\0")
    assert refused(small)
    for n in range(len(data) - 1, -1, -1):
        os.truncate(small, n)
        assert refused(small), n


def test_every_single_bit_flip_is_noticed(small):
    data = small.read_bytes()
    assert 8 * len(data) >= 10_000
    with open(small, "r+b", buffering=0) as f:
        for bit in range(8 * len(data)):
            at, byte = bit // 8, data[bit // 8]
            f.seek(at)
            f.write(bytes([byte ^ 1 << bit % 8]))
            assert refused(small), bit
            f.seek(at)
            f.write(bytes([byte]))
    assert load_checkpoint(small).step == 2


def test_metadata_changed_by_hand_are_noticed(small):
    data = small.read_bytes()
    assert data.count(b'\\"step\\": 2') == 1
    small.write_bytes(data.replace(b'\\"step\\": 2', b'\\"step\\": 3'))
    with pytest.raises(FileFormatError, match="header does not match"):
        load_checkpoint(small)


def test_a_plain_safetensors_file_is_told_apart(tmp_path):
    path = tmp_path / "plain.safetensors"
    values = {k: v for k, v in arrays().items() if k != "of/complex128"}
    mg.save_safetensors(values, path, {"format": "pt"})
    with pytest.raises(FileFormatError, match=r"load_safetensors\(path\)"):
        load_checkpoint(path)
    for name, got in mg.load_safetensors(path).items():
        assert got.tobytes() == values[name].tobytes()


def with_header(path, header, body=b"\0" * 8):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)
    return path


ROW = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    "header, why",
    [
        (b"[]", "header"),
        (b"{}", "describes"),
        (b"\xff\xfe", "header"),
        (b"[" * 100_000, "header"),
        (b'{"a": ' + b"9" * 5000 + b"}", "header"),
        (b'{"a": 1, "a": 2}', "twice"),
        ({"a": []}, "header"),
        ({"a": {**ROW, "dtype": "PICKLE"}}, "unknown type"),
        ({"a": {**ROW, "dtype": ["F32"]}}, "header"),
        ({"a": {**ROW, "shape": [3]}}, "shape"),
        ({"a": {**ROW, "shape": [-2, -1]}}, "no size"),
        ({"a": {**ROW, "shape": [2.0]}}, "no size"),
        ({"a": {**ROW, "shape": [True, 2]}}, "no size"),
        ({"a": {**ROW, "shape": [2**62, 2]}}, "shape"),
        ({"a": {**ROW, "shape": [1] * 99 + [2]}}, "shape"),
        ({"a": {**ROW, "shape": [2**61], "data_offsets": [0, 2**63 - 4]}}, "shape"),
        ({"a": {**ROW, "shape": [2**40], "data_offsets": [0, 2**42]}}, "describes"),
        ({"a": ROW, "b": ROW}, "overlaps"),
        ({"a": {**ROW, "shape": [1], "data_offsets": [4, 8]}}, "gap"),
        ({"a": {**ROW, "data_offsets": [8, 0]}}, "shape"),
        ({"__metadata__": {"k": 1}, "a": ROW}, "strings"),
        ({"__metadata__": [], "a": ROW}, "header"),
    ],
)
def test_odd_headers_are_refused(tmp_path, header, why):
    path = with_header(tmp_path / "odd", header)
    with pytest.raises(FileFormatError, match=f"{path}.*{why}"):
        mg.load_safetensors(path)


@pytest.mark.parametrize("n", [2**60, 2**64 - 1, 2**31, 10, 0])
@pytest.mark.parametrize("load", [load_checkpoint, mg.load_safetensors])
def test_an_absurd_header_length_takes_no_memory(tmp_path, n, load):
    path = tmp_path / "odd"
    path.write_bytes(n.to_bytes(8, "little") + b"{}")
    with pytest.raises(FileFormatError, match=str(path)):
        load(path)


def forged(path, about, table, body=b"\0" * 8):
    """A file whose header's checksum is right, whatever it says."""
    start = b'{"__metadata__":{"monograph.sha256":"'
    text = start + b"0" * 64 + b'", "monograph": ' + json.dumps(about).encode() + b"}"
    text += "".join(f", {json.dumps(k)}: {json.dumps(v)}" for k, v in table.items()).encode()
    text += b"}"
    head = len(text).to_bytes(8, "little") + text
    digest = hashlib.sha256(head).hexdigest().encode()
    path.write_bytes(head.replace(b"0" * 64, digest, 1) + body)
    return path


ABOUT = {"version": 1, "seed": 0, "step": 0, "meta": {}, "metrics": {}}
LINE = {"dtype": "float32", "trainable": True, "sha256": hashlib.sha256(b"\0" * 8).hexdigest()}
WHOLE = {**ABOUT, "variables": {"a": LINE}}


def test_a_file_made_by_the_description_of_the_format_loads(tmp_path):
    path = forged(tmp_path / "c", json.dumps(WHOLE), {"a": ROW})
    assert load_checkpoint(path).store["a"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "about, why",
    [
        ("[" * 100_000, "metadata"),
        ("9" * 5000, "metadata"),
        ("[]", "metadata"),
        (json.dumps({"version": 2}), "version 2.*upgrade"),
        (json.dumps(ABOUT), "variables"),
        (json.dumps({**ABOUT, "variables": {}}), "describe"),
        (json.dumps({**WHOLE, "meta": 1}), "describe"),
        (json.dumps({**WHOLE, "variables": {"a": {**LINE, "trainable": "yes"}}}), "describe"),
        (json.dumps({**WHOLE, "variables": {"a": {**LINE, "dtype": "int64"}}}), "not of int64"),
        (json.dumps({**WHOLE, "variables": {"a": {**LINE, "sha256": "0"}}}), "tensor 'a'"),
    ],
)
def test_odd_metadata_are_refused(tmp_path, about, why):
    path = forged(tmp_path / "c", about, {"a": ROW})
    with pytest.raises(FileFormatError, match=f"{path}.*{why}"):
        load_checkpoint(path)


# ---- restore


def test_restore_lists_all_that_does_not_fit_and_changes_nothing():
    old = store_of({"a": np.ones(2, "float32"), "b": np.ones(3, "float32"), "c": np.ones(1)})
    new = store_of({"a": np.zeros(2, "float32"), "b": np.zeros(2, "float32"), "d": np.zeros(1)})
    with pytest.raises(VariableError) as e:
        Checkpoint(old).restore(new)
    for part in (
        "b: float32[3] in the checkpoint, float32[2] in the store",
        "c: only in the checkpoint",
        "d: only in the store",
        "3 of its variables",
    ):
        assert part in str(e.value)
    assert not any(new[p].numpy().any() for p in new)
    left = Checkpoint(old).restore(new, partial=True)
    assert set(left) == {"b", "c", "d"}
    assert new["a"].tolist() == [1, 1] and not new["b"].numpy().any()


def test_restore_refuses_another_dtype():
    old, new = store_of({"a": np.ones(2, "float32")}), store_of({"a": np.ones(2, "float64")})
    with pytest.raises(VariableError, match="float64"):
        Checkpoint(old).restore(new)


def test_an_empty_store_receives_everything(small):
    store = mg.Store(seed=1)
    assert load_checkpoint(small).restore(store) == {}
    assert store.trainable == ["a/w"] and list(store) == ["a/w", "n"] and store.seed == 4


def test_restore_keeps_the_stores_flags(small):
    store = store_of({"a/w": np.zeros(4, "float32"), "n": np.int64(0)}, ["n", "a/w"])
    load_checkpoint(small).restore(store)
    assert store.trainable == [] and store["a/w"].tolist() == [0, 1, 2, 3]


def test_restore_adds_what_is_not_made_yet_when_asked(small):
    store = store_of({"a/w": np.zeros(4, "float32")})
    with pytest.raises(VariableError, match="n: only in the checkpoint"):
        load_checkpoint(small).restore(store)
    assert load_checkpoint(small).restore(store, add=True) == {}
    assert store["n"].item() == 3 and store.trainable == ["a/w"] and store["a/w"][3].item() == 3
    store = store_of({"mistyped": np.zeros(4, "float32")})
    with pytest.raises(VariableError, match="mistyped: only in the store"):
        load_checkpoint(small).restore(store, add=True)
    assert list(store) == ["mistyped"]


def test_renaming_by_dict_and_by_function():
    old = store_of({"net/a/w": [1.0], "net/ab": [2.0], "net/x/y": [3.0], "head": [4.0]})
    names = {"net": "body", "net/a": "stem", "head": None}
    got = mg.Store()
    Checkpoint(old).restore(got, map=names)
    assert {p: got[p].item() for p in got} == {"stem/w": 1, "body/ab": 2, "body/x/y": 3}
    got = mg.Store()
    Checkpoint(old).restore(got, map=str.upper)
    assert got["NET/A/W"].item() == 1
    with pytest.raises(VariableError, match="lacks: nets, he$"):
        Checkpoint(old).restore(mg.Store(), map={"nets": "body", "net": "body", "he": "x"})
    with pytest.raises(VariableError, match="both 'head' and 'net/a/w'"):
        Checkpoint(old).restore(mg.Store(), map=lambda p: "same")


@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_saved_on_one_engine_and_trained_on_another(tmp_path, engine):
    pytest.importorskip({"xla": "jax"}.get(engine, engine), reason=f"the {engine} engine")

    def model(scope, x):
        w = scope.parameter("w", (3,), 0.5)
        scope.assign("w", w + x)
        return w * x

    store, x = mg.Store(), np.arange(3, dtype="float32")
    store.bind(model, engine=engine)(x)
    save_checkpoint(store, tmp_path / "c")
    want = store.bind(model, engine=engine)(x).numpy()
    assert want.any()
    for other in ("numpy", engine):
        again = load_checkpoint(tmp_path / "c").store
        np.testing.assert_array_equal(again.bind(model, engine=other)(x).numpy(), want)
        np.testing.assert_array_equal(again["w"].numpy(), store["w"].numpy())


# ---- average


def test_average_is_the_mean_in_float64(tmp_path):
    rng, paths, seen = np.random.default_rng(0), [], []
    for i in range(5):
        seen.append(rng.normal(size=(4, 3)).astype("float32"))
        values = {"w": seen[-1], "h": seen[-1].astype(ml_dtypes.bfloat16), "n": np.int64(i)}
        paths.append(tmp_path / str(i))
        save_checkpoint(store_of(values, ["n"]), paths[-1], step=i)
    got = average(paths)
    want = np.mean(np.array(seen, "float64"), axis=0).astype("float32")
    np.testing.assert_array_equal(got.store["w"].numpy(), want)
    assert got.store.spec("h").dtype.name == "bfloat16" and got.store["n"].item() == 4
    np.testing.assert_allclose(got.store["h"].numpy().astype("float32"), want, rtol=0.02, atol=0.01)
    assert got.step == 4 and got.path is None and got.store.trainable == ["h", "w"]


def test_average_names_what_does_not_agree(tmp_path, small):
    save_checkpoint(store_of({"a/w": np.ones(3, "float32")}), tmp_path / "b")
    with pytest.raises(VariableError, match=r"a/w: float32\[3\][^\n]*\n  n: only"):
        average([tmp_path / "b", small])
    with pytest.raises(ArgumentError, match="one or more"):
        average([])
    with pytest.raises(ArgumentError, match="list"):
        average(str(small))


def test_no_variable_takes_the_formats_own_name(tmp_path):
    with pytest.raises(VariableError, match="__metadata__"):
        save_checkpoint(store_of({"__metadata__": [1.0]}), tmp_path / "c")


@pytest.mark.parametrize("variables", [1, 4])
def test_writing_and_reading_hold_no_second_copy(tmp_path, variables):
    store, size = mg.Store(), 32 << 20
    for i in range(variables):
        store.add(f"w{i}", np.ones(size // 4 // variables, "float32"))
    tracemalloc.start()
    try:
        save_checkpoint(store, tmp_path / "c.safetensors")
        assert tracemalloc.get_traced_memory()[1] < size / 16
        tracemalloc.reset_peak()
        found = load_checkpoint(tmp_path / "c.safetensors")
        assert size <= tracemalloc.get_traced_memory()[1] < size * 17 / 16
    finally:
        tracemalloc.stop()
    assert len(found.store) == variables


def test_notes_too_long_to_be_read_back_are_refused_and_the_last_file_stays(tmp_path):
    store, path = mg.Store(), tmp_path / "c.safetensors"
    store.add("w", [1.0])
    save_checkpoint(store, path, step=1)
    with pytest.raises(ArgumentError, match=r"c\.safetensors: .* at most 8,000,000 are read back"):
        save_checkpoint(store, path, step=2, meta={"text": "x" * 8_000_000})
    assert load_checkpoint(path).step == 1 and list(tmp_path.iterdir()) == [path]

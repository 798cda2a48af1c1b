"""`monograph_importers.weights.read` against the libraries that wrote the files."""

import argparse
import collections
import json
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from monograph.errors import FileFormatError, StorageError
from monograph.tensorfile import save_safetensors
from monograph_importers.weights import read

torch = pytest.importorskip("torch", reason="it writes the files")

RNG = np.random.default_rng(0)
RESNET = "shared/data/resnet_cifar/resnet20-12fca82f.th"
CIFAR = next((p / RESNET for p in Path(__file__).parents if (p / RESNET).exists()), None)
FORMS = {"zip": True, "legacy": False}


def saved(value, path, form="zip"):
    torch.save(value, path, _use_new_zipfile_serialization=FORMS[form])
    return read(path)


def same(got, want):
    """The same names in the same order, and the same bits."""
    assert list(got) == list(want)
    for name, t in want.items():
        a = got[name]
        assert a.shape == tuple(t.shape)
        assert not a.flags.writeable
        wide = t.view(torch.uint8) if t.element_size() == 1 else t.contiguous()
        if t.dtype == torch.bfloat16:
            assert a.dtype == ml_dtypes.bfloat16
            wide, a = wide.view(torch.int16), a.view(np.int16)
        a = a.view(np.uint8) if t.element_size() == 1 else a
        np.testing.assert_array_equal(a, wide.numpy())


# ---- PyTorch

TENSORS = {
    name: torch.asarray(RNG.integers(0, 2, (3, 4))).to(getattr(torch, name))
    for name in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8",
                 "uint8", "bool", "complex64", "complex128")
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_dtype(form, tmp_path):
    same(saved(TENSORS, tmp_path / "x.pt", form), TENSORS)


def test_dtypes_without_a_storage_class(tmp_path):
    tensors = {
        "u16": torch.ones(4, dtype=torch.uint16), "u64": torch.ones(3, dtype=torch.uint64),
        "f8": torch.ones(5).to(torch.float8_e4m3fn),
    }  # fmt: skip
    same(saved(tensors, tmp_path / "x.pt"), tensors)


@pytest.mark.parametrize("form", FORMS)
def test_strides_offsets_and_views_are_respected(form, tmp_path):
    base = torch.asarray(RNG.normal(size=(4, 6)).astype("float32"))
    views = {
        "base": base, "turned": base.T, "part": base[1:3, 2:5], "every second": base[::2, 1::2],
        "repeated": base[:1].expand(5, 6), "empty": base[:0], "scalar": base[2, 3],
        "parameter": torch.nn.Parameter(base),
    }  # fmt: skip
    got = saved(views, tmp_path / "x.pt", form)
    same(got, {n: t.detach() for n, t in views.items()})
    assert np.shares_memory(got["base"], got["part"])


@pytest.mark.parametrize("form", FORMS)
def test_tied_tensors_are_reported_and_share_memory(form, tmp_path):
    w = torch.ones(3, 2)
    got = saved({"a": w, "b": w * 2, "c": w, "turned": w.T}, tmp_path / "x.pt", form)
    assert got.tied == (("a", "c"),)
    assert np.shares_memory(got["a"], got["c"])
    assert got.nbytes == 4 * (6 + 6 + 6)


@pytest.mark.parametrize("form", FORMS)
def test_a_checkpoint_with_what_stands_beside_the_weights(form, tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    held = {
        "epoch": 3, "args": argparse.Namespace(lr=0.1), "best": np.float64(0.5), "path": Path("x"),
        "optimizer": optimizer.state_dict(), "state_dict": model.state_dict(),
        "size": torch.Size([1, 2]), "device": torch.device("cpu"), "dtype": torch.float32,
        "counts": collections.defaultdict(int, a=1), "tags": {"a", "b"}, "bytes": b"abc",
    }  # fmt: skip
    same(saved(held, tmp_path / "x.pt", form), model.state_dict())


def test_dicts_in_dicts_and_lists_become_names_with_dots(tmp_path):
    w = torch.ones(2)
    got = saved({"encoder": {"0": w, "b": [w + 1, w + 2]}, "n": 3}, tmp_path / "x.bin")
    assert list(got) == ["encoder.0", "encoder.b.0", "encoder.b.1"]


@pytest.mark.parametrize("form", FORMS)
def test_arrays_of_numpy_in_a_checkpoint(form, tmp_path):
    arrays = {
        "f": RNG.normal(size=(3, 2)).astype("float32"), "columns": np.asfortranarray(RNG.normal(size=(3, 2))),
        "big": np.arange(3).astype(">i4"), "flag": np.array([True]), "none": np.zeros((0, 3)),
    }  # fmt: skip
    got = saved({**arrays, "w": torch.ones(2)}, tmp_path / "x.pt", form)
    for name, a in arrays.items():
        np.testing.assert_array_equal(got[name], a)
        assert got[name].dtype.isnative and not got[name].flags.writeable
    with pytest.raises(FileFormatError, match="not of numbers"):
        saved({"w": np.array(["a"])}, tmp_path / "y.pt", form)


@pytest.mark.skipif(CIFAR is None, reason="needs shared/data")
def test_a_real_checkpoint_of_the_old_form():
    same(read(CIFAR), torch.load(CIFAR, map_location="cpu", weights_only=True)["state_dict"])


def test_big_endian_files_are_turned(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.arange(5)}, path)
    import zipfile

    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "big.pt", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            elif "/data/" in name:
                data = np.frombuffer(data, "<i8").astype(">i8").tobytes()
            new.writestr(name, data)
    assert read(tmp_path / "big.pt")["w"].tolist() == [0, 1, 2, 3, 4]


# ---- safetensors


def test_safetensors_one_file_and_several(tmp_path):
    arrays = {"b": RNG.normal(size=(3, 2)).astype("float32"), "a": np.arange(4).astype(ml_dtypes.bfloat16)}  # fmt: skip
    save_safetensors(arrays, tmp_path / "model.safetensors")
    for got in (read(tmp_path / "model.safetensors"), read(tmp_path)):
        for name, a in arrays.items():
            np.testing.assert_array_equal(got[name], a)
            assert not got[name].flags.owndata
    parts = tmp_path / "parts"
    parts.mkdir()
    for name, a in arrays.items():
        save_safetensors({name: a}, parts / f"{name}.safetensors")
    index = {"metadata": {}, "weight_map": {n: f"{n}.safetensors" for n in arrays}}
    (parts / "model.safetensors.index.json").write_text(json.dumps(index))
    assert {n: a.tolist() for n, a in read(parts).items()} == {
        n: a.tolist() for n, a in arrays.items()
    }


def test_sharded_pytorch_files(tmp_path):
    for name in "ab":
        torch.save({name: torch.ones(2)}, tmp_path / f"{name}.bin")
    index = {"weight_map": {"a": "a.bin", "b": "b.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert list(read(tmp_path)) == ["a", "b"]


# ---- GGUF


def test_gguf_against_its_own_library(tmp_path):
    gguf = pytest.importorskip("gguf", reason="it writes and unpacks the files")
    kind, path = gguf.GGMLQuantizationType, tmp_path / "x.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("words", "äö")
    writer.add_array("tokens", ["a", "b"])
    writer.add_array("numbers", [1, 2, 3])
    writer.add_bool("flag", True)
    x = RNG.normal(size=(3, 512)).astype("float32")
    want = {"f32": x, "f16": x.astype("float16"), "i32": np.arange(6, dtype="int32").reshape(2, 3)}
    for name, a in want.items():
        writer.add_tensor(name, a)
    bits = x.astype(ml_dtypes.bfloat16)
    writer.add_tensor("bf16", bits.view(np.uint8), raw_dtype=kind.BF16)
    want["bf16"] = bits
    for k in (kind.Q4_0, kind.Q4_1, kind.Q5_0, kind.Q5_1, kind.Q8_0, kind.TQ1_0):
        raw = gguf.quants.quantize(x, k)
        writer.add_tensor(k.name, raw, raw_dtype=k)
        want[k.name] = gguf.quants.dequantize(raw, k)
    for k in (kind.Q2_K, kind.Q3_K, kind.Q4_K, kind.Q5_K, kind.Q6_K, kind.IQ4_XS, kind.MXFP4):
        numbers, nbytes = gguf.GGML_QUANT_SIZES[
            k
        ]  # not every kind can be written: any bytes are one
        raw = RNG.integers(0, 60, (3, 512 // numbers * nbytes)).astype(np.uint8)
        writer.add_tensor(k.name, raw, raw_dtype=k)
        want[k.name] = gguf.quants.dequantize(raw, k)
    for part in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{part}_to_file")()
    writer.close()
    got = read(path)
    assert set(got) == set(want)
    for name, a in want.items():
        np.testing.assert_array_equal(got[name], a)
        assert got[name].dtype == a.dtype and got.arrays[name].spec.shape == a.shape
    assert got.arrays["Q4_K"].kept_as == "Q4_K"
    assert (got.metadata["words"], got.metadata["tokens"]) == ("äö", ["a", "b"])
    assert got.metadata["numbers"].tolist() == [1, 2, 3] and got.metadata["flag"] is True


# ---- NumPy


def test_numpy_files(tmp_path):
    arrays = {
        "a/b": RNG.normal(size=(3, 2)), "columns": np.asfortranarray(RNG.normal(size=(3, 2))),
        "big": np.arange(3).astype(">i4"), "scalar": np.float32(2), "none": np.zeros((0, 3)),
        "flag": np.array([True]),
    }  # fmt: skip
    np.savez(tmp_path / "a.npz", **arrays)
    np.savez_compressed(tmp_path / "b.npz", **arrays)
    for file in "ab":
        got = read(tmp_path / f"{file}.npz")
        assert list(got) == list(arrays)
        for name, a in arrays.items():
            np.testing.assert_array_equal(got[name], a)
            assert got[name].dtype.isnative
    np.save(tmp_path / "one.npy", arrays["columns"])
    np.testing.assert_array_equal(read(tmp_path / "one.npy")["one"], arrays["columns"])


# ---- HDF5


def test_hdf5_datasets_by_their_paths(tmp_path):
    h5py = pytest.importorskip("h5py", reason="it writes the file")
    arrays = {"a/kernel": RNG.normal(size=(3, 2)), "a/b/bias": np.arange(3)}
    with h5py.File(tmp_path / "x.h5", "w") as f:
        for name, a in arrays.items():
            f.create_dataset(name, data=a, compression="gzip" if name == "a/b/bias" else None)
    got = read(tmp_path / "x.h5")
    assert set(got) == {"a.kernel", "a.b.bias"}
    for name, a in arrays.items():
        np.testing.assert_array_equal(got[name.replace("/", ".")], a)


# ---- what it costs, and what is refused


def test_a_large_file_is_not_read_before_it_is_looked_at(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(8_000_000), "v": torch.ones(1)}, path)
    resident = Path("/proc/self/statm")
    before = int(resident.read_text().split()[1])
    read(path)["v"].sum()
    assert int(resident.read_text().split()[1]) - before < 1000  # pages of 4 KB


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.bin", b"hello, world", "begins as no file"),
        ("x.safetensors", b"", "length of a header"),
        ("x.json", b"{}", "weight_map"),
        ("x.json", b'{"weight_map": {"a": "../a.bin", "b": "/etc/passwd"}}', "not beside it"),
        ("x.json", b'{"weight_map": {"a": "x.json"}}', "begins as no file"),
    ],
)
def test_what_is_no_weights_is_said(name, content, says, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=says):
        read(path)


def test_names_that_shards_lack_are_all_listed(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.ones(2))
    index = {"weight_map": {"a": "a.npz", "b": "a.npz", "c": "a.npz"}}
    (tmp_path / "x.json").write_text(json.dumps(index))
    with pytest.raises(FileFormatError, match=r"b in a\.npz, c in a\.npz"):
        read(tmp_path / "x.json")


def test_no_file_and_no_permission(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        read(tmp_path / "x.pt")
    with pytest.raises(FileFormatError, match="has none of"):
        read(tmp_path)
    if os.getuid():
        (tmp_path / "y.pt").write_bytes(b"PK")
        (tmp_path / "y.pt").chmod(0)
        with pytest.raises(StorageError, match="ermission"):
            read(tmp_path / "y.pt")

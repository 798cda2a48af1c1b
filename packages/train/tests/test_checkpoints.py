"""Checkpoints: every cut and every flipped bit is noticed; a failed write harms nothing."""

import errno
import hashlib
import json
import os
import resource
import subprocess
import tracemalloc

import monograph as mg
import numpy as np
import pytest
from monograph.errors import (
    ArgumentError,
    DTypeError,
    FileFormatError,
    MonographError,
    VariableError,
)
from monograph_train import (
    Checkpoint,
    Checkpoints,
    StorageError,
    average,
    load_checkpoint,
    load_safetensors,
    save_checkpoint,
    tensorfile,
)

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "float32", "float64", "complex64",
]  # fmt: skip


def small():
    store = mg.Store(seed=4)
    store.add("layer/w", np.arange(6, dtype="float32").reshape(2, 3))
    store.add("count", np.int64(3), trainable=False)
    store.add("empty", np.zeros((0, 2), "int8"), trainable=False)
    return store


def same(a, b):
    assert list(a) == list(b)
    for p in a:
        assert a.spec(p) is b.spec(p), p
        assert a[p].numpy().tobytes() == b[p].numpy().tobytes(), p


def test_everything_reads_back(tmp_path):
    path = tmp_path / "c.safetensors"
    meta = {"data": {"epoch": 1, "position": 3}, "lr": np.float32(0.5), "note": 'ä"\\'}
    save_checkpoint(small(), path, step=12, meta=meta)
    got = load_checkpoint(path)
    same(got.store, small())
    assert (got.step, got.store.seed, got.store.trainable) == (12, 4, ["layer/w"])
    assert got.meta == meta | {"lr": 0.5}
    assert got.path == path
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_reads_back_bit_by_bit_and_the_safetensors_library_agrees(tmp_path, dtype):
    reference = pytest.importorskip("safetensors.numpy", reason="the format's own library")
    raw = np.random.default_rng(0).integers(0, 256, 512, dtype=np.uint8)
    x = (raw > 127) if dtype == "bool" else raw.view(dtype)  # NaNs and infinities among them
    store = mg.Store()
    store.add("a", x)
    store.add("scalar", x[:1].reshape(()))
    save_checkpoint(store, tmp_path / "c.safetensors")
    same(load_checkpoint(tmp_path / "c.safetensors").store, store)
    if dtype != "complex64":  # which that library knows, but not for NumPy
        theirs = reference.load_file(tmp_path / "c.safetensors")
        assert theirs["a"].dtype == x.dtype and theirs["a"].tobytes() == x.tobytes()
        reference.save_file({"a": x}, tmp_path / "theirs.safetensors")
        (ours,) = load_safetensors(tmp_path / "theirs.safetensors").values()
        assert ours.dtype == x.dtype and ours.tobytes() == x.tobytes()


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"])
def test_narrow_floats_are_those_that_torch_reads(tmp_path, dtype):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="NumPy's narrow floats")
    torch = pytest.importorskip("torch", reason="a reader with narrow floats")
    safetensors = pytest.importorskip("safetensors", reason="the format's own library")
    x = np.arange(256, dtype="uint8").view(getattr(ml_dtypes, dtype))
    path = tmp_path / "c.safetensors"
    tensorfile.write(path, {"x": (x.shape, x.dtype)}, lambda name: x, {"trainable": []})
    with safetensors.safe_open(path, framework="pt") as f:
        theirs = f.get_tensor("x")
    assert str(theirs.dtype) == f"torch.{dtype}"
    assert theirs.view(torch.uint8).numpy().tobytes() == x.tobytes()
    ours = load_safetensors(path)["x"]
    assert ours.dtype == x.dtype and ours.tobytes() == x.tobytes()


def test_a_bfloat16_variable_reads_back(tmp_path):
    pytest.importorskip("monograph_dtypes", reason="bfloat16")
    store = mg.Store()
    store.add("w", mg.tensor([1.5, -2.0], dtype="bfloat16"))
    save_checkpoint(store, tmp_path / "c")
    same(load_checkpoint(tmp_path / "c").store, store)


def test_complex128_is_refused_before_anything_is_written(tmp_path):
    store = mg.Store()
    store.add("a", np.zeros(1, "complex128"))
    store.add("b", np.zeros(1, "complex128"))
    with pytest.raises(DTypeError, match=r"'a' \(complex128\), 'b' \(complex128\)"):
        save_checkpoint(store, tmp_path / "c")
    assert not list(tmp_path.iterdir())


# ---- damage


@pytest.fixture
def damaged(tmp_path):
    path = tmp_path / "c.safetensors"

    def check(data):
        path.write_bytes(data)
        with pytest.raises(FileFormatError) as e:
            load_checkpoint(path)
        assert str(path) in str(e.value)

    save_checkpoint(small(), path, step=12, meta={"loss": 0.25})
    return path.read_bytes(), check


def test_every_cut_is_noticed(damaged):
    data, check = damaged
    for n in range(len(data)):
        check(data[:n])
    check(data + b"\0")


def test_every_flipped_bit_is_noticed(damaged):
    data, check = damaged
    for i in range(len(data)):
        for bit in range(8):
            check(data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :])


def test_10_000_flipped_bits_of_a_larger_file_are_noticed(tmp_path):
    path, rng = tmp_path / "c.safetensors", np.random.default_rng(0)
    store = mg.Store()
    for i in range(50):
        store.add(f"block{i}/w", rng.normal(size=(8, 8)).astype("float32"))
    save_checkpoint(store, path)
    data = path.read_bytes()
    for place in rng.integers(8 * len(data), size=10_000):
        with open(path, "r+b") as f:
            f.seek(place // 8)
            f.write(bytes([data[place // 8] ^ 1 << place % 8]))
            f.flush()
            with pytest.raises(FileFormatError):
                load_checkpoint(path)
            f.seek(place // 8)
            f.write(data[place // 8 : place // 8 + 1])
    assert len(load_checkpoint(path).store) == 50


def parts(data):
    n = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:n]), data[n:]


def joined(table, body):
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_altered_metadata_swapped_arrays_and_borrowed_headers_are_noticed(damaged):
    data, check = damaged
    table, body = parts(data)
    ours = table["__metadata__"]["monograph"]
    for old, new in [('"step": 12', '"step": 13'), ("0.25", "0.24"), ('"seed": 4', '"seed": 5')]:
        assert old in ours
        changed = ours.replace(old, new)
        check(
            joined(table | {"__metadata__": table["__metadata__"] | {"monograph": changed}}, body)
        )
    check(joined(table, body))  # the same, written with other spaces
    check(data[: -len(body)] + bytes(len(body)))
    check(joined({}, b""))


def test_a_digest_does_not_excuse_a_header_that_describes_another_body(damaged):
    data, check = damaged
    table, body = parts(data)
    for change in [
        {"shape": [3, 3]},
        {"shape": [-2, -3]},
        {"dtype": "F64"},
        {"data_offsets": [0, 24]},
    ]:
        odd = joined(table | {"layer/w": table["layer/w"] | change}, body)
        blank = odd.replace(table["__metadata__"]["sha256"].encode(), b"0" * 64, 1)
        digest = hashlib.sha256(blank).hexdigest().encode()
        check(blank.replace(b"0" * 64, digest, 1))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x80\x04K\x01.",
        b"\x08" + bytes(7) + b"[" * 8,
        b"\xff" * 100,
        b"\x02" + bytes(7) + b"[]",
    ],
)
def test_other_files_are_refused(damaged, data):
    damaged[1](data)


def test_a_plain_safetensors_file_is_told_from_ours(tmp_path):
    reference = pytest.importorskip("safetensors.numpy", reason="the format's own library")
    path = tmp_path / "model.safetensors"
    reference.save_file({"w": np.ones(2, "float32")}, path, metadata={"format": "pt"})
    with pytest.raises(
        FileFormatError, match=r"no checkpoint of Monograph's.*load_safetensors"
    ) as e:
        load_checkpoint(path)
    assert str(path) in str(e.value)
    assert load_safetensors(path)["w"].tolist() == [1.0, 1.0]


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(OSError, match="nothing.*No such file"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(StorageError, match="is a folder; Checkpoints"):
        load_checkpoint(tmp_path)


def test_meta_that_json_lacks_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="meta must be what JSON can hold, and has a set"):
        save_checkpoint(small(), tmp_path / "c", meta={"a": {1}})
    assert not list(tmp_path.iterdir())


# ---- failing writes


def check_last_good(folder):
    assert [p.name for p in folder.iterdir()] == ["step-00000001.safetensors"]
    assert Checkpoints(folder).latest().step == 1


def test_a_limit_on_file_size_leaves_the_last_checkpoint_and_nothing_else(tmp_path):
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(small(), 1)
    big = mg.Store()
    big.add("w", np.zeros(100_000))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"step-00000002.*File too large") as e:
            kept.save(big, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert e.value.errno == errno.EFBIG and isinstance(e.value, MonographError)
    check_last_good(tmp_path)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_last_checkpoint_and_nothing_else(tmp_path, monkeypatch, call):
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(small(), 1)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*((tensorfile, "_write_all") if call == "write" else (os, call)), full)
    with pytest.raises(StorageError, match=r"step-00000002.*No space left on device.*make room"):
        kept.save(small(), 2)
    monkeypatch.undo()
    check_last_good(tmp_path)


def test_a_really_full_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if os.name != "posix" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        kept = Checkpoints(disk, keep=1)
        kept.save(small(), 1)
        big = mg.Store()
        big.add("w", np.zeros(100_000))
        with pytest.raises(StorageError, match="No space left on device"):
            kept.save(big, 2)
        check_last_good(disk)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    for folder in ("file", "file/below"):
        with pytest.raises(StorageError, match=r"file.*cannot be made"):
            Checkpoints(tmp_path / folder).save(small(), 1)
    with pytest.raises(StorageError, match=r"nowhere.*cannot be written: No such file"):
        save_checkpoint(small(), tmp_path / "nowhere" / "c")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        Checkpoints(tmp_path).save(small(), 1)
    tmp_path.chmod(0o700)


def test_the_file_and_then_its_folder_are_synced_before_old_ones_go(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(small(), 1)
    events = []

    def noting(name, of):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, **k: events.append(of(*a)) or real(*a, **k))

    noting(
        "fsync", lambda fd: "sync folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "sync file"
    )
    noting("replace", lambda *a: "rename")
    noting("unlink", lambda p, *a: f"delete {os.path.basename(p)}")
    kept.save(small(), 2)
    assert events == ["sync file", "rename", "sync folder", "delete step-00000001.safetensors"]


# ---- restore


def store_of(**arrays):
    store = mg.Store(seed=1)
    for path, x in arrays.items():
        store.add(path.replace("__", "/"), np.asarray(x, getattr(x, "dtype", "float32")))
    return store


def test_restore_lists_all_that_does_not_fit_and_changes_nothing():
    saved = Checkpoint(store_of(a=[1], b=[2], c=[3, 3], d=np.int32([4]), e=[5]))
    store = store_of(a=[0], x=[0], y=[0], c=[0], d=[0])
    with pytest.raises(VariableError) as e:
        saved.restore(store)
    text = str(e.value)
    assert "not in the checkpoint: x, y\n" in text
    assert "not in the store: b, e\n" in text
    assert "c (float32[2] in the checkpoint, float32[1] in the store), d (int32[1]" in text
    assert store["a"].tolist() == [0]
    left = saved.restore(store, partial=True)
    assert left == (["x", "y"], ["b", "e"], ["c", "d"])
    assert {p: x.tolist() for p, x in store.items()} == dict(a=[1], x=[0], y=[0], c=[0], d=[0])


def test_restore_into_an_empty_store_takes_all(tmp_path):
    store = mg.Store(seed=9)
    assert Checkpoint(small()).restore(store) == ([], [], [])
    same(store, small())
    assert store.seed == 4 and store.trainable == ["layer/w"]


def test_restore_is_in_place_for_a_model_that_was_compiled_already():
    def model(scope, x):
        n = scope.variable("n", (), 0.0)
        n.assign(n.value + 1)
        return x * scope.parameter("w", (), 2.0)

    store = mg.Store()
    call = store.bind(model)
    call(mg.tensor(1.0))
    saved = Checkpoint(store.copy())
    store["w"] = 7.0
    call(mg.tensor(1.0))
    saved.restore(store)
    assert call(mg.tensor(1.0)).item() == 2.0 and store["n"].item() == 2.0
    assert saved.store["n"].item() == 1.0  # what it holds is its own


@pytest.mark.parametrize(
    "map",
    [
        {"old": "new/body", "old/head": None},
        lambda p: None if p.startswith("old/head") else p.replace("old/", "new/body/", 1),
    ],
)
def test_restore_renames_scopes_and_leaves_out(map):
    saved = Checkpoint(store_of(old__a=[1], old__head__w=[2, 2], older=[3]))
    store = store_of(new__body__a=[0], older=[0])
    saved.restore(store, map=map)
    assert store["new/body/a"].tolist() == [1] and store["older"].tolist() == [3]


def test_restore_refuses_two_for_one_and_none_at_all():
    saved = Checkpoint(store_of(a=[1], b=[2]))
    with pytest.raises(ArgumentError, match="several variables the path c"):
        saved.restore(store_of(c=[0]), map=lambda p: "c")
    with pytest.raises(VariableError, match="none of 2 of its variables fit"):
        saved.restore(store_of(c=[0]), partial=True)


# ---- average


def test_average_is_the_float64_mean_and_keeps_counters(tmp_path):
    rng = np.random.default_rng(0)
    values = [rng.normal(size=50).astype("float32") for _ in range(5)]
    for i, v in enumerate(values):
        save_checkpoint(
            store_of(w=v, h=v.astype("float16"), n=np.int64(i)), tmp_path / str(i), step=i
        )
    got = average([tmp_path / str(i) for i in range(5)])
    want = np.mean(np.stack(values).astype("float64"), 0)
    assert got.store["w"].numpy().tobytes() == want.astype("float32").tobytes()
    half = np.mean(np.stack([v.astype("float16") for v in values]).astype("float64"), 0)
    assert got.store["h"].numpy().tobytes() == half.astype("float16").tobytes()
    assert got.store["n"].item() == 4 and got.step == 4
    assert len(got.meta["averaged"]) == 5


def test_average_of_unlike_checkpoints_lists_how_they_differ(tmp_path):
    save_checkpoint(store_of(a=[1], b=[1]), tmp_path / "0")
    save_checkpoint(store_of(a=[1, 2], c=[1]), tmp_path / "1")
    with pytest.raises(
        VariableError, match=r"a \(float32\[1\] and float32\[2\]\), b \(.*missing\), c"
    ):
        average([tmp_path / "0", tmp_path / "1"])
    with pytest.raises(ArgumentError):
        average([])


# ---- folders


@pytest.mark.parametrize("mode, best", [("min", 2), ("max", 1)])
def test_a_folder_keeps_the_newest_and_the_best(tmp_path, mode, best):
    kept = Checkpoints(tmp_path / "made" / "here", keep=2, best="loss", mode=mode)
    assert kept.latest() is None and kept.best() is None and kept.paths() == []
    for step, loss in enumerate([2.0, 3.0, 1.0, float("nan"), 2.5, 1.5, 1.0]):
        path = kept.save(small(), step, {"at": step}, {"loss": np.float32(loss)})
        assert path == kept.path(step)
    assert [p.name for p in kept.paths()] == [f"step-{i:08d}.safetensors" for i in (best, 5, 6)]
    assert kept.best().step == best and kept.latest().step == 6
    assert kept.latest().meta == {"at": 6, "metrics": {"loss": 1.0}}
    assert kept.latest().metrics == {"loss": 1.0}


def test_the_newest_is_found_by_number_and_other_files_are_left(tmp_path):
    (tmp_path / "step-final.safetensors").write_text("mine")
    kept = Checkpoints(tmp_path, keep=2)
    for step in (99_999_999, 100_000_000):
        kept.save(small(), step)
    assert kept.latest().step == 100_000_000
    assert (tmp_path / "step-final.safetensors").read_text() == "mine"


def test_a_damaged_newest_file_is_passed_over_with_a_warning(tmp_path):
    kept = Checkpoints(tmp_path, best="loss")
    for step in (1, 2, 3):
        kept.save(small(), step, metrics={"loss": -step})
    for step in (2, 3):
        data = bytearray(kept.path(step).read_bytes())
        data[-1] ^= 1
        kept.path(step).write_bytes(data)
    with pytest.warns(UserWarning, match=r"step-0000000\d.*damaged") as found:
        assert kept.latest().step == 1
        assert kept.best().step == 1
    assert ["step-00000003" in str(w.message) for w in found] == [True, False] * 2
    assert {w.filename for w in found} == {__file__}


def test_leftovers_of_killed_writers_go_at_the_next_save(tmp_path):
    kept = Checkpoints(tmp_path)
    with open(tmp_path / ".step-00000001.safetensors.0a1b2c.tmp", "wb") as f:
        f.write(b"half of")
    assert kept.latest() is None
    kept.save(small(), 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002.safetensors"]


def test_a_run_that_starts_over_in_a_used_folder_is_told_and_loses_nothing(tmp_path):
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(small(), 50)
    with pytest.warns(UserWarning, match=r"later checkpoints than step 1: step-00000050"):
        kept.save(small(), 1)
    assert len(kept.paths()) == 2


def test_options_are_checked(tmp_path):
    for options in (dict(keep=0), dict(mode="least")):
        with pytest.raises(ArgumentError, match="keep"):
            Checkpoints(tmp_path, **options)
    with pytest.raises(ArgumentError, match="have no metric"):
        Checkpoints(tmp_path).best()
    with pytest.raises(ArgumentError, match="step"):
        Checkpoints(tmp_path).save(small(), -1)


@pytest.mark.parametrize("arrays", [1, 4])
def test_reading_and_writing_hold_no_second_copy(tmp_path, arrays):
    store = mg.Store()
    for i in range(arrays):
        store.add(f"w{i}", np.ones((8 << 20) // arrays, "float32"))
    size = 32 << 20
    tracemalloc.start()
    try:
        save_checkpoint(store, tmp_path / "c")
        assert tracemalloc.get_traced_memory()[1] < size / 16
        tracemalloc.reset_peak()
        got = load_checkpoint(tmp_path / "c")
        assert size <= tracemalloc.get_traced_memory()[1] < size * 17 / 16
    finally:
        tracemalloc.stop()
    assert len(got.store) == arrays

"""Folders of checkpoints: which are kept, and what happens when the system says no."""

import os
import subprocess
import sys
import textwrap

import monograph as mg
import numpy as np
import pytest
from monograph.errors import ArgumentError, FileFormatError, MonographError, StorageError
from monograph_train import (
    Checkpoints,
    load_checkpoint,
    save_checkpoint,
)


def numbers(folder):
    return [int(p.stem[5:]) for p in folder.paths()]


def one(value=1.0):
    store = mg.Store(seed=4)
    store.add("w", np.full(3, value, "float32"))
    return store


def test_the_last_and_the_best_are_kept_across_restarts(tmp_path):
    losses = [0.5, 0.1, 0.4, float("nan"), 0.3, 0.2]
    for step, loss in enumerate(losses):
        kept = Checkpoints(tmp_path / "made" / "here", keep=2, best="val_loss")
        kept.save(one(step), step, metrics={"val_loss": loss})
    assert numbers(kept) == [1, 4, 5]
    assert kept.latest().step == 5 and kept.best().step == 1
    assert kept.best().store["w"].tolist() == [1, 1, 1]
    top = Checkpoints(kept.folder, keep=1, best="val_loss", mode="max")
    assert top.best().step == 4
    top.save(one(), 6)
    assert numbers(top) == [4, 6]


def test_an_empty_or_missing_folder_has_no_checkpoint(tmp_path):
    kept = Checkpoints(tmp_path / "no", best="loss")
    assert kept.latest() is None and kept.best() is None and kept.paths() == []
    assert not kept.folder.exists()


def test_arguments_are_checked(tmp_path):
    for bad in ({"keep": 0}, {"mode": "least"}):
        with pytest.raises(ArgumentError, match=next(iter(bad))):
            Checkpoints(tmp_path, **bad)
    with pytest.raises(ArgumentError, match="name the metric"):
        Checkpoints(tmp_path).best()
    with pytest.raises(ArgumentError, match="JSON"):
        Checkpoints(tmp_path).save(one(), 1, meta={"x": object()})
    assert list(tmp_path.iterdir()) == []


def test_meta_holds_numpy_numbers_and_large_integers(tmp_path):
    state = np.random.default_rng(0).bit_generator.state
    Checkpoints(tmp_path).save(one(), 1, meta={"rng": state, "row": np.int64(3)})
    assert Checkpoints(tmp_path).latest().meta == {"rng": state, "row": 3}


def test_a_new_checkpoint_stays_even_beside_later_steps(tmp_path):
    kept = Checkpoints(tmp_path, keep=2)
    for step in (100, 200, 5):
        kept.save(one(), step)
    assert 5 in numbers(kept)


def test_leftovers_of_killed_writers_are_ignored_and_cleaned(tmp_path):
    kept = Checkpoints(tmp_path)
    kept.save(one(), 1)
    (tmp_path / ".step-00000002.safetensors.99-ab.tmp").write_bytes(b"half")
    (tmp_path / "step-notes.safetensors").write_bytes(b"mine")
    assert kept.latest().step == 1
    kept.save(one(), 3)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [
        "step-00000001.safetensors",
        "step-00000003.safetensors",
        "step-notes.safetensors",
    ]


def test_a_damaged_newest_file_is_passed_over_with_a_warning(tmp_path):
    kept = Checkpoints(tmp_path, best="loss")
    for step in (1, 2, 3):
        kept.save(one(step), step, metrics={"loss": -step})
    newest = kept.paths()[-1]
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    with pytest.warns(UserWarning, match=str(newest)):
        assert kept.latest().step == 2
    with pytest.warns(UserWarning, match=str(newest)):
        assert kept.best().step == 2
    newest.write_bytes(b"")
    kept.save(one(), 4)  # a damaged file is no reason to delete a whole one
    assert numbers(kept) == [1, 2, 3, 4]
    for p in kept.paths():
        p.write_bytes(b"")
    with pytest.warns(UserWarning), pytest.raises(FileFormatError, match="no checkpoint is whole"):
        kept.latest()


# ---- the system says no


def test_a_full_disk_leaves_the_last_good_file_and_nothing_else(tmp_path):
    pytest.importorskip("resource", reason="limits on file sizes are POSIX")
    script = """
    import resource, sys, numpy as np, monograph as mg
    from monograph.errors import StorageError
    from monograph_train import Checkpoints
    kept, store = Checkpoints(sys.argv[1], keep=1), mg.Store()
    store.add("w", np.zeros(1000, "float32"))
    kept.save(store, 1)
    store.add("big", np.zeros(1_000_000, "float32"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        kept.save(store, 2)
    except StorageError as e:
        assert isinstance(e, OSError) and "step-00000002" in str(e), e
        print(e.errno, e)
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), tmp_path], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert "File too large" in ran.stdout and "earlier files are untouched" in ran.stdout
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001.safetensors"]
    assert Checkpoints(tmp_path).latest().step == 1


def test_no_space_is_named(tmp_path, monkeypatch):
    kept = Checkpoints(tmp_path, keep=1)
    kept.save(one(), 1)

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match=r"step-00000002.*No space.*Free space") as e:
        kept.save(one(), 2)
    assert e.value.errno == 28 and isinstance(e.value, MonographError)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001.safetensors"]


def test_an_interrupt_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def stop(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(one(), tmp_path / "c")
    assert list(tmp_path.iterdir()) == []


def test_files_and_folders_that_cannot_be_opened_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    for act in (
        lambda: save_checkpoint(one(), tmp_path / "no" / "c"),
        lambda: Checkpoints(tmp_path / "file").save(one(), 1),
        lambda: load_checkpoint(tmp_path / "no"),
        lambda: load_checkpoint(tmp_path),
        lambda: mg.load_safetensors(tmp_path / "no"),
    ):
        with pytest.raises(StorageError, match=str(tmp_path)):
            act()


def test_an_unwritable_folder_is_named(tmp_path, monkeypatch):
    if os.geteuid() == 0:  # root may write anywhere: the system's refusal is imitated

        def refuse(*a, **k):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"c\.safetensors.*Permission denied.*folder"):
        save_checkpoint(one(), tmp_path / "c.safetensors")
    tmp_path.chmod(0o700)

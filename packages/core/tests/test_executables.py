"""Executables on disk: what counts as the same one, what is refused, what is deleted."""

import logging
import os
import subprocess
import sys

import monograph as mg
import pytest
from monograph import choices, executables
from monograph.__main__ import main
from monograph.engine import Options, resolve
from monograph.files import write_container

PAYLOAD = bytes(range(256)) * 40
SPEC = mg.Spec((2, 3))


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    monkeypatch.delenv("MONOGRAPH_CACHE_SIZE")
    return tmp_path / "executables"


def double(x):
    return x + x


def entry(fn=double, spec=SPEC, donate=(), facts=None, device="numpy"):
    device = resolve(device)
    graph = mg.trace(fn, spec)
    return executables.entry(device.engine, graph, Options(device, donate), facts or {})


def test_what_is_kept_is_loaded_and_nobody_else_can_read_it(folder):
    assert entry().load() is None
    entry().keep(PAYLOAD, 0.5)
    assert entry().load() == PAYLOAD
    assert folder.stat().st_mode & 0o777 == 0o700
    assert entry().path.stat().st_mode & 0o777 == 0o600


def test_another_process_finds_the_same_place():
    code = (
        "import monograph as mg; from monograph import executables\n"
        "from monograph.engine import Options, resolve\n"
        "device, graph = resolve('numpy'), mg.trace(lambda x: x + x, mg.Spec((2, 3)), )\n"
        "graph.name = 'double'\n"
        "print(executables.entry(device.engine, graph, Options(device), {}).path)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == str(entry().path)


def test_whatever_the_machine_code_depends_on_names_another_file(monkeypatch):
    def upgraded(libraries):
        return dict.fromkeys(libraries, "99.0")

    places = [
        entry(), entry(lambda x: x * x), entry(lambda x: x + 1.0), entry(lambda x: x + 2.0),
        entry(spec=mg.Spec((2, 4))), entry(donate=(0,)), entry(facts={"flags": "-O0"}),
    ]  # fmt: skip
    for name, value in (
        ("versions", upgraded), ("machine", lambda: "another"), ("processor", lambda: ("flags",)),
    ):  # fmt: skip
        with monkeypatch.context() as m:
            m.setattr(choices, name, value)
            places.append(entry())
    with monkeypatch.context() as m:
        m.setattr(executables, "_code", lambda package: "edited")
        places.append(entry())
    assert len({e.path for e in places}) == len(places)
    assert entry().path == places[0].path


def test_graphs_that_hold_python_are_not_kept(ops_of_one_test):
    @mg.op(infer=lambda x: x, vjp=mg.NOT_DIFFERENTIABLE)
    def twice(x):
        """x + x"""
        return x + x

    assert entry(twice) is None
    assert entry(lambda x: mg.cond(mg.sum(x) > 0, twice, double, x)) is None


def test_an_engine_that_cannot_tell_its_facts_keeps_nothing():
    device = resolve("numpy")
    graph = mg.trace(double, SPEC)
    assert executables.entry(device.engine, graph, Options(device), None) is None


@pytest.mark.parametrize("cut", [0, 7, 40, 300, 2000, -1])
def test_a_file_that_is_cut_short_is_compiled_anew(cut):
    e = entry()
    e.keep(PAYLOAD, 0.5)
    whole = e.path.read_bytes()
    e.path.write_bytes(whole[:cut])
    assert e.load() is None
    e.keep(PAYLOAD, 0.5)
    assert e.load() == PAYLOAD


@pytest.mark.parametrize("at", [0, 9, 60, 1000, -1])
def test_a_file_with_a_changed_byte_is_not_loaded(at):
    e = entry()
    e.keep(PAYLOAD, 0.5)
    data = bytearray(e.path.read_bytes())
    data[at] ^= 1
    e.path.write_bytes(data)
    assert e.load() is None


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"kind": "graph"},
        {"kind": "executable"},
        {"kind": "executable", "known": {"graph": "x"}},
    ],
)
def test_a_sound_file_that_is_another_things_is_not_loaded(header):
    e = entry()
    e.keep(PAYLOAD, 0.5)
    write_container(e.path, header, [])
    assert e.load() is None
    entry(facts={"other": 1}).keep(PAYLOAD, 0.5)
    entry(facts={"other": 1}).path.replace(e.path)
    assert e.load() is None


needs_owners = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs POSIX's owners")


@needs_owners
def test_what_others_own_or_may_write_is_not_loaded(monkeypatch, folder, caplog):
    e = entry()
    e.keep(PAYLOAD, 0.5)
    for path, mode in ((e.path, 0o620), (e.path, 0o602), (folder, 0o750), (folder, 0o707)):
        before = path.stat().st_mode
        path.chmod(mode)
        with caplog.at_level(logging.WARNING, "monograph.executables"):
            assert e.load() is None
        assert "not yours alone" in caplog.text
        caplog.clear()
        path.chmod(before)
    assert e.load() == PAYLOAD
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert e.load() is None


@needs_owners
def test_nothing_is_written_where_others_may_write(folder):
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    entry().keep(PAYLOAD, 0.5)
    assert not list(folder.iterdir())


def test_a_folder_that_cannot_be_made_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path / "file"))
    entry().keep(PAYLOAD, 0.5)
    assert entry().load() is None and not list(executables.every()) and not executables.clear()


def test_the_least_recently_used_go_first(monkeypatch, folder):
    entries = [entry(facts={"n": n}) for n in range(4)]
    for n, e in enumerate(entries[:3]):
        e.keep(PAYLOAD, 0.5)
        os.utime(e.path, (n, n))
    assert entries[0].load() == PAYLOAD  # which makes it the latest
    room = 3 * entries[0].path.stat().st_size
    monkeypatch.setenv("MONOGRAPH_CACHE_SIZE", str(room))
    entries[3].keep(PAYLOAD, 0.5)
    assert [e.path.exists() for e in entries] == [True, False, True, True]


def test_what_is_larger_than_all_room_is_not_kept(monkeypatch, folder):
    monkeypatch.setenv("MONOGRAPH_CACHE_SIZE", "1KB")
    entry().keep(PAYLOAD, 0.5)
    assert not folder.exists()


def test_files_that_a_dead_process_left_half_written_go(folder):
    folder.mkdir(mode=0o700)
    old, new = folder / ".a.1-0.tmp", folder / ".b.1-0.tmp"
    for path in (old, new):
        path.write_text("")
    os.utime(old, (0, 0))
    entry().keep(PAYLOAD, 0.5)
    assert not old.exists() and new.exists()


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("17", 17), ("500MB", 500 * 10**6), ("1.5 gb", 15 * 10**8), ("2T", 2 * 10**12)],
)
def test_sizes(monkeypatch, text, size):
    monkeypatch.setenv("MONOGRAPH_CACHE_SIZE", text)
    assert executables.limit() == size
    assert (entry() is None) == (size == 0)


@pytest.mark.parametrize("text", ["", "-1", "much", "1PB", "nan", "1e9"])
def test_what_is_no_size_is_said_so(monkeypatch, text):
    monkeypatch.setenv("MONOGRAPH_CACHE_SIZE", text)
    with pytest.raises(mg.errors.ArgumentError, match=r"MONOGRAPH_CACHE_SIZE=.* is no size"):
        executables.limit()


def test_processes_that_write_and_read_at_once_never_see_half_a_file(tmp_path):
    code = (
        "from monograph.executables import Entry\n"
        "e = Entry({'n': 1}, 'a graph')\n"
        "for _ in range(40):\n"
        "    e.keep(bytes(range(256)) * 4000, 1.0)\n"
        "    assert e.load() in (None, bytes(range(256)) * 4000)\n"
        "assert e.load()\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [r.wait() for r in runs] == [0, 0]
    assert len(list((tmp_path / "executables").iterdir())) == 1


def test_the_command_lists_and_clears(capsys, folder):
    entry().keep(PAYLOAD, 0.5)
    (folder / "other.executable").write_text("no executable")
    assert main(["cache"]) == 0
    shown = capsys.readouterr().out
    assert "double(float32[2,3]), 1 nodes" in shown and "numpy:cpu:0" in shown
    assert "1 executables" in shown and "2000 MB" in shown
    assert main(["cache", "--clear"]) == 0 and "2 executables deleted" in capsys.readouterr().out
    assert not list(folder.iterdir())

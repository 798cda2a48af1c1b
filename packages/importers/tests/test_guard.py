"""The guard that parsers are tried in: it tells a crash, a hang, waste and a wrong error from a clear one."""

import os

import pytest
from monograph_importers.testing import (
    TARGETS,
    Guard,
    Target,
    __main__ as fuzzing,
    guard as guarding,
)

PARSER = """
import os, time
from monograph.errors import FileFormatError

def read(path):
    began, what = time.process_time(), path.read_text()
    if what == "dies":
        os.abort()
    while what == "hangs":
        pass
    if what == "large":
        bytearray(2**29)
    while what == "slow" and time.process_time() < began + 0.25:
        pass
    if what == "wrong":
        {}["x"]
    if what != "fine":
        raise FileFormatError(f"{path}: not fine")
"""


@pytest.fixture
def parser(tmp_path, monkeypatch):
    (tmp_path / "a_parser_for_tests.py").write_text(PARSER)
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{before}")
    monkeypatch.setattr(guarding, "SECONDS", 0.15)
    return "a_parser_for_tests:read"


def test_what_a_parser_does_is_told_apart(parser, tmp_path):
    (tmp_path / "seed").write_text("fine")
    found = {}
    with Guard(parser, tmp_path / "seed") as guard:
        for what in ("fine", "damaged", "dies", "hangs", "large", "slow", "wrong", "damaged again"):
            path = tmp_path / "file"
            path.write_text(what)
            found[what] = guard.read(path)
    kinds = {what: out.kind for what, out in found.items()}
    assert kinds == {
        "fine": "read", "damaged": "FileFormatError", "dies": "died", "hangs": "hangs",
        "large": "MemoryError", "slow": "FileFormatError", "wrong": "KeyError", "damaged again": "FileFormatError",
    }  # fmt: skip
    sound = {what for what, out in found.items() if not out.finding}
    assert sound == {"fine", "damaged", "damaged again"}


def test_findings_are_kept_and_make_the_run_fail(parser, tmp_path, monkeypatch, capsys):
    def seeds(folder):
        (folder / "seed.txt").write_text("fine")
        return [folder / "seed.txt"]

    monkeypatch.setitem(TARGETS, "ours", Target(parser, seeds))
    monkeypatch.setattr(fuzzing, "mutated", lambda seeds, rng: b"wrong")
    assert fuzzing.main(["ours", "--seconds", "0.2", "--keep", str(tmp_path / "kept")]) == 1
    assert "FOUND KeyError" in capsys.readouterr().out
    (kept,) = (tmp_path / "kept").iterdir()
    assert kept.read_bytes() == b"wrong"
    assert fuzzing.main(["ours", "--again", str(kept)]) == 0
    assert "KeyError" in capsys.readouterr().out
    monkeypatch.setattr(fuzzing, "mutated", lambda seeds, rng: b"other")
    assert fuzzing.main(["ours", "--seconds", "0.2", "--keep", str(tmp_path / "kept")]) == 0


def test_a_parser_that_does_not_read_what_is_sound_is_said(parser, tmp_path):
    (tmp_path / "seed").write_text("damaged")
    with (
        Guard(parser, tmp_path / "seed") as guard,
        pytest.raises(RuntimeError, match="does not read"),
    ):
        guard.read(tmp_path / "seed")

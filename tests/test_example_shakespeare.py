"""examples/shakespeare.py: it learns a text that repeats itself, and says what is wrong with one."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples/shakespeare.py"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("example_shakespeare", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_learns_and_writes(example, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(example, "BATCH", 4)
    monkeypatch.setattr(example, "LENGTH", 32)
    text = tmp_path / "text"
    text.write_text("to be, or not to be. " * 60)
    bits = example.main([str(text), "--engine", "torch", "--steps", "50", "--sample", "30"])
    assert bits < 1.5  # of 3.6 when all of its letters are as likely
    written = capsys.readouterr().out.split("it writes")[1]
    assert "be" in written


@pytest.mark.parametrize("text, why", [(None, "cannot read"), ("too short", "has 9 letters")])
def test_a_text_that_will_not_do(example, tmp_path, text, why):
    path = tmp_path / "text"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SystemExit, match=why):
        example.main([str(path)])

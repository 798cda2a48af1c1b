"""examples/umls_links.py: it learns a small graph's rule, and UMLS; and says what is wrong with a folder."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples/umls_links.py"
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("example_umls_links", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_learns_who_comes_next(example, tmp_path):
    """Twelve things in a ring: some of the facts backwards are left for the test."""
    ahead = [f"t{i}\tnext\tt{(i + 1) % 12}" for i in range(12)]
    back = [f"t{(i + 1) % 12}\tlast\tt{i}" for i in range(12)]
    parts = {"train": ahead + back[:9], "valid": back[9:10], "test": back[10:]}
    for part, lines in parts.items():
        (tmp_path / f"{part}.txt").write_text("\n".join(lines))
    rows = example.main(
        [str(tmp_path), "--engine", "torch", "--epochs", "60", "--batch-size", "16", "--features", "16"]
    )  # fmt: skip
    assert rows["complex"]["mrr"] > 0.7  # of 0.26 by guessing


def test_it_learns_umls(example, capsys):
    if importlib.util.find_spec("pykeen") is None:
        pytest.skip("the facts come with `pip install --no-deps pykeen`")
    rows = example.main(["--engine", "torch", "--epochs", "4", "--features", "32"])
    assert rows["complex"]["mrr"] > 0.55  # of 0.04 by guessing, 0.95 at full length
    assert "1322 filtered ranks" in capsys.readouterr().out


def test_a_folder_without_facts(example, tmp_path):
    with pytest.raises(SystemExit, match="train.txt"):
        example.main([str(tmp_path)])

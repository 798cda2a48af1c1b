"""The benchmark table end to end on its smallest model: what runs, what is refused; never how fast."""

import csv

import numpy as np
import pytest

from benchmarks.table import __main__ as table, race, report
from benchmarks.table.records import Record, Records

RIVAL = '''
"""The MLP in NumPy, times {factor}."""
import numpy as np
from benchmarks.table import cases

MODELS = {{"mlp"}}

def build(name, mode, weights):
    def step():
        x, _ = cases.CASES[name].batch(mode)
        for at in ("hidden0", "hidden1"):
            x = np.maximum(x @ weights[f"{{at}}/kernel"] + weights[f"{{at}}/bias"], 0)
        return (x @ weights["logits/kernel"] + weights["logits/bias"]) * {factor}
    return cases.Program(step, lambda y: y)
'''


@pytest.fixture
def docs(tmp_path, monkeypatch):
    folder = tmp_path / "docs"
    folder.mkdir()
    monkeypatch.setattr(table, "DOCS", folder)
    return folder


def test_a_run_compares_times_and_writes(docs, capsys):
    asked = ["--models", "mlp", "--mode", "inference", "--rounds", "1", "--quick"]
    assert table.main([*asked, "--rivals", "torch", "--write"]) == 0
    page = (docs / "benchmarks.md").read_text()
    assert "| MLP |" in page and "PyTorch" in capsys.readouterr().out
    assert (docs / "benchmarks.png").read_bytes().startswith(b"\x89PNG")
    with open(docs / "benchmarks.csv", newline="") as f:
        lines = list(csv.DictReader(f))
    measured = {(x["competitor"], x["measure"]) for x in lines if x["row"] == "mlp"}
    assert {("ours-xla", "ms"), ("torch", "ms"), ("torch", "ours-xla over it")} <= measured


@pytest.mark.parametrize("factor, status", [(1.0, 0), (1.001, 1)])
def test_a_rival_of_ones_own_must_be_right(tmp_path, docs, capsys, factor, status):
    rival = tmp_path / "mine.py"
    rival.write_text(RIVAL.format(factor=factor))
    asked = ["--models", "mlp", "--mode", "inference", "--rounds", "1", "--quick"]
    assert table.main([*asked, "--rivals", str(rival)]) == status
    assert ("mine by 1.0e-03" in capsys.readouterr().out) == bool(status)
    assert not list(docs.glob("*")), "nothing is written without --write"


def test_results_that_differ_are_refused_by_name():
    right, near = [1.0, 2.0], [1.0, 2.00001]
    race.agree({"a": right, "b": near, "c": right}, "inference")
    for wrong in ([1.0, 2.1], [1.0, np.nan], [1.0]):
        with pytest.raises(race.Wrong, match="are off .*: c by"):
            race.agree({"a": right, "b": near, "c": wrong}, "inference")


def record(row, competitor, measure, median, mode="training"):
    return Record(mode, row, competitor, measure, str(median), str(median), str(median), "3")


def test_records_replace_what_was_measured_before(tmp_path):
    path = tmp_path / "numbers.csv"
    Records(path).put([record("mlp", "jax", "ms", 1), record("mlp", "torch", "ms", 2)])
    Records(path).put([record("mlp", "jax", "ms", 3)])
    kept = Records(path)
    assert kept.value("training", "mlp", "jax", "ms") == 3
    assert kept.value("training", "mlp", "torch", "ms") == 2
    kept.drop("training", "mlp", "torch")
    assert [r.competitor for r in Records(path).all] == ["jax"]


def test_the_page_takes_our_faster_engine_and_the_rival_that_is_fastest():
    records = Records(None)
    rivals = {"jax": (0.5, 1.5), "torch": (1.1, 3.3)}
    records.put(
        [
            record("mlp", "ours-xla", "ms", 10), record("mlp", "ours-torch", "ms", 30),
            *[record("mlp", n, f"{o} over it", r) for n, rs in rivals.items()
              for o, r in zip(("ours-xla", "ours-torch"), rs)],
        ]
    )  # fmt: skip
    assert report.fastest(records, "training", "mlp") == ("torch", 1.1)
    assert report.slower(records) == [(1.1, "training", "mlp", "torch")]
    assert "- 1.10: MLP, training, against PyTorch" in report.page(records)

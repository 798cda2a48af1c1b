"""The quickest of several ways to compute one thing."""

import time

import pytest
from monograph import choices


@pytest.fixture(autouse=True)
def kept(monkeypatch, tmp_path):
    monkeypatch.setenv("MONOGRAPH_CACHE", str(tmp_path))
    return choices.every


def way(seconds, result=1):
    def run():
        time.sleep(seconds)
        return result

    return run


def pick(ways, what="a product"):
    return choices.quickest("lowering", what, ways, (), lambda a, b: a == b)


def test_the_quickest_is_chosen_and_listed(kept):
    assert pick({"first": way(4e-3), "second": way(1e-3)}) == "second"
    (choice,) = kept()
    assert (choice.kind, choice.what, choice.chosen) == ("lowering", "a product", "second")
    assert choice.seconds["second"] < choice.seconds["first"]


def test_the_first_stands_where_the_gain_is_small(kept):
    assert pick({"first": way(2e-3), "second": way(2e-3)}) == "first"


def test_it_is_measured_once(monkeypatch):
    assert pick({"first": way(4e-3), "second": way(1e-3)}) == "second"
    assert pick({"first": way(0), "second": None}) == "second"  # nothing is called
    assert pick({"first": way(0), "second": way(1e-3)}, "another product") == "first"


@pytest.mark.parametrize("wrong", ["raises", "differs"])
def test_what_is_no_way_takes_no_part(wrong, kept):
    def raises():
        raise RuntimeError("no such kernel")

    ways = {"first": way(2e-3), "second": raises if wrong == "raises" else way(0, result=2)}
    assert pick(ways) == "first"
    (choice,) = kept()
    assert choice.seconds["second"] is None


def test_without_choices_it_is_the_first(monkeypatch, kept):
    monkeypatch.setenv("MONOGRAPH_TUNE", "0")
    assert pick({"first": None, "second": None}) == "first" and not list(kept())

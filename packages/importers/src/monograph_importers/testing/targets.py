"""One line per parser: who reads, and who makes sound files to begin from."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np

from .guard import MEGABYTES


@dataclass(frozen=True)
class Target:
    """A parser to try.

    Attributes:
        reads: ``module:function`` of a path, as `Guard` takes it.
        seeds: writes sound files into a folder.
        megabytes: of memory; more where a library is imported for each file, in a process with
            limits of its own.
    """

    reads: str
    seeds: Callable[[Path], list[Path]]
    megabytes: int = MEGABYTES


def weights(path: Path) -> None:
    """Every array of a file of weights, one after another."""
    from monograph_importers.weights import read

    for array in read(path).values():
        array.tobytes()


def model(path: Path) -> None:
    """A model of any format, and its graph."""
    imported = mg.load(path)
    if not imported.unsupported:
        imported.trace()


@functools.cache
def _parameters(path: Path) -> Mapping[str, np.ndarray]:
    return mg.load(path).parameters


def keras_config(path: Path) -> None:
    """A model's config alone, with the variables that the sound one has."""
    from monograph_importers.keras import archive, built

    sound = _parameters(path.with_name("sound.keras"))

    def variables(names: Sequence[str], keys: Sequence[str], wanted: Any) -> Any:
        below = f"{'/'.join(names)}/"
        found = [(n, sound.get(below + n)) for _, n in wanted]
        return [
            (n, archive.Array(mg.Spec.of(a), partial(np.asarray, a)))
            for n, a in found
            if a is not None
        ]

    source = archive.Source(path, archive.parsed(path, path.read_bytes()), False, variables)
    imported = built(source, training=False)
    if not imported.unsupported:
        imported.trace()


def savedmodel(path: Path) -> None:
    """A SavedModel's graph, with the variables of the sound one."""
    with tempfile.TemporaryDirectory() as made:
        shutil.copytree(path.with_name("sound") / "variables", Path(made) / "variables")
        shutil.copyfile(path, Path(made) / "saved_model.pb")
        model(Path(made))


def _arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.normal(size=(4, 32)).astype("float32"),
        "a.bias": np.arange(4), "flag": np.array([True, False]), "scalar": np.float64(2),
    }  # fmt: skip


def safetensors(folder: Path) -> list[Path]:
    """One file of four arrays."""
    from monograph.tensorfile import save_safetensors

    path = folder / "seed.safetensors"
    save_safetensors(_arrays(), path, {"format": "pt"})
    return [path]


def npz(folder: Path) -> list[Path]:
    """Stored, packed, and a single array."""
    paths = [folder / "stored.npz", folder / "packed.npz", folder / "seed.npy"]
    np.savez(paths[0], **_arrays())
    np.savez_compressed(paths[1], **_arrays())
    np.save(paths[2], np.asfortranarray(_arrays()["a.weight"]))
    return paths


def state_dict(folder: Path) -> list[Path]:
    """Both forms of ``torch.save``, with tied tensors and a checkpoint's other values."""
    import torch

    tensors = {name: torch.asarray(a) for name, a in _arrays().items()}
    held = {
        "state_dict": {**tensors, "tied": tensors["a.weight"], "turned": tensors["a.weight"].T},
        "epoch": 3, "args": {"lr": [0.1, (1, 2)]}, "half": torch.ones(3).bfloat16(),
    }  # fmt: skip
    paths = [folder / "zip.pt", folder / "legacy.th"]
    for path in paths:
        torch.save(held, path, _use_new_zipfile_serialization=path.suffix == ".pt")
    return paths


def gguf(folder: Path) -> list[Path]:
    """Metadata of several types, plain and quantised tensors."""
    from gguf import GGMLQuantizationType, GGUFWriter, quants

    path = folder / "seed.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_uint32("answer", 42)
    writer.add_array("tokens", ["a", "bc", ""])
    writer.add_array("scores", [1.0, 2.0])
    numbers = np.random.default_rng(0).normal(size=(2, 256)).astype("float32")
    writer.add_tensor("plain", numbers)
    writer.add_tensor("half", numbers.astype("float16"))
    for kind in (GGMLQuantizationType.Q4_0, GGMLQuantizationType.Q8_0):
        writer.add_tensor(kind.name, quants.quantize(numbers, kind), raw_dtype=kind)
    for write in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{write}_to_file")()
    writer.close()
    return [path]


def _keras_model() -> Any:
    import os

    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    from keras import layers

    x = keras.Input((None, 4), name="x")
    masked = layers.Masking()(x)
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(3, "relu")], name="inner")
    y = layers.Bidirectional(layers.GRU(3, return_sequences=True), "sum")(masked)
    y = layers.MultiHeadAttention(2, 3)(y, layers.Conv1D(3, 3, padding="causal")(x))
    y = inner(layers.GlobalAveragePooling1D()(layers.BatchNormalization()(y)))
    return keras.Model(x, {"a": inner(y), "b": y[:, 1:] * 2}, name="seed")


def keras(folder: Path) -> list[Path]:
    """Both forms of file, with recurrent, masked, shared and nested layers."""
    paths = [folder / "seed.keras", folder / "seed.h5"]
    for path in paths:
        _keras_model().save(path)
    return paths


def keras_configs(folder: Path) -> list[Path]:
    """The config of such a model, and beside it the model."""
    model, path = _keras_model(), folder / "seed.json"
    model.save(folder / "sound.keras")
    path.write_text(model.to_json())
    return [path]


def onnx(folder: Path) -> list[Path]:
    """A graph with weights, computed shapes, a branch and a loop."""
    import onnx
    from onnx import parser

    model = parser.parse_model(_ONNX)
    weights = onnx.numpy_helper.from_array(_arrays()["a.weight"], "w")
    model.graph.initializer.append(weights)
    path = folder / "seed.onnx"
    onnx.save(model, path)
    return [path]


_ONNX = """
<ir_version: 9, opset_import: ["" : 18]>
g (float[N, 4] x, bool flag) => (y, z)
{
    h = MatMul(x, w)
    s = Shape(h)
    f = Reshape<allowzero = 0>(h, s)
    y = If(flag) <then_branch = yes () => (a) { a = Relu(f) }, else_branch = no () => (b) { b = Neg(f) }>
    t = Constant<value_int = 3>()
    go = Constant<value = bool {1}>()
    z, r = Loop(t, go, y) <body = step (int64 i, bool c, float[N, 32] u) => (d, v, p) {
        d = Identity(c)
        v = Tanh(u)
        p = ReduceSum<keepdims = 0>(u)
    }>
}
"""


def stablehlo(folder: Path) -> list[Path]:
    """A gradient with a loop: as text and as jax writes it, portable artifact and all."""
    import jax
    import jax.numpy as jnp

    def fn(w: Any, x: Any) -> Any:
        return jax.lax.scan(lambda c, r: (jnp.tanh(c + r), c.sum()), x @ w, jnp.ones((3, 4)))[
            0
        ].sum()

    lowered = jax.jit(jax.grad(fn)).lower(jnp.ones((5, 4)), jnp.ones((2, 5)))
    paths = [folder / "seed.mlir", folder / "seed.jaxexport"]
    paths[0].write_text(lowered.as_text())
    exported = jax.export.export(jax.jit(jax.grad(fn)))(jnp.ones((5, 4)), jnp.ones((2, 5)))
    paths[1].write_bytes(exported.serialize())
    bytecode = folder / "seed.mlirbc"
    bytecode.write_bytes(exported.mlir_module_serialized)
    return [*paths, bytecode]


def pt2(folder: Path) -> list[Path]:
    """A small network with tied weights, a buffer and an axis of any length; sizes, views, writes, branches."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
            self.two.weight = self.one.weight
            self.norm = torch.nn.BatchNorm1d(4)

        def forward(self, x: Any) -> Any:
            return {"y": self.norm(self.two(torch.relu(self.one(x)))), "n": x.sum()}

    batch = torch.export.Dim("batch")
    made = torch.export.export(Net().eval(), (torch.ones(3, 4),), dynamic_shapes={"x": {0: batch}})

    class Sized(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            picked = x[torch.arange(x.shape[0]) % 3 > 0]
            y = torch.nn.functional.pad(x.clone(), (1, 1), mode="reflect")
            y[:, 1:3].mul_(torch.linspace(0, 1, 2))
            a, b = y.view(-1, 2, 3).unbind(1)
            z = torch.cond(x.sum() > 0, lambda v: v * 2 + torch.eye(3)[0], lambda v: v - 1, (a,))
            return picked, z, b.repeat(2, 1), torch.nn.functional.cosine_similarity(a, b)

    sized = torch.export.export(Sized(), (torch.ones(3, 4),))
    paths = [folder / "seed.pt2", folder / "sized.pt2"]
    for path, program in zip(paths, (made, sized)):
        torch.export.save(program, path)
    return paths


def savedmodels(folder: Path) -> list[Path]:
    """The graph of the repository's own; TensorFlow made it, which is not needed here."""
    sound, path = Path("packages/importers/tests/savedmodel/model"), folder / "seed.pb"
    shutil.copytree(sound, folder / "sound")
    shutil.copyfile(sound / "saved_model.pb", path)
    return [path]


_WEIGHTS, _MODEL = f"{__name__}:weights", f"{__name__}:model"

TARGETS = {
    "safetensors": Target(_WEIGHTS, safetensors),
    "state_dict": Target(_WEIGHTS, state_dict),
    "gguf": Target(_WEIGHTS, gguf),
    "npz": Target(_WEIGHTS, npz),
    "keras": Target(_MODEL, keras),
    "keras_config": Target(f"{__name__}:keras_config", keras_configs),
    "onnx": Target(_MODEL, onnx),
    "stablehlo": Target(_MODEL, stablehlo, 2048),
    "pt2": Target(_MODEL, pt2),
    "savedmodel": Target(f"{__name__}:savedmodel", savedmodels, 2048),
}
"""Every parser by name."""

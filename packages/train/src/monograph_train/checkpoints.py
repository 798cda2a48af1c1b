"""Checkpoints: a store in one safetensors file, written atomically. (Being rewritten.)"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import monograph as mg
from safetensors import safe_open
from safetensors.numpy import save


class Checkpoint:
    """What a file holds."""

    def __init__(self, store: mg.Store, step: int, meta: Any):
        self.store, self.step, self.meta = store, step, meta

    def restore(self, store: mg.Store) -> None:
        """Into a store."""
        for path, value in self.store.items():
            if path in store:
                store[path] = value
            else:
                store.add(path, value, path in self.store.trainable)


def save_checkpoint(store: mg.Store, path: Any, *, step: int = 0, meta: Any = None) -> None:
    """Write every variable; the file appears whole or not at all."""
    path = Path(path)
    head = {"trainable": store.trainable, "seed": store.seed, "step": step, "meta": meta}
    data = save(store.numpy(), metadata={"monograph": json.dumps(head)})
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as f:
        f.write(data)
    os.replace(temporary, path)


def load_checkpoint(path: Any) -> Checkpoint:
    """Read one."""
    with safe_open(path, framework="numpy") as f:
        head = json.loads(f.metadata()["monograph"])
        arrays = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    store = mg.Store(head["seed"])
    for name, array in arrays.items():
        store.add(name, mg.tensor(array), name in head["trainable"])
    return Checkpoint(store, head["step"], head["meta"])


class Checkpoints:
    """A folder of them."""

    def __init__(self, folder: Any, keep: int = 3):
        self.folder, self.keep = Path(folder), keep

    def save(self, store: mg.Store, step: int, meta: Any = None, metrics: Any = None) -> None:
        """One more."""
        self.folder.mkdir(parents=True, exist_ok=True)
        save_checkpoint(store, self.folder / f"step-{step:08}.safetensors", step=step, meta=meta)

    def latest(self) -> Checkpoint | None:
        """The newest."""
        paths = sorted(self.folder.glob("step-*.safetensors"))
        return load_checkpoint(paths[-1]) if paths else None

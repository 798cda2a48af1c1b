"""Checkpoints: a store in one safetensors file, written atomically."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import monograph as mg
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save


def save_store(store: mg.Store, path: str | os.PathLike) -> None:
    """Write every variable; the file appears whole or not at all."""
    path = Path(path)
    meta = {
        "seed": str(store.seed),
        "state": "\n".join(p for p in store if p not in set(store.trainable)),
    }
    data = save(store.numpy(), metadata=meta)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load_store(path: str | os.PathLike) -> mg.Store:
    """The store that `save_store` wrote, usable on any engine.

    Raises:
        FileFormatError: not a safetensors file, or a truncated one.
    """
    try:
        with safe_open(path, framework="numpy") as f:
            meta: dict[str, Any] = f.metadata() or {}
            arrays = {name: f.get_tensor(name) for name in f.keys()}  # noqa: SIM118
    except SafetensorError as e:
        raise mg.errors.FileFormatError(
            f"{path}: {e}; the file is damaged, take another copy"
        ) from None
    store, state = mg.Store(int(meta.get("seed", 0))), set(meta.get("state", "").split("\n"))
    for name, array in arrays.items():
        store.add(name, mg.tensor(array), trainable=name not in state)
    return store

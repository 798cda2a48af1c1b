"""One checkpoint: a store, a step and what else training needs, in one safetensors file.

Truncation and every changed bit are noticed before a tensor is handed out, and any safetensors
reader opens the file. Its metadata are ``"monograph.sha256"``, the SHA-256 of the length field and
the header with these 64 digits as zeros; and ``"monograph"``, JSON: version, seed, step, metrics,
meta, and for each variable its dtype, trainable flag and the SHA-256 of its bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np
from monograph import storage, tensorfile
from monograph.dtypes import dtype as as_dtype
from monograph.engine import resolve
from monograph.errors import ArgumentError, FileFormatError, VariableError
from monograph.storage import damaged
from monograph.store import Slot

VERSION = 1
_START = b'{"__metadata__":{"monograph.sha256":"'  # the header's digest stands at a fixed place
_DIGEST = slice(8 + len(_START), 8 + len(_START) + 64)

Renaming = Callable[[str], str | None] | Mapping[str, str | None]


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        store: the variables, with their trainable flags and the seed.
        step: how many updates were done.
        meta: what the writer added, as JSON: the state of a dataset, a configuration.
        metrics: numbers by name, such as ``{"val_loss": 0.31}``.
        path: the file; None for an `average`.
    """

    store: mg.Store
    step: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    path: Path | None = None

    def restore(
        self, store: mg.Store, *, partial: bool = False, add: bool = False,
        map: Renaming | None = None,
    ) -> dict[str, str]:  # fmt: skip
        """Put the values into ``store``, in place; nothing is changed when anything does not fit.

        An empty store receives every variable with its trainable flag, and the seed. Otherwise
        paths, shapes and dtypes must agree, and the store's trainable flags stay.

        Args:
            partial: take what fits and leave the rest, for transfer learning.
            add: make the variables that ``store`` lacks, such as an optimizer's before its first
                step.
            map: what a path in the file is called in ``store``: a function (None leaves the
                variable out), or a dict of paths or their first parts, the longest winning.

        Returns:
            Why each variable was left out, by path; empty unless ``partial``.

        Raises:
            VariableError: lists all missing, unexpected and mismatched variables; or ``map`` has
                a key that matches none, or gives two the same path.

        >>> import monograph as mg
        >>> old, new = mg.Store(), mg.Store()
        >>> old.add("encoder/w", [1.0, 2.0])
        >>> old.add("head/w", [3.0])
        >>> new.add("body/w", [0.0, 0.0])
        >>> Checkpoint(old).restore(new, partial=True, map={"encoder": "body"})
        {'head/w': 'only in the checkpoint'}
        >>> new["body/w"].tolist()
        [1.0, 2.0]
        """
        sources = _renamed(self.store, map)
        if not len(store):
            add, store.seed = True, self.store.seed
        new = {path: source for path, source in sources.items() if path not in store} if add else {}
        found = {p: self.store.spec(source) for p, source in sources.items() if p not in new}
        apart = differences(found, {p: store.spec(p) for p in store}, "checkpoint", "store")
        if apart and not partial:
            raise VariableError(
                f"{self.path or 'the checkpoint'} does not fit the store; {len(apart)} of its "
                f"variables differ:\n{listed(apart)}\nBuild the model as it was when saved, rename "
                f"with map=, or take what fits with partial=True."
            )
        for path in found.keys() - apart.keys():
            store[path] = self.store.slots[sources[path]].array()
        for path, source in new.items():
            slot = self.store.slots[source]
            store.add(path, slot.array(), slot.trainable)
        return apart


def _renamed(store: mg.Store, map: Renaming | None) -> dict[str, str]:
    """Path in the target -> path in ``store``."""
    rename = map if callable(map) else _by_prefix(map or {}, store)
    out: dict[str, str] = {}
    for source in store:
        path = rename(source)
        if path is None:
            continue
        if path in out:
            raise VariableError(f"map= calls both {out[path]!r} and {source!r} {path!r}")
        out[path] = source
    return out


def _by_prefix(table: Mapping[str, str | None], paths: Iterable[str]) -> Callable:
    idle = [k for k in table if not any(_below(path, k) for path in paths)]
    if idle:
        raise VariableError(f"map= names what the checkpoint lacks: {', '.join(idle)}")

    def rename(path: str) -> str | None:
        hits = [k for k in table if _below(path, k)]
        if not hits:
            return path
        old = max(hits, key=len)
        new = table[old]
        return None if new is None else new + path[len(old) :]

    return rename


def _below(path: str, part: str) -> bool:
    return path == part or path.startswith(f"{part}/")


def differences(
    a: Mapping[str, mg.Spec], b: Mapping[str, mg.Spec], name_a: str, name_b: str
) -> dict[str, str]:
    """Why variables of ``a`` and ``b`` do not fit each other, by path."""
    out = {}
    for path in sorted({*a, *b}):
        if path not in b:
            out[path] = f"only in the {name_a}"
        elif path not in a:
            out[path] = f"only in the {name_b}"
        elif a[path] is not b[path]:
            out[path] = f"{a[path]} in the {name_a}, {b[path]} in the {name_b}"
    return out


def listed(apart: Mapping[str, str]) -> str:
    """One line per difference."""
    return "\n".join(f"  {path}: {why}" for path, why in apart.items())


# ---- one file


def save_checkpoint(
    store: mg.Store, path: str | os.PathLike, *, step: int = 0,
    meta: Mapping[str, Any] | None = None, metrics: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write every variable; the file appears whole and durable, or the old one stays.

    Args:
        store: its values are written bit for bit.
        path: a file in a folder that exists; by custom it ends in ``.safetensors``.
        step: how many updates were done.
        meta: anything JSON can hold (tuples become lists).
        metrics: numbers by name.

    Raises:
        ArgumentError: ``meta`` holds what JSON cannot, or too much to be read back.
        StorageError: disk full, no permission; no temporary file is left.

    >>> import os, tempfile, monograph as mg
    >>> store = mg.Store(seed=7)
    >>> store.add("w", [1.0, 2.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "best.safetensors")
    ...     save_checkpoint(store, path, step=10, metrics={"val_loss": 0.5})
    ...     again = load_checkpoint(path)
    >>> again.step, again.metrics, again.store["w"].tolist()
    (10, {'val_loss': 0.5}, [1.0, 2.0])
    """
    arrays = {name: store.slots[name].array() for name in store}  # no copies
    table, body = tensorfile.layout(arrays)
    about = {
        "version": VERSION, "seed": int(store.seed), "step": int(step),
        "metrics": {k: float(v) for k, v in (metrics or {}).items()}, "meta": dict(meta or {}),
        "variables": {
            name: {
                "dtype": as_dtype(arrays[name].dtype).name,
                "trainable": store.slots[name].trainable,
                "sha256": digest,
            }
            for name, digest in zip(table, _digests(body))
        },
    }  # fmt: skip
    try:
        text = json.dumps(about, default=_plain)
    except (TypeError, ValueError) as e:
        raise ArgumentError(f"meta of a checkpoint must be JSON (numbers, text, lists): {e}") from e
    rest = {"monograph": text}
    tail = json.dumps(rest)[1:] + "".join(
        f", {json.dumps(name)}: {json.dumps(row)}" for name, row in table.items()
    )
    head = tensorfile.framed(_START + b"0" * 64 + b'", ' + tail.encode() + b"}", path)
    head[_DIGEST] = hashlib.sha256(head).hexdigest().encode()
    with storage.replacing(Path(path)) as f:
        f.write(head)
        for part in body:
            f.write(part.data)


def _digests(parts: Sequence[np.ndarray]) -> list[str]:
    """SHA-256 of each, on all cores: hashlib lets go of the interpreter."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(lambda raw: hashlib.sha256(raw.data).hexdigest(), parts))


def _plain(x: Any) -> Any:
    if isinstance(x, (np.ndarray, np.generic, mg.Tensor)):
        return x.tolist()
    raise TypeError(f"{type(x).__name__} is not JSON")


def _read_header(f: Any, path: Any) -> tuple[tensorfile.Header, dict[str, Any]]:
    raw = bytearray(tensorfile.read_raw_header(f, path))
    if not raw.startswith(_START, 8):
        raise FileFormatError(
            f"{path}: not a checkpoint of Monograph, or damaged at its start; a plain safetensors "
            f"file is read by mg.load_safetensors(path)"
        )
    digest, raw[_DIGEST] = bytes(raw[_DIGEST]), b"0" * 64
    if hashlib.sha256(raw).hexdigest().encode() != digest:
        raise damaged(path, "its header does not match its checksum")
    header = tensorfile.parse_header(f, bytes(raw), path)
    try:
        about = json.loads(header.metadata["monograph"])
        version = about["version"]
        fine = version != VERSION or _describes(about, header)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
        raise damaged(path, f"its metadata are not those of a checkpoint ({e!r})") from None
    if version != VERSION:
        raise FileFormatError(
            f"{path}: a checkpoint of version {version}, this Monograph reads {VERSION}; upgrade "
            f"monograph-train"
        )
    if not fine:
        raise damaged(path, "its metadata do not describe its tensors")
    return header, about


_TYPES = {"seed": int, "step": int, "meta": dict, "metrics": dict}
_ROW_TYPES = {"dtype": str, "trainable": bool, "sha256": str}


def _describes(about: dict[str, Any], header: tensorfile.Header) -> bool:
    rows = about["variables"]
    return (
        rows.keys() == {e.name for e in header.entries}
        and all(isinstance(about[k], t) for k, t in _TYPES.items())
        and all(isinstance(r[k], t) for r in rows.values() for k, t in _ROW_TYPES.items())
    )


def _tensors(f: Any, path: Any, header: Any, about: Any) -> Iterator[tuple[str, np.ndarray]]:
    for entry in header.entries:
        row, raw = about["variables"][entry.name], tensorfile.read_bytes(f, entry, path)
        if hashlib.sha256(raw.data).hexdigest() != row["sha256"]:
            raise damaged(path, f"the tensor {entry.name!r} does not match its checksum")
        dtype = as_dtype(row["dtype"])
        whole = tensorfile.form(dtype, ()) == (entry.code, [])
        shape = entry.shape if whole else entry.shape[:-1]
        if tensorfile.form(dtype, shape) != (entry.code, list(entry.shape)):
            raise damaged(path, f"the tensor {entry.name!r} is not of {dtype}")
        yield entry.name, tensorfile.as_array(raw, dtype, shape)


def read_about(path: str | os.PathLike) -> dict[str, Any]:
    """A checkpoint's metadata (``step``, ``metrics``, ``meta``, ``variables``); tensors not read.

    Raises:
        StorageError: the file cannot be opened.
        FileFormatError: not a checkpoint, or its header is damaged.
    """
    with storage.opened(path) as f:
        return _read_header(f, path)[1]


def read_arrays(path: str | os.PathLike) -> Iterator[tuple[str, np.ndarray]]:
    """A checkpoint's variables one at a time, each verified.

    Raises:
        StorageError: the file cannot be opened.
        FileFormatError: not a checkpoint, or damaged.
    """
    with storage.opened(path) as f:
        yield from _tensors(f, path, *_read_header(f, path))


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read and verify a file of `save_checkpoint`; its store works on every engine.

    Raises:
        StorageError: the file cannot be opened.
        FileFormatError: not a checkpoint, truncated, or any bit of it changed.
    """
    with storage.opened(path) as f:
        header, about = _read_header(f, path)
        store, device = mg.Store(about["seed"]), resolve("numpy")
        for name, array in _tensors(f, path, header, about):
            array.setflags(write=False)
            value = mg.Tensor(array, mg.Spec(array.shape, array.dtype), device)
            # what was read is the store's own: store.add would copy it
            store.slots[name] = Slot(name, value, about["variables"][name]["trainable"])
    return Checkpoint(store, about["step"], about["meta"], about["metrics"], Path(path))


def average(paths: Sequence[str | os.PathLike]) -> Checkpoint:
    """The mean of several checkpoints' variables, accumulated in float64.

    Integers, such as counters and random keys, are those of the last file, as are step and seed
    (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima").

    Raises:
        ArgumentError: no paths.
        VariableError: lists the variables that do not agree.
    """
    if isinstance(paths, (str, os.PathLike)) or not len(paths):
        raise ArgumentError(f"average takes a list of one or more paths, got {paths!r}")
    last = load_checkpoint(paths[-1])
    specs = {p: last.store.spec(p) for p in last.store}
    sums = {
        p: last.store.slots[p].array().astype("complex128" if s.dtype.is_complex else "float64")
        for p, s in specs.items()
        if s.dtype.is_inexact
    }
    with np.errstate(invalid="ignore", over="ignore"):
        for path in paths[:-1]:
            found = {}
            for name, array in read_arrays(path):
                found[name] = mg.Spec.of(array)
                if name in sums and found[name] is specs[name]:
                    sums[name] += array
            if apart := differences(found, specs, f"file {path}", f"file {paths[-1]}"):
                raise VariableError(f"these files cannot be averaged:\n{listed(apart)}")
        for name, total in sums.items():
            last.store[name] = (total / len(paths)).astype(specs[name].dtype.numpy)
    return Checkpoint(last.store, last.step, {"average_of": [str(p) for p in paths]}, {}, None)

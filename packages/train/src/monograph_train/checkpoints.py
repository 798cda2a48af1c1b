"""Checkpoints: a store in one safetensors file, that is either whole and true or refused."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import monograph as mg
import numpy as np
from monograph.engine import resolve
from monograph.errors import ArgumentError, FileFormatError, VariableError
from monograph.store import Slot

from .tensorfile import Reader, StorageError, write

Renaming = Mapping[str, str | None] | Callable[[str], str | None]


class LeftOut(NamedTuple):
    """What `Checkpoint.restore` did not take: paths, each list sorted.

    Attributes:
        missing: variables of the store that the checkpoint lacks.
        unexpected: variables of the checkpoint that the store lacks.
        mismatched: those of another shape or dtype.
    """

    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]


@dataclass
class Checkpoint:
    """What a checkpoint file holds, in memory; made by `load_checkpoint` and `average`.

    Attributes:
        store: the variables, on the NumPy engine; they move where they are used.
        step: how many steps were taken.
        meta: what was given to `save_checkpoint`, as JSON gives it back.
        path: of the file; None for one made in memory.
    """

    store: mg.Store
    step: int = 0
    meta: dict[str, Any] = field(default_factory=dict)
    path: Path | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The metrics given to `Checkpoints.save`."""
        return self.meta.get("metrics", {})

    def restore(
        self, store: mg.Store, *, partial: bool = False, map: Renaming | None = None
    ) -> LeftOut:
        """Put the values into an existing store; all of them or, when they do not fit, none.

        A store without variables takes them all, and the seed, as a model would have made them.

        Args:
            partial: take the variables that fit, for transfer learning; the others keep their values.
            map: from paths in the checkpoint to paths in the store: a function, or a dict of whole
                paths or scopes (``{"encoder": "model/encoder"}``). None as a path leaves it out.

        Returns:
            What was left out: empty lists, unless ``partial``.

        Raises:
            VariableError: variables that do not fit (all are listed); with ``partial``, when none does.
            ArgumentError: ``map`` gives two variables one path.

        >>> old, new = mg.Store(), mg.Store()
        >>> for path, store in [("body/w", old), ("head/w", old), ("model/body/w", new), ("out/w", new)]:
        ...     store.add(path, mg.tensor(1.0 if store is old else 0.0))
        >>> left = Checkpoint(old).restore(new, partial=True, map={"body": "model/body"})
        >>> left.missing, left.unexpected, new["model/body/w"].item()
        (['out/w'], ['head/w'], 1.0)
        """
        paths = {p: new for p in self.store if (new := _renamed(p, map)) is not None}
        if len(set(paths.values())) < len(paths):
            twice = sorted(p for p in set(paths.values()) if list(paths.values()).count(p) > 1)
            raise ArgumentError(f"map gives several variables the path {', '.join(twice)}")
        ours = {new: old for old, new in paths.items()}
        if not store:
            for new, old in ours.items():
                store.add(new, self.store[old], self.store.slots[old].trainable)
            store.seed = self.store.seed
            return LeftOut([], [], [])
        both = sorted(p for p in ours if p in store)
        fit = [p for p in both if store.spec(p) is self.store.spec(ours[p])]
        left = LeftOut(
            sorted(p for p in store if p not in ours),
            sorted(p for p in ours if p not in store),
            sorted(set(both) - set(fit)),
        )
        if not fit or (any(left) and not partial):
            raise VariableError(self._misfit(store, left, ours, partial))
        for p in fit:
            store[p] = self.store[ours[p]]
        if not partial:
            store.seed = self.store.seed
        return left

    def _misfit(self, store: mg.Store, left: LeftOut, ours: dict[str, str], partial: bool) -> str:
        odd = [
            f"{p} ({self.store.spec(ours[p])} in the checkpoint, {store.spec(p)} in the store)"
            for p in left.mismatched
        ]
        lists = {
            "not in the checkpoint": left.missing,
            "not in the store": left.unexpected,
            "of another shape or dtype": odd,
        }
        lines = [f"\n  {what}: {', '.join(paths)}" for what, paths in lists.items() if paths]
        how = "Rename with map=." if partial else "partial=True takes those that fit, map= renames."
        which = f"none of {len(self.store)}" if partial else "not all"
        return (
            f"{self.path or 'the checkpoint'}: {which} of its variables fit the store:{''.join(lines)}"
            f"\n{how}"
        )

    def __repr__(self) -> str:
        return f"<Checkpoint step {self.step}, {self.store!r}>"


def _renamed(path: str, map: Renaming | None) -> str | None:
    if map is None:
        return path
    if callable(map):
        return map(path)
    head, tail = path, ""
    while head:  # the longest scope that is named counts
        if head in map:
            new = map[head]
            return None if new is None else new + tail
        head, _, last = head.rpartition("/")
        tail = f"/{last}{tail}"
    return path


def save_checkpoint(
    store: mg.Store, path: Any, *, step: int = 0, meta: dict[str, Any] | None = None
) -> None:
    """Write every variable of a store to one file, which appears whole or not at all.

    The file is a safetensors file that other programs can read; it holds no code. Returns when file
    and name are on the disk.

    Args:
        step: how many steps were taken.
        meta: anything that JSON can hold, such as a `DatasetIterator.state` or metrics.

    Raises:
        ArgumentError: ``meta`` holds what JSON cannot.
        DTypeError: variables of a dtype that safetensors lacks (complex128).
        StorageError: no space or no permission; a file that was there is unchanged.
    """
    info = {
        "seed": store.seed, "step": int(step), "trainable": store.trainable, "meta": _plain(meta or {}),
    }  # fmt: skip
    specs = {p: (s.spec.shape, s.spec.dtype.numpy) for p, s in store.slots.items()}

    def read(name: str) -> np.ndarray:
        slot = store.slots[name]
        return slot.device.engine.get(slot.buffer)

    write(path, specs, read, info)


def _plain(meta: dict[str, Any]) -> dict[str, Any]:
    def number(x: Any) -> Any:  # NumPy's, or a tensor
        if hasattr(x, "item"):
            return x.item()
        raise TypeError(f"a {type(x).__name__}")

    try:
        return json.loads(json.dumps(meta, default=number))
    except (TypeError, ValueError) as e:
        raise ArgumentError(f"meta must be what JSON can hold, and has {e}") from None


def load_checkpoint(path: Any) -> Checkpoint:
    """Read a file of `save_checkpoint` and verify all of it, before anything is returned.

    Raises:
        FileFormatError: truncated, altered, or no such file of ours.
        StorageError: it cannot be read.

    >>> import tempfile
    >>> store = mg.Store(seed=3)
    >>> store.add("w", mg.tensor([1.0, 2.0]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(store, f"{folder}/w.safetensors", step=7, meta={"loss": 0.5})
    ...     found = load_checkpoint(f"{folder}/w.safetensors")
    >>> found.step, found.meta, found.store.seed, found.store["w"].tolist()
    (7, {'loss': 0.5}, 3, [1.0, 2.0])
    """
    with Reader(path) as f:
        info = _ours(f)
        store, trainable = mg.Store(info["seed"]), set(info["trainable"])
        device = resolve("numpy")
        for name in sorted(f.entries):
            array = f.read(name)
            array.setflags(write=False)
            value = mg.Tensor(array, mg.Spec(array.shape, array.dtype), device)
            # not store.add, which copies
            store.slots[name] = Slot(name, value, name in trainable)
    return Checkpoint(store, info["step"], info["meta"], Path(path))


def _ours(f: Reader) -> dict[str, Any]:
    if f.info is None:
        raise FileFormatError(
            f"{f.path}: a safetensors file, but no checkpoint of Monograph's; "
            f"monograph_train.load_safetensors(path) reads its arrays"
        )
    return f.info


def average(paths: Sequence[Any]) -> Checkpoint:
    """The mean of some checkpoints' floating-point variables, summed in float64.

    Other variables (counters, random state), the step and the seed are the last one's.

    Raises:
        ArgumentError: no paths.
        VariableError: checkpoints of other variables than the first one's; all are listed.
    """
    paths = list(paths)
    if not paths:
        raise ArgumentError("average needs a checkpoint at least")
    sums: dict[str, np.ndarray] = {}
    first = None
    for path in paths:
        last = load_checkpoint(path)
        specs = {p: last.store.spec(p) for p in last.store}
        first = specs if first is None else first
        if specs != first:
            names = sorted(p for p in {*specs, *first} if specs.get(p) is not first.get(p))
            odd = [f"{p} ({first.get(p, 'missing')} and {specs.get(p, 'missing')})" for p in names]
            raise VariableError(f"{paths[0]} and {path} differ in {', '.join(odd)}")
        for p, slot in last.store.slots.items():
            if slot.spec.dtype.is_inexact:
                wide = np.complex128 if slot.spec.dtype.is_complex else np.float64
                sums[p] = sums.get(p, 0) + slot.buffer.astype(wide)
    for p, total in sums.items():
        last.store[p] = (total / len(paths)).astype(last.store.spec(p).dtype.numpy)
    return Checkpoint(last.store, last.step, {"averaged": [str(p) for p in paths]})


class Checkpoints:
    """A folder of checkpoints ``step-00001200.safetensors``. One process at a time writes to it.

    Args:
        folder: made when first written to.
        keep: how many of the newest to keep.
        best: the metric whose best checkpoint is kept too; None keeps none besides.
        mode: ``"min"`` or ``"max"``: which values of it are better.

    Raises:
        ArgumentError: ``keep < 1`` or another mode.

    >>> import tempfile
    >>> store = mg.Store()
    >>> store.add("w", mg.tensor(1.0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = Checkpoints(folder, keep=2, best="loss")
    ...     for step, loss in enumerate([3.0, 1.0, 2.0, 2.5]):
    ...         _ = kept.save(store, step, metrics={"loss": loss})
    ...     [p.name for p in kept.paths()], kept.latest().step, kept.best().step
    (['step-00000001.safetensors', 'step-00000002.safetensors', 'step-00000003.safetensors'], 3, 1)
    """

    def __init__(self, folder: Any, keep: int = 3, best: str | None = None, mode: str = "min"):
        if keep < 1 or mode not in ("min", "max"):
            raise ArgumentError(
                f"Checkpoints keeps one at least and mode is 'min' or 'max'; got keep={keep!r}, "
                f"mode={mode!r}"
            )
        self.folder, self.keep, self.metric, self.mode = Path(folder), keep, best, mode

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.folder / f"step-{step:08d}.safetensors"

    def paths(self) -> list[Path]:
        """The files that have a checkpoint's name, by step."""
        return [p for _, p in self._steps()]

    def _steps(self) -> list[tuple[int, Path]]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        except OSError as e:
            raise StorageError(f"{self.folder}: cannot be read: {e.strerror}", e) from None
        found = [(m, n) for n in names if (m := re.fullmatch(r"step-(\d{8,})\.safetensors", n))]
        return sorted((int(m[1]), self.folder / n) for m, n in found)

    def save(
        self, store: mg.Store, step: int, meta: dict[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Path:  # fmt: skip
        """Write a checkpoint, then delete those that are not kept and what killed writers left.

        Args:
            metrics: numbers by name, stored as ``meta["metrics"]``.

        Raises:
            ArgumentError: a negative step, or see `save_checkpoint`.
            StorageError: the file cannot be written; the earlier ones are all there.
        """
        if step < 0:
            raise ArgumentError(f"a step is counted from 0, got {step}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise StorageError(f"{self.folder}: cannot be made: {e.strerror}", e) from e
        for leftover in self.folder.glob(".step-*.safetensors.*.tmp"):
            leftover.unlink(missing_ok=True)
        path = self.path(step)
        meta = dict(meta or {})
        if metrics is not None:
            meta["metrics"] = dict(metrics)
        save_checkpoint(store, path, step=step, meta=meta)
        self._prune(step)
        return path

    def _prune(self, step: int) -> None:
        found = self._steps()
        later = [p.name for n, p in found if n > step]
        if later:
            warnings.warn(
                f"{self.folder} holds later checkpoints than step {step}: {', '.join(later)}; latest() "
                f"will take those. Delete them, or use another folder.",
                stacklevel=3,
            )
        kept = {p for _, p in found[-self.keep :]} | {p for n, p in found if n >= step}
        kept.update(self._ranked()[:1])
        for _, p in found:
            if p not in kept:
                p.unlink(missing_ok=True)

    def _ranked(self) -> list[Path]:
        """Files whose headers name the metric, the best first, of equals the earliest."""
        if self.metric is None:
            return []
        ranked = []
        for n, p in self._steps():
            try:
                with Reader(p) as f:
                    value = _ours(f)["meta"].get("metrics", {}).get(self.metric)
            except (FileFormatError, StorageError):  # latest() and best() speak of it
                continue
            if isinstance(value, (int, float)) and value == value:
                ranked.append((value if self.mode == "min" else -value, n, p))
        return [p for _, _, p in sorted(ranked)]

    def latest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole, or None; a warning names each damaged one."""
        return _first_whole(self.paths()[::-1])

    def best(self) -> Checkpoint | None:
        """The checkpoint with the best value of the metric, or None when none has it."""
        if self.metric is None:
            raise ArgumentError(
                "these Checkpoints have no metric: Checkpoints(folder, best='val_loss')"
            )
        return _first_whole(self._ranked())


def _first_whole(paths: list[Path]) -> Checkpoint | None:
    for path in paths:
        try:
            return load_checkpoint(path)
        except (FileFormatError, StorageError) as e:
            warnings.warn(f"{e}. Taking the one before it.", stacklevel=3)
    return None

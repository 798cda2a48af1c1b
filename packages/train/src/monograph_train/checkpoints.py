"""`Checkpoints`: a folder of them, of which the last few and the best are kept."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monograph as mg
from monograph import storage
from monograph.errors import ArgumentError, FileFormatError, StorageError

from .checkpoint import Checkpoint, load_checkpoint, read_about, save_checkpoint


class Checkpoints:
    """A folder of checkpoints, of which the last few and the best are kept.

    Files are named ``step-00001200.safetensors``. One process at a time may write to a folder; any
    number may read.

    Args:
        folder: made when missing.
        keep: how many of the last steps stay; None keeps all.
        best: a metric's name; the file with its best value stays too, across restarts.
        mode: whether the ``"min"`` or the ``"max"`` of that metric is best.

    >>> import tempfile, monograph as mg
    >>> store = mg.Store()
    >>> store.add("w", [1.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = Checkpoints(folder, keep=2, best="val_loss")
    ...     for step, loss in enumerate([0.5, 0.1, 0.4, 0.3]):
    ...         _ = kept.save(store, step, metrics={"val_loss": loss})
    ...     [p.name for p in kept.paths()], kept.latest().step, kept.best().step
    (['step-00000001.safetensors', 'step-00000002.safetensors', 'step-00000003.safetensors'], 3, 1)
    """

    def __init__(
        self, folder: str | os.PathLike, keep: int | None = 3, best: str | None = None,
        mode: str = "min",
    ):  # fmt: skip
        if keep is not None and keep < 1:
            raise ArgumentError(f"keep={keep}: at least 1 checkpoint stays, or None for all")
        if mode not in ("min", "max"):
            raise ArgumentError(f'mode={mode!r}: it is "min" or "max"')
        self.folder, self.keep, self.metric, self.mode = Path(folder), keep, best, mode

    def paths(self) -> list[Path]:
        """The files by step, the oldest first; [] when there is no folder yet."""
        found = [(_step_of(p), p) for p in self.folder.glob("step-*.safetensors")]
        return [p for step, p in sorted((s, p) for s, p in found if s is not None)]

    def save(
        self, store: mg.Store, step: int, meta: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Any] | None = None,
    ) -> Path:  # fmt: skip
        """Write a checkpoint, then delete those no longer kept, and what killed writers left.

        Raises:
            StorageError: disk full, no permission; the files there are untouched.
        """
        path = self.folder / f"step-{step:08d}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise storage.refused("make the folder", self.folder, e) from e
        for leftover in self.folder.glob(".step-*.safetensors.*.tmp"):
            leftover.unlink(missing_ok=True)
        save_checkpoint(store, path, step=step, meta=meta, metrics=metrics)
        self._prune(path)
        return path

    def latest(self) -> Checkpoint | None:
        """The checkpoint of the highest step; None when there is none.

        A damaged file is passed over with a warning that names it.

        Raises:
            FileFormatError: there are files, and all are damaged.
        """
        return self._first(self.paths()[::-1])

    def best(self) -> Checkpoint | None:
        """The checkpoint with the best value of the metric; None when no file has one.

        Raises:
            ArgumentError: made without ``best=``.
            FileFormatError: there are such files, and all are damaged.
        """
        if self.metric is None:
            raise ArgumentError('name the metric: Checkpoints(folder, best="val_loss")')
        return self._first(self._ranked(self._abouts()))

    def _first(self, paths: Sequence[Path]) -> Checkpoint | None:
        problems = []
        for path in paths:
            try:
                return load_checkpoint(path)
            except FileFormatError as e:
                problems.append(str(e))
                warnings.warn(f"passed over a checkpoint: {e}", stacklevel=3)
            except StorageError as e:
                if not isinstance(e.__cause__, FileNotFoundError):  # a writer deleted it just now
                    raise
        if problems:
            raise FileFormatError(
                "no checkpoint is whole; move them away to start anew:\n  " + "\n  ".join(problems)
            )
        return None

    def _abouts(self) -> dict[Path, dict[str, Any]]:
        """Metadata of the files whose headers are whole."""
        out = {}
        for path in self.paths():
            try:
                out[path] = read_about(path)
            except (FileFormatError, StorageError):
                continue
        return out

    def _ranked(self, abouts: Mapping[Path, dict[str, Any]]) -> list[Path]:
        """Files that have the metric, the best first; among equals the later one."""
        sign = 1 if self.mode == "min" else -1
        scores = {p: a["metrics"].get(self.metric, math.nan) for p, a in abouts.items()}
        found = [p for p, score in scores.items() if not math.isnan(score)]
        found.reverse()
        found.sort(key=lambda p: sign * scores[p])
        return found

    def _prune(self, new: Path) -> None:
        if self.keep is None:
            return
        abouts = self._abouts()  # a damaged file neither counts nor goes
        stay = {new, *list(abouts)[-self.keep :], *self._ranked(abouts)[:1]}
        for path in abouts.keys() - stay:
            path.unlink(missing_ok=True)


def _step_of(path: Path) -> int | None:
    found = re.fullmatch(r"step-(\d{8,})\.safetensors", path.name)
    return int(found[1]) if found else None

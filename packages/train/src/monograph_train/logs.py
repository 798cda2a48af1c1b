"""Metrics for other programs: a line of JSON per record, TensorBoard's event files."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import monograph as mg

from .callbacks import Callback
from .progress import numbers


class Logger(Callback):
    """Something that writes the metrics of epochs, and of every ``every``-th step too.

    Subclasses write: ``record(run, kind, metrics)``, where ``kind`` is ``"epoch"`` or ``"step"``.
    """

    priority = 50

    def __init__(self, every: int | None = None):
        self.every = every

    def record(self, run: Any, kind: str, metrics: dict[str, Any]) -> None:
        """Write one record."""
        raise NotImplementedError

    def on_step_end(self, run: Any) -> None:
        """Write the epoch's means so far, every ``every`` steps."""
        if self.every and run.step % self.every == 0:
            self.record(run, "step", run.metrics())

    def on_epoch_end(self, run: Any) -> None:
        """Write the epoch's metrics."""
        self.record(run, "epoch", run.history[-1].metrics)


class JSONLogger(Logger):
    """One JSON object per line: ``kind``, ``epoch``, ``step``, ``time`` (seconds since 1970), metrics.

    A run that resumes from a checkpoint goes on with the file, without the lines of steps that will
    be done again.

    >>> JSONLogger("metrics.jsonl", every=100).path.name
    'metrics.jsonl'
    """

    def __init__(self, path: str | os.PathLike, every: int | None = None):
        super().__init__(every)
        self.path = Path(path)
        self._file: Any = None

    def on_train_begin(self, run: Any) -> None:
        """Open the file; drop what comes after the step that training goes on from."""
        kept = []
        if run.step and self.path.exists():
            for text in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(text)["step"] <= run.step:
                        kept.append(text + "\n")
                except (
                    ValueError,
                    KeyError,
                    TypeError,
                ):  # a line that a killed run left unfinished
                    continue
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.new")
            temporary.write_text("".join(kept), encoding="utf-8")
            os.replace(temporary, self.path)
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as e:
            raise mg.errors.ArgumentError(f"cannot write metrics to {self.path}: {e}") from None

    def record(self, run: Any, kind: str, metrics: dict[str, Any]) -> None:
        """Write a line, so that a reader sees it at once."""
        head = {"kind": kind, "epoch": run.epoch, "step": run.step, "time": round(time.time(), 3)}
        self._file.write(json.dumps(head | metrics) + "\n")
        self._file.flush()

    def on_train_end(self, run: Any) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class TensorBoard(Logger):
    """Scalars for TensorBoard, training and validation as two runs of one folder, as Keras does.

    Written by tensorboardX (``pip install monograph-train[tensorboard]``); no TensorFlow is needed.

    Args:
        folder: give it to ``tensorboard --logdir``.
        every: steps between two step records; they are tagged ``batch_...``.

    >>> TensorBoard("runs/first").folder.name
    'first'
    """

    def __init__(self, folder: str | os.PathLike, every: int | None = None):
        super().__init__(every)
        self.folder = Path(folder)
        self._writers: dict[str, Any] = {}

    def _writer(self, kind: str, step: int) -> Any:
        if kind not in self._writers:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                raise mg.errors.PluginError(
                    "TensorBoard files need tensorboardX: pip install monograph-train[tensorboard]"
                ) from None
            self._writers[kind] = SummaryWriter(str(self.folder / kind), purge_step=step or None)
        return self._writers[kind]

    def record(self, run: Any, kind: str, metrics: dict[str, Any]) -> None:
        """Add one scalar per metric, at its epoch or step."""
        at = run.epoch if kind == "epoch" else run.step
        tag = "epoch" if kind == "epoch" else "batch"
        for name, value in numbers(metrics):
            where, short = ("validation", name[4:]) if name.startswith("val_") else ("train", name)
            self._writer(where, at).add_scalar(f"{tag}_{short}", value, at)
        for writer in self._writers.values():
            writer.flush()

    def on_train_end(self, run: Any) -> None:
        """Close the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

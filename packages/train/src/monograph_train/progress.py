"""What one sees while training: a bar on a terminal, a line per epoch elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from .callbacks import Callback

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bar

REFRESH = 0.1  # seconds between updates: ten a second at most


class Progress(Callback):
    """A bar with the epoch's metrics so far, ten times a second at most; and a line per epoch."""

    priority = 50

    def __init__(self, console: Console | None = None):
        from rich.console import Console  # a tenth of a second that a step alone need not spend

        self.console = console or Console()
        self._bar: Bar | None = None
        self._next = 0.0

    def on_train_begin(self, run: Any) -> None:
        """Say where training goes on."""
        if run.step:
            self._say(f"resumed after step {run.step:,}, in epoch {run.epoch}/{run.epochs}")

    def on_epoch_begin(self, run: Any) -> None:
        """Start a bar, where there is a terminal to draw it on."""
        if not self.console.is_terminal:
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress as Bar,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )  # fmt: skip

        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[metrics]}"),
            console=self.console, transient=True, auto_refresh=False,
        )  # fmt: skip
        self._bar.add_task(
            f"epoch {run.epoch}/{run.epochs}", total=run.batches, completed=run.batch,
            metrics="" if run.batch else "compiling",
        )  # fmt: skip
        self._bar.start()
        self._bar.refresh()
        self._next = 0.0

    def on_step_end(self, run: Any) -> None:
        """Redraw, unless that was done just now."""
        if self._bar is None:
            return
        now = time.perf_counter()
        if now >= self._next:
            self._bar.update(
                self._bar.task_ids[0], completed=run.batch, metrics=line(run.metrics())
            )
            self._bar.refresh()
            self._next = time.perf_counter() + REFRESH

    def on_epoch_end(self, run: Any) -> None:
        """Leave one line of the epoch."""
        self._close()
        e = run.history[-1]
        self._say(f"epoch {e.number}/{run.epochs}  {e.seconds:.1f} s  {line(e.metrics)}")

    def on_train_end(self, run: Any) -> None:
        """Take the bar away, also after an error; say why training stopped early."""
        self._close()
        if run.stop_reason:
            self._say(f"stopped after epoch {len(run.history)}: {run.stop_reason}")

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True, markup=False)


def line(metrics: dict[str, Any]) -> str:
    """Metrics in one line; those that are no single number are left out.

    >>> line({"loss": 0.123456, "accuracy": 0.97, "confusion": [[1, 0], [0, 1]]})
    'loss 0.1235  accuracy 0.9700'
    """
    return "  ".join(
        f"{k} {v:.4g}" if abs(v) < 1e-3 else f"{k} {v:.4f}" for k, v in numbers(metrics)
    )


def numbers(metrics: dict[str, Any]) -> list[tuple[str, float]]:
    """The metrics that are one number."""
    return [(k, v) for k, v in metrics.items() if isinstance(v, (int, float))]

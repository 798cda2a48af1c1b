"""`SaveCheckpoints`: the callback that makes training survive."""

from __future__ import annotations

from typing import Any

from .callbacks import Callback, not_finite
from .checkpoints import Checkpoints
from .progress import numbers
from .run import Diverged


class SaveCheckpoints(Callback):
    """Save what a run needs to go on; `resume` goes on.

    Args:
        checkpoints: where, and what to keep.
        every: steps between two within an epoch; None saves only after epochs.
    """

    priority = 100  # after all others, whose state it keeps

    def __init__(self, checkpoints: Checkpoints, every: int | None = None):
        self.checkpoints, self.every = checkpoints, every

    def resume(self, run: Any) -> None:
        """Go on where the newest checkpoint ends, if there is one."""
        newest = self.checkpoints.latest()
        if newest is not None:
            newest.restore(run.trainer.store, add=True)  # the optimizer's may not be there yet
            run.restore(newest.meta["run"])

    def on_step_end(self, run: Any) -> None:
        """Save every ``every`` steps."""
        if self.every and run.step % self.every == 0:
            self._save(run, run.metrics())

    def on_epoch_end(self, run: Any) -> None:
        """Save."""
        self._save(run, run.history[-1].metrics)

    def _save(self, run: Any, metrics: dict[str, Any]) -> None:
        store = run.trainer.store
        if bad := not_finite(store):
            raise Diverged(
                f"not finite after step {run.step} (epoch {run.epoch}): {', '.join(bad[:5])}; no "
                f"checkpoint is written, those of before are intact"
            )
        self.checkpoints.save(
            store, step=run.step, meta={"run": run.state()}, metrics=dict(numbers(metrics))
        )

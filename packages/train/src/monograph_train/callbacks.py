"""Callbacks: what happens around `Trainer.fit`'s steps and epochs, in order of priority."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import monograph as mg
import numpy as np

if TYPE_CHECKING:
    from .run import Run


class Callback:
    """Override what you need. ``run`` tells where training stands (`monograph_train.run.Run`).

    Attributes:
        name: under which its state is kept in checkpoints; the class's name unless set.
        priority: lower ones are called first; progress and loggers have 50, checkpoints 100.
    """

    name: str = ""
    priority: int = 0

    def on_train_begin(self, run: Run) -> None:
        """Before the first epoch, after a checkpoint was restored."""

    def on_epoch_begin(self, run: Run) -> None:
        """Before an epoch's first batch."""

    def on_step_end(self, run: Run) -> None:
        """After each step. ``run.metrics()`` waits for the engine: do not ask at every step."""

    def on_epoch_end(self, run: Run) -> None:
        """After an epoch's validation; ``run.history[-1]`` is the epoch."""

    def on_train_end(self, run: Run) -> None:
        """At the end, also when training failed."""

    def state(self) -> dict[str, Any]:
        """What a resumed run needs to know, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""


class LambdaCallback(Callback):
    """Functions of the run as a callback: ``LambdaCallback(on_epoch_end=lambda run: ...)``.

    >>> LambdaCallback(on_step_end=lambda run: None, priority=10).priority
    10
    """

    def __init__(
        self, name: str = "LambdaCallback", priority: int = 0, **events: Callable[[Any], None]
    ):
        self.name, self.priority = name, priority
        known = [n for n in vars(Callback) if n.startswith("on_")]
        if wrong := [n for n in events if n not in known]:
            raise mg.errors.ArgumentError(
                f"no event is called {', '.join(wrong)}; there are {', '.join(known)}"
            )
        for event, fn in events.items():
            setattr(self, event, fn)


def every(steps: int, fn: Callable[[Any], None], name: str = "every") -> Callback:
    """Call ``fn(run)`` after each ``steps``-th step.

    >>> every(100, lambda run: print(run.metrics())).name
    'every'
    """
    if steps < 1:
        raise mg.errors.ArgumentError(f"every needs a positive number of steps, got {steps}")
    return LambdaCallback(name, on_step_end=lambda run: None if run.step % steps else fn(run))


class EarlyStopping(Callback):
    """Stop when a metric has not improved for ``patience`` epochs, as Keras's EarlyStopping.

    Args:
        monitor: a name in the epoch's metrics.
        min_delta: how much counts as an improvement.
        mode: ``"min"``, ``"max"``, or ``"auto"``: the smaller the better for names that hold
            ``loss`` or ``error``, else the larger.
        baseline: to be better than this, or an epoch does not count as an improvement.
        restore_best_weights: at the end put the best epoch's variables back.
        start_from_epoch: epochs before which it only watches.

    >>> EarlyStopping("val_accuracy", patience=3).mode
    'max'
    """

    def __init__(
        self, monitor: str = "val_loss", min_delta: float = 0.0, patience: int = 0,
        mode: str = "auto", baseline: float | None = None, restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):  # fmt: skip
        self.monitor, self.min_delta, self.patience = monitor, abs(min_delta), patience
        self.mode = direction(mode, monitor)
        self.best = baseline if baseline is not None else math.inf * self._sign
        self.restore_best_weights, self.start_from_epoch = restore_best_weights, start_from_epoch
        self.wait, self._weights = 0, None

    @property
    def _sign(self) -> int:
        return 1 if self.mode == "min" else -1

    def on_epoch_end(self, run: Any) -> None:
        """Compare, and stop the run when patience is over."""
        now = run.monitored(self.monitor)
        if run.epoch <= self.start_from_epoch:
            return
        if self._sign * (self.best - now) > self.min_delta:
            self.best, self.wait = now, 0
            if self.restore_best_weights:
                self._weights = run.trainer.store.numpy()
            return
        self.wait += 1
        if self.wait >= self.patience:
            run.stop(f"{self.monitor} has not improved on {self.best:.4g} for {self.wait} epochs")

    def on_train_end(self, run: Any) -> None:
        """Put the best weights back, if asked to."""
        if self._weights is not None:
            for path, value in self._weights.items():
                run.trainer.store[path] = value

    def state(self) -> dict[str, Any]:
        """The best value and how long it has stood."""
        return {"best": self.best, "wait": self.wait}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on waiting."""
        self.best, self.wait = state["best"], state["wait"]


def direction(mode: str, monitor: str) -> str:
    """``"min"`` or ``"max"``, the latter two guessed from the metric's name for ``"auto"``."""
    if mode in ("min", "max"):
        return mode
    if mode != "auto":
        raise mg.errors.ArgumentError(f"mode={mode!r} is none of 'auto', 'min', 'max'")
    return "min" if any(w in monitor for w in ("loss", "error", "divergence")) else "max"


def not_finite(store: mg.Store) -> list[str]:
    """Paths of the variables that hold NaN or infinity, with how many."""
    found = []
    for path in store:
        if store.spec(path).dtype.kind in ("float", "float8", "complex"):
            value = store.slots[path].array()
            bad = value.size - np.count_nonzero(np.isfinite(value))
            if bad:
                found.append(f"{path} ({bad:,} of {value.size:,})")
    return found

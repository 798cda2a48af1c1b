"""`Run`: one call of `Trainer.fit`, its loop and where it stands."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import monograph as mg

from .callbacks import Callback, not_finite
from .datasets import Dataset

if TYPE_CHECKING:
    from .trainer import Trainer


@dataclass(frozen=True)
class Epoch:
    """One epoch: its number from 1, its seconds, and its metrics by name."""

    number: int
    seconds: float
    metrics: dict[str, Any]


class History(list[Epoch]):
    """The epochs of a run; `history` has them by metric, as Keras's History.

    >>> History([Epoch(1, 0.5, {"loss": 2.0}), Epoch(2, 0.5, {"loss": 1.0})]).history
    {'loss': [2.0, 1.0]}
    """

    @property
    def history(self) -> dict[str, list[Any]]:
        """Metric -> value per epoch; None where an epoch lacks it."""
        names = dict.fromkeys(n for e in self for n in e.metrics)
        return {n: [e.metrics.get(n) for e in self] for n in names}


class Diverged(mg.errors.MonographError, FloatingPointError):
    """The loss or a variable became NaN or infinite."""


class Run:
    """Where training stands.

    Attributes:
        trainer: the `Trainer`.
        epochs: how many there will be.
        epoch: the current one, from 1.
        batch: steps done in it.
        batches: steps in an epoch, None where that is not known before the first ended.
        step: steps done in all, those before a resumption included.
        history: the epochs that are over.
    """

    def __init__(
        self, trainer: Trainer, data: Dataset, epochs: int, validation: Dataset | None,
        callbacks: Sequence[Callback],
    ):  # fmt: skip
        self.trainer, self.data, self.epochs, self.validation = trainer, data, epochs, validation
        self.callbacks = sorted(callbacks, key=lambda c: c.priority)
        for c in self.callbacks:
            c.name = c.name or type(c).__name__
        names = [c.name for c in self.callbacks]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise mg.errors.ArgumentError(
                f"several callbacks are called {', '.join(twice)}; give each a name of its own"
            )
        self.epoch, self.batch, self.step, self.history = 1, 0, 0, History()
        self.batches = length(data)
        self.totals = trainer._totals()
        self.iterator: Any = None
        self.stop_reason: str | None = None
        self._position: Any = None  # where to go on within the epoch

    def stop(self, reason: str = "a callback asked for it") -> None:
        """End after this step, without an error."""
        self.stop_reason = reason

    def metrics(self) -> dict[str, Any]:
        """The epoch's metrics so far; waits for the engine.

        Raises:
            Diverged: the loss of a step was NaN or infinite.
        """
        for i, loss in enumerate(reversed(self.totals.fetch())):
            if not math.isfinite(loss) and not self.totals.skips:
                self._diverged(f"loss is {loss}", self.batch - i)
        return self.totals.results()

    def _diverged(self, what: str, batch: int) -> None:
        bad = not_finite(self.trainer.store)
        raise Diverged(
            f"{what} at epoch {self.epoch}, batch {batch} (step {self.step - self.batch + batch}). "
            + (
                f"Not finite by now: {', '.join(bad[:5])}. "
                if bad
                else "All variables are finite. "
            )
            + "Checkpoints written before are intact. A smaller learning rate or clip_by_global_norm "
            "may help; so may a look at this batch."
        )

    def monitored(self, name: str) -> float:
        """A metric of the last epoch.

        Raises:
            ArgumentError: there is none of this name; the message lists those there are.
        """
        known = self.history[-1].metrics
        if name not in known:
            raise mg.errors.ArgumentError(
                f"no metric is called {name!r}; this run has {', '.join(known)}"
                + ("" if self.validation is not None else " (val_... with validation=...)")
            )
        return known[name]

    def _call(self, event: str) -> None:
        for c in self.callbacks:
            getattr(c, event)(self)

    def go(self) -> History:
        """Train until the last epoch, or until somebody calls `stop`."""
        at_step = [c for c in self.callbacks if overrides(c, "on_step_end")]
        try:
            self._call("on_train_begin")
            while self.epoch <= self.epochs and not self.stop_reason:
                self._one_epoch(at_step)
        finally:
            self._call("on_train_end")
        return self.history

    def _one_epoch(self, at_step: Sequence[Callback]) -> None:
        started, position, self._position = time.perf_counter(), self._position, None
        if position is None:
            self.batch, self.totals = 0, self.trainer._totals()
        self.iterator = self.data.iterate(epoch=self.epoch - 1, state=position)
        # its threads end here, also when an exception's traceback keeps this run alive
        with closing(self.iterator):
            self._call("on_epoch_begin")
            for item in self.iterator:
                x, y, weight = parts(item)
                self.trainer._advance(self.totals, x, y, weight, self.step + 1)
                self.batch += 1
                self.step += 1
                for c in at_step:
                    c.on_step_end(self)
                if self.stop_reason:
                    break
        if not self.batch:
            raise mg.errors.ArgumentError(
                f"the training data gave no batch in epoch {self.epoch}; it has no samples, or fewer "
                f"than a batch with drop_remainder=True"
            )
        self.batches = self.batches or self.batch
        metrics = self.metrics()
        if self.validation is not None:
            found = self.trainer.evaluate(self.validation)
            metrics |= {f"val_{k}": v for k, v in found.items()}
        self.history.append(Epoch(self.epoch, time.perf_counter() - started, metrics))
        self.iterator = None
        self._call("on_epoch_end")
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        """Where training stands, as JSON: within an epoch, or between two."""
        within = self.iterator is not None
        return {
            "epoch": self.epoch if within else self.epoch + 1,
            "step": self.step,
            "batch": self.batch if within else 0,
            "data": self.iterator.state() if within else None,
            "totals": self.totals.state() if within else {},
            "history": [[e.number, e.seconds, e.metrics] for e in self.history],
            "callbacks": {c.name: c.state() for c in self.callbacks if c.state()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Stand where a `state` says."""
        self.epoch, self.step, self.batch = state["epoch"], state["step"], state["batch"]
        self._position = state["data"]
        self.totals.restore(state["totals"])
        self.history[:] = [Epoch(n, s, m) for n, s, m in state["history"]]
        for c in self.callbacks:
            if c.name in state["callbacks"]:
                c.restore(state["callbacks"][c.name])


def overrides(callback: Callback, event: str) -> bool:
    """Whether a callback does something at an event."""
    return getattr(callback, event) != getattr(Callback, event).__get__(callback)


def length(data: Any) -> int | None:
    """Batches in an epoch, where the data knows."""
    try:
        return len(data)
    except TypeError:
        return None


def parts(item: Any) -> tuple[Any, Any, Any]:
    """``(x, y, sample_weight or None)`` of a batch.

    Raises:
        ArgumentError: the batch is neither a pair nor a triple.
    """
    if isinstance(item, (tuple, list)) and len(item) in (2, 3):
        return (*item, None) if len(item) == 2 else tuple(item)
    raise mg.errors.ArgumentError(
        f"a batch is (x, y) or (x, y, sample_weight), got {type(item).__name__}"
        + (f" of {len(item)}" if isinstance(item, (tuple, list)) else "")
    )


def as_dataset(data: Any, batch_size: int, seed: int | None = None) -> Dataset:
    """Arrays ``(x, y)`` batched, and shuffled when a seed is given; a Dataset, what has its `iterate`, or
    any iterable of batches that can be walked more than once, as it is."""
    if isinstance(data, Dataset) or hasattr(data, "iterate"):
        return data
    if isinstance(data, tuple):
        whole = Dataset.from_arrays(*data)
        return (whole if seed is None else whole.shuffle(seed)).batch(batch_size)
    if isinstance(data, Iterable) and not hasattr(data, "__next__"):
        return Dataset.from_generator(lambda: iter(data))
    raise mg.errors.ArgumentError(
        f"training data is a Dataset, arrays (x, y), or an iterable of batches that starts anew in each "
        f"epoch; got {type(data).__name__}"
    )

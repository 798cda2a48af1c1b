"""`Trainer`: fit, evaluate, predict; and the step they run, for people with a loop of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import monograph as mg
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from .optimizers import Optimizer, adam

Metric = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Epoch:
    """One row of `Trainer.fit`'s history: means over the epoch's batches, weighted by size."""

    number: int
    seconds: float
    metrics: dict[str, float]


def batches(
    x: np.ndarray, y: np.ndarray, size: int, rng: np.random.Generator | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of up to ``size`` rows, shuffled when a generator is given; the last may be smaller."""
    order = np.arange(len(x)) if rng is None else rng.permutation(len(x))
    for i in range(0, len(x), size):
        rows = order[i : i + size]
        yield x[rows], y[rows]


class Trainer:
    """Trains ``model(scope, x, training=bool)`` in one compiled step: forward, backward, update.

    Args:
        model: a function of a scope, inputs, and the keyword ``training``.
        loss: ``(predictions, targets) -> scalar``.
        optimizer: from `monograph_train.optimizers`.
        metrics: functions like the loss, reported under their names.
        store: the variables; a new one with ``seed`` when None.
        engine: where to run; None follows `mg.engine`.
    """

    def __init__(
        self, model: Callable, loss: Metric, optimizer: Optimizer | None = None,
        metrics: Sequence[Metric] = (), store: mg.Store | None = None, seed: int = 0,
        engine: Any = None,
    ):  # fmt: skip
        self.model, self.loss, self.metrics = model, loss, tuple(metrics)
        self.optimizer = optimizer or adam()
        self.store = mg.Store(seed) if store is None else store
        self.seed = seed
        self._step = self.store.bind(self._train, engine)
        self._evaluate = self.store.bind(self._measure, engine)
        self._predict = self.store.bind(lambda scope, x: model(scope, x, training=False), engine)

    def _report(self, predictions: Any, y: Any) -> dict[str, Any]:
        return {m.__name__: m(predictions, y) for m in self.metrics}

    def _train(self, scope: Any, x: Any, y: Any) -> dict[str, Any]:
        def forward() -> Any:
            predictions = self.model(scope, x, training=True)
            return self.loss(predictions, y), predictions

        (loss, predictions), grads = scope.value_and_grad(forward, has_aux=True)()
        self.optimizer(scope / "optimizer", grads)
        return {"loss": loss, **self._report(predictions, y)}

    def _measure(self, scope: Any, x: Any, y: Any) -> dict[str, Any]:
        predictions = self.model(scope, x, training=False)
        return {"loss": self.loss(predictions, y), **self._report(predictions, y)}

    def step(self, x: Any, y: Any) -> dict[str, mg.Tensor]:
        """One update on one batch; the loss and metrics of before it, not waited for."""
        return self._step(x, y)

    def predict(self, x: Any) -> mg.Tensor:
        """The model's output in inference mode."""
        return self._predict(x)

    def fit(
        self, x: np.ndarray, y: np.ndarray, epochs: int = 1, batch_size: int = 32,
        validation: tuple[np.ndarray, np.ndarray] | None = None, console: Console | None = None,
    ) -> list[Epoch]:  # fmt: skip
        """Train over shuffled batches; the order depends on the seed alone.

        Raises:
            ArgumentError: no samples, or ``x`` and ``y`` of different lengths.
        """
        if not len(x) or len(x) != len(y):
            raise mg.errors.ArgumentError(
                f"fit needs as many inputs as targets, got {len(x)} and {len(y)}"
            )
        rng, history = np.random.default_rng(self.seed), []
        console = console or Console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        for number in range(1, epochs + 1):
            started, seen = time.perf_counter(), []
            total = -(-len(x) // batch_size)
            # a bar on a terminal, ten times a second at most; elsewhere one line an epoch
            with Progress(
                *columns, console=console, transient=True, disable=not console.is_terminal
            ) as bar:
                task = bar.add_task(f"epoch {number}/{epochs}", total=total)
                for bx, by in batches(x, y, batch_size, rng):
                    seen.append((len(bx), self.step(bx, by)))
                    bar.advance(task)
            metrics = _mean(seen)
            if validation is not None:
                metrics |= {f"val_{k}": v for k, v in self.evaluate(*validation).items()}
            history.append(Epoch(number, time.perf_counter() - started, metrics))
            shown = "  ".join(f"{k} {v:.4f}" for k, v in metrics.items())
            console.print(
                f"epoch {number}/{epochs}  {history[-1].seconds:.1f} s  {shown}",
                highlight=False,
                soft_wrap=True,
            )
        return history

    def evaluate(self, x: np.ndarray, y: np.ndarray, batch_size: int = 256) -> dict[str, float]:
        """The loss and metrics over all samples, in inference mode."""
        return _mean([(len(bx), self._evaluate(bx, by)) for bx, by in batches(x, y, batch_size)])


def _mean(seen: list[tuple[int, dict[str, mg.Tensor]]]) -> dict[str, float]:
    total = sum(n for n, _ in seen)
    return {k: sum(n * float(m[k]) for n, m in seen) / total for k in seen[0][1]}

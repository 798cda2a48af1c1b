"""Metrics over many batches: sums that the compiled step gives, added up on the host in float64."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import monograph as mg
import numpy as np

from .metrics import Metric

State = dict[str, dict[str, Any]]  # metric -> sum -> array


class Totals:
    """Sums of losses and metrics' states over batches of any sizes.

    `add` only keeps the step's outputs, so that the engine may run ahead; they are fetched when
    somebody looks. In float64, so that a million batches add up as exactly as ten.

    Args:
        metrics: whose sums they are, beside the loss.
        skips: leave out batches whose loss is not finite, as a loss scale leaves out their update.
    """

    def __init__(self, metrics: Sequence[Metric], skips: bool = False):
        self.metrics, self.skips = {m.name: m for m in metrics}, skips
        self.sums: dict[str, dict[str, np.ndarray]] = {}
        self._pending: list[tuple[mg.Tensor, int, State]] = []

    def add(self, loss: mg.Tensor, rows: int, states: State) -> None:
        """One batch's loss, number of samples, and metrics' states, as the step returned them."""
        self._pending.append((loss, rows, states))

    def fetch(self) -> list[float]:
        """Add what is pending; the losses of those batches."""
        pending, self._pending = self._pending, []
        losses = [float(loss.numpy()) for loss, _, _ in pending]
        for loss, (_, rows, states) in zip(losses, pending):
            if self.skips and not math.isfinite(loss):
                continue
            self._sum("loss", {"total": loss * rows, "count": rows})
            for name, sums in states.items():
                self._sum(name, {k: v.numpy() for k, v in sums.items()})
        return losses

    def _sum(self, name: str, sums: Mapping[str, Any]) -> None:
        own = self.sums.setdefault(name, {})
        for key, value in sums.items():
            own[key] = own.get(key, 0.0) + np.asarray(value, "float64")

    def results(self) -> dict[str, Any]:
        """The loss and each metric's value so far."""
        self.fetch()
        loss = self.sums.get("loss")
        out = {} if loss is None else {"loss": float(loss["total"] / loss["count"])}
        found = {n: result(m, self.sums[n]) for n, m in self.metrics.items() if n in self.sums}
        return out | found

    def state(self) -> dict[str, Any]:
        """What `restore` takes: lists of floats, exact in JSON."""
        self.fetch()
        return {m: {k: v.tolist() for k, v in sums.items()} for m, sums in self.sums.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a `state`."""
        self._pending = []
        self.sums = {
            m: {k: np.asarray(v, "float64") for k, v in sums.items()} for m, sums in state.items()
        }


def result(metric: Metric, sums: Mapping[str, Any]) -> Any:
    """A metric's value from its summed state; a float when it is one number."""
    with mg.engine("numpy"):
        value = metric.result({k: mg.tensor(v) for k, v in sums.items()})
    return value.item() if value.ndim == 0 else value.tolist()

"""Metrics over many batches: sums that the compiled step gives, added up on the host in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import monograph as mg
import numpy as np

from .metrics import Metric

State = dict[str, dict[str, Any]]  # metric -> sum -> array


class Totals:
    """Sums of several metrics' states over batches of any sizes.

    `add` only keeps the step's outputs, so that the engine may run ahead; they are fetched when
    somebody looks. In float64, so that a million batches add up as exactly as ten.

    Args:
        metrics: whose sums they are.
        skips: leave out batches whose loss is not finite, as a loss scale leaves out their update.
    """

    def __init__(self, metrics: Sequence[Metric], skips: bool = False):
        self.metrics, self.skips = {m.name: m for m in metrics}, skips
        self.sums: dict[str, dict[str, np.ndarray]] = {}
        self._pending: list[State] = []

    def add(self, states: State) -> None:
        """One batch's states, as the step returned them."""
        self._pending.append(states)

    def fetch(self) -> list[dict[str, dict[str, np.ndarray]]]:
        """Add what is pending; the states of those batches, as float64 arrays."""
        pending, self._pending = self._pending, []
        batches = [
            {m: {k: _wide(v.numpy()) for k, v in sums.items()} for m, sums in states.items()}
            for states in pending
        ]
        for states in batches:
            if self.skips and not np.isfinite(states["loss"]["total"]):
                continue
            for name, sums in states.items():
                own = self.sums.setdefault(name, {})
                for key, value in sums.items():
                    own[key] = own[key] + value if key in own else value
        return batches

    def results(self) -> dict[str, float]:
        """Each metric's value so far."""
        self.fetch()
        return {n: result(m, self.sums[n]) for n, m in self.metrics.items() if n in self.sums}

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


def _wide(x: np.ndarray) -> np.ndarray:
    return np.asarray(x, "float64")

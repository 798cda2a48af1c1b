"""How large a model and how much data for a compute budget: the three approaches of Hoffmann et al. 2022.

Each takes `Runs`, final losses of models of ``N`` parameters trained on ``D`` tokens with ``C = 6 N D``
floating-point operations, and gives the model size that reaches the lowest loss for a budget.
Needs SciPy (and matplotlib for `plot`): the extra ``scaling``.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monograph.errors import ArgumentError, FileFormatError

HUBER = 1e-3
"""Beyond this distance in log loss a residual counts linearly (the paper's delta)."""

BUDGETS = (6e18, 1e19, 3e19, 6e19, 1e20, 3e20, 6e20, 1e21, 3e21)
"""The paper's IsoFLOP budgets, in floating-point operations."""

STARTS = tuple(
    itertools.product(
        np.arange(0, 30, 5.0), np.arange(0, 30, 5.0), np.arange(-1, 1.5, 0.5),
        np.arange(0, 2.5, 0.5), np.arange(0, 2.5, 0.5),
    )
)  # fmt: skip
"""Where the paper starts its fits of ``log A, log B, log E, alpha, beta``: a grid of 4,500."""


@dataclass(frozen=True)
class Runs:
    """Trained models: parameters, tokens and final loss (nats per token), one number per run."""

    parameters: np.ndarray
    tokens: np.ndarray
    loss: np.ndarray

    def __post_init__(self) -> None:
        columns = [np.asarray(getattr(self, n), float) for n in ("parameters", "tokens", "loss")]
        if len({c.shape for c in columns}) != 1 or columns[0].ndim != 1:
            shapes = ", ".join(str(c.shape) for c in columns)
            raise ArgumentError(f"runs need three columns of one length, got shapes {shapes}")
        bad = ~np.all([np.isfinite(c) & (c > 0) for c in columns], axis=0)
        if bad.any():
            raise ArgumentError(f"rows {np.flatnonzero(bad).tolist()} are not finite and positive")
        for name, column in zip(("parameters", "tokens", "loss"), columns):
            object.__setattr__(self, name, column)

    @property
    def flops(self) -> np.ndarray:
        """``C = 6 N D``."""
        return 6 * self.parameters * self.tokens

    def take(self, rows: Any) -> Runs:
        """Some of them, by index or mask."""
        return Runs(self.parameters[rows], self.tokens[rows], self.loss[rows])

    def without_worst(self, count: int) -> Runs:
        """All but those of highest loss: the replication (Besiroglu et al. 2024) leaves out five."""
        return self.take(np.sort(np.argsort(self.loss)[: len(self.loss) - count]))

    @staticmethod
    def read(path: str | Path) -> Runs:
        """Of a CSV file with the columns ``Model Size``, ``Training FLOP`` and ``loss``.

        Raises:
            FileFormatError: a column is missing or holds something that is no number.
        """
        try:
            with open(path, newline="") as f:
                rows = list(csv.DictReader(f))
            n, c, loss = (
                np.array([float(row[name]) for row in rows])
                for name in ("Model Size", "Training FLOP", "loss")
            )
        except (KeyError, ValueError, TypeError) as e:
            raise FileFormatError(f"{path}: not a table of runs: {e}") from None
        return Runs(n, c / (6 * n), loss)


@dataclass(frozen=True)
class PowerLaw:
    """The best model size for a budget, ``N = factor * C ** exponent``.

    Attributes:
        budgets, sizes: the optima that it was drawn through.
    """

    factor: float
    exponent: float
    budgets: np.ndarray
    sizes: np.ndarray

    @staticmethod
    def through(budgets: Any, sizes: Any) -> PowerLaw:
        """The straight line through the optima's logarithms, by least squares."""
        if len(budgets) < 2:
            raise ArgumentError(
                f"a power law needs 2 budgets with an optimum, found {len(budgets)}"
            )
        exponent, offset = np.polyfit(np.log(budgets), np.log(sizes), 1)
        return PowerLaw(
            float(np.exp(offset)), float(exponent), np.asarray(budgets), np.asarray(sizes)
        )

    def parameters(self, flops: Any) -> Any:
        """The best ``N`` for a budget."""
        return self.factor * np.asarray(flops, float) ** self.exponent

    def tokens(self, flops: Any) -> Any:
        """The ``D`` that goes with it."""
        return np.asarray(flops, float) / (6 * self.parameters(flops))


@dataclass(frozen=True)
class Parametric:
    """``L(N, D) = E + A / N ** alpha + B / D ** beta``.

    >>> print(f"{PAPER.exponent:.2f} {PAPER.loss(70e9, 1.4e12):.2f}")
    0.46 1.92
    """

    E: float
    A: float
    B: float
    alpha: float
    beta: float

    def loss(self, parameters: Any, tokens: Any) -> Any:
        """The predicted loss."""
        n, d = np.asarray(parameters, float), np.asarray(tokens, float)
        return self.E + self.A / n**self.alpha + self.B / d**self.beta

    @property
    def exponent(self) -> float:
        """``a`` in ``N ~ C ** a``."""
        return self.beta / (self.alpha + self.beta)

    def parameters(self, flops: Any) -> Any:
        """The best ``N`` for a budget (the paper's equation 4)."""
        g = (self.alpha * self.A / (self.beta * self.B)) ** (1 / (self.alpha + self.beta))
        return g * (np.asarray(flops, float) / 6) ** self.exponent

    def tokens(self, flops: Any) -> Any:
        """The ``D`` that goes with it."""
        return np.asarray(flops, float) / (6 * self.parameters(flops))


PAPER = Parametric(E=1.6934, A=406.4, B=410.7, alpha=0.3392, beta=0.2849)
"""What Hoffmann et al. 2022 give, to the digits in their source text."""

REPLICATION = Parametric(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658)
"""What Besiroglu et al. 2024 find in the same runs."""


def envelope(runs: Runs, bins: int = 18) -> PowerLaw:
    """Approach 1: the run of lowest loss in each of ``bins`` ranges of compute, equal in log.

    The paper takes the minimum over whole training curves; of final losses alone it is noisier.
    """
    log_c = np.log(runs.flops)
    at = np.clip(((log_c - log_c.min()) / np.ptp(log_c) * bins).astype(int), 0, bins - 1)
    groups = [np.flatnonzero(at == i) for i in range(bins)]
    best = [g[runs.loss[g].argmin()] for g in groups if len(g) >= 3]
    return PowerLaw.through(runs.flops[best], runs.parameters[best])


def isoflop(runs: Runs, budgets: Sequence[float] = BUDGETS, within: float = 0.15) -> PowerLaw:
    """Approach 2: for each budget the minimum of a parabola of loss over log size.

    Args:
        within: runs count for a budget whose compute differs by less than this, relatively.
    """
    found, sizes = [], []
    for budget in budgets:
        near = np.abs(np.log(runs.flops / budget)) < within
        x = np.log(runs.parameters[near])
        if len(np.unique(x)) < 5:
            continue
        bend, slope, _ = np.polyfit(x - x.mean(), runs.loss[near], 2)
        lowest = x.mean() - slope / (2 * bend)
        if bend > 0 and x.min() < lowest < x.max():
            found.append(budget)
            sizes.append(float(np.exp(lowest)))
    return PowerLaw.through(found, sizes)


def parametric(
    runs: Runs, starts: Sequence[Sequence[float]] = STARTS, mean: bool = False
) -> Parametric:
    """Approach 3: the Huber loss of ``log L`` minimised by L-BFGS from many starts; the best is kept.

    Args:
        starts: of ``log A, log B, log E, alpha, beta``.
        mean: divide the objective by the number of runs. That changes no minimum, but L-BFGS's
            tolerances are absolute: it stops early. Started at the paper's constants it stays there,
            though they are not the minimum of Figure 4's runs.
    """
    from scipy.optimize import minimize

    n, d, target = np.log(runs.parameters), np.log(runs.tokens), np.log(runs.loss)
    reduce: Callable = np.mean if mean else np.sum

    def objective(p: np.ndarray) -> tuple[float, np.ndarray]:
        a, b, e, alpha, beta = p
        terms = np.stack([a - alpha * n, b - beta * d, np.full_like(n, e)])
        top = terms.max(0)
        shares = np.exp(terms - top)
        total = shares.sum(0)
        off, shares = top + np.log(total) - target, shares / total
        size = np.abs(off)
        value = np.where(size <= HUBER, off * off / 2, HUBER * (size - HUBER / 2))
        pull = np.clip(off, -HUBER, HUBER) * shares
        slopes = [pull[0], pull[1], pull[2], -pull[0] * n, -pull[1] * d]
        return reduce(value), np.array([reduce(s) for s in slopes])

    # the valley is flat: SciPy's own tolerances stop a sum short of its minimum too
    options = {} if mean else {"ftol": 1e-15, "gtol": 1e-12, "maxiter": 5000}
    fits = (
        minimize(objective, start, jac=True, method="L-BFGS-B", options=options) for start in starts
    )
    a, b, e, alpha, beta = min(fits, key=lambda fit: fit.fun).x
    return Parametric(*map(float, (np.exp(e), np.exp(a), np.exp(b), alpha, beta)))


def bootstrap(
    fit: Callable[[Runs], Any], runs: Runs, resamples: int = 100, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """The 10th and 90th percentile of each number of a fit, over runs drawn anew with replacement.

    >>> n, d = map(np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e8, 1e10, 9)))
    >>> runs = Runs(n, d, 2 + 400 / n**0.34 + 400 / d**0.28)
    >>> sorted(bootstrap(lambda r: envelope(r, bins=3), runs, resamples=3))
    ['exponent', 'factor']
    """
    rng = np.random.default_rng(seed)
    names = ("exponent", "factor", "E", "A", "B", "alpha", "beta")
    drawn: dict[str, list[float]] = {}
    for _ in range(resamples):
        made = fit(runs.take(rng.integers(len(runs.loss), size=len(runs.loss))))
        for name in names:
            if hasattr(made, name):
                drawn.setdefault(name, []).append(getattr(made, name))
    return {n: tuple(np.percentile(v, (10, 90)).tolist()) for n, v in drawn.items()}


def plot(runs: Runs, fits: dict[str, PowerLaw | Parametric], path: str | Path) -> None:
    """Draw the runs, coloured by loss, and each fit's best model size over compute, to ``path``."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.add_subplot(xscale="log", yscale="log")
    dots = ax.scatter(runs.flops, runs.parameters, c=runs.loss, s=14, cmap="viridis_r")
    figure.colorbar(dots, label="final loss, nats per token")
    c = np.geomspace(runs.flops.min(), runs.flops.max() * 30, 50)
    for name, fit in fits.items():
        ax.plot(c, fit.parameters(c), label=f"{name}: N ~ C^{fit.exponent:.2f}")
    ax.set_xlabel("training compute, FLOP")
    ax.set_ylabel("parameters")
    ax.legend()
    figure.savefig(path, dpi=120)

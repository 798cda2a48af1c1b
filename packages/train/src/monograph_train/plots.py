"""Training as a picture: one panel per metric, training and validation in each."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import monograph as mg

from .callbacks import Callback
from .progress import numbers


def plot(history: Any, path: str | os.PathLike | None = None) -> Any:
    """Draw a `History` as a matplotlib Figure: a panel per metric, ``val_`` beside its own.

    Needs matplotlib (``pip install monograph-train[plots]``).

    Args:
        path: also save it there; the ending (``.png``, ``.svg``, ``.pdf``) says how.

    Raises:
        ArgumentError: no epoch, or no metric that is a number.

    >>> from monograph_train.run import Epoch, History
    >>> len(plot(History([Epoch(1, 0.5, {"loss": 2.0, "val_loss": 2.1})])).axes)
    1
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise mg.errors.PluginError(
            "plots need matplotlib: pip install monograph-train[plots]"
        ) from None
    names = list(
        dict.fromkeys(n.removeprefix("val_") for e in history for n, _ in numbers(e.metrics))
    )
    if not names:
        raise mg.errors.ArgumentError(
            "there is nothing to plot: no epoch has a metric that is a number"
        )
    columns = min(3, len(names))
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), layout="constrained")
    for i, name in enumerate(names):
        axis = figure.add_subplot(rows, columns, i + 1)
        for full, label, style in ((name, "training", "o-"), (f"val_{name}", "validation", "s--")):
            found = [(e.number, e.metrics[full]) for e in history if full in e.metrics]
            if found:
                axis.plot(*zip(*found), style, markersize=3, label=label)
        axis.set(title=name, xlabel="epoch")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    if path is not None:
        figure.savefig(Path(path), dpi=120)
    return figure


class LivePlot(Callback):
    """`plot`, redrawn after each epoch: in place in a notebook; to a file where one is named.

    >>> LivePlot("training.png").path
    'training.png'
    """

    priority = 50

    def __init__(self, path: str | os.PathLike | None = None):
        self.path = path
        self._shown: Any = None

    def on_epoch_end(self, run: Any) -> None:
        """Draw."""
        figure = plot(run.history, self.path)
        if not in_notebook():
            return
        from IPython.display import display

        if self._shown is None:
            self._shown = display(figure, display_id=True)
        else:
            self._shown.update(figure)


def in_notebook() -> bool:
    """Whether this runs in Jupyter, where pictures can be shown."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")

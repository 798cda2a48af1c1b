"""What a dataset is: graphs, what is to be learned of them, and which part is for what."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..batches import GraphBatch
from ..hetero_batches import HeteroBatch


class NodeTask(NamedTuple):
    """A graph whose nodes are to be classified.

    Attributes:
        graph: its nodes hold ``x [nodes, features]`` float32, or what the dataset's loader says.
        labels: ``[nodes]`` int32; ``[nodes, tasks]`` where there are several to learn.
        train, validation, test: ``[nodes]`` bool.
    """

    graph: GraphBatch | HeteroBatch
    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray

    @property
    def classes(self) -> int:
        """How many classes there are: the largest label and one."""
        return classes(self.labels)


class GraphTask(NamedTuple):
    """Many graphs of which something is to be learned.

    Attributes:
        graphs: all of them in one batch; `take_graphs` and `GraphLoader` take some out.
        labels: ``[graphs]`` int32, or what is to be predicted ``[graphs, tasks]`` float32.
        train, validation, test: the numbers of graphs, int64; None where the dataset says nothing.
    """

    graphs: GraphBatch
    labels: np.ndarray
    train: np.ndarray | None = None
    validation: np.ndarray | None = None
    test: np.ndarray | None = None

    @property
    def classes(self) -> int:
        """How many classes there are: the largest label and one."""
        return classes(self.labels)


def classes(labels: Any) -> int:
    """The largest label and one."""
    return int(np.max(labels, initial=-1)) + 1


def mask(numbers: Any, n: int) -> np.ndarray:
    """``[n]`` bool: which of the ``n`` are among the numbers."""
    out = np.zeros(n, bool)
    out[np.asarray(numbers, "int64").reshape(-1)] = True
    return out

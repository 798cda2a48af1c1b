"""Masks that are learned, as in GNNExplainer (Ying et al. 2019): what of a graph suffices for a prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import monograph as mg
from monograph.errors import PluginError
from monograph.tracing import at_user_line

PENALTIES = {"edge_size": 0.005, "edge_entropy": 1.0, "node_size": 1.0, "node_entropy": 0.1}
"""What masks are charged for: what is open (of edges the sum, of features the mean), and how undecided they
are (the mean). As PyG's."""


class Learner:
    """Learns masks by which as little as possible of a graph gives a value as large as possible.

    Args:
        value: ``(scope, graph, masks, inputs) -> scalar``.
        store: the model's variables, which stay as they are.
        optimizer: of `monograph_train.optimizers`; None: ``adam(0.01)``.
    """

    def __init__(
        self, value: Callable, store: mg.Store, optimizer: Callable | None,
        penalties: Mapping[str, float], engine: Any,
    ):  # fmt: skip
        self.value, self.store, self.penalties, self.engine = value, store, penalties, engine
        self.optimizer = optimizer or _adam()
        self._made: dict[Any, tuple] = {}

    def __call__(self, graph: Any, reached: dict, inputs: tuple, steps: int) -> dict:
        """Masks of the structure of ``reached``: bools, what the value depends on at all; elsewhere 0."""
        leaves, structure = mg.tree.flatten(reached)
        key = structure, *(x.shape for x in leaves)
        if key not in self._made:  # a store of its own, with the model's variables and the masks
            learned = self.store.copy()
            bound = learned.bind(self._step, self.engine)
            bound.trace(graph, reached, *inputs)
            self._made[key] = learned, learned.numpy(), bound
        learned, first, bound = self._made[key]
        for path, x in (first | self.store.numpy()).items():
            learned[path] = x
        for _ in range(steps):
            bound(graph, reached, *inputs)
        masks = [mg.sigmoid(learned[f"explanation/{i}"]) for i in range(len(leaves))]
        shut = [mg.where(r, m, 0).numpy() for r, m in zip(leaves, masks)]
        return mg.tree.unflatten(structure, shut)

    def _step(self, scope: mg.Scope, graph: Any, reached: dict, *inputs: Any) -> None:
        leaves, structure = mg.tree.flatten(reached)
        kinds = [kind for kind, tree in sorted(reached.items()) for _ in mg.tree.leaves(tree)]

        def loss() -> Any:
            masks = [
                mg.sigmoid(scope.parameter(f"explanation/{i}", r.shape))
                for i, r in enumerate(leaves)
            ]
            value = self.value(scope, graph, mg.tree.unflatten(structure, masks), inputs)
            return sum(map(self._penalty, kinds, masks, leaves), -value)

        _, grads = scope.value_and_grad(loss)()
        mine = {path: g for path, g in grads.items() if path.startswith("explanation/")}
        self.optimizer(scope / "explanation/optimizer", mine)

    def _penalty(self, kind: str, mask: Any, reached: Any) -> Any:
        what = kind.removesuffix("s")
        counts = mg.astype(reached, mask.dtype)
        n = mg.maximum(mg.sum(counts), 1)
        size = mg.sum(mask * counts) / (1 if what == "edge" else n)
        shut, tiny = 1 - mask, 1e-15  # so that the logarithm of 0 is a number
        entropy = -(mask * mg.log(mask + tiny) + shut * mg.log(shut + tiny))
        undecided = mg.sum(entropy * counts) / n
        return self.penalties[f"{what}_size"] * size + self.penalties[f"{what}_entropy"] * undecided


def _adam() -> Callable:
    try:
        from monograph_train import adam
    except ImportError:
        raise at_user_line(
            PluginError("masks are trained by monograph-train: pip install monograph-gnn[explain]")
        ) from None
    return adam(0.01)

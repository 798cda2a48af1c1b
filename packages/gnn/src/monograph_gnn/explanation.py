"""`explain`: which edges and features a prediction rests on, of any model over graphs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .batches import GraphBatch
from .hetero_batches import HeteroBatch
from .index import EdgeIndex
from .masks import PENALTIES, Learner

_COMBINE: dict[str, Callable[[Any, Any], Any]] = {
    "saliency": lambda g, x: mg.abs(g),
    "input_x_gradient": lambda g, x: g * x,
    "integrated_gradients": lambda g, x: g * x,
    "gnn_explainer": lambda g, x: g != 0,  # what has no gradient needs no mask
}
METHODS = tuple(_COMBINE)
"""What `explain` can do."""


@dataclass(frozen=True, eq=False)
class Explanation:
    """How much a prediction rests on each edge and each feature.

    Attributes:
        edges: ``[edges]`` in the order of the graph's index, by relation if it has several; None if they
            were not asked for.
        nodes: scores of the shape of the nodes' features, None for arrays that are no floats.
        value: what was explained.
    """

    edges: Any
    nodes: Any
    value: float

    @property
    def node_scores(self) -> Any:
        """``[nodes]``, the sum of the magnitudes of a node's features' scores; by type if there are several."""
        if isinstance(self.edges, dict) and isinstance(self.nodes, Mapping):
            return {kind: _summed(tree) for kind, tree in self.nodes.items()}
        return _summed(self.nodes)


def _summed(tree: Any) -> Any:
    each = [np.abs(x).sum(axis=tuple(range(1, x.ndim))) for x in mg.tree.leaves(tree)]
    return sum(each[1:], each[0]) if each else None


class Explainer:
    """`explain` for many predictions of one model, compiled once per shape.

    Called with a graph, and with what ``target`` takes besides the model's output:

    >>> import monograph_gnn as gnn
    >>> g = gnn.graph(np.float32([[1], [5], [2]]), [0, 1, 2], [1, 2, 1])
    >>> model = lambda scope, g: gnn.neighbor_sum(g.index, g.nodes)
    >>> of = Explainer(model, mg.Store(), lambda y, node: y[node, 0], method="saliency")
    >>> [of(g, node).edges.tolist() for node in (0, 1, 2)]
    [[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]
    """

    def __init__(
        self, model: Callable, store: mg.Store, target: Callable, *,
        method: str = "integrated_gradients", over: Sequence[str] = ("edges", "nodes"),
        steps: int | None = None, optimizer: Callable | None = None,
        penalties: Mapping[str, float] | None = None, engine: Any = None,
    ):  # fmt: skip
        known = {
            "method": ([method], METHODS), "over": (over, ("edges", "nodes")),
            "penalties": (penalties or (), PENALTIES),
        }  # fmt: skip
        problems = [
            f"{name}: there is no {odd!r}, only {', '.join(names)}"
            for name, (given, names) in known.items()
            for odd in given
            if odd not in names
        ]
        if problems:
            raise at_user_line(ArgumentError("; ".join(problems)))
        self.method, self.over, self.steps = method, over, steps
        self._of = lambda scope, graph, inputs: target(model(scope, graph), *inputs)
        self._bound = store.bind(self._scores, engine)
        self._learner: Learner | None = None
        if method == "gnn_explainer":
            self._learner = Learner(
                self._masked, store, optimizer, PENALTIES | dict(penalties or {}), engine
            )

    def _masked(self, scope: mg.Scope, graph: Any, masks: dict, inputs: tuple) -> Any:
        """The value of a graph of which only a part is open."""
        parts = mg.tree.map(lambda x, m: x * mg.astype(m, x.dtype), _parts(graph, self.over), masks)
        return self._of(scope, _assembled(graph, parts), inputs)

    def _scores(self, scope: mg.Scope, graph: Any, at: Any, *inputs: Any) -> tuple:
        parts = _parts(graph, self.over)
        varied = mg.tree.map(lambda x: x * mg.astype(at, x.dtype), parts)
        value, grads = mg.value_and_grad(
            lambda parts: self._of(scope, _assembled(graph, parts), inputs)
        )(varied)
        return value, mg.tree.map(_COMBINE[self.method], grads, parts)

    def __call__(self, graph: GraphBatch | HeteroBatch, *inputs: Any) -> Explanation:
        """Explain one prediction."""

        def run(at: float) -> tuple:
            return mg.tree.map(lambda x: x.numpy(), self._bound(graph, np.float32(at), *inputs))

        value, found = run(1.0)
        if self.method == "integrated_gradients":
            points, weights = np.polynomial.legendre.leggauss(self.steps or 50)
            each = [run((1 + p) / 2)[1] for p in points]
            found = mg.tree.map(lambda *xs: sum(w / 2 * x for w, x in zip(weights, xs)), *each)
        if self._learner is not None:
            found = self._learner(graph, run(0.5)[1], inputs, self.steps or 100)
        return Explanation(found.get("edges"), found.get("nodes"), float(value))


def explain(
    model: Callable, store: mg.Store, graph: GraphBatch | HeteroBatch, target: Callable,
    *inputs: Any, **options: Any,
) -> Explanation:  # fmt: skip
    """Find the edges and features that a number which a model computes rests on.

    The model stays as it is: each edge is given a gate, a factor of what is sent along it after it was
    weighed (see `EdgeIndex`), and each feature is a variable. Self-loops that a layer adds have no gate.
    The methods are

    - ``saliency``: the magnitude of the gradient (Simonyan et al. 2014);
    - ``input_x_gradient``: gate or feature times gradient (Shrikumar et al. 2016);
    - ``integrated_gradients``: the same, averaged on the way from nothing to the graph, at the points of a
      Gauss-Legendre quadrature; scores sum to what there is more than with nothing (Sundararajan et al. 2017);
    - ``gnn_explainer``: masks in 0 .. 1 that keep the number large while they are small and decided, learned
      from half open ones (Ying et al. 2019). The number should be a log probability.

    Args:
        model: ``(scope, graph) -> output``.
        store: its variables, which stay as they are.
        target: ``(output, *inputs) -> scalar``, what to explain: ``lambda logits: logits[node, label]``.
        inputs: what else the target takes.
        method: of the above; ``integrated_gradients`` unless another is named.
        over: of ``"edges"`` and ``"nodes"`` what may vary; both by default.
        steps: points of the quadrature (50), or steps of training of masks (100).
        optimizer: of masks, from `monograph_train.optimizers`; None: ``adam(0.01)``.
        penalties: of masks, in the place of those in `PENALTIES`.
        engine: where to run; None follows `mg.engine`.

    Raises:
        ArgumentError: a name that is unknown; all of them are named.
        PluginError: masks without monograph-train.

    >>> import monograph_gnn as gnn
    >>> def model(scope, g):
    ...     return gnn.neighbor_sum(g.index, g.nodes)
    >>> g = gnn.graph(np.float32([[1], [5], [2]]), [0, 1, 2], [1, 2, 1])
    >>> found = explain(model, mg.Store(), g, lambda y: y[1, 0], method="input_x_gradient")
    >>> [*zip(g.index.senders.tolist(), g.index.receivers.tolist())], found.edges.tolist()
    ([(0, 1), (2, 1), (1, 2)], [1.0, 2.0, 0.0])
    >>> found.nodes.tolist(), found.value
    ([[1.0], [0.0], [2.0]], 3.0)
    """
    return Explainer(model, store, target, **options)(graph, *inputs)


# ---- what may vary of a graph: gates [edges] by index, and features, None for those that are no floats


def _per_index(fn: Callable, index: Any, *rest: Any) -> Any:
    if isinstance(index, EdgeIndex):
        return fn(index, *rest)
    return {r: fn(i, *(x[r] for x in rest)) for r, i in index.items()}


def _is_float(x: Any) -> bool:
    return mg.asarray(x).dtype.is_float


def _parts(graph: Any, over: Sequence[str]) -> dict[str, Any]:
    parts = {
        "edges": _per_index(lambda i: mg.ones(i.num_edges), graph.index),
        "nodes": mg.tree.map(lambda x: mg.asarray(x) if _is_float(x) else None, graph.nodes),
    }
    return {name: parts[name] for name in parts if name in over}


def _assembled(graph: Any, parts: Mapping[str, Any]) -> Any:
    """The graph with these gates and features."""
    if "edges" in parts:
        gated = _per_index(lambda i, g: replace(i, gates=g), graph.index, parts["edges"])
        graph = graph.replace(index=gated)
    if "nodes" in parts:
        floats = iter(mg.tree.leaves(parts["nodes"]))
        nodes = mg.tree.map(lambda x: next(floats) if _is_float(x) else x, graph.nodes)
        graph = graph.replace(nodes=nodes)
    return graph

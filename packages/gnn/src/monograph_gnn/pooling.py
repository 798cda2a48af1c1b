"""Pooling: what the nodes of each graph hold, as one.

Each takes a `GraphBatch`, whose nodes are pooled, or an `EdgeIndex`, along whose edges values per edge are.
Padding counts nowhere, and a graph without nodes has zeros.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import monograph as mg
import monograph_layers as nn
from monograph.errors import ArgumentError
from monograph_layers.initializers import constant

from .authoring import layer, refuse
from .batches import GraphBatch
from .index import EdgeIndex
from .propagation import aggregate, edge_softmax, received

Pooled = GraphBatch | EdgeIndex
"""Graphs whose nodes are pooled, or edges whose values are."""


def members(graph: Pooled) -> EdgeIndex:
    """Along which edges to pool: from every node to its graph, or those that are given."""
    return graph.membership if isinstance(graph, GraphBatch) else graph


def global_add_pool(graph: Pooled, x: Any) -> Any:
    """The sum of ``x [nodes, ...]`` over each graph's nodes: ``[graphs, ...]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> global_add_pool(graph(np.float32([[1], [2]]), [0], [1]), np.float32([[1], [2]])).tolist()
    [[3.0]]
    """
    return aggregate(members(graph), x, "sum")


def global_mean_pool(graph: Pooled, x: Any) -> Any:
    """The mean of ``x [nodes, ...]`` over each graph's nodes: ``[graphs, ...]``."""
    return aggregate(members(graph), x, "mean")


def global_max_pool(graph: Pooled, x: Any) -> Any:
    """The largest of ``x [nodes, ...]`` over each graph's nodes: ``[graphs, ...]``."""
    return aggregate(members(graph), x, "max")


@layer
def attentional_aggregation(
    scope: mg.Scope, graph: Pooled, x: Any, gate: Callable | None = None,
    transform: Callable | None = None,
) -> Any:  # fmt: skip
    """A sum weighed by attention (Li et al. 2016, 2019), as PyG's AttentionalAggregation.

    Args:
        scope: holds what ``gate`` and ``transform`` make below it, under their names.
        x: ``[nodes, features]``.
        gate: ``(scope, x) -> [nodes, 1]``, or ``[nodes, out]`` to weigh each feature by itself; None:
            a dense layer of one unit.
        transform: ``(scope, x) -> [nodes, out]``, what is summed; None: ``x``.

    Returns:
        ``[graphs, out]``.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, g: attentional_aggregation(scope / "pool", g, g.nodes))
    >>> call(g).shape, list(store)
    ((1, 5), ['pool/gate/bias', 'pool/gate/kernel'])
    """
    index = members(graph)
    logits = nn.dense(scope / "gate", x, 1) if gate is None else gate(scope / "gate", x)
    values = x if transform is None else transform(scope / "transform", x)
    return aggregate(index, edge_softmax(index, logits) * values)


@layer
def softmax_aggregation(
    scope: mg.Scope, graph: Pooled, x: Any, *, temperature: float = 1.0, learn: bool = False,
    channels: int = 1,
) -> Any:  # fmt: skip
    """A sum in which larger values weigh more (Li et al. 2020), as PyG's SoftmaxAggregation.

    ``sum of softmax(temperature * x) * x`` per graph and feature: 0 gives the mean, large ones the maximum.

    Args:
        scope: holds ``temperature [channels]``, if it is learned.
        x: ``[nodes, features]``.
        temperature: what it begins with.
        channels: 1, or as many as features, for a temperature each.

    Returns:
        ``[graphs, features]``.

    >>> x = mg.asarray([[1.0], [3.0]])
    >>> from monograph_gnn import graph
    >>> pool = lambda scope, g: softmax_aggregation(scope, g, g.nodes, temperature=100.0)
    >>> mg.Store().bind(pool)(graph(x, [0], [1])).tolist()
    [[3.0]]
    """
    if channels not in (1, x.shape[-1]):
        refuse(
            scope, "softmax_aggregation", f"channels={channels} must be 1 or the {x.shape[-1]} "
            f"features of x", ArgumentError,
        )  # fmt: skip
    t: Any = temperature
    if learn:
        t = scope.parameter("temperature", (channels,), constant(temperature), x.dtype)
    index = members(graph)
    return aggregate(index, edge_softmax(index, x * t) * x)


@layer
def set2set(scope: mg.Scope, graph: Pooled, x: Any, steps: int) -> Any:
    """A recurrent query that attends to each graph's nodes (Vinyals et al. 2016), as PyG's Set2Set.

    Args:
        scope: holds the parameters of ``nn.lstm`` below ``lstm``.
        x: ``[nodes, features]``.
        steps: how often it looks.

    Returns:
        ``[graphs, 2 * features]``: the last query, and what it found.

    >>> import numpy as np
    >>> from monograph_gnn import graph
    >>> g = graph(np.ones((3, 5), "float32"), [0, 1], [1, 2])
    >>> mg.Store(seed=0).bind(lambda scope, g: set2set(scope / "pool", g, g.nodes, 3))(g).shape
    (1, 10)
    """
    index, width = members(graph), x.shape[-1]
    state: tuple = (mg.zeros((index.num_receivers, width), dtype=x.dtype),) * 2
    seen = mg.concat(state, axis=-1)
    for _ in range(steps):
        query, *state = nn.lstm(
            scope.shared("lstm"), seen[:, None], width, initial_state=state, return_state=True
        )
        logits = mg.sum(x * received(index, query), axis=-1, keepdims=True)
        found = aggregate(index, edge_softmax(index, logits) * x)
        seen = mg.concat([query, found], axis=-1)
    return mg.where(index.in_degrees[:, None] > 0, seen, 0)  # without nodes, nothing is asked


def by_score(index: EdgeIndex, scores: Any) -> Any:
    """``[edges]``, the edges into each receiver from the highest of ``scores [edges]`` to the lowest.

    Receivers keep their places; edges of one score stay in order; padding stays last.
    """
    order = mg.argsort(scores, descending=True)
    of = mg.take(mg.asarray(index.receivers), order)
    return mg.take(order, mg.argsort(of))


@layer
def sort_aggregation(scope: mg.Scope, graph: Pooled, x: Any, k: int) -> Any:
    """The ``k`` nodes of each graph whose last feature is largest (Zhang et al. 2018), side by side.

    As PyG's SortAggregation.

    Args:
        x: ``[nodes, features]``.

    Returns:
        ``[graphs, k * features]``, zeros where a graph has fewer nodes.

    >>> x = mg.asarray([[1.0], [3.0], [2.0]])
    >>> from monograph_gnn import graph
    >>> mg.Store().bind(lambda s, g: sort_aggregation(s, g, g.nodes, 2))(graph(x, [], [])).tolist()
    [[3.0, 2.0]]
    """
    if k < 1:
        refuse(scope, "sort_aggregation", f"k={k} must be at least 1", ArgumentError)
    index = members(graph)
    offsets, n = mg.asarray(index.offsets), index.num_edges
    places = offsets[:-1, None] + mg.arange(k, dtype="int32")
    there = places < offsets[1:, None]
    if not n:
        return mg.zeros((there.shape[0], k * math.prod(x.shape[1:])), dtype=x.dtype)
    rows = mg.take(by_score(index, x[:, -1]), mg.minimum(places, n - 1))
    values = mg.where(there[..., None], mg.take(x, rows, axis=0), 0)
    return mg.reshape(values, (there.shape[0], k * x.shape[-1]))

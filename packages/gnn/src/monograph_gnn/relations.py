"""`hetero`: any layer over a graph of several types, relation by relation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import monograph as mg
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .authoring import layer
from .hetero_batches import HeteroBatch, Relation, relation_name

JOINS: dict[str, Callable[[list[Any]], Any]] = {
    "sum": lambda ys: sum(ys[1:], ys[0]),
    "mean": lambda ys: sum(ys[1:], ys[0]) / len(ys),
    "max": lambda ys: mg.max(mg.stack(ys), axis=0),
    "min": lambda ys: mg.min(mg.stack(ys), axis=0),
    "cat": lambda ys: mg.concat(ys, axis=-1),
    "stack": lambda ys: mg.stack(ys, axis=1),
}
"""How the results of several relations into one type become one, by name. ``stack`` puts them along a
new axis after the nodes'."""


@layer
def hetero(
    scope: mg.Scope, graph: HeteroBatch, x: Mapping[str, Any],
    layers: Mapping[Relation, Callable] | Callable, *, edges: Mapping[Relation, Any] | None = None,
    how: str | Callable[[list[Any]], Any] = "sum",
) -> dict[str, Any]:  # fmt: skip
    """A layer per relation, and their results joined by the type that receives, as PyG's HeteroConv.

    Args:
        scope: holds what each layer makes below ``sender-name-receiver``.
        graph: says who sends to whom.
        x: by type ``[nodes, features]``.
        layers: by relation ``(scope, index, x) -> [receivers, channels]``, where ``x`` is the pair of
            what senders and receivers hold, or one array where both are of one type; one function is for
            all relations of the graph, in the order of their names. Relations without a layer are left
            alone.
        edges: by relation ``[edges, ...]``: those relations' layers are called with ``edges=``, too.
        how: ``"sum"``, ``"mean"``, ``"max"``, ``"min"``, ``"cat"`` (side by side along the last axis),
            ``"stack"`` (along a new second axis), or a function of the list of results.

    Returns:
        By type, in the order of ``x``. A type that no layer's relation arrives at is left out: ``x |
        hetero(...)`` keeps what it had. Where a relation has no edges, its layer says what comes out
        (zeros and its bias, for those of this package).

    Raises:
        ArgumentError: layers or edge features for relations that the graph lacks, types that ``x``
            lacks, an unknown ``how``; all are named.

    >>> import numpy as np
    >>> from monograph_gnn import gat_conv, hetero_graph
    >>> g = hetero_graph({"user": np.ones((2, 3), "float32"), "item": np.ones((4, 5), "float32")},
    ...                  {("user", "buys", "item"): ([0, 1, 1], [3, 0, 2])})
    >>> store = mg.Store(seed=0)
    >>> call = store.bind(lambda scope, g: hetero(
    ...     scope / "first", g, g.nodes, lambda scope, index, x: gat_conv(scope, index, x, 8)))
    >>> {k: y.shape for k, y in call(g).items()}
    {'item': (4, 8)}
    """
    chosen = dict.fromkeys(sorted(graph.index), layers) if callable(layers) else dict(layers)
    edges = edges or {}
    problems = [
        f"the graph has no relation {r}; it has {', '.join(map(str, graph.index)) or 'none'}"
        for r in dict.fromkeys([*chosen, *edges])
        if r not in graph.index
    ]
    lacking = {k for r in chosen for k in (r[0], r[2])} - x.keys()
    problems += [f"x has nothing of type {k!r}" for k in sorted(lacking)]
    if isinstance(how, str) and how not in JOINS:
        problems.append(f"how={how!r}; known are {', '.join(JOINS)}")
    if problems:
        raise at_user_line(ArgumentError(f"hetero {scope.path!r}: {'; '.join(problems)}"))
    arrived: dict[str, list[Any]] = {}
    for relation, fn in chosen.items():
        sender, _, receiver = relation
        ends = x[sender] if sender == receiver else (x[sender], x[receiver])
        options = {"edges": edges[relation]} if relation in edges else {}
        y = fn(scope / relation_name(relation), graph.index[relation], ends, **options)
        arrived.setdefault(receiver, []).append(y)
    join = JOINS[how] if isinstance(how, str) else how
    return {k: join(arrived[k]) for k in x if k in arrived}

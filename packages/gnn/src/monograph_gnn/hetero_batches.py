"""`HeteroBatch`: graphs with several types of nodes and relations, many in one, padded to fixed sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .batches import (
    check_batchable,
    joined,
    joined_index,
    membership,
    misfits,
    node_graphs,
    on_host,
    padded_index,
    real_edges,
    register,
    rows,
    span_index,
    taken,
)
from .index import EdgeIndex, edge_index, edge_problems

Relation = tuple[str, str, str]
"""Type of the senders, name of the relation, type of the receivers."""


def relation_name(relation: Relation) -> str:
    """A relation in one word, such as names its variables.

    >>> relation_name(("author", "writes", "paper"))
    'author-writes-paper'
    """
    return "-".join(relation)


@dataclass(frozen=True, eq=False)
class HeteroBatch:
    """One graph, or several as one that falls into parts, of several types; a tree of arrays.

    Where there is padding, it stands last: nodes of no graph, edges of no node, graphs without nodes.

    Attributes:
        nodes: by type: ``[nodes of it, ...]`` or a tree of such arrays.
        index: by relation ``(senders' type, name, receivers' type)``.
        edges: by relation, for those of which something is known: ``[edges, ...]`` or a tree.
        graphs: ``[graphs, ...]`` or a tree of such; None.
        node_graph: by type ``[nodes]`` int32, ascending: the graph of each node. Left out: one graph.
        graph_offsets: by type ``[graphs + 1]`` int32: where each graph's nodes begin.
        num_real_graphs: ``[]`` int32: how many graphs are no padding.
    """

    nodes: Mapping[str, Any]
    index: Mapping[Relation, EdgeIndex]
    edges: Mapping[Relation, Any]
    graphs: Any = None
    node_graph: Mapping[str, Any] | None = None
    graph_offsets: Mapping[str, Any] | None = None
    num_real_graphs: Any = 1

    def __post_init__(self) -> None:
        if self.node_graph is None:
            parts = {k: node_graphs([n], n, 1) for k, n in _counts(self.nodes).items()}
            object.__setattr__(self, "node_graph", {k: of for k, (of, _) in parts.items()})
            object.__setattr__(self, "graph_offsets", {k: at for k, (_, at) in parts.items()})
            object.__setattr__(self, "num_real_graphs", np.int32(1))

    def num_nodes(self, kind: str) -> int:
        """Nodes of a type, padding included."""
        return self.node_graph[kind].shape[0]  # type: ignore[index]

    @property
    def num_graphs(self) -> int:
        """Graphs, padding included."""
        return next((x.shape[0] - 1 for x in self.graph_offsets.values()), 1)  # type: ignore[union-attr]

    def node_mask(self, kind: str) -> Any:
        """``[nodes of a type]``, which are no padding."""
        return mg.asarray(self.node_graph[kind]) < self.num_graphs  # type: ignore[index]

    def edge_mask(self, relation: Relation) -> Any:
        """``[edges of a relation]``, which are no padding."""
        return self.index[relation].edge_mask

    @property
    def graph_mask(self) -> Any:
        """``[graphs]``, which are no padding."""
        return mg.arange(self.num_graphs, dtype="int32") < mg.asarray(self.num_real_graphs)

    def membership(self, kind: str) -> EdgeIndex:
        """An edge from every node of a type to its graph: aggregating along it is pooling.

        >>> import numpy as np
        >>> g = hetero_graph({"user": np.float32([[1], [2]])}, {})
        >>> from monograph_gnn import aggregate
        >>> aggregate(g.membership("user"), g.nodes["user"], "mean").tolist()
        [[1.5]]
        """
        return membership(self.node_graph[kind], self.graph_offsets[kind])  # type: ignore[index]

    def replace(self, **changes: Any) -> HeteroBatch:
        """The same with other ``nodes``, ``edges`` or ``graphs``; of other numbers only what fits."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        kinds = ", ".join(f"{k}: {self.num_nodes(k)}" for k in self.nodes)
        edges = ", ".join(f"{relation_name(r)}: {i.num_edges}" for r, i in self.index.items())
        graphs = "" if self.num_graphs == 1 else f"{self.num_graphs} graphs; "
        return f"HeteroBatch({graphs}nodes {kinds}; edges {edges})"


register(HeteroBatch)


def _counts(nodes: Mapping[str, Any]) -> dict[str, int]:
    return {k: mg.tree.leaves(v)[0].shape[0] for k, v in nodes.items()}


def hetero_graph(
    nodes: Mapping[str, Any], edges: Mapping[Relation, tuple[Any, Any]],
    edge_features: Mapping[Relation, Any] | None = None, *, graphs: Any = None,
) -> HeteroBatch:  # fmt: skip
    """A graph of several types of nodes and relations.

    Args:
        nodes: by type: ``[nodes of it, ...]``, a tree of such arrays, or just how many there are.
        edges: by relation: ``(senders [edges], receivers [edges])``, ids among the nodes of their type.
        edge_features: by relation ``[edges, ...]`` or a tree of such.
        graphs: what is known of the graph as a whole: ``[...]`` or a tree, without an axis for graphs.

    Raises:
        ArgumentError: a relation with a type of which there are no nodes, ids out of range, features of
            another length or of no relation; all of them are named.

    >>> import numpy as np
    >>> hetero_graph({"user": np.ones((2, 3)), "item": np.ones((4, 5))},
    ...              {("user", "buys", "item"): ([0, 1, 1], [3, 0, 2])})
    HeteroBatch(nodes user: 2, item: 4; edges user-buys-item: 3)
    """
    counted = {
        k: np.zeros((v, 0), "float32") if isinstance(v, (int, np.integer)) else v
        for k, v in nodes.items()
    }
    problems = [
        f"nodes of type {k!r} are no array with a row each, nor how many there are: {v!r}"
        for k, v in counted.items()
        if not mg.tree.leaves(v) or not np.ndim(mg.tree.leaves(v)[0])
    ]
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))
    counts = {k: len(mg.tree.leaves(v)[0]) for k, v in counted.items()}
    features = dict(edge_features or {})
    problems = misfits({k: (v, counts[k]) for k, v in counted.items()})
    index, placed = dict[Relation, EdgeIndex](), dict[Relation, Any]()
    for relation, (senders, receivers) in edges.items():
        if unknown := {relation[0], relation[2]} - counts.keys():
            problems.append(f"{relation}: there are no nodes of type {', '.join(sorted(unknown))}")
            continue
        ends = np.asarray(senders), np.asarray(receivers)
        many = {"senders": counts[relation[0]], "receivers": counts[relation[2]]}
        wrong = [str(e) for e in edge_problems(ends, many)]
        if relation in features:
            wrong += misfits({"edges": (features[relation], len(ends[0]))})
        problems += [f"{relation}: {w}" for w in wrong]
        if not wrong:
            index[relation], places = edge_index(*ends, many["receivers"], many["senders"])
            placed |= {relation: taken(features[relation], places)} if relation in features else {}
    problems += [f"{r}: it has features but no edges" for r in features.keys() - edges.keys()]
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))
    return HeteroBatch(counted, index, placed, mg.tree.map(lambda x: np.asarray(x)[None], graphs))


def hetero_batch(
    graphs: Sequence[HeteroBatch], *, num_nodes: Mapping[str, int] | None = None,
    num_edges: Mapping[Relation, int] | None = None, num_graphs: int | None = None,
) -> HeteroBatch:  # fmt: skip
    """Several graphs of the same types and relations as one, padded to fixed sizes.

    Args:
        num_nodes: by type; those that are not named have as many nodes as there are.
        num_edges: by relation, likewise.

    Features of padding are zeros.

    Raises:
        ArgumentError: no graphs, graphs of other types or relations, or more of something than its size;
            all are named.
        ShapeError: graphs whose features are of other shapes.

    >>> import numpy as np
    >>> one = hetero_graph({"user": np.ones((2, 3)), "item": np.ones((1, 5))},
    ...                    {("user", "buys", "item"): ([0, 1], [0, 0])})
    >>> two = hetero_batch([one, one], num_nodes={"user": 6})
    >>> two
    HeteroBatch(2 graphs; nodes user: 6, item: 2; edges user-buys-item: 4)
    >>> two.index["user", "buys", "item"].receivers.tolist(), two.node_graph["user"].tolist()
    ([0, 0, 1, 1], [0, 0, 1, 1, 2, 2])
    """
    check_batchable(graphs)
    _check_alike(graphs)
    graphs = [hetero_unpadded(g) for g in graphs]
    first = graphs[0]
    have: dict[Any, int] = {k: sum(g.num_nodes(k) for g in graphs) for k in first.nodes}
    have |= {r: sum(g.index[r].num_edges for g in graphs) for r in first.index}
    have["graphs"] = total = sum(g.num_graphs for g in graphs)
    asked: dict[Any, int] = dict(num_nodes or {})
    asked |= num_edges or {}
    if num_graphs is not None:
        asked["graphs"] = num_graphs
    problems = [f"there are no {k!r}" for k in asked.keys() - have.keys()]
    problems += [f"{have[k]} {k!r} do not fit {n}" for k, n in asked.items() if have.get(k, 0) > n]
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))
    sizes = {k: int(asked.get(k, n)) for k, n in have.items()}
    index = {
        r: padded_index(
            joined_index([g.index[r] for g in graphs]), sizes[r], sizes[r[0]], sizes[r[2]]
        )
        for r in first.index
    }
    of = {}
    for k in first.nodes:
        counts = [np.diff(g.graph_offsets[k]) for g in graphs]  # type: ignore[index]
        of[k] = node_graphs(np.concatenate(counts), sizes[k], sizes["graphs"])
    return HeteroBatch(
        {k: joined(f"{k} nodes", [g.nodes[k] for g in graphs], sizes[k]) for k in first.nodes},
        index,
        {r: joined(f"{r} edges", [g.edges[r] for g in graphs], sizes[r]) for r in first.edges},
        joined("graphs", [g.graphs for g in graphs], sizes["graphs"]),
        {k: v[0] for k, v in of.items()}, {k: v[1] for k, v in of.items()}, np.int32(total),
    )  # fmt: skip


def _check_alike(graphs: Sequence[HeteroBatch]) -> None:
    first, problems = graphs[0], []
    for i, g in enumerate(graphs):
        for what in ("nodes", "index", "edges"):
            if odd := getattr(g, what).keys() ^ getattr(first, what).keys():
                named = ", ".join(sorted(map(repr, odd)))
                problems.append(f"graph {i} and graph 0 differ in {what}: only one has {named}")
    if problems:
        problems.append("a relation without edges is ([], [])")
        raise at_user_line(ArgumentError("; ".join(problems)))


def hetero_unpadded(g: HeteroBatch) -> HeteroBatch:
    """The batch without its padding, in NumPy's arrays.

    Raises:
        ArgumentError: it is being traced; or it has edges between its graphs and its padding.
    """
    g = on_host(g)
    graphs = int(g.num_real_graphs)
    nodes = {k: int(v[-1]) for k, v in g.graph_offsets.items()}  # type: ignore[union-attr]
    index = {r: real_edges(i, nodes[r[0]], nodes[r[2]], g) for r, i in g.index.items()}
    return HeteroBatch(
        {k: rows(v, 0, nodes[k]) for k, v in g.nodes.items()},
        index, {r: rows(v, 0, index[r].num_edges) for r, v in g.edges.items()}, rows(g.graphs, 0, graphs),
        {k: v[: nodes[k]] for k, v in g.node_graph.items()},  # type: ignore[union-attr]
        {k: v[: graphs + 1] for k, v in g.graph_offsets.items()},  # type: ignore[union-attr]
        np.int32(graphs),
    )  # fmt: skip


def hetero_unbatch(g: HeteroBatch) -> list[HeteroBatch]:
    """The graphs of a batch, each by itself; padding is left out.

    >>> import numpy as np
    >>> one = hetero_graph({"user": np.ones((2, 3))}, {("user", "knows", "user"): ([0], [1])})
    >>> hetero_unbatch(hetero_batch([one, one], num_nodes={"user": 9}))[1]
    HeteroBatch(nodes user: 2; edges user-knows-user: 1)
    """
    g, out = hetero_unpadded(g), []
    for k in range(g.num_graphs):
        spans = {t: (int(v[k]), int(v[k + 1])) for t, v in g.graph_offsets.items()}  # type: ignore[union-attr]
        nodes = {t: rows(v, *spans[t]) for t, v in g.nodes.items()}
        index, edges = dict[Relation, EdgeIndex](), dict[Relation, Any]()
        for r, i in g.index.items():
            index[r] = span_index(i, spans[r[0]], spans[r[2]])
            if r in g.edges:
                first = int(i.offsets[spans[r[2]][0]])
                edges[r] = rows(g.edges[r], first, first + index[r].num_edges)
        out.append(HeteroBatch(nodes, index, edges, rows(g.graphs, k, k + 1)))
    return out

"""`GraphBatch` and `HeteroBatch`: graphs as trees of arrays, many in one, padded to fixed sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, MonographError, ShapeError
from monograph.tracing import at_user_line

from .index import EdgeIndex, edge_index, edge_problems

Relation = tuple[str, str, str]
"""Type of the senders, name of the relation, type of the receivers."""


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """One graph, or several as one that falls into parts; a tree of arrays, so a step's argument.

    Where there is padding, it stands last: nodes of no graph, edges of no node, graphs without nodes.

    Attributes:
        nodes: ``[nodes, ...]``, or a tree of such arrays.
        index: who sends to whom.
        edges: ``[edges, ...]`` or a tree of such, in the order of `index`; None.
        graphs: ``[graphs, ...]`` or a tree of such; None.
        node_graph: ``[nodes]`` int32, ascending: the graph of each node.
        graph_offsets: ``[graphs + 1]`` int32: where each graph's nodes begin.
        num_real_graphs: ``[]`` int32: how many graphs are no padding.
    """

    nodes: Any
    index: EdgeIndex
    edges: Any
    graphs: Any
    node_graph: Any
    graph_offsets: Any
    num_real_graphs: Any

    @property
    def num_nodes(self) -> int:
        """Nodes, padding included."""
        return self.node_graph.shape[0]

    @property
    def num_graphs(self) -> int:
        """Graphs, padding included."""
        return self.graph_offsets.shape[0] - 1

    @property
    def node_mask(self) -> Any:
        """``[nodes]``, which are no padding."""
        return mg.asarray(self.node_graph) < self.num_graphs

    @property
    def edge_mask(self) -> Any:
        """``[edges]``, which are no padding."""
        return self.index.edge_mask

    @property
    def graph_mask(self) -> Any:
        """``[graphs]``, which are no padding."""
        return mg.arange(self.num_graphs, dtype="int32") < mg.asarray(self.num_real_graphs)

    @property
    def membership(self) -> EdgeIndex:
        """An edge from every node to its graph: aggregating along it is pooling.

        >>> import numpy as np
        >>> g = graph(np.float32([[1], [2]]), [0], [1])
        >>> from monograph_gnn import aggregate
        >>> aggregate(g.membership, g.nodes, "mean").tolist()
        [[1.5]]
        """
        nodes = mg.arange(self.num_nodes, dtype="int32")
        ends = mg.arange(self.num_nodes + 1, dtype="int32")
        of, offsets = mg.asarray(self.node_graph), mg.asarray(self.graph_offsets)
        return EdgeIndex(nodes, of, offsets, of, nodes, ends)

    def replace(self, **changes: Any) -> GraphBatch:
        """The same with other ``nodes``, ``edges`` or ``graphs``; of other numbers only what fits."""
        return GraphBatch(
            **{f.name: changes.get(f.name, getattr(self, f.name)) for f in fields(self)}
        )

    def __repr__(self) -> str:
        return f"GraphBatch({self.num_graphs} graphs, {self.num_nodes} nodes, {self.index.num_edges} edges)"


def _register(cls: Any) -> None:
    names = [f.name for f in fields(cls)]
    mg.tree.register(
        cls, lambda b: (None, [getattr(b, n) for n in names]), lambda _, parts: cls(*parts)
    )


_register(GraphBatch)


def graph(
    nodes: Any, senders: Any, receivers: Any, *, edges: Any = None, graphs: Any = None,
    num_nodes: int | None = None,
) -> GraphBatch:  # fmt: skip
    """One graph.

    Args:
        nodes: ``[nodes, ...]``, or a tree of such arrays; None with ``num_nodes``.
        senders, receivers: ``[edges]``, see `edge_index`.
        edges: ``[edges, ...]`` or a tree, in the order of ``senders``; they are put in the index's.
        graphs: what is known of the graph as a whole: ``[...]`` or a tree, without an axis for graphs.

    Raises:
        ShapeError: arrays of other lengths than there are nodes or edges; all of them are named.
        ArgumentError: ids out of range.

    >>> import numpy as np
    >>> graph(np.zeros((3, 5), "float32"), [0, 1], [1, 2])
    GraphBatch(1 graphs, 3 nodes, 2 edges)
    """
    if num_nodes is None:
        leaves = mg.tree.leaves(nodes)
        if not leaves:
            raise at_user_line(ArgumentError("a graph without node features needs num_nodes="))
        num_nodes = int(np.shape(leaves[0])[0]) if np.ndim(leaves[0]) else 0
    index, places = edge_index(senders, receivers, num_nodes)
    if problems := misfits({"nodes": (nodes, num_nodes), "edges": (edges, len(places))}):
        raise at_user_line(ShapeError("; ".join(problems)))
    return GraphBatch(
        nodes, index, taken(edges, places), mg.tree.map(lambda x: np.asarray(x)[None], graphs),
        np.zeros(num_nodes, "int32"), _offsets(num_nodes), np.int32(1),
    )  # fmt: skip


def _offsets(n: int) -> np.ndarray:
    return np.asarray([0, n], "int32")


def taken(features: Any, places: Any) -> Any:
    """Every array of a tree with its rows in the order of ``places``."""
    return mg.tree.map(
        lambda x: mg.take(mg.asarray(x), places, axis=0)
        if isinstance(x, mg.Array) or isinstance(places, mg.Array)
        else np.asarray(x)[places],
        features,
    )  # fmt: skip


def misfits(parts: Mapping[str, tuple[Any, int]]) -> list[str]:
    """What of the arrays of each tree has not as many rows as said."""
    return [
        f"{what}: {n} rows are needed, an array has shape {tuple(np.shape(x))}"
        for what, (tree, n) in parts.items()
        for x in mg.tree.leaves(tree)
        if not np.ndim(x) or np.shape(x)[0] != n
    ]


def batch(
    graphs: Sequence[GraphBatch], *, num_nodes: int | None = None, num_edges: int | None = None,
    num_graphs: int | None = None,
) -> GraphBatch:  # fmt: skip
    """Several graphs as one, padded to ``num_nodes``, ``num_edges`` and ``num_graphs`` (None: as many
    as there are). Features of padding are zeros.

    Raises:
        ArgumentError: no graphs, or more of something than its size; all are named.
        ShapeError: graphs whose features are of other shapes.

    >>> import numpy as np
    >>> one = graph(np.ones((2, 3), "float32"), [0], [1])
    >>> two = batch([one, one], num_nodes=8, num_edges=4, num_graphs=3)
    >>> two, two.node_mask.tolist()
    (GraphBatch(3 graphs, 8 nodes, 4 edges), [True, True, True, True, False, False, False, False])
    >>> two.index.senders.tolist(), two.index.receivers.tolist()
    ([0, 2, 8, 8], [1, 3, 8, 8])
    """
    if not graphs:
        raise at_user_line(ArgumentError("there are no graphs to batch"))
    if any(isinstance(x, mg.graph.Value) for g in graphs for x in mg.tree.leaves(g)):
        raise at_user_line(ArgumentError("graphs are batched outside of traced functions"))
    graphs = [mg.tree.map(np.asarray, unpadded(g)) for g in graphs]
    have = {
        "nodes": sum(g.num_nodes for g in graphs), "edges": sum(g.index.num_edges for g in graphs),
        "graphs": sum(g.num_graphs for g in graphs),
    }  # fmt: skip
    asked = zip(have.items(), (num_nodes, num_edges, num_graphs))
    sizes = {k: n if size is None else int(size) for (k, n), size in asked}
    if over := [f"{have[k]} {k} do not fit num_{k}={n}" for k, n in sizes.items() if have[k] > n]:
        raise at_user_line(ArgumentError("; ".join(over)))
    starts = np.cumsum([0, *[g.num_nodes for g in graphs]])
    senders = np.concatenate([g.index.senders + s for g, s in zip(graphs, starts)])
    receivers = np.concatenate([g.index.receivers + s for g, s in zip(graphs, starts)])
    index, _ = edge_index(senders, receivers, sizes["nodes"])
    index = padded_index(index, sizes["edges"])
    counts = [n for g in graphs for n in np.diff(g.graph_offsets)]
    offsets = np.cumsum([0, *counts, *[0] * (sizes["graphs"] - have["graphs"])]).astype("int32")
    of = np.repeat(np.arange(len(counts), dtype="int32"), counts)
    node_graph = np.concatenate(
        [of, np.full(sizes["nodes"] - have["nodes"], sizes["graphs"], "int32")]
    )
    return GraphBatch(
        _joined("nodes", graphs, sizes["nodes"]), index, _joined("edges", graphs, sizes["edges"]),
        _joined("graphs", graphs, sizes["graphs"]), node_graph, offsets, np.int32(have["graphs"]),
    )  # fmt: skip


def padded_index(index: EdgeIndex, num_edges: int) -> EdgeIndex:
    """The same edges, in arrays of ``num_edges``."""
    more = num_edges - index.num_edges
    filled = {
        "senders": index.num_senders, "receivers": index.num_receivers,
        "targets": index.num_receivers, "order": max(num_edges - 1, 0),
    }  # fmt: skip
    parts = {
        k: np.concatenate([getattr(index, k), np.full(more, n, "int32")]) for k, n in filled.items()
    }
    return EdgeIndex(
        offsets=index.offsets, sender_offsets=index.sender_offsets, loops=index.loops, **parts
    )


def _joined(what: str, graphs: Sequence[GraphBatch], n: int) -> Any:
    parts = [getattr(g, what) for g in graphs]

    def join(*arrays: np.ndarray) -> np.ndarray:
        more = n - sum(len(a) for a in arrays)
        return np.concatenate([*arrays, np.zeros((more, *arrays[0].shape[1:]), arrays[0].dtype)])

    try:
        return mg.tree.map(join, *parts)
    except (ValueError, MonographError) as e:
        raise at_user_line(
            ShapeError(f"{what} of the graphs are of different structures or shapes: {e}")
        ) from e


def unpadded(g: GraphBatch) -> GraphBatch:
    """The batch without its padding."""
    graphs = int(g.num_real_graphs)
    nodes, edges = int(g.graph_offsets[-1]), int(g.index.offsets[-1])
    if (nodes, edges, graphs) == (g.num_nodes, g.index.num_edges, g.num_graphs):
        return g
    i = g.index
    index = EdgeIndex(
        i.senders[:edges], i.receivers[:edges], i.offsets[: nodes + 1], i.targets[:edges],
        i.order[:edges], i.sender_offsets[: nodes + 1], loops=i.loops,
    )  # fmt: skip
    first = lambda n: lambda x: np.asarray(x)[:n]  # noqa: E731
    return GraphBatch(
        mg.tree.map(first(nodes), g.nodes), index, mg.tree.map(first(edges), g.edges),
        mg.tree.map(first(graphs), g.graphs), g.node_graph[:nodes],
        g.graph_offsets[: graphs + 1], np.int32(graphs),
    )  # fmt: skip


def unbatch(g: GraphBatch) -> list[GraphBatch]:
    """The graphs of a batch, each by itself; padding is left out.

    >>> import numpy as np
    >>> one = graph(np.ones((2, 3), "float32"), [0], [1])
    >>> unbatch(batch([one, one], num_nodes=9))
    [GraphBatch(1 graphs, 2 nodes, 1 edges), GraphBatch(1 graphs, 2 nodes, 1 edges)]
    """
    g = mg.tree.map(np.asarray, unpadded(g))
    out = []
    for k in range(g.num_graphs):
        a, b = (int(n) for n in g.graph_offsets[k : k + 2])
        first, last = (int(n) for n in (g.index.offsets[a], g.index.offsets[b]))
        index, places = edge_index(
            g.index.senders[first:last] - a, g.index.receivers[first:last] - a, b - a
        )
        part = lambda tree, lo, hi: mg.tree.map(lambda x: x[lo:hi], tree)  # noqa: E731
        made = GraphBatch(
            part(g.nodes, a, b), index, taken(part(g.edges, first, last), places),
            part(g.graphs, k, k + 1), np.zeros(b - a, "int32"), _offsets(b - a), np.int32(1),
        )  # fmt: skip
        out.append(made)
    return out


@dataclass(frozen=True, eq=False)
class HeteroBatch:
    """A graph with several types of nodes and of relations between them; a tree of arrays.

    Attributes:
        nodes: by type: ``[nodes of it, ...]`` or a tree of such arrays.
        index: by relation ``(senders' type, name, receivers' type)``.
        edges: by relation, for those of which something is known: ``[edges, ...]`` or a tree.
    """

    nodes: Mapping[str, Any]
    index: Mapping[Relation, EdgeIndex]
    edges: Mapping[Relation, Any]

    def num_nodes(self, kind: str) -> int:
        """Nodes of a type, padding included."""
        return mg.tree.leaves(self.nodes[kind])[0].shape[0]

    def replace(self, **changes: Any) -> HeteroBatch:
        """The same with other ``nodes`` or ``edges``."""
        return HeteroBatch(
            **{f.name: changes.get(f.name, getattr(self, f.name)) for f in fields(self)}
        )

    def __repr__(self) -> str:
        kinds = ", ".join(f"{k}: {self.num_nodes(k)}" for k in self.nodes)
        edges = ", ".join(f"{'-'.join(r)}: {i.num_edges}" for r, i in self.index.items())
        return f"HeteroBatch(nodes {kinds}; edges {edges})"


_register(HeteroBatch)


def hetero_graph(
    nodes: Mapping[str, Any], edges: Mapping[Relation, tuple[Any, Any]],
    edge_features: Mapping[Relation, Any] | None = None,
) -> HeteroBatch:  # fmt: skip
    """A graph of several types of nodes and relations.

    Args:
        nodes: by type: ``[nodes of it, ...]``, a tree of such arrays, or just how many there are.
        edges: by relation: ``(senders [edges], receivers [edges])``, ids among the nodes of their type.
        edge_features: by relation ``[edges, ...]`` or a tree of such.

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
    return HeteroBatch(counted, index, placed)

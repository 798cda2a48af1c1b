"""`GraphBatch`: graphs as trees of arrays, many in one, padded to fixed sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, MonographError, ShapeError
from monograph.tracing import at_user_line

from .index import EdgeIndex, edge_index


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
        return membership(self.node_graph, self.graph_offsets)

    def replace(self, **changes: Any) -> GraphBatch:
        """The same with other ``nodes``, ``edges`` or ``graphs``; of other numbers only what fits."""
        return replace(self, **changes)

    def __repr__(self) -> str:
        return f"GraphBatch({self.num_graphs} graphs, {self.num_nodes} nodes, {self.index.num_edges} edges)"


def membership(node_graph: Any, graph_offsets: Any) -> EdgeIndex:
    """An edge from every node to its graph, of the arrays that batches hold."""
    n = node_graph.shape[0]
    nodes, ends = mg.arange(n, dtype="int32"), mg.arange(n + 1, dtype="int32")
    of, offsets = mg.asarray(node_graph), mg.asarray(graph_offsets)
    return EdgeIndex(nodes, of, offsets, of, nodes, ends)


def register(cls: Any) -> None:
    """Make a dataclass a tree of its fields."""
    names = [f.name for f in fields(cls)]
    mg.tree.register(
        cls, lambda b: (None, [getattr(b, n) for n in names]), lambda _, parts: cls(*parts)
    )


register(GraphBatch)


def graph(
    nodes: Any, senders: Any, receivers: Any, *, edges: Any = None, graphs: Any = None,
    num_nodes: int | None = None, check: bool = False,
) -> GraphBatch:  # fmt: skip
    """One graph.

    Args:
        nodes: ``[nodes, ...]``, or a tree of such arrays; None with ``num_nodes``.
        senders, receivers: ``[edges]``, see `edge_index`.
        edges: ``[edges, ...]`` or a tree, in the order of ``senders``; they are put in the index's.
        graphs: what is known of the graph as a whole: ``[...]`` or a tree, without an axis for graphs.
        check: look for NaN and infinities in all features, too.

    Raises:
        ShapeError: arrays of other lengths than there are nodes or edges.
        DTypeError: ids that are no integers.
        ArgumentError: ids out of range; features that are not finite, with ``check``.

        The error is of the first kind that was found, and names all that were.

    >>> import numpy as np
    >>> graph(np.zeros((3, 5), "float32"), [0, 1], [1, 2])
    GraphBatch(1 graphs, 3 nodes, 2 edges)
    """
    if num_nodes is None:
        leaves = mg.tree.leaves(nodes)
        if not leaves:
            raise at_user_line(ArgumentError("a graph without node features needs num_nodes="))
        num_nodes = _rows(leaves[0])
    problems: list[MonographError] = []
    try:
        index, places = edge_index(senders, receivers, num_nodes)
    except MonographError as e:
        problems.append(e)
    found = misfits({"nodes": (nodes, num_nodes), "edges": (edges, _rows(senders))})
    problems += map(ShapeError, found)
    if check:
        found = not_finite({"nodes": nodes, "edges": edges, "graphs": graphs})
        problems += map(ArgumentError, found)
    if problems:
        raise at_user_line(type(problems[0])("; ".join(map(str, problems))))
    return GraphBatch(
        nodes, index, taken(edges, places), mg.tree.map(lambda x: np.asarray(x)[None], graphs),
        *_whose(np.asarray([num_nodes])), np.int32(1),
    )  # fmt: skip


def _rows(x: Any) -> int:
    return next(iter(np.shape(x)), 0)


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


def not_finite(parts: Mapping[str, Any]) -> list[str]:
    """Which arrays of each tree hold NaN or infinities, and where the first is."""
    out = []
    for what, tree in parts.items():
        for path, leaf in zip(mg.tree.paths(tree), mg.tree.leaves(tree)):
            x = np.asarray(leaf)
            bad = np.argwhere(~np.isfinite(x) if x.dtype.kind in "fc" else np.zeros(0))
            if len(bad):
                at = ", ".join(map(str, bad[0]))
                more = f" ({len(bad)} values are not finite)" if len(bad) > 1 else ""
                out.append(f"{what}{path}[{at}] is {x[tuple(bad[0])]}{more}")
    return out


def batch(
    graphs: Sequence[GraphBatch], *, num_nodes: int | None = None, num_edges: int | None = None,
    num_graphs: int | None = None,
) -> GraphBatch:  # fmt: skip
    """Several graphs as one, padded to ``num_nodes``, ``num_edges`` and ``num_graphs`` (None: as many
    as there are). Features of padding are zeros.

    Args:
        graphs: one by one or in batches, whose own padding is left out.

    Raises:
        ArgumentError: no graphs, or more of something than its size; all are named.
        ShapeError: graphs whose features are of other shapes or structures than the first one's.

    >>> import numpy as np
    >>> one = graph(np.ones((2, 3), "float32"), [0], [1])
    >>> two = batch([one, one], num_nodes=8, num_edges=4, num_graphs=3)
    >>> two, two.node_mask.tolist()
    (GraphBatch(3 graphs, 8 nodes, 4 edges), [True, True, True, True, False, False, False, False])
    >>> two.index.senders.tolist(), two.index.receivers.tolist()
    ([0, 2, 8, 8], [1, 3, 8, 8])
    """
    check_batchable(graphs)
    real = [unpadded(g) for g in graphs]
    return _padded(
        real[0] if len(real) == 1 else _concatenated(real), num_nodes, num_edges, num_graphs
    )


def take_graphs(
    g: GraphBatch, numbers: Any, *, num_nodes: int | None = None, num_edges: int | None = None,
    num_graphs: int | None = None,
) -> GraphBatch:  # fmt: skip
    """Some graphs of a batch as a batch of their own, in the order of ``numbers [taken]``.

    As ``batch([unbatch(g)[n] for n in numbers], ...)``, but without a step per graph, and without
    sorting: what training on many graphs does for every batch.

    Raises:
        ArgumentError: numbers that are no graph of ``g``, or more of something than its size.

    >>> import numpy as np
    >>> all_of_them = batch([graph(np.full((n, 1), n, "float32"), [0], [n - 1]) for n in (1, 2, 3)])
    >>> take_graphs(all_of_them, [2, 0], num_nodes=5).nodes.ravel().tolist()
    [3.0, 3.0, 3.0, 1.0, 0.0]
    """
    g = unpadded(g)
    numbers = np.asarray(numbers, "int64").reshape(-1)
    wrong = numbers[(numbers < 0) | (numbers >= g.num_graphs)]
    if wrong.size:
        raise at_user_line(ArgumentError(f"there is no graph {wrong[0]} in {g}"))
    # a graph's edges stand together, in the order of receivers and in that of senders alike
    first = g.graph_offsets[numbers].astype("int64")
    counts = g.graph_offsets[numbers + 1] - first
    first_edge = g.index.offsets[first].astype("int64")
    edge_counts = g.index.offsets[first + counts] - first_edge
    at, edges_at = _ranges(first, counts), _ranges(first_edge, edge_counts)
    moved = np.repeat(_starts(counts) - first, edge_counts).astype("int32")
    edge_moves = _starts(edge_counts) - first_edge
    index = EdgeIndex(
        g.index.senders[edges_at] + moved,
        g.index.receivers[edges_at] + moved,
        _ended(g.index.offsets[at] + np.repeat(edge_moves, counts), len(edges_at)),
        g.index.targets[edges_at] + moved,
        (g.index.order[edges_at] + np.repeat(edge_moves, edge_counts)).astype("int32"),
        _ended(g.index.sender_offsets[at] + np.repeat(edge_moves, counts), len(edges_at)),
        g.index.loops,
        taken(g.index.gates, edges_at),
    )
    made = GraphBatch(
        taken(g.nodes, at), index, taken(g.edges, edges_at), taken(g.graphs, numbers),
        *_whose(counts), np.int32(len(numbers)),
    )  # fmt: skip
    return _padded(made, num_nodes, num_edges, num_graphs)


def _concatenated(graphs: Sequence[GraphBatch]) -> GraphBatch:
    """Graphs without padding, one after another: what is sorted in each is sorted in all."""
    index = joined_index([g.index for g in graphs])
    features = {k: joined(k, [getattr(g, k) for g in graphs]) for k in ("nodes", "edges", "graphs")}
    counts = np.concatenate([g.graph_offsets[1:] - g.graph_offsets[:-1] for g in graphs])
    return GraphBatch(
        features["nodes"], index, features["edges"], features["graphs"], *_whose(counts),
        np.int32(sum(g.num_graphs for g in graphs)),
    )  # fmt: skip


def _padded(
    g: GraphBatch, num_nodes: int | None, num_edges: int | None, num_graphs: int | None
) -> GraphBatch:
    """A batch without padding, padded."""
    have = {"nodes": g.num_nodes, "edges": g.index.num_edges, "graphs": g.num_graphs}
    asked = zip(have.items(), (num_nodes, num_edges, num_graphs))
    sizes = {k: n if size is None else int(size) for (k, n), size in asked}
    if over := [f"{have[k]} {k} do not fit num_{k}={n}" for k, n in sizes.items() if have[k] > n]:
        raise at_user_line(ArgumentError("; ".join(over)))
    if sizes == have:
        return g
    nodes, graphs = sizes["nodes"], sizes["graphs"]
    index = padded_index(g.index, sizes["edges"], nodes, nodes)
    zeros = lambda tree, n: mg.tree.map(lambda x: filled(x, n, 0), tree)  # noqa: E731
    return GraphBatch(
        zeros(g.nodes, nodes), index, zeros(g.edges, sizes["edges"]),
        zeros(g.graphs, graphs), filled(g.node_graph, nodes, graphs),
        filled(g.graph_offsets, graphs + 1, g.num_nodes), g.num_real_graphs,
    )  # fmt: skip


def joined_index(parts: Sequence[EdgeIndex]) -> EdgeIndex:
    """Indices of different nodes as one: what is sorted in each is sorted in all."""
    edges, senders, receivers = (
        np.asarray([getattr(i, n) for i in parts])
        for n in ("num_edges", "num_senders", "num_receivers")
    )
    if (most := max(x.sum() for x in (edges, senders, receivers))) >= 2**31:
        raise at_user_line(ArgumentError(f"{most:,} nodes or edges are more than an int32 counts"))
    moved = lambda by, counts: np.repeat(_starts(by).astype("int32"), counts)  # noqa: E731
    whole = lambda name: np.concatenate([getattr(i, name) for i in parts])  # noqa: E731
    ends = lambda name: np.concatenate([getattr(i, name)[:-1] for i in parts])  # noqa: E731
    gates = None
    if any(i.gates is not None for i in parts):
        gates = np.concatenate([i.gated(np.ones(i.num_edges, "float32")) for i in parts])
    return EdgeIndex(
        whole("senders") + moved(senders, edges), whole("receivers") + moved(receivers, edges),
        _ended(ends("offsets") + moved(edges, receivers), edges.sum()),
        whole("targets") + moved(receivers, edges), whole("order") + moved(edges, edges),
        _ended(ends("sender_offsets") + moved(edges, senders), edges.sum()),
        all(i.loops for i in parts), gates,
    )  # fmt: skip


def padded_index(
    index: EdgeIndex, num_edges: int, senders: int | None = None, receivers: int | None = None
) -> EdgeIndex:
    """The same edges, in arrays of ``num_edges``; among so many nodes, None: as many as there are."""
    i, real = index, index.num_edges
    senders = i.num_senders if senders is None else senders
    receivers = i.num_receivers if receivers is None else receivers
    order = np.arange(num_edges, dtype="int32")  # padding comes last in both orders
    order[:real] = i.order
    return EdgeIndex(
        filled(i.senders, num_edges, senders), filled(i.receivers, num_edges, receivers),
        filled(i.offsets, receivers + 1, real), filled(i.targets, num_edges, receivers), order,
        filled(i.sender_offsets, senders + 1, real), i.loops,
        None if i.gates is None else filled(i.gates, num_edges, 1),
    )  # fmt: skip


def span_index(index: EdgeIndex, senders: tuple[int, int], receivers: tuple[int, int]) -> EdgeIndex:
    """The edges of one part of a joined index: from and into nodes ``first`` up to ``last``."""
    i, (s, t), (a, b) = index, senders, receivers
    lo, hi = int(i.offsets[a]), int(i.offsets[b])
    return EdgeIndex(
        i.senders[lo:hi] - s, i.receivers[lo:hi] - a, i.offsets[a : b + 1] - lo,
        i.targets[lo:hi] - a, i.order[lo:hi] - lo, i.sender_offsets[s : t + 1] - lo, i.loops,
        None if i.gates is None else i.gates[lo:hi],
    )  # fmt: skip


def filled(x: Any, n: int, fill: Any) -> np.ndarray:
    """``n`` rows: those of ``x``, then ``fill``."""
    x = np.asarray(x)
    out = np.full((n, *x.shape[1:]), fill, x.dtype)
    out[: len(x)] = x
    return out


def _starts(counts: Any) -> np.ndarray:
    """Where each of several parts begins that stand one after another."""
    return np.cumsum(counts) - counts


def _ranges(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """``counts[i]`` numbers from ``first[i]`` on, for one ``i`` after another."""
    return np.arange(int(counts.sum())) + np.repeat(first - _starts(counts), counts)


def _ended(offsets: np.ndarray, end: int) -> np.ndarray:
    """Where parts begin, and at last where they all end."""
    return np.append(offsets, end).astype("int32")


def _whose(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``node_graph`` and ``graph_offsets`` of graphs of so many nodes."""
    of = np.repeat(np.arange(len(counts), dtype="int32"), counts)
    return of, _ended(_starts(counts), len(of))


def joined(what: str, trees: Sequence[Any], n: int | None = None) -> Any:
    """Trees of arrays put one behind the other, and zeros up to ``n`` rows.

    Raises:
        ShapeError: trees of other structures, or arrays whose rows are of other shapes.
    """
    leaves, structure = zip(*map(mg.tree.flatten, trees))
    for k, (xs, kind) in enumerate(zip(leaves, structure)):
        shapes, wanted = ([x.shape[1:] for x in part] for part in (xs, leaves[0]))
        if kind != structure[0] or shapes != wanted:
            told = [
                ", ".join(f"{p or 'array'} {s}" for p, s in zip(mg.tree.paths(tree), part))
                or "none"
                for tree, part in ((trees[k], shapes), (trees[0], wanted))
            ]
            raise at_user_line(
                ShapeError(
                    f"{what} of graph {k} are of another structure or shape than those of graph 0: "
                    f"{told[0]} per row, there {told[1]}"
                )
            )
    whole = [np.concatenate(parts) for parts in zip(*leaves)]
    whole = whole if n is None else [filled(x, n, 0) for x in whole]
    return mg.tree.unflatten(structure[0], whole)


def check_batchable(graphs: Sequence[Any]) -> None:
    """Raise `ArgumentError` for no graphs, or such as are being traced."""
    if not graphs:
        raise at_user_line(ArgumentError("there are no graphs to batch"))
    if any(isinstance(x, mg.graph.Value) for g in graphs for x in mg.tree.leaves(g)):
        raise at_user_line(ArgumentError("graphs are batched outside of traced functions"))


def node_graphs(counts: Any, num_nodes: int, num_graphs: int) -> tuple[np.ndarray, np.ndarray]:
    """``node_graph`` and ``graph_offsets`` of graphs of so many nodes, padded."""
    of, offsets = _whose(np.asarray(counts, "int64"))
    return filled(of, num_nodes, num_graphs), filled(offsets, num_graphs + 1, len(of))


def rows(tree: Any, start: int, stop: int) -> Any:
    """These rows of every array of a tree."""
    return mg.tree.map(lambda x: np.asarray(x)[start:stop], tree)


def real_edges(index: EdgeIndex, senders: int, receivers: int, what: Any) -> EdgeIndex:
    """The edges between the first ``senders`` and ``receivers``, where all else is padding.

    Raises:
        ArgumentError: there are edges from the one to the other.
    """
    # nodes that are padding may have edges, such as loops
    i, edges = index, int(index.offsets[receivers])
    if int(i.sender_offsets[senders]) != edges or (i.senders[:edges] >= senders).any():
        raise at_user_line(ArgumentError(f"{what} has edges between its graphs and its padding"))
    return replace(
        i.first(edges), offsets=i.offsets[: receivers + 1],
        sender_offsets=i.sender_offsets[: senders + 1],
    )  # fmt: skip


def on_host(g: Any) -> Any:
    """A batch in NumPy's arrays. Raises `ArgumentError` for one that is being traced."""
    check_batchable([g])
    leaves, structure = mg.tree.flatten(g)
    if all(isinstance(x, (np.ndarray, np.generic)) for x in leaves):
        return g
    return mg.tree.unflatten(structure, [np.asarray(x) for x in leaves])


def unpadded(g: GraphBatch) -> GraphBatch:
    """The batch without its padding, in NumPy's arrays.

    Raises:
        ArgumentError: it is being traced; or it has edges between its graphs and its padding.
    """
    g = on_host(g)
    graphs, nodes = int(g.num_real_graphs), int(g.graph_offsets[-1])
    index = real_edges(g.index, nodes, nodes, g)
    edges = index.num_edges
    if (nodes, edges, graphs) == (g.num_nodes, g.index.num_edges, g.num_graphs):
        return g
    return GraphBatch(
        rows(g.nodes, 0, nodes), index, rows(g.edges, 0, edges), rows(g.graphs, 0, graphs),
        g.node_graph[:nodes], g.graph_offsets[: graphs + 1], np.int32(graphs),
    )  # fmt: skip


def unbatch(g: GraphBatch) -> list[GraphBatch]:
    """The graphs of a batch, each by itself; padding is left out.

    >>> import numpy as np
    >>> one = graph(np.ones((2, 3), "float32"), [0], [1])
    >>> unbatch(batch([one, one], num_nodes=9))
    [GraphBatch(1 graphs, 2 nodes, 1 edges), GraphBatch(1 graphs, 2 nodes, 1 edges)]
    """
    g, out = unpadded(g), []
    for k in range(g.num_graphs):
        a, b = (int(n) for n in g.graph_offsets[k : k + 2])
        index, lo = span_index(g.index, (a, b), (a, b)), int(g.index.offsets[a])
        made = GraphBatch(
            rows(g.nodes, a, b), index, rows(g.edges, lo, lo + index.num_edges), rows(g.graphs, k, k + 1),
            *_whose(np.asarray([b - a])), np.int32(1),
        )  # fmt: skip
        out.append(made)
    return out

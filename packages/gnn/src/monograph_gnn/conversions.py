"""Graphs from and to PyG, networkx and SciPy. None of them is imported before it is asked for.

A graph from elsewhere has its features by name, in dicts: ``g.nodes["x"]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .batches import GraphBatch, graph, node_graphs, unbatch, unpadded
from .hetero_batches import HeteroBatch, hetero_graph, hetero_unbatch, hetero_unpadded
from .index import EdgeIndex, edge_index
from .transforms import both_ways


def host(x: Any) -> np.ndarray:
    """A tensor of any library as a NumPy array: on the host, out of reach of its gradients."""
    for step in ("detach", "cpu", "numpy"):
        x = getattr(x, step)() if hasattr(x, step) else x
    return np.asarray(x)


# ---- PyG


def from_pyg(
    data: Any, only: Sequence[str] | None = None, graphs: Sequence[str] = ()
) -> GraphBatch | HeteroBatch:
    """A graph of PyG: ``Data``, a ``Batch`` of several, or ``HeteroData``.

    What PyG takes for features of nodes, of edges, or of the whole becomes that, by its name there:
    ``g.nodes["x"]``, ``g.edges["edge_attr"]``, ``g.graphs["y"]``. Edges get the order of an `EdgeIndex`.

    Args:
        only: the names of what to take; None: all.
        graphs: the names of what belongs to graphs as a whole. PyG tells by lengths alone, which says
            nothing where there are as many nodes, or edges, as graphs.

    Raises:
        ArgumentError: no ``edge_index``, or values that are no arrays; all are named.

    ``from_pyg(Planetoid(root, "Cora")[0])`` is a graph whose nodes hold ``x``, ``y`` and the masks.
    """
    if hasattr(data, "node_types"):
        return _from_hetero_data(data, only)
    problems = [] if _get(data, "edge_index") is not None else [_NO_EDGES]
    parts: dict[str, dict[str, np.ndarray]] = {"nodes": {}, "edges": {}, "graphs": {}}
    for name, value in _arrays(data, only, problems):
        kind = "graphs"
        if name not in graphs:
            kind = (
                "nodes" if data.is_node_attr(name) else "edges" if data.is_edge_attr(name) else kind
            )
        parts[kind][name] = value
    of, n = _get(data, "batch"), int(data.num_nodes)
    counts = [n] if of is None else np.bincount(host(of), minlength=_get(data, "num_graphs") or 0)
    for name, value in parts["graphs"].items():
        if len(counts) == 1 and value.shape[:1] != (1,):
            parts["graphs"][name] = value[None]
        elif value.shape[:1] != (len(counts),):
            problems.append(f"{name} of shape {value.shape} is not one row for each of {len(counts)} graphs")  # fmt: skip
    if of is not None and (np.diff(host(of)) < 0).any():
        problems.append("batch must be ascending")
    _raise(problems, data)
    senders, receivers = host(data.edge_index)
    made = graph(parts["nodes"], senders, receivers, edges=parts["edges"] or None, num_nodes=n)
    node_graph, offsets = node_graphs(counts, n, len(counts))
    return made.replace(
        graphs=parts["graphs"] or None, graph_offsets=offsets, node_graph=node_graph,
        num_real_graphs=np.int32(len(counts)),
    )  # fmt: skip


_NO_EDGES = "it has no edge_index (a sparse adj_t is not read; PyG's ToSparseTensor makes it last)"


def _from_hetero_data(data: Any, only: Sequence[str] | None) -> HeteroBatch:
    problems: list[str] = []
    nodes: dict[str, Any] = {}
    edges, features = {}, {}
    for kind in data.node_types:
        found = dict(_arrays(data[kind], only, problems, f"{kind}: "))
        nodes[kind] = found or int(data[kind].num_nodes)
    for relation in data.edge_types:
        where = f"{relation}: "
        if _get(data[relation], "edge_index") is None:
            problems.append(where + _NO_EDGES)
            continue
        edges[relation] = tuple(host(data[relation].edge_index))
        if found := dict(_arrays(data[relation], only, problems, where)):
            features[relation] = found
    _raise(problems, data)
    return hetero_graph(nodes, edges, features)


def _get(store: Any, name: str) -> Any:
    return getattr(store, name, None)


def _arrays(store: Any, only: Any, problems: list[str], where: str = "") -> Iterable[tuple]:
    """What a store of PyG holds by name, but for what says which nodes and edges there are."""
    names = [k for k in store.keys() if only is None or k in only]  # noqa: SIM118 - no dict
    for name in names:
        if name in ("edge_index", "batch", "ptr", "num_nodes", "adj_t") or store[name] is None:
            continue
        value = host(store[name])
        if value.dtype.kind in "biufc":
            yield name, value
        else:
            problems.append(f"{where}{name} is no array but {type(store[name]).__name__}; only= leaves it out")  # fmt: skip


def _raise(problems: list[str], source: Any) -> None:
    if problems:
        raise at_user_line(ArgumentError(f"{type(source).__name__}: {'; '.join(problems)}"))


def to_pyg(g: GraphBatch | HeteroBatch, tensor: Callable[[np.ndarray], Any]) -> Any:
    """A graph as PyG's ``Data``, several as its ``Batch``, one of several types as ``HeteroData``.

    Args:
        tensor: makes a tensor of a NumPy array: ``torch.from_numpy``. Monograph's graphs know no engine.

    Features keep the names that they have in dicts; a bare array of nodes is ``x``, of edges
    ``edge_attr``, of graphs ``y``. Padding is left out.

    Raises:
        ArgumentError: features nested deeper than in a dict, or of graphs that have several types.

    ``from_pyg(to_pyg(g, torch.from_numpy))`` has the same arrays.
    """
    from torch_geometric.data import Batch, Data, HeteroData

    made = lambda x: tensor(np.array(x))  # noqa: E731 - of its own, writable
    ends = lambda i: made(np.stack([i.senders, i.receivers]).astype("int64"))  # noqa: E731
    if isinstance(g, HeteroBatch):
        if g.graphs is not None:
            raise at_user_line(
                ArgumentError(
                    "PyG's HeteroData has no place for features of graphs; replace(graphs=None)"
                )
            )
        g = hetero_unpadded(g)
        if g.num_graphs != 1:
            return Batch.from_data_list([to_pyg(one, tensor) for one in hetero_unbatch(g)])
        data = HeteroData()
        for kind, features in g.nodes.items():
            data[kind].num_nodes = g.num_nodes(kind)
            for name, x in _named(features, "x").items():
                if np.shape(x)[1:] != (0,):  # what stands for no features
                    data[kind][name] = made(x)
        for relation, index in g.index.items():
            data[relation].edge_index = ends(index)
            for name, x in _named(g.edges.get(relation), "edge_attr").items():
                data[relation][name] = made(x)
        return data
    g = unpadded(g)
    if g.num_graphs != 1:
        return Batch.from_data_list([to_pyg(one, tensor) for one in unbatch(g)])
    parts = {"x": g.nodes, "edge_attr": g.edges, "y": g.graphs}
    found = {k: made(x) for bare, part in parts.items() for k, x in _named(part, bare).items()}
    return Data(edge_index=ends(g.index), num_nodes=g.num_nodes, **found)


def _named(features: Any, bare: str) -> Mapping[str, Any]:
    """Features by name; ``bare`` is the name of an array that has none."""
    if features is None:
        return {}
    found = features if isinstance(features, dict) else {bare: features}
    if len(mg.tree.leaves(found)) != len(found) or not all(isinstance(k, str) for k in found):
        raise at_user_line(
            ArgumentError(
                f"features must be an array or a dict of arrays by name, got "
                f"{mg.tree.describe(mg.tree.flatten(features)[1])}"
            )
        )
    return found


# ---- networkx


def from_networkx(
    G: Any, nodes: Sequence[str] = (), edges: Sequence[str] = (), graphs: Sequence[str] = (),
    dtype: Any = "float32",
) -> GraphBatch:  # fmt: skip
    """A graph of networkx; node ``i`` is ``list(G)[i]``. Edges of an undirected one go both ways.

    Args:
        nodes, edges, graphs: names of attributes to take, numbers or arrays of one shape; they come by
            name: ``g.edges["weight"]``.
        dtype: of attributes that are Python's floats. Integers become int32, arrays stay what they are.

    Raises:
        ArgumentError: attributes that are missing somewhere, no numbers, or of different shapes; all
            are named.

    >>> import networkx as nx
    >>> G = nx.Graph([("a", "b", {"weight": 0.5}), ("b", "c", {"weight": 2})])
    >>> g = from_networkx(G, edges=["weight"])
    >>> g, g.edges["weight"].tolist()
    (GraphBatch(1 graphs, 3 nodes, 4 edges), [0.5, 0.5, 2.0, 2.0])
    """
    number = {node: i for i, node in enumerate(G)}
    links = [*G.edges(data=True)]
    problems: list[str] = []
    found = {
        "node": (nodes, [*G.nodes(data=True)]), "edge": (edges, [((a, b), d) for a, b, d in links]),
        "graph": (graphs, [("G", G.graph)]),
    }  # fmt: skip
    node_features, edge_features, graph_features = (
        {k: _attribute(f"{what} attribute {k!r}", k, rows, dtype, problems) for k in names}
        for what, (names, rows) in found.items()
    )
    _raise(problems, G)
    ends = np.asarray([(number[a], number[b]) for a, b, _ in links], "int64").reshape(-1, 2).T
    senders, receivers, was = both_ways(*ends) if not G.is_directed() else (*ends, None)
    if was is not None:
        edge_features = {k: x[was] for k, x in edge_features.items()}
    return graph(
        node_features, senders, receivers, edges=edge_features or None, num_nodes=len(number),
        graphs={k: x[0] for k, x in graph_features.items()} or None,
    )  # fmt: skip


def _attribute(what: str, name: str, rows: list, dtype: Any, problems: list[str]) -> np.ndarray:
    """One attribute of all nodes or edges as an array."""
    if missing := [at for at, attributes in rows if name not in attributes]:
        problems.append(
            f"{what}: {len(missing)} of {len(rows)} have none, the first is {missing[0]!r}"
        )
        return np.zeros(0)
    values = [attributes[name] for _, attributes in rows]
    typed = any(hasattr(v, "dtype") for v in values)
    try:
        made = np.asarray([host(v) for v in values])
    except ValueError:
        shapes = sorted({np.shape(v) for v in values})
        problems.append(f"{what}: its shapes are different: {', '.join(map(str, shapes[:5]))}")
        return np.zeros(0)
    if made.dtype.kind not in "biufc":
        problems.append(f"{what}: its values are no numbers, the first is {values[0]!r}")
    elif not typed and made.dtype.kind in "iuf":
        wanted = dtype if made.dtype.kind == "f" else "int32"
        if made.dtype.kind == "f" or not made.size or np.abs(made).max() < 2**31:
            made = made.astype(wanted)
    return made


def to_networkx(g: GraphBatch, *, directed: bool = True, multi: bool = False) -> Any:
    """A graph of networkx, nodes by their numbers, attributes by the names that features have in dicts
    (a bare array of nodes is ``x``, of edges ``edge_attr``, of graphs ``y``).

    Args:
        directed: False: two edges, one each way, with the same features, become one.
        multi: a graph in which several edges may connect the same two nodes.

    Raises:
        ArgumentError: equal edges, without ``multi``; edges whose reverse is missing or has other
            features, with ``directed=False``; several graphs.

    >>> g = graph(None, [0, 1], [1, 0], edges={"weight": np.float32([2, 2])}, num_nodes=3)
    >>> to_networkx(g, directed=False).edges(data=True)
    EdgeDataView([(0, 1, {'weight': 2.0})])
    """
    import networkx as nx

    g = unpadded(g)
    s, r = np.asarray(g.index.senders, "int64"), np.asarray(g.index.receivers, "int64")
    edges = {k: np.asarray(x) for k, x in _named(g.edges, "edge_attr").items()}
    problems = [] if g.num_graphs == 1 else [f"it is {g.num_graphs} graphs; unbatch gives each"]
    pairs = s * g.num_nodes + r
    equal = len(pairs) - len(np.unique(pairs))
    if equal and not multi:
        problems.append(f"{equal} edges are there before: multi=True keeps them, remove_duplicates joins them")  # fmt: skip
    kept = np.arange(len(s))
    if not directed:
        one, other = (np.flatnonzero(mask) for mask in (s < r, s > r))
        one = one[np.argsort(pairs[one], kind="stable")]
        other = other[np.argsort((r * g.num_nodes + s)[other], kind="stable")]
        if not np.array_equal(s[one], r[other]) or not np.array_equal(r[one], s[other]):
            problems.append(
                "there are edges without a reverse; directed=True keeps them as they are"
            )
        else:
            problems += [
                f"{k} of edges is not that of their reverses"
                for k, x in edges.items() if not np.array_equal(x[one], x[other], equal_nan=x.dtype.kind in "fc")
            ]  # fmt: skip
        kept = np.flatnonzero(s <= r)
    _raise(problems, g)
    kind = {(True, False): nx.DiGraph, (True, True): nx.MultiDiGraph,
            (False, False): nx.Graph, (False, True): nx.MultiGraph}[directed, multi]  # fmt: skip
    G = kind()
    G.graph |= {k: np.asarray(x)[0].tolist() for k, x in _named(g.graphs, "y").items()}
    nodes = {k: np.asarray(x).tolist() for k, x in _named(g.nodes, "x").items()}
    G.add_nodes_from((i, {k: x[i] for k, x in nodes.items()}) for i in range(g.num_nodes))
    listed = {k: x[kept].tolist() for k, x in edges.items()}
    ends = zip(s[kept].tolist(), r[kept].tolist())
    G.add_edges_from((a, b, {k: x[i] for k, x in listed.items()}) for i, (a, b) in enumerate(ends))
    return G


# ---- SciPy


def from_scipy(matrix: Any) -> tuple[EdgeIndex, np.ndarray]:
    """A sparse matrix ``[senders, receivers]`` of SciPy: an edge per entry, also one that is 0.

    Returns:
        The index; and the entries ``[edges]``, in its order: weights.

    >>> from scipy.sparse import csr_array
    >>> index, weights = from_scipy(csr_array([[0, 2.0], [3.0, 0]]))
    >>> index.senders.tolist(), index.receivers.tolist(), weights.tolist()
    ([1, 0], [0, 1], [3.0, 2.0])
    """
    entries = matrix.tocoo()
    num_senders, num_receivers = entries.shape
    index, places = edge_index(entries.row, entries.col, num_receivers, num_senders)
    return index, np.asarray(entries.data)[places]


def to_scipy(index: EdgeIndex, weights: Any = None) -> Any:
    """The matrix ``[senders, receivers]`` of edges, a ``coo_array``; padding is left out.

    Args:
        weights: ``[edges]``; None: 1 each.

    Equal edges are entries that stand twice, whose sum counts.

    >>> to_scipy(edge_index([0, 1], [1, 0], 2)[0]).toarray().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    from scipy.sparse import coo_array

    n = int(host(index.offsets)[-1])
    data = np.ones(n, "float32") if weights is None else host(weights)[:n]
    ends = host(index.senders)[:n], host(index.receivers)[:n]
    return coo_array((data, ends), (index.num_senders, index.num_receivers))

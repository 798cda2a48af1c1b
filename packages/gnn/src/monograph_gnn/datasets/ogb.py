"""The Open Graph Benchmark (Hu et al. 2020), through its own package, where that is installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from monograph.errors import ArgumentError, FileFormatError
from monograph.tracing import at_user_line

from ..batches import GraphBatch, batch, graph
from ..hetero_batches import HeteroBatch, hetero_graph
from . import files
from .tasks import GraphTask, NodeTask, mask

_NAMES = {"node_feat": "x", "edge_feat": "edge_attr"}
_PARTS = ("train", "valid", "test")


def ogb_nodes(name: str, folder: Any = None, *, download: bool = False) -> NodeTask:
    """A dataset of node properties: ogbn-arxiv, ogbn-products, ogbn-mag, ...

    The package ogb reads it. What that keeps for itself in ``processed/`` is pickled, which runs what it
    holds: give it a folder that it filled itself.

    Args:
        folder: where ogb keeps datasets, in it or in ``ogb/`` there, ogbn-arxiv in ``ogbn_arxiv/``;
            None: in ``MONOGRAPH_DATA``.
        download: whether ogb may fill it; what is large it asks for at the terminal.

    Returns:
        The graph, with features by name: ``node_feat`` is ``x``, ``edge_feat`` is ``edge_attr``, others
        are called what ogb calls them. One of several types is a `HeteroBatch`, whose labels and masks
        are those of the one type that has labels.

    Raises:
        ArgumentError: ogb is not installed; the dataset is not in the folder; a name of another kind.
        FileFormatError: what ogb gives is not what its documentation says.
    """

    def loader() -> Any:
        from ogb.nodeproppred import NodePropPredDataset

        return NodePropPredDataset

    data = _dataset(loader, "ogbn-", name, folder, download)
    found, labels = data[0]
    parts = data.get_idx_split()
    if "edge_index_dict" in found:
        if len(labels) != 1:
            raise at_user_line(
                FileFormatError(f"{name}: labels are of one type, got {', '.join(labels)}")
            )
        ((kind, labels),) = labels.items()
        parts = {k: of[kind] for k, of in parts.items()}
        made: GraphBatch | HeteroBatch = _hetero(found)
    else:
        made = _graph(found)
    y = _labels(labels, name)
    return NodeTask(made, y, *[mask(parts[k], len(y)) for k in _PARTS])


def ogb_graphs(name: str, folder: Any = None, *, download: bool = False) -> GraphTask:
    """A dataset of graph properties: ogbg-molhiv, ogbg-molpcba, ogbg-ppa, ... See `ogb_nodes`.

    Returns:
        All graphs in one batch; classes ``[graphs]``, or ``[graphs, tasks]``, NaN where nothing is
        known; and which graphs are to train on, for validation and for test.

    Raises:
        ArgumentError, FileFormatError: as `ogb_nodes`; also labels that are no numbers.
    """

    def loader() -> Any:
        from ogb.graphproppred import GraphPropPredDataset

        return GraphPropPredDataset

    data = _dataset(loader, "ogbg-", name, folder, download)
    if not len(data):
        raise at_user_line(FileFormatError(f"{name}: there are no graphs in it"))
    graphs, labels = zip(*(data[i] for i in range(len(data))))
    parts = data.get_idx_split()
    numbers = [np.asarray(parts[k], "int64").reshape(-1) for k in _PARTS]
    return GraphTask(batch([_graph(g) for g in graphs]), _labels(labels, name), *numbers)


def _dataset(loader: Callable[[], Any], prefix: str, name: str, folder: Any, download: bool) -> Any:
    """What ogb reads, if all that it takes is there."""
    problems, cls = [], None
    if not name.startswith(prefix):
        problems.append(f"datasets of this kind are called {prefix}...")
    try:
        cls = loader()
    except ImportError as e:
        problems.append(f"the package ogb is needed: pip install ogb ({e})")
    looked, own = files.places(folder, ["ogb"]), name.replace("-", "_")
    here = [p for p in looked if (p / own).is_dir()]
    if not looked:
        problems.append("where is it? Pass folder=, or set MONOGRAPH_DATA")
    elif not here and not download:
        problems.append(
            f"there is no folder {own} in {' or '.join(map(str, looked))}; download=True lets ogb fill one"
        )
    if problems or cls is None:
        raise at_user_line(ArgumentError(f"{name}: {'; '.join(problems)}"))
    return cls(name=name, root=str((here or looked)[0]))


def _graph(found: Mapping[str, Any]) -> GraphBatch:
    """A graph of ogb's: a dict of arrays, of nodes, of edges, and how many nodes there are."""
    parts: dict[str, dict[str, np.ndarray]] = {"node": {}, "edge": {}}
    for key, x in found.items():
        if key != "edge_index" and (what := key.partition("_")[0]) in parts and x is not None:
            parts[what][_NAMES.get(key, key)] = np.asarray(x)
    return graph(
        parts["node"], *np.asarray(found["edge_index"]), edges=parts["edge"] or None,
        num_nodes=int(found["num_nodes"]),
    )  # fmt: skip


def _hetero(found: Mapping[str, Any]) -> HeteroBatch:
    """One of several types: the same dicts, by type and by relation."""
    parts: dict[str, dict[Any, dict[str, np.ndarray]]] = {"node": {}, "edge": {}}
    for key, by_type in found.items():
        if key != "edge_index_dict" and (what := key.partition("_")[0]) in parts:
            plain = key.removesuffix("_dict")
            for kind, x in (by_type or {}).items():
                if x is not None:
                    parts[what].setdefault(kind, {})[_NAMES.get(plain, plain)] = np.asarray(x)
    counts = found["num_nodes_dict"]
    edges = {relation: tuple(np.asarray(x)) for relation, x in found["edge_index_dict"].items()}
    return hetero_graph(
        {kind: parts["node"].get(kind, int(n)) for kind, n in counts.items()}, edges, parts["edge"]
    )


def _labels(labels: Any, name: str) -> np.ndarray:
    """``[rows]``, or ``[rows, tasks]`` of several: int32 of integers, else float32."""
    try:
        y = np.asarray(labels)
        y = y.reshape(len(y), -1).astype("int32" if y.dtype.kind in "iub" else "float32")
    except (ValueError, TypeError) as e:
        raise at_user_line(FileFormatError(f"{name}: its labels are no numbers: {e}")) from None
    return y[:, 0] if y.shape[1] == 1 else y

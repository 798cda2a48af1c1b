"""TU datasets: many graphs in one set of text files (Morris et al. 2020)."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monograph.errors import ArgumentError, FileFormatError
from monograph.tracing import at_user_line

from ..batches import graph
from ..transforms import remove_duplicates, remove_self_loops
from . import files
from .files import Source
from .tasks import GraphTask

_ADDRESS = "https://www.chrsmrrs.com/graphkerneldatasets"
_NEEDED = ("A", "graph_indicator")
_MORE = (
    "graph_labels", "graph_attributes", "node_labels", "node_attributes", "edge_labels",
    "edge_attributes",
)  # fmt: skip
_SIZE = 2 << 30


def tu(
    name: str, folder: Any = None, *, use_node_attr: bool = False, use_edge_attr: bool = False,
    download: bool = False, sha256: str | None = None,
) -> GraphTask:  # fmt: skip
    """A dataset of the TU collection: MUTAG, PROTEINS, ENZYMES, ... as PyG's TUDataset reads them.

    Read from ``NAME_A.txt``, ``NAME_graph_indicator.txt`` and whatever there is of ``NAME_graph_labels``,
    ``_graph_attributes``, ``_node_labels``, ``_node_attributes``, ``_edge_labels`` and
    ``_edge_attributes``, in ``folder`` or ``MONOGRAPH_DATA``, there or in ``NAME/`` or ``tu/NAME/``, or
    from the collection's ``NAME.zip`` in one of these, which is not extracted.

    Labels of nodes and of edges become one-hot features, behind attributes where those are used. Loops
    and edges that are there before are left out; features of the latter are summed.

    Args:
        use_node_attr, use_edge_attr: whether attributes are features, too.
        download: whether to take a missing ``NAME.zip`` from the collection, into ``folder``.
        sha256: the checksum that it must have. The collection publishes none, and changes files at
            times: take it from a copy that you trust.

    Returns:
        The graphs: nodes ``[nodes, features]``, edges ``[edges, features]``, each None where there are
        none; and their classes ``[graphs]`` from 0 on, or ``graph_attributes`` where there are some.

    Raises:
        ArgumentError: missing files, with all their names and where they were looked for.
        FileFormatError: files that are not as described; all that is wrong is named.
        StorageError: a download that failed.

    ``tu("MUTAG").graphs``: 188 graphs, 3371 nodes with 7 features, 7442 edges with 4.
    """
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise at_user_line(
            ArgumentError(f"tu({name!r}): a name is letters, digits, '_', '-' and '.'")
        )
    texts, where = _found(name, folder, download, sha256)
    problems: list[str] = []
    arrays = {k: _table(k, text, problems) for k, text in texts.items()}
    if not problems:
        problems = _inconsistent(arrays)
    if problems:
        raise at_user_line(FileFormatError(f"{name} in {where}: {'; '.join(problems)}"))
    return _made(arrays, use_node_attr, use_edge_attr)


def _found(
    name: str, folder: Any, download: bool, sha256: str | None
) -> tuple[dict[str, bytes], Path]:
    """The files' contents by what they hold, and where they were."""
    parts = {f"{name}_{part}.txt": part for part in (*_NEEDED, *_MORE)}
    needed = [n for n, part in parts.items() if part in _NEEDED]
    kinds = [f"tu/{name}", "tu", name]
    if (place := files.find(needed, folder, kinds)) is not None:
        there = {part: place / n for n, part in parts.items() if (place / n).is_file()}
        return {part: files.read_bytes(p) for part, p in there.items()}, place
    address, archive = f"{_ADDRESS}/{name}.zip", f"{name}.zip"
    path = files.locate(
        f"{name} (or {', '.join(needed)})", [archive], folder, kinds, download=download,
        sources={archive: Source(address, sha256.lower(), _SIZE)} if sha256 else None,
        hint=f"Take it from {address}, as it is or extracted"
        + ("." if sha256 else ", or name its checksum, sha256=, for download=True."),
    )[archive]  # fmt: skip
    data = files.read_zip(path, [*parts])
    if missing := [n for n in needed if n not in data]:
        raise at_user_line(FileFormatError(f"{path}: there is no {', '.join(missing)} in it"))
    return {parts[n]: x for n, x in data.items()}, path


_INTEGERS = ("A", "graph_indicator", "graph_labels", "node_labels", "edge_labels")


def _table(what: str, data: bytes, problems: list[str]) -> np.ndarray:
    """Numbers, a line a row, with commas between them: ``[rows, columns]``."""
    dtype = "int64" if what in _INTEGERS else "float64"
    try:
        text = files.decoded(data, what)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that there is nothing in it
            return np.loadtxt(io.StringIO(text), dtype, delimiter=",", ndmin=2, comments=None)
    except (ValueError, FileFormatError) as e:
        problems.append(f"{what}: {e}")
        return np.zeros((0, 1))


def _inconsistent(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """What of the arrays does not fit together."""
    edges, of = arrays["A"], arrays["graph_indicator"]
    out, n = [], len(of)
    if edges.size and edges.shape[1] != 2:
        return [f"A: a line is a pair of nodes, not {edges.shape[1]} numbers"]
    if of.shape[1] != 1:
        return [f"graph_indicator: a line is the number of a graph, not {of.shape[1]} numbers"]
    if n and (of.min() < 1 or (np.diff(of[:, 0]) < 0).any()):
        out.append(
            "graph_indicator: graphs must be numbered from 1, and their nodes stand together"
        )
    if edges.size and (edges.min() < 1 or edges.max() > n):
        bad = edges[(edges < 1) | (edges > n)]
        out.append(f"A: {bad.size} ids such as {bad[0]} are out of range, of {n} nodes from 1 on")
    elif edges.size and (apart := (of[edges[:, 0] - 1] != of[edges[:, 1] - 1]).sum()):
        out.append(f"A: {apart} edges connect different graphs")
    graphs = int(of.max(initial=0))
    rows = {"node": n, "edge": len(edges)}
    for what, x in arrays.items():
        kind = what.partition("_")[0]
        wanted = rows.get(kind)
        if wanted is not None and len(x) != wanted:
            out.append(f"{what}: {len(x)} lines, there are {wanted} {kind}s")
        if wanted is None and what not in _NEEDED and len(x) < graphs:
            out.append(f"{what}: {len(x)} lines, there are {graphs} graphs")
        if what == "graph_labels" and x.shape[1] != 1:
            out.append(f"{what}: a line is a class, not {x.shape[1]} numbers")
        if not np.isfinite(x).all():
            out.append(f"{what}: {(~np.isfinite(x)).sum()} numbers are not finite")
    return out


def _made(arrays: Mapping[str, np.ndarray], node_attr: bool, edge_attr: bool) -> GraphTask:
    edges, of = arrays["A"].reshape(-1, 2) - 1, arrays["graph_indicator"][:, 0].astype("int32") - 1
    attributes, classes = (arrays.get(f"graph_{k}") for k in ("attributes", "labels"))
    if attributes is not None:
        labels = attributes.astype("float32")
    elif classes is not None:
        labels = np.unique(classes[:, 0], return_inverse=True)[1].astype("int32")
    else:
        labels = np.zeros(of.max(initial=-1) + 1, "int32")
    whole = graph(
        _features(arrays, "node", node_attr), *edges.T, edges=_features(arrays, "edge", edge_attr),
        num_nodes=len(of),
    )  # fmt: skip
    offsets = np.searchsorted(of, np.arange(len(labels) + 1)).astype("int32")
    graphs = remove_duplicates(remove_self_loops(whole)).replace(
        node_graph=of, graph_offsets=offsets, num_real_graphs=np.int32(len(labels))
    )
    return GraphTask(graphs, labels)


def _features(arrays: Mapping[str, np.ndarray], what: str, attributes: bool) -> np.ndarray | None:
    """Attributes, where they are used, and labels one-hot: ``[rows, features]``; None for none."""
    parts = [arrays[f"{what}_attributes"]] if attributes and f"{what}_attributes" in arrays else []
    for column in arrays.get(f"{what}_labels", np.zeros((0, 0), "int64")).T:
        values = np.arange(column.min(), column.max() + 1) if column.size else np.zeros(0)
        parts.append(column[:, None] == values)
    return np.concatenate(parts, axis=1).astype("float32") if parts else None

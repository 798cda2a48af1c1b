"""`build_store`: a graph's file from edges that come in chunks and are never all in memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from monograph.errors import ArgumentError
from monograph.storage import refused
from monograph.tracing import at_user_line

from ..index import edge_problems
from .store import BLOCK, GraphStore, too_many


def build_store(
    path: str | os.PathLike, chunks: Iterable[tuple[Any, Any]], num_nodes: int,
    num_senders: int | None = None, *, places: bool = False,
) -> GraphStore:  # fmt: skip
    """Write the store of edges that come in chunks, and open it.

    Two passes (an external counting sort): the first counts each node's edges and lays them aside in a
    scratch file beside ``path``, the second puts every edge where it belongs. Memory is taken for 24
    bytes a node and a chunk, on disk for 12 bytes an edge (16 with places) besides the result; all but
    the result is gone afterwards.

    Args:
        path: of the file, written whole or not at all.
        chunks: an iterable of ``(senders, receivers)``, integers ``[edges of the chunk]`` each.
        num_nodes: how many nodes there are; with ``num_senders``, how many of the receiving kind.
        places: whether to keep the place of each edge in what came, 4 bytes each (8 from 2^31 edges).

    Raises:
        ArgumentError, ShapeError, DTypeError: what is wrong with a chunk, and with which.
        StorageError: the system refused.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     chunks = (([i, i + 1], [i + 1, i]) for i in range(3))
    ...     store = build_store(os.path.join(folder, "path.safetensors"), chunks, num_nodes=4)
    ...     store, store.senders.tolist()
    (GraphStore(6 edges, 4 nodes), [1, 0, 2, 1, 3, 2])
    """
    counts = {"senders": num_nodes if num_senders is None else num_senders, "receivers": num_nodes}
    if problems := [*too_many(counts)]:
        raise at_user_line(ArgumentError("; ".join(map(str, problems))))
    target = Path(path)
    with _refusals(target):
        scratch = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.")
    with scratch as folder:
        with open(Path(folder, "edges"), "w+b") as spool:
            degrees = _laid_aside(spool, chunks, counts, target)
            with _refusals(target):
                store = _sorted(spool, degrees, counts["senders"], places, folder)
        store.save(target)
        del store  # its arrays are files in the folder
    return GraphStore.open(target)


@contextlib.contextmanager
def _refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise refused("write", path, e) from e


def _laid_aside(
    spool: BinaryIO, chunks: Iterable[tuple[Any, Any]], counts: dict[str, int], path: Path
) -> np.ndarray:
    """The first pass: edges to the spool, as pairs of int32. Returns ``[receivers]``, their edges."""
    degrees = np.zeros(counts["receivers"], "int64")
    for number, (senders, receivers) in enumerate(chunks):
        ends = np.asarray(senders), np.asarray(receivers)
        if problems := [*edge_problems(ends, counts)]:
            text = "; ".join(map(str, problems))
            raise at_user_line(type(problems[0])(f"in chunk {number}: {text}"))
        pairs = np.stack([x.astype("<i4") for x in ends], axis=1)
        with _refusals(path):
            spool.write(pairs.data)
            spool.flush()
        nodes, many = np.unique(pairs[:, 1], return_counts=True)
        degrees[nodes] += many
    return degrees


def _pairs(spool: BinaryIO) -> Iterator[np.ndarray]:
    spool.seek(0)
    while raw := spool.read(8 * BLOCK):
        yield np.frombuffer(raw, "<i4").reshape(-1, 2)


def _sorted(
    spool: BinaryIO, degrees: np.ndarray, num_senders: int, places: bool, scratch: str
) -> GraphStore:
    """The second pass: every edge to its place."""
    offsets = np.zeros(len(degrees) + 1, "int64")
    np.cumsum(degrees, out=offsets[1:])
    edges = int(offsets[-1])
    made = {"senders": _file(scratch, "senders", "int32", edges)}
    if places:
        made["places"] = _file(scratch, "places", "int32" if edges < 2**31 else "int64", edges)
    free, first = offsets[:-1].copy(), 0
    for pairs in _pairs(spool):
        order = np.argsort(pairs[:, 1], kind="stable")
        nodes, starts, many = np.unique(pairs[order, 1], return_index=True, return_counts=True)
        at = np.arange(len(order)) + np.repeat(free[nodes] - starts, many)
        free[nodes] += many
        made["senders"][at] = pairs[order, 0]
        if places:
            made["places"][at] = first + order
        first += len(order)
    _order_rows(offsets, num_senders, **made)
    return GraphStore(offsets, made["senders"], num_senders, made.get("places"))


def _file(scratch: str, name: str, dtype: str, length: int) -> np.ndarray:
    if not length:  # which cannot be mapped
        return np.zeros(0, dtype)
    return np.memmap(Path(scratch, name), dtype, "w+", shape=(length,))


def _order_rows(
    offsets: np.ndarray, num_senders: int, senders: np.ndarray, places: np.ndarray | None = None
) -> None:
    """Each node's edges by sender, equal ones as they came; a block of whole nodes at a time."""
    node, nodes = 0, len(offsets) - 1
    while node < nodes:
        end = int(np.searchsorted(offsets, offsets[node] + BLOCK, "right")) - 1
        end = min(max(end, node + 1), nodes)
        part = slice(int(offsets[node]), int(offsets[end]))
        rows = np.repeat(np.arange(end - node), np.diff(offsets[node : end + 1]))
        order = np.argsort(rows * max(num_senders, 1) + senders[part], kind="stable")
        for array in (senders, places):
            if array is not None:
                array[part] = array[part][order]
        node = end

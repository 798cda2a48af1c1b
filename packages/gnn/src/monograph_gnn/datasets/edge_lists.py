"""Graphs in text files: an edge a line."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monograph.errors import ArgumentError, FileFormatError
from monograph.storage import replacing
from monograph.tracing import at_user_line

from ..batches import GraphBatch, graph, unpadded
from ..transforms import both_ways
from . import files

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def read_edges(
    path: Any, *, delimiter: str | None = None, comments: str | None = "#", header: bool = False,
    names: bool | Sequence[str] = False, directed: bool = True, num_nodes: int | None = None,
) -> tuple[GraphBatch, list[str] | None]:  # fmt: skip
    """A graph of a text file: a line is an edge's sender and receiver, and numbers that belong to it.

    Args:
        delimiter: what stands between them; None: a comma in a ``.csv`` file, a tab in a ``.tsv`` file,
            else spaces. Values may be in quotes.
        comments: what begins a comment; None: nothing does.
        header: whether the first line is none of edges.
        names: whether nodes are called by names, which are numbered in the order of their first
            appearance; or all the names there are, in their order. Otherwise they are numbers from 0 on.
        directed: False: every line is an edge each way.
        num_nodes: how many nodes there are, for numbers; None: up to the largest.

    Returns:
        The graph, without features of nodes, whose edges hold ``[edges]`` float32, or ``[edges, n]`` of
        ``n`` numbers per line, or None; and the nodes' names, None of numbers.

    Raises:
        FileFormatError: lines of different lengths or with less than two values, ids or weights that
            are no numbers, names that are not among those given.
        ArgumentError: ids out of range.
        StorageError: the file cannot be read.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "roads.csv")
    ...     _ = path.write_text("from,to,km\\nRome,Pisa,354\\nPisa,Siena,120\\n")
    ...     read_edges(path, header=True, names=True)
    (GraphBatch(1 graphs, 3 nodes, 2 edges), ['Rome', 'Pisa', 'Siena'])
    """
    path = Path(path)
    try:
        rows = _rows(path, delimiter, comments, header)
        called = None
        if names is False:
            ends = _numbers(
                rows[:, :2], "int64", "ids of nodes are no numbers; names=True takes any"
            )
        else:
            found = rows[:, :2].ravel().tolist()
            called = [*dict.fromkeys(found if names is True else names)]
            number = {name: i for i, name in enumerate(called)}
            if unknown := sorted({*found} - {*called}):
                raise ValueError(
                    f"{len(unknown)} names such as {unknown[0]!r} are not among those given"
                )
            ends, num_nodes = np.asarray([number[x] for x in found], "int64"), len(called)
        values = _numbers(rows[:, 2:], "float32", "weights are no numbers")
    except ValueError as e:
        raise at_user_line(FileFormatError(f"{path}: {e}")) from None
    senders, receivers = ends.reshape(-1, 2).T
    if not directed:
        senders, receivers, was = both_ways(senders, receivers)
        values = values[was]
    edges = {0: None, 1: values.reshape(-1)}.get(values.shape[1], values)
    n = int(ends.max(initial=-1)) + 1 if num_nodes is None else num_nodes
    return graph(None, senders, receivers, edges=edges, num_nodes=n, check=True), called


def _rows(path: Path, delimiter: str | None, comments: str | None, header: bool) -> np.ndarray:
    """The values of every line, as text: ``[lines, values]``."""
    text = files.decoded(files.read_bytes(path), path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that there is nothing in it
        rows = np.loadtxt(
            io.StringIO(text), str, ndmin=2, quotechar='"', comments=comments, skiprows=int(header),
            delimiter=delimiter or _DELIMITERS.get(path.suffix.lower()),
        )  # fmt: skip
    if not rows.size:
        return np.zeros((0, 2), str)
    if rows.shape[1] < 2:
        raise ValueError(
            f"a line is a sender and a receiver, the first is {str(rows[0, 0])!r} alone"
        )
    return np.char.strip(rows)


def _numbers(values: np.ndarray, dtype: str, problem: str) -> np.ndarray:
    try:
        return values.astype(dtype)
    except (ValueError, OverflowError) as e:
        raise ValueError(f"{problem} ({e})") from None


def write_edges(
    path: Any, g: GraphBatch, *, names: Sequence[str] | None = None, delimiter: str | None = None
) -> None:
    """Write a graph's edges as `read_edges` reads them, and what numbers belong to each.

    Args:
        names: of the nodes, in quotes; None: their numbers.
        delimiter: None: a comma to a ``.csv`` file, a tab to a ``.tsv`` file, else a space.

    Raises:
        ArgumentError: other than one name per node; features of edges that are no array ``[edges]`` or
            ``[edges, n]``.
        StorageError: the file cannot be written; one that was there stays as it was.
    """
    path, g = Path(path), unpadded(g)
    problems = []
    if names is not None and len({*names}) != g.num_nodes:
        problems.append(f"{len({*names})} different names for {g.num_nodes} nodes")
    values = np.zeros((g.index.num_edges, 0)) if g.edges is None else g.edges
    if not isinstance(values, np.ndarray) or values.ndim not in (1, 2):
        problems.append("edges hold no array [edges] or [edges, n]")
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))
    ends = np.stack([g.index.senders, g.index.receivers], 1).tolist()
    if names is not None:
        ends = [[names[a], names[b]] for a, b in ends]
    out = io.StringIO()
    writer = csv.writer(
        out, delimiter=delimiter or _DELIMITERS.get(path.suffix.lower(), " "), lineterminator="\n",
        quoting=csv.QUOTE_NONNUMERIC,
    )  # fmt: skip
    columns = (values[:, None] if values.ndim == 1 else values).tolist()
    writer.writerows([*pair, *more] for pair, more in zip(ends, columns))
    with replacing(path) as f:
        f.write(out.getvalue().encode())

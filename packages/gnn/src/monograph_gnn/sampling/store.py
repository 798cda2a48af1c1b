"""`GraphStore`: the edges of a large graph by receiver, in memory or in the pages of a file."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, ShapeError
from monograph.storage import damaged, opened
from monograph.tensorfile import (
    load_safetensors,
    parse_header,
    read_raw_header,
    save_safetensors,
)
from monograph.tracing import at_user_line

from ..index import EdgeIndex, edge_problems

FORMAT = "monograph-graph-1"
BLOCK = 1 << 20  # edges or nodes looked at in one go


@dataclass(frozen=True, eq=False)
class GraphStore:
    """The edges from one set of nodes to another (or within one), sorted by receiver, then by sender.

    The arrays may be the pages of a file (`open`): what is not looked at takes no memory. A graph with
    several relations is a mapping of such stores: ``{("author", "writes", "paper"): store, ...}``.

    Attributes:
        offsets: ``[receivers + 1]`` int64: the edges into node ``i`` are those from ``offsets[i]`` up to
            ``offsets[i + 1]``.
        senders: ``[edges]`` int32.
        num_senders: how many nodes may send.
        places: ``[edges]``, the place of each edge in the list it was built from: what is known of edges
            is put in the store's order by ``features[places]``. None where it was not kept.
        cumulative: ``[edges]`` int64, the weights summed up within each node's edges (`with_weights`).
    """

    offsets: np.ndarray
    senders: np.ndarray
    num_senders: int
    places: np.ndarray | None = None
    cumulative: np.ndarray | None = None

    @property
    def num_nodes(self) -> int:
        """Nodes that may receive."""
        return len(self.offsets) - 1

    @property
    def num_edges(self) -> int:
        """All edges."""
        return len(self.senders)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays, whether in memory or in a file."""
        return sum(a.nbytes for _, a in self._arrays())

    def _arrays(self) -> Iterable[tuple[str, np.ndarray]]:
        for name in ("offsets", "senders", "places", "cumulative"):
            if (array := getattr(self, name)) is not None:
                yield name, array

    def __repr__(self) -> str:
        nodes = f"{self.num_senders:,} -> {self.num_nodes:,}"
        if self.num_senders == self.num_nodes:
            nodes = f"{self.num_nodes:,}"
        return f"GraphStore({self.num_edges:,} edges, {nodes} nodes)"

    # making one

    @staticmethod
    def from_edges(
        senders: Any, receivers: Any, num_nodes: int, num_senders: int | None = None
    ) -> GraphStore:
        """Of a list of edges, in memory; `build_store` makes a file of one that memory does not hold.

        Args:
            senders, receivers: integers ``[edges]``, as for `edge_index`.
            num_nodes: how many nodes there are; with ``num_senders``, how many of the receiving kind.

        Raises:
            ArgumentError, ShapeError, DTypeError: as `edge_index`.

        >>> store = GraphStore.from_edges([0, 2, 1], [1, 0, 0], num_nodes=3)
        >>> store, store.senders.tolist(), store.places.tolist()
        (GraphStore(3 edges, 3 nodes), [1, 2, 0], [2, 1, 0])
        """
        ends = np.asarray(senders), np.asarray(receivers)
        counts = {
            "senders": num_nodes if num_senders is None else num_senders,
            "receivers": num_nodes,
        }
        problems = [*edge_problems(ends, counts), *too_many(counts)]
        if problems:
            raise at_user_line(type(problems[0])("; ".join(map(str, problems))))
        a, b = (x.astype("int64") for x in ends)
        places = np.argsort(b * max(counts["senders"], 1) + a, kind="stable")
        offsets = np.zeros(num_nodes + 1, "int64")
        np.cumsum(np.bincount(b, minlength=num_nodes), out=offsets[1:])
        kept = places.astype("int32")
        return GraphStore(offsets, a[places].astype("int32"), counts["senders"], kept)

    @staticmethod
    def from_index(index: EdgeIndex) -> GraphStore:
        """Of an `EdgeIndex`, padding left out; `places` are among its edges.

        >>> from monograph_gnn import edge_index
        >>> GraphStore.from_index(edge_index([0, 2, 1], [1, 0, 0], num_nodes=3)[0])
        GraphStore(3 edges, 3 nodes)
        """
        n = int(np.asarray(index.offsets)[-1])
        senders, receivers = (np.asarray(x)[:n] for x in (index.senders, index.receivers))
        return GraphStore.from_edges(senders, receivers, index.num_receivers, index.num_senders)

    def with_weights(self, weights: Any) -> GraphStore:
        """The same for sampling by weight: an edge is drawn in proportion to its own.

        Args:
            weights: ``[edges]`` in the store's order, at least 0. They are kept as 52-bit integers
                relative to the sum over each node's edges; what is above 0 stays so.

        Raises:
            ShapeError: not one per edge.
            ArgumentError: negative ones, NaN or infinity.
        """
        w = np.asarray(weights, "float64")
        if w.shape != self.senders.shape:
            raise at_user_line(ShapeError(f"weights must be [{self.num_edges}], got {w.shape}"))
        bad = np.flatnonzero(~(w >= 0) | np.isinf(w))
        if bad.size:
            raise at_user_line(
                ArgumentError(
                    f"weights[{bad[0]}] is {w[bad[0]]}; they are finite and at least 0 "
                    f"({bad.size} are not)"
                )
            )
        positive = (w > 0).astype("uint64")
        degrees = np.diff(self.offsets)
        some = np.flatnonzero(degrees)
        starts = self.offsets[some]
        # the largest first, so that their sum cannot overflow
        most = np.repeat(np.maximum.reduceat(w, starts), degrees[some]) if some.size else w
        w = np.divide(w, most, out=np.zeros_like(w), where=most > 0)
        total = np.repeat(np.add.reduceat(w, starts), degrees[some]) if some.size else w
        share = np.divide(w, total, out=np.zeros_like(w), where=total > 0)
        parts = np.maximum((share * 2.0**52).astype("uint64"), positive)
        sums = np.cumsum(parts)  # may wrap around; differences within a node do not
        before = (sums[starts] - parts[starts]) if some.size else sums
        cumulative = (sums - np.repeat(before, degrees[some])).astype("int64")
        return replace(self, cumulative=cumulative)

    # files

    def save(self, path: str | os.PathLike) -> None:
        """Write a safetensors file, all or nothing; `open` maps it.

        Raises:
            StorageError: the system refused.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "graph.safetensors")
        ...     GraphStore.from_edges([0, 2, 1], [1, 0, 0], num_nodes=3).save(path)
        ...     GraphStore.open(path)
        GraphStore(3 edges, 3 nodes)
        """
        note = {"format": FORMAT, "num_senders": str(self.num_senders)}
        save_safetensors(dict(self._arrays()), path, note)

    @staticmethod
    def open(path: str | os.PathLike, mapped: bool = True) -> GraphStore:
        """A saved store.

        Sizes, offsets and some blocks of edges are looked at; samplers look at every edge that they
        use; `check` looks at all.

        Args:
            mapped: the arrays are the file's own pages, read when they are needed. False: in memory.

        Raises:
            StorageError: the file cannot be read.
            FileFormatError: it is truncated, altered, or holds something else.
        """
        arrays = {k: np.asarray(a) for k, a in load_safetensors(path, mapped).items()}
        note = _metadata(path)
        try:
            if note.get("format") != FORMAT:
                raise ValueError(f"its format is {note.get('format')!r}, not {FORMAT!r}")
            store = _assembled(arrays, int(note["num_senders"]))
            store._look(np.unique(np.linspace(0, store.num_edges - 1, 8, dtype="int64")), 4096)
        except (ValueError, KeyError) as e:
            raise damaged(path, f"it is no graph store ({e})") from None
        return store

    def check(self) -> GraphStore:
        """Look at every edge. Returns the store.

        Raises:
            ArgumentError: a sender out of range, or one out of order.
        """
        try:
            self._look(np.arange(0, self.num_edges, BLOCK), BLOCK)
        except ValueError as e:
            raise at_user_line(ArgumentError(str(e))) from None
        return self

    def _look(self, starts: np.ndarray, length: int) -> None:
        """Raise ValueError for edges of these blocks that are out of range or out of order."""
        for start in starts.tolist():
            ids = self.senders[start : start + length + 1]
            bad = np.flatnonzero((ids < 0) | (ids >= self.num_senders))
            if bad.size:
                at = start + int(bad[0])
                raise ValueError(f"senders[{at}] is {ids[bad[0]]}, of {self.num_senders} nodes")
            falls = start + 1 + np.flatnonzero(ids[1:] < ids[:-1])
            first = self.offsets[np.minimum(np.searchsorted(self.offsets, falls), self.num_nodes)]
            if (within := falls[first != falls]).size:
                raise ValueError(
                    f"the senders into one node must ascend; senders[{within[0]}] falls"
                )

    # questions

    def has_edge(self, senders: Any, receivers: Any) -> np.ndarray:
        """Which pairs are edges: bool, of the shape that ``senders`` and ``receivers`` broadcast to.

        Raises:
            ArgumentError: ids out of range.

        >>> GraphStore.from_edges([0, 2], [1, 0], num_nodes=3).has_edge([0, 1], [1, 0]).tolist()
        [True, False]
        """
        s, r = np.broadcast_arrays(np.asarray(senders), np.asarray(receivers))
        s = check_ids("senders", s, self.num_senders)
        r = check_ids("receivers", r, self.num_nodes)
        low, high = self.offsets[r], self.offsets[r + 1]
        end = high
        while True:  # a binary search per pair, all at once
            open_ = low < high
            if not open_.any():
                break
            middle = (low + high) >> 1
            less = self.senders[np.where(open_, middle, 0)] < s
            low, high = (
                np.where(open_ & less, middle + 1, low),
                np.where(open_ & ~less, middle, high),
            )
        within = low < end
        return within & (self.senders[np.where(within, low, 0)] == s) if self.num_edges else within


def too_many(counts: dict[str, int]) -> list[ArgumentError]:
    """What is wrong with numbers of nodes, by the end of edges that they are of."""
    return [
        ArgumentError(f"{n:,} {k} are no number of nodes that an int32 counts")
        for k, n in counts.items()
        if not 0 <= n < 2**31
    ]


def check_ids(name: str, ids: np.ndarray, n: int) -> np.ndarray:
    """The ids, int64. Raises `ArgumentError`: out of range; `DTypeError`: no integers."""
    if ids.dtype.kind not in "iu" and ids.size:
        raise at_user_line(mg.errors.DTypeError(f"{name} must be integers, got {ids.dtype}"))
    bad = np.flatnonzero((ids < 0) | (ids >= n))
    if bad.size:
        more = f" ({bad.size} are out of range)" if bad.size > 1 else ""
        first = ids.reshape(-1)[bad[0]]
        raise at_user_line(ArgumentError(f"{name}: {first} is no node of {n}{more}"))
    return ids.astype("int64", copy=False)


def _metadata(path: Any) -> dict[str, str]:
    with opened(path) as f:
        return parse_header(f, read_raw_header(f, path), path).metadata


_DTYPES = {"offsets": ("int64",), "senders": ("int32",), "places": ("int32", "int64"),
           "cumulative": ("int64",)}  # fmt: skip


def _assembled(arrays: dict[str, np.ndarray], num_senders: int) -> GraphStore:
    """The store of a file's arrays. Raises ValueError with all that is wrong."""
    wrong = [f"there is no array {n!r}" for n in ("offsets", "senders") if n not in arrays]
    wrong += [f"{n!r} is no array of a graph" for n in sorted(arrays.keys() - _DTYPES.keys())]
    for name, allowed in _DTYPES.items():
        a = arrays.get(name)
        if a is not None and (a.ndim != 1 or a.dtype.name not in allowed):
            wrong.append(f"{name} is {a.dtype}{list(a.shape)}, not {' or '.join(allowed)}[n]")
    if not 0 <= num_senders < 2**31:
        wrong.append(f"num_senders is {num_senders}")
    if wrong:
        raise ValueError("; ".join(wrong))
    offsets, edges = arrays["offsets"], len(arrays["senders"])
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != edges:
        ends = [int(offsets[0]), int(offsets[-1])] if len(offsets) else []
        wrong.append(f"offsets go from {ends[:1]} to {ends[1:]}, the edges from 0 to {edges}")
    for at in range(0, len(offsets), BLOCK):
        falls = np.flatnonzero(np.diff(offsets[at : at + BLOCK + 1]) < 0)
        if falls.size:
            wrong.append(f"offsets[{at + int(falls[0]) + 1}] is less than the one before")
            break
    wrong += [
        f"{n} has {len(arrays[n])} entries for {edges} edges"
        for n in ("places", "cumulative")
        if n in arrays and len(arrays[n]) != edges
    ]
    if wrong:
        raise ValueError("; ".join(wrong))
    return GraphStore(
        offsets, arrays["senders"], num_senders, arrays.get("places"), arrays.get("cumulative")
    )

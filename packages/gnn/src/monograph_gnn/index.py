"""`EdgeIndex`: who sends to whom, sorted both ways."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, DTypeError, MonographError, ShapeError
from monograph.tracing import at_user_line, tracing


@dataclass(frozen=True, eq=False)
class EdgeIndex:
    """The edges between two sets of nodes (or within one), in the order of their receivers.

    A tree of six int32 arrays, so it goes through `mg.jit` as an argument; made by `edge_index`. Edges
    that arrays hold beyond the real ones, for shapes that stay the same, have ids out of range and stand
    last: they read zeros and add to nothing.

    Attributes:
        senders: ``[edges]``, node per edge.
        receivers: ``[edges]``, ascending.
        offsets: ``[receivers + 1]``: the edges into node ``i`` are those from ``offsets[i]`` up to
            ``offsets[i + 1]``.
        targets: ``[edges]``, ``receivers[order]``.
        order: ``[edges]``, the edges sorted by sender.
        sender_offsets: ``[senders + 1]``, of `order`.
        loops: whether every node but those of padding is known to have one edge to itself (see
            `add_self_loops`).
        gates: ``[edges]``, a factor of whatever is sent along each edge, after it was weighed; None: 1.
            Layers need not know: `explain` finds by it what an edge does.
    """

    senders: Any
    receivers: Any
    offsets: Any
    targets: Any
    order: Any
    sender_offsets: Any
    loops: bool = False
    gates: Any = None

    @property
    def arrays(self) -> tuple[Any, ...]:
        """The six arrays."""
        return (
            self.senders, self.receivers, self.offsets, self.targets, self.order,
            self.sender_offsets,
        )  # fmt: skip

    @property
    def ungated(self) -> EdgeIndex:
        """The same edges, all open: for sums over edges that are no messages, such as degrees."""
        return self if self.gates is None else replace(self, gates=None)

    def gated(self, values: Any) -> Any:
        """``values [edges, ...]`` times the gates, where there are some."""
        if self.gates is None:
            return values
        gates = mg.astype(mg.asarray(self.gates), values.dtype)
        return values * mg.reshape(gates, (-1,) + (1,) * (values.ndim - 1))

    @property
    def num_edges(self) -> int:
        """Edges, padding included."""
        return self.senders.shape[0]

    @property
    def num_senders(self) -> int:
        """Nodes that may send, padding included."""
        return self.sender_offsets.shape[0] - 1

    @property
    def num_receivers(self) -> int:
        """Nodes that may receive, padding included."""
        return self.offsets.shape[0] - 1

    @property
    def edge_mask(self) -> Any:
        """``[edges]``, which are no padding."""
        return mg.asarray(self.receivers) < self.num_receivers

    @property
    def in_degrees(self) -> Any:
        """``[receivers]``, int32: how many edges each node receives from."""
        offsets = mg.asarray(self.offsets)
        return offsets[1:] - offsets[:-1]

    @property
    def out_degrees(self) -> Any:
        """``[senders]``, int32: how many edges each node sends to."""
        offsets = mg.asarray(self.sender_offsets)
        return offsets[1:] - offsets[:-1]

    def first(self, num_edges: int) -> EdgeIndex:
        """The same in arrays of ``num_edges``; what is left out must be padding."""
        per_edge = ("senders", "receivers", "targets", "order", "gates")
        held = {k: getattr(self, k) for k in per_edge}
        return replace(self, **{k: x[:num_edges] for k, x in held.items() if x is not None})

    def __repr__(self) -> str:
        nodes = f"{self.num_senders} -> {self.num_receivers}"
        if self.num_senders == self.num_receivers:
            nodes = str(self.num_receivers)
        return f"EdgeIndex({self.num_edges} edges, {nodes} nodes{', loops' if self.loops else ''})"


mg.tree.register(
    EdgeIndex,
    lambda i: (i.loops, i.arrays if i.gates is None else (*i.arrays, i.gates)),
    lambda loops, a: EdgeIndex(*(*a[:6], loops, *a[6:])),
)


def edge_index(
    senders: Any, receivers: Any, num_nodes: int, num_senders: int | None = None
) -> tuple[EdgeIndex, Any]:
    """Sort edges into an `EdgeIndex`.

    Arrays that are known are sorted at once, by NumPy, and looked at; those of a function being traced
    as a part of its graph, where edges out of range become padding.

    Args:
        senders, receivers: integers ``[edges]``: edge ``e`` goes from node ``senders[e]`` to
            ``receivers[e]``.
        num_nodes: how many nodes there are; with ``num_senders``, how many of the receiving kind.
        num_senders: how many of the sending kind, where the two ends are of different kinds.

    Returns:
        The index; and ``[edges]``, the place in ``senders`` of each of its edges: what is known of edges
        is put in its order by ``features[places]``.

    Raises:
        ShapeError: not two rows of one length.
        DTypeError: no integers.
        ArgumentError: ids out of range; names the first of them and says how many there are.

    >>> index, places = edge_index([0, 2, 1], [1, 0, 0], num_nodes=3)
    >>> index
    EdgeIndex(3 edges, 3 nodes)
    >>> index.senders.tolist(), index.receivers.tolist(), index.offsets.tolist(), places.tolist()
    ([2, 1, 0], [0, 0, 1], [0, 2, 3, 3], [1, 2, 0])
    """
    ends = tuple(known(x) for x in (senders, receivers))
    counts = {"senders": num_nodes if num_senders is None else num_senders, "receivers": num_nodes}
    if problems := [*edge_problems(ends, counts)]:
        raise at_user_line(type(problems[0])("; ".join(map(str, problems))))
    traced = any(isinstance(x, mg.graph.Value) for x in ends)
    xs = map(mg.asarray, ends) if traced else ends
    return _sorted(mg if traced else np, *xs, *counts.values())


def at_once(fn: Callable, arrays: Any, *options: Any) -> Any:
    """``fn(arrays, *options)``: of what is being traced a part of its graph, else computed now, by NumPy.

    What is known of a graph beforehand is so worked out once, though asked for in a traced function.
    """
    if any(isinstance(x, mg.graph.Value) for x in mg.tree.leaves(arrays)):
        return fn(arrays, *options)
    with tracing(None):
        made = mg.jit(lambda known: fn(known, *options)).on("numpy")(arrays)
    return mg.tree.map(lambda x: x.numpy(), made)


def known(x: Any) -> Any:
    """A NumPy array, or the value of a function being traced that it is."""
    if isinstance(x, mg.graph.Value):
        return x
    return np.asarray(x.numpy() if isinstance(x, mg.Tensor) else x)


def edge_problems(ends: Sequence[Any], counts: Mapping[str, int]) -> Iterator[MonographError]:
    """What is wrong with ends of edges: NumPy arrays, or values of which only the spec is known.

    Args:
        counts: how many nodes each end has to choose from, by its name.
    """
    for name, x in zip(counts, ends):
        dtype = np.dtype(x.dtype.numpy if isinstance(x, mg.Array) else x.dtype)
        if dtype.kind not in "iu" and tuple(x.shape) != (0,):  # an empty list is one of floats
            yield DTypeError(f"{name} must be integers, got {x.dtype}")
    shapes = [tuple(x.shape) for x in ends]
    if len(shapes[0]) != 1 or shapes[0] != shapes[1]:
        yield ShapeError(
            f"{' and '.join(counts)} must both be [edges], got {shapes[0]} and {shapes[1]}"
        )
    elif shapes[0][0] >= 2**31:
        yield ArgumentError(f"{shapes[0][0]:,} edges are more than an int32 counts")
    for (name, n), ids in zip(counts.items(), ends):
        if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
            continue
        bad = np.flatnonzero((ids < 0) | (ids >= n))
        if bad.size:
            yield ArgumentError(
                f"{name}[{bad[0]}] is {ids[bad[0]]}, of {n} nodes"
                + (f" ({bad.size} {name} are out of range)" if bad.size > 1 else "")
            )


def _sorted(xp: Any, senders: Any, receivers: Any, n_senders: int, n_receivers: int) -> Any:
    """Both orders, by NumPy or in a graph."""
    if xp is np:
        senders, receivers = (x if x.size else x.astype("int32") for x in (senders, receivers))
    else:  # those that are known were looked at
        real = (senders >= 0) & (senders < n_senders) & (receivers >= 0) & (receivers < n_receivers)
        senders = mg.where(real, senders, n_senders)
        receivers = mg.where(real, receivers, n_receivers)
    places = xp.argsort(receivers, stable=True)
    senders, receivers = xp.take(senders, places, axis=0), xp.take(receivers, places, axis=0)
    index = [*_by_sender(xp, senders, receivers, n_senders, n_receivers)]
    return EdgeIndex(*index), _int32(xp, places)


def _by_sender(
    xp: Any, senders: Any, receivers: Any, n_senders: int, n_receivers: int
) -> tuple[Any, ...]:
    """The six arrays of edges that are in the order of their receivers."""
    order = xp.argsort(senders, stable=True)
    made = (
        senders, receivers, _offsets(xp, receivers, n_receivers), xp.take(receivers, order, axis=0),
        order, _offsets(xp, xp.take(senders, order, axis=0), n_senders),
    )  # fmt: skip
    return tuple(_int32(xp, x) for x in made)


def _int32(xp: Any, x: Any) -> Any:
    return x.astype("int32") if xp is np else mg.astype(x, "int32")


def _offsets(xp: Any, ids: Any, n: int) -> Any:
    return xp.searchsorted(ids, xp.arange(n + 1, dtype=ids.dtype))

"""The steps of sampling in NumPy; `sampling.c` does the same to the last bit.

Nodes of a sample are numbered as they are found: the seeds, then those of one hop, then of two.
"""

from __future__ import annotations

from typing import NoReturn

import numpy as np
from monograph.errors import FileFormatError

from .draws import below, draw, states, uniform
from .store import GraphStore


def damaged_store(what: str, place: int) -> NoReturn:
    """Raise for a store that is not what it was when it was looked at, or was never."""
    raise FileFormatError(
        f"the graph store is damaged at {what}[{place}]: it is out of range; build it anew"
    )


def _rows(store: GraphStore, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the edges of nodes begin, and how many each has."""
    low, high = store.offsets[nodes], store.offsets[nodes + 1]
    bad = np.flatnonzero((low < 0) | (high < low) | (high > store.num_edges))
    if bad.size:
        damaged_store("offsets", int(nodes[bad[0]]))
    return low, high - low


def _some(degrees: np.ndarray, k: int, state: np.ndarray) -> np.ndarray:
    """``[nodes, k]``: k different ones of each degree, which is more than k (Floyd 1987)."""
    chosen = np.empty((len(degrees), k), "int64")
    for j in range(k):
        last = degrees - k + j
        t = below(draw(state, j), last + 1)
        taken = (chosen[:, :j] == t[:, None]).any(axis=1)
        chosen[:, j] = np.where(taken, last, t)
    return chosen


def _at_weight(sums: np.ndarray, low: np.ndarray, degrees: np.ndarray, t: np.ndarray) -> np.ndarray:
    """For each node the edge in whose share of its sums ``t`` falls, a binary search for all at once."""
    first, last = np.zeros_like(low), degrees - 1
    while (open_ := first < last).any():
        middle = (first + last) // 2
        above = sums[low + middle] > t
        last = np.where(open_ & above, middle, last)
        first = np.where(open_ & ~above, middle + 1, first)
    return first


def _weighted(
    store: GraphStore, low: np.ndarray, degrees: np.ndarray, k: int, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``[nodes, k]`` ascending, and how many of each row were found."""
    sums = store.cumulative
    assert sums is not None
    none = np.iinfo("int64").max
    chosen, found = np.full((len(low), k), none), np.zeros(len(low), "int64")
    left = sums[low + degrees - 1]

    def before(e: np.ndarray) -> np.ndarray:
        return np.where(e > 0, sums[low + np.maximum(e, 1) - 1], 0)

    for j in range(k):
        going = left > 0
        t = below(draw(state, j), np.maximum(left, 1))
        for i in range(j):
            e = np.where(chosen[:, i] == none, 0, chosen[:, i])
            passed = going & (chosen[:, i] != none) & (t >= before(e))
            t = np.where(passed, t + sums[low + e] - before(e), t)
        e = _at_weight(sums, low, degrees, t)
        chosen[:, j] = np.where(going, e, none)
        left = np.where(going, left - sums[low + e] + before(e), left)
        found += going
        chosen.sort(axis=1)
    return chosen, found


def _choose(
    store: GraphStore, low: np.ndarray, degrees: np.ndarray, k: int, replace: bool, state: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """The places of the edges that nodes take, and how many each takes."""
    sums = store.cumulative
    whole = np.full(len(low), True) if k < 0 else np.zeros(len(low), bool)
    if k >= 0 and sums is None and not replace:
        whole = degrees <= k
    counts = np.where(whole, degrees, 0)
    drawn = np.flatnonzero(~whole & (degrees > 0))
    if sums is not None:
        drawn = drawn[sums[low[drawn] + degrees[drawn] - 1] > 0]
    a, d, s = low[drawn], degrees[drawn], state[drawn]
    if replace:
        total = d if sums is None else sums[a + d - 1]
        picked = below(draw(s[:, None], np.arange(max(k, 0))), total[:, None])
        if sums is not None:
            for j in range(picked.shape[1]):
                picked[:, j] = _at_weight(sums, a, d, picked[:, j])
        counts[drawn] = k
    elif sums is not None:
        picked, counts[drawn] = _weighted(store, a, d, max(k, 0), s)
    else:
        picked = _some(d, max(k, 0), s)
        counts[drawn] = k
    starts = np.cumsum(counts) - counts
    places = np.arange(counts.sum()) - np.repeat(starts - low, counts)  # as if all were whole
    if picked.size:
        column = np.arange(picked.shape[1])
        within = column < counts[drawn][:, None]
        places[(starts[drawn][:, None] + column)[within]] = (picked + a[:, None])[within]
    return places, counts


def expand(
    store: GraphStore, frontier: np.ndarray, k: int, replace: bool, key: int, table: np.ndarray,
    nodes: np.ndarray, count: int, senders: np.ndarray, places: np.ndarray, edges: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Take up to ``k`` edges (-1: all) into each node of the frontier, and number senders that are new.

    Args:
        store: the edges.
        frontier: ``[n]`` int32 nodes, each once.
        key: of the random numbers.
        table: ``[senders]`` int32: the number of each node that has one, anything for others; so that
            it need not be cleared (Briggs and Torczon 1993).
        nodes: int32 nodes by number, of which there are ``count``.
        senders, places, edges: to be filled: per edge its sender's number (int32) and its place in the
            store (int64), per node of the frontier how many edges it took (int32).

    Returns:
        How many edges were taken, and how many nodes have a number now.

    Raises:
        FileFormatError: the store is damaged.
    """
    low, degrees = _rows(store, frontier)
    taken, edges[:] = _choose(store, low, degrees, k, replace, states(key, frontier))
    ids = store.senders[taken]
    bad = np.flatnonzero((ids < 0) | (ids >= store.num_senders))
    if bad.size:
        damaged_store("senders", int(taken[bad[0]]))
    known = (table[ids] >= 0) & (table[ids] < count)
    known[known] = nodes[table[ids[known]]] == ids[known]
    found, first = np.unique(ids[~known], return_index=True)
    fresh = found[np.argsort(first)]
    nodes[count : count + len(fresh)] = fresh
    table[fresh] = np.arange(count, count + len(fresh))
    senders[: len(ids)], places[: len(ids)] = table[ids], taken
    return len(ids), count + len(fresh)


def index_arrays(
    senders: np.ndarray, rows: np.ndarray, edges: int, num_senders: int, num_receivers: int
) -> tuple[np.ndarray, ...]:
    """The arrays of an `EdgeIndex` of ``senders [real edges]`` in the order of their receivers.

    Args:
        rows: int32, how many edges each of the first nodes has.
        edges, num_senders, num_receivers: sizes, padding included.
    """
    real = len(senders)
    pad = lambda x, value: np.concatenate(  # noqa: E731
        [x.astype("int32"), np.full(edges - real, value, "int32")]
    )
    receivers = np.repeat(np.arange(len(rows)), rows)
    order = np.argsort(senders, kind="stable")
    offsets = np.full(num_receivers + 1, real, "int32")
    offsets[0] = 0
    np.cumsum(rows, out=offsets[1 : len(rows) + 1])
    sender_offsets = np.zeros(num_senders + 1, "int32")
    np.cumsum(np.bincount(senders, minlength=num_senders), out=sender_offsets[1:])
    return (
        pad(senders, num_senders), pad(receivers, num_receivers), offsets,
        pad(receivers[order], num_receivers), pad(order, edges - 1), sender_offsets,
    )  # fmt: skip


def walk(
    store: GraphStore, starts: np.ndarray, length: int, back: float, apart: float, key: int
) -> np.ndarray:
    """``[walks, length + 1]`` int32, see `random_walks`; ``back`` and ``apart`` are 1/p and 1/q."""
    out = np.full((len(starts), length + 1), -1, "int32")
    out[:, 0] = starts
    walks = states(key, np.arange(len(starts)))
    most, even = max(back, apart, 1.0), back == apart == 1
    for step in range(length):
        going = np.flatnonzero(out[:, step] >= 0)
        low, degrees = _rows(store, out[going, step])
        some = degrees > 0
        going, low, degrees = going[some], low[some], degrees[some]
        here, tries = draw(walks[going], step), 0
        while going.size:
            places = low + below(draw(here, 2 * tries), degrees)
            to = store.senders[places]
            bad = np.flatnonzero((to < 0) | (to >= store.num_nodes))
            if bad.size:
                damaged_store("senders", int(places[bad[0]]))
            accepted = np.full(len(going), True)
            if step and not even:
                came = out[going, step - 1]
                weight = np.where(store.has_edge(to, came), 1.0, apart)
                weight = np.where(to == came, back, weight)
                accepted = uniform(draw(here, 2 * tries + 1)) * most < weight
            out[going[accepted], step + 1] = to[accepted]
            going, low, degrees, here = (x[~accepted] for x in (going, low, degrees, here))
            tries += 1
    return out

"""`partition`: the nodes of a graph in parts of one size with few edges between them.

Multilevel, as METIS does it (Karypis and Kumar 1998): pairs of close nodes become one until the graph is
small, that one is cut by growing regions, and on the way back nodes move to where their neighbours are.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .draws import Random, derived, new_key, states
from .store import GraphStore

_MATCHINGS, _MOVES = 4, 12  # rounds per level
_STARTS = 4  # regions are grown so often, the best are kept


def partition(
    store: GraphStore, parts: int, *, imbalance: float = 0.05, rng: Random = 0
) -> np.ndarray:
    """Cut a graph into parts of nearly one size with few edges between them.

    Edges count whichever way they go. The graph is held in memory, some 60 bytes an edge.

    Args:
        parts: how many.
        imbalance: how much larger or smaller than the mean a part may be (whole nodes are always
            allowed).
        rng: a seed, several, or a NumPy generator.

    Returns:
        ``[nodes]`` int32, the part of each node, from 0.

    Raises:
        ArgumentError: a store between two kinds of nodes, or numbers out of range.

    >>> path = GraphStore.from_edges(range(1, 8), range(7), num_nodes=8)
    >>> of = partition(path, 2)
    >>> np.bincount(of).tolist(), edge_cut(path, of)
    ([4, 4], 0.142857...)
    """
    problems = []
    if store.num_senders != store.num_nodes:
        problems.append(f"one set of nodes can be cut, {store} has two")
    if type(parts) is not int or parts < 1:
        problems.append(f"parts is an integer of at least 1, got {parts!r}")
    if not imbalance >= 0:
        problems.append(f"imbalance is at least 0, got {imbalance!r}")
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))
    n, key = store.num_nodes, new_key(rng)
    mean = n / parts
    high = int(max(np.ceil(mean), np.floor(mean * (1 + imbalance))))
    levels, maps = [_whole(store)], list[np.ndarray]()
    while levels[-1].size > max(30 * parts, 200):
        coarse, of = _coarsened(levels[-1], max(n // (4 * parts), 1), derived(key, len(maps)))
        if coarse.size > 0.95 * levels[-1].size:
            break
        levels.append(coarse)
        maps.append(of)
    bounds = int(min(np.floor(mean), np.ceil(mean * (1 - imbalance)))), high
    tries = [
        _moved(levels[-1], _grown(levels[-1], parts, k), parts, *bounds, k)
        for k in (derived(key, 1000 + i) for i in range(_STARTS))
    ]
    out = min(tries, key=lambda out: levels[-1].cut(out))
    for depth in range(len(maps) - 1, -1, -1):
        out = _moved(levels[depth], out[maps[depth]], parts, *bounds, derived(key, 2000 + depth))
    out = _evened(levels[0], out, parts, *bounds)
    return out.astype("int32")


def edge_cut(store: GraphStore, parts: Any) -> float:
    """The share of edges whose ends are in different parts; loops do not count.

    >>> edge_cut(GraphStore.from_edges([0, 1], [1, 2], num_nodes=3), [0, 0, 1])
    0.5
    """
    of = np.asarray(parts)
    receivers = np.repeat(np.arange(store.num_nodes), np.diff(store.offsets))
    real = store.senders != receivers
    cut = (of[store.senders] != of[receivers]) & real
    return float(cut.sum() / max(real.sum(), 1))


@dataclass(frozen=True)
class _Level:
    """An undirected graph: each edge both ways, by its first end; weights of edges and of nodes."""

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray
    nodes: np.ndarray

    @property
    def size(self) -> int:
        """Nodes."""
        return len(self.nodes)

    def cut(self, out: np.ndarray) -> float:
        """The weight of edges between parts."""
        return float(self.weight[out[self.first] != out[self.second]].sum())


def _merged(nodes: np.ndarray, a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> _Level:
    """The level of these nodes and edges, those between the same two as one, loops left out."""
    real, size = a != b, max(len(nodes), 1)
    keys, inverse = np.unique(a[real] * size + b[real], return_inverse=True)
    return _Level(keys // size, keys % size, np.bincount(inverse, weight[real], len(keys)), nodes)


def _whole(store: GraphStore) -> _Level:
    r = np.repeat(np.arange(store.num_nodes), np.diff(store.offsets))
    s = store.senders.astype("int64")
    n = store.num_nodes
    return _merged(np.ones(n, "int64"), np.append(s, r), np.append(r, s), np.ones(2 * len(s)))


def _last_of_rows(rows: np.ndarray) -> np.ndarray:
    """Where each run of equal numbers ends."""
    return np.flatnonzero(np.append(rows[1:] != rows[:-1], len(rows) > 0)) if len(rows) else rows


def _coarsened(g: _Level, heaviest: int, key: int) -> tuple[_Level, np.ndarray]:
    """Pairs of nodes as one, those with the heaviest edges between them; the node each has become."""
    mate = np.full(g.size, -1)
    for turn in range(_MATCHINGS):
        fits = (mate[g.first] < 0) & (mate[g.second] < 0)
        fits &= g.nodes[g.first] + g.nodes[g.second] <= heaviest
        a, b, w = g.first[fits], g.second[fits], g.weight[fits]
        if not len(a):
            break
        chance = states(derived(key, turn), np.minimum(a, b) * g.size + np.maximum(a, b))
        order = np.lexsort((chance, w, a))  # a tie is broken alike from both ends
        best = order[_last_of_rows(a[order])]
        wish = np.full(g.size, -1)
        wish[a[best]] = b[best]
        mutual = np.flatnonzero((wish >= 0) & (wish[wish] == np.arange(g.size)))
        mate[mutual] = wish[mutual]
    leads = (mate < 0) | (np.arange(g.size) < mate)
    of = np.cumsum(leads) - 1
    of[~leads] = of[mate[~leads]]
    nodes = np.bincount(of, g.nodes, int(leads.sum())).astype("int64")
    return _merged(nodes, of[g.first], of[g.second], g.weight), of


def _grown(g: _Level, parts: int, key: int) -> np.ndarray:
    """Regions grown one after the other, each by the node that hangs on it most."""
    out = np.full(g.size, -1)
    offsets = np.searchsorted(g.first, np.arange(g.size + 1)).tolist()
    order = np.argsort(states(key, np.arange(g.size)), kind="stable").tolist()
    second, weight, nodes = g.second.tolist(), g.weight.tolist(), g.nodes.tolist()
    left, seeds = sum(nodes), iter(order)
    held = [False] * g.size
    edge: dict[int, float] = {}  # the border of the last region: the next begins at it
    for part in range(parts):
        goal, size = left / (parts - part), 0
        heap = [(w, v) for v, w in edge.items() if not held[v]][:1]
        edge = {}
        while size < goal and left:
            v = heapq.heappop(heap)[1] if heap else next((v for v in seeds if not held[v]), None)
            if v is None:
                break
            if held[v]:
                continue
            if size and size + nodes[v] > goal + nodes[v] / 2 and part < parts - 1:
                break
            held[v] = True
            out[v], size, left = part, size + nodes[v], left - nodes[v]
            edge.pop(v, None)
            for e in range(offsets[v], offsets[v + 1]):
                if not held[u := second[e]]:
                    edge[u] = edge.get(u, 0.0) - weight[e]
                    heapq.heappush(heap, (edge[u], u))
    out[out < 0] = parts - 1
    return out


def _moved(g: _Level, out: np.ndarray, parts: int, low: int, high: int, key: int) -> np.ndarray:
    """Nodes moved to the part that most of their neighbours are in, as far as sizes stay in bounds."""
    for turn in range(2 * _MOVES):
        sizes = np.bincount(out, g.nodes, parts).astype("int64")
        over, under = sizes > high, sizes < low
        if turn >= _MOVES and not (over | under).any():
            break
        node, to, gain = _wishes(g, out, parts, sizes, low, high)
        chance = states(derived(key, turn), node)
        must = over[out[node]] | under[to]
        # half of those that may at a time, so that neighbours do not change places
        going = must | (gain > 0) & (chance >> np.uint64(63) > 0)
        node, to, gain, must = node[going], to[going], gain[going], must[going]
        if turn and not len(node):
            break
        # those that must go only as far as they must; then nobody further than there is room
        spare = np.where(
            over, sizes - high + g.nodes.max(initial=1) - 1, np.maximum(sizes - low, 0)
        )
        keep = _within(out[node], np.where(must, 0, 1), -gain, g.nodes[node], spare)
        node, to, gain, must = node[keep], to[keep], gain[keep], must[keep]
        lack = np.where(
            under, low - sizes + g.nodes.max(initial=1) - 1, np.maximum(high - sizes, 0)
        )
        keep = _within(to, np.where(must, 0, 1), -gain, g.nodes[node], lack)
        out = out.copy()
        out[node[keep]] = to[keep]
    return out


def _evened(g: _Level, out: np.ndarray, parts: int, low: int, high: int) -> np.ndarray:
    """What moving to neighbours could not even out: nodes go from the largest part to the smallest."""
    sizes = np.bincount(out, minlength=parts)
    while g.size and (sizes.max() > high or sizes.min() < low):
        most, least = sizes.argmax(), sizes.argmin()
        down = min(sizes[most] - high, high - sizes[least])
        up = min(low - sizes[least], sizes[most] - low)
        many = max(1, down, up)
        own = np.bincount(g.first, g.weight * (out[g.first] == out[g.second]), g.size)
        members = np.flatnonzero(out == most)
        out[members[np.argsort(own[members], kind="stable")[:many]]] = least
        sizes = np.bincount(out, minlength=parts)
    return out


def _within(
    group: np.ndarray, rank: np.ndarray, then: np.ndarray, weight: np.ndarray, room: np.ndarray
) -> np.ndarray:
    """Which ones fit the room of their group, taken in order of ``rank``, ``then``."""
    if not len(group):
        return np.zeros(0, bool)
    order = np.lexsort((then, rank, group))
    of, sums = group[order], np.cumsum(weight[order])
    starts = np.flatnonzero(np.append(True, of[1:] != of[:-1]))
    before = np.repeat(sums[starts] - weight[order][starts], np.diff(np.append(starts, len(of))))
    keep = np.empty(len(order), bool)
    keep[order] = sums - before <= room[of]
    return keep


def _wishes(
    g: _Level, out: np.ndarray, parts: int, sizes: np.ndarray, low: int, high: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per node the best other part that has room, one that lacks nodes first; what is gained by it."""
    keys, inverse = np.unique(g.first * parts + out[g.second], return_inverse=True)
    pull = np.bincount(inverse, g.weight, len(keys))
    node, to = keys // parts, keys % parts
    mine = to == out[node]
    own = np.zeros(g.size)
    own[node[mine]] = pull[mine]
    other = ~mine & (sizes[to] < high) & (sizes[out[node]] > low)
    node, to, pull = node[other], to[other], pull[other]
    order = np.lexsort((pull, sizes[to] < low, node))
    best = order[_last_of_rows(node[order])]
    node, to, gain = node[best], to[best], pull[best] - own[node[best]]
    return node, to, gain

"""Negative sampling: pairs that are no edges, triples that are not known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line

from .draws import Random, below, derived, draw, new_key, states
from .store import GraphStore, check_ids

_TRIES, _FEW = 32, 1 << 24
ENDS = {"sender": (0,), "receiver": (1,), "both": (0, 1)}
"""What `corrupt_edges` may replace, by name."""


def negative_edges(
    store: GraphStore, count: int, *, loops: bool = False, rng: Random = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of nodes between which there is no edge, each pair as likely as any other.

    Args:
        count: how many; the same may come twice.
        loops: whether a node and itself may be one; they never are where the two ends differ in kind.

    Returns:
        Senders and receivers, ``[count]`` int32.

    Raises:
        ArgumentError: every pair is an edge.

    >>> store = GraphStore.from_edges([0, 0, 1], [1, 2, 0], num_nodes=3)
    >>> sorted({(int(s), int(r)) for s, r in zip(*negative_edges(store, 100))})
    [(1, 2), (2, 0), (2, 1)]
    """
    n, same = store.num_nodes, store.num_senders == store.num_nodes

    def exists(_: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        s, r = pairs // n, pairs % n
        return store.has_edge(s, r) | (same and not loops) & (s == r)

    every, key = store.num_senders * n, new_key(rng)
    if every <= _FEW and 2 * store.num_edges > every:  # few are free: all of them, looked up once
        free = np.arange(every)
        free = free[~exists(free, free)]
        found = np.full(count, bool(len(free)))
        pairs = (
            free[below(draw(states(key, np.arange(count)), 0), len(free))] if len(free) else free
        )
    else:
        pairs, found = _free(np.full(count, every), exists, key)
    if not found.all():
        raise at_user_line(ArgumentError(f"{store}: there is no pair without an edge"))
    return (pairs // max(n, 1)).astype("int32"), (pairs % max(n, 1)).astype("int32")


def corrupt_edges(
    store: GraphStore, senders: Any, receivers: Any, count: int = 1, *, end: str = "receiver",
    loops: bool = False, rng: Random = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """For every edge ``count`` pairs that are none, with one end replaced by any other node.

    Args:
        senders, receivers: integers ``[edges]``.
        end: what is replaced, ``"receiver"``, ``"sender"``, or ``"both"``: one of them by chance.
        loops: whether a node and itself may be such a pair.

    Returns:
        Senders and receivers ``[edges, count]`` int32; and bool of that shape, False where every other
        node makes an edge, too: there the edge itself stands.

    Raises:
        ArgumentError: ids out of range, or an unknown ``end``.

    >>> store = GraphStore.from_edges([0, 0, 1], [1, 2, 0], num_nodes=3)
    >>> s, r, found = corrupt_edges(store, [0, 1], [1, 0], 4, end="sender")
    >>> s.tolist(), r.tolist(), found.all()
    ([[2, 2, 2, 2], [2, 2, 2, 2]], [[1, 1, 1, 1], [0, 0, 0, 0]], ...True...)
    """
    ends: tuple[np.ndarray, ...] = np.asarray(senders), np.asarray(receivers)
    if ends[0].shape != ends[1].shape or ends[0].ndim != 1:
        raise at_user_line(
            ShapeError(f"senders and receivers must both be [edges], got {[e.shape for e in ends]}")
        )
    sizes = store.num_senders, store.num_nodes
    named = zip(("senders", "receivers"), ends, sizes)
    ends = tuple(check_ids(name, ids, n) for name, ids, n in named)
    same = sizes[0] == sizes[1]

    def exists(s: np.ndarray, r: np.ndarray) -> np.ndarray:
        return store.has_edge(s, r) | (same and not loops) & (s == r)

    (s, r), found = _replaced(ends, sizes, exists, count, _places(end, ENDS), new_key(rng))
    return s, r, found


def corrupt_triples(
    triples: Any, num_entities: int, count: int = 1, *, known: Any = None, end: str = "both",
    rng: Random = 0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """For every triple of a knowledge graph ``count`` that are not known, head or tail replaced.

    Args:
        triples: integers ``[triples, 3]``: head, relation, tail (Bordes et al. 2013).
        known: ``[known, 3]``, what is not to come out ("filtered"); ``triples`` when None.
        end: what is replaced, ``"head"``, ``"tail"``, or ``"both"``: one of them by chance.

    Returns:
        ``[triples, count, 3]`` int32; and ``[triples, count]`` bool, False where every other entity
        makes a known triple, too: there the triple itself stands.

    Raises:
        ArgumentError: ids out of range, or an unknown ``end``.

    >>> made, found = corrupt_triples([[0, 0, 1], [0, 0, 2]], num_entities=3, count=2, end="tail")
    >>> made.tolist()
    [[[0, 0, 0], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    """
    given = _triples("triples", triples, num_entities)
    true = given if known is None else _triples("known", known, num_entities)
    relations = 1 + max((int(t[:, 1].max()) for t in (given, true) if len(t)), default=0)
    if num_entities**2 * relations >= 2**63:
        raise at_user_line(
            ArgumentError(f"{num_entities} entities and {relations} relations are too many")
        )

    def key(h: np.ndarray, r: np.ndarray, t: np.ndarray) -> np.ndarray:
        return (h.astype("int64") * relations + r) * num_entities + t

    keys = np.unique(key(*true.T))

    def exists(h: np.ndarray, r: np.ndarray, t: np.ndarray) -> np.ndarray:
        asked = key(h, r, t)
        at = np.minimum(np.searchsorted(keys, asked), max(len(keys) - 1, 0))
        return keys[at] == asked if len(keys) else np.zeros(len(asked), bool)

    ends = _places(end, {"head": (0,), "tail": (2,), "both": (0, 2)})
    sizes = num_entities, relations, num_entities
    made, found = _replaced(tuple(given.T), sizes, exists, count, ends, new_key(rng))
    return np.stack(made, axis=-1), found


def _triples(name: str, triples: Any, num_entities: int) -> np.ndarray:
    out = np.asarray(triples)
    out = out.reshape(0, 3).astype("int32") if not out.size else out
    if out.ndim != 2 or out.shape[1] != 3:
        raise at_user_line(ShapeError(f"{name} must be [triples, 3], got {out.shape}"))
    check_ids(f"entities of {name}", out[:, ::2], num_entities)
    check_ids(f"relations of {name}", out[:, 1], 2**31)
    return out


def _places(end: str, known: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    if end not in known:
        raise at_user_line(ArgumentError(f"end={end!r}; it is one of {', '.join(known)}"))
    return known[end]


def _replaced(
    columns: tuple[np.ndarray, ...], sizes: tuple[int, ...], exists: Callable[..., np.ndarray],
    count: int, ends: tuple[int, ...], key: int,
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:  # fmt: skip
    """``[rows, count]`` of each column, one of whose ``ends`` is replaced so that they do not exist."""
    columns = tuple(np.repeat(c.astype("int32"), count) for c in columns)
    n = len(columns[0])
    coin = below(draw(states(derived(key, 1), np.arange(n)), 0), len(ends))
    which, found = np.asarray(ends)[coin], np.zeros(n, bool)
    for turn in range(len(ends)):  # a row without a free node at one end may have one at the other
        rows = np.flatnonzero(~found)
        of = which[rows]

        def taken(i: np.ndarray, nodes: np.ndarray, rows: Any = rows, of: Any = of) -> np.ndarray:
            parts = [np.where(of[i] == e, nodes, c[rows[i]]) for e, c in enumerate(columns)]
            return exists(*parts)

        picked, ok = _free(np.asarray(sizes)[of], taken, derived(key, 2 + turn))
        for e, c in enumerate(columns):
            at = ok & (of == e)
            c[rows[at]] = picked[at]
        found[rows[ok]] = True
        which = np.asarray(ends)[(coin + 1) % len(ends)]
    shape = (-1, count) if count else (n, 0)
    return tuple(c.reshape(shape) for c in columns), found.reshape(shape)


def _free(
    sizes: np.ndarray, exists: Callable[[np.ndarray, np.ndarray], np.ndarray], key: int
) -> tuple[np.ndarray, np.ndarray]:
    """For each row a number below its size that does not exist, all such as likely; and which have one.

    Args:
        exists: ``(rows, numbers) -> bool``.
    """
    out, found, state = np.zeros(len(sizes), "int64"), sizes > 0, states(key, np.arange(len(sizes)))
    left, tries = np.flatnonzero(found), 0
    # what a short list holds is looked up in the end, in a long one there is something free
    while left.size and tries < (_TRIES if sizes[left].max() <= _FEW else 32 * _TRIES):
        out[left] = below(draw(state[left], tries), sizes[left])
        left = left[exists(left, out[left])]
        tries += 1
    for row in left.tolist():
        every = np.arange(sizes[row]) if sizes[row] <= _FEW else np.zeros(0, "int64")
        free = every[~exists(np.full(len(every), row), every)]
        found[row] = bool(len(free))
        if len(free):
            out[row] = free[below(draw(state[row : row + 1], tries), len(free))[0]]
    return out, found

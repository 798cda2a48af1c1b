"""What samplers are told about a graph, by type and by relation, looked at before anything is sampled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..batches import misfits
from ..hetero_batches import Relation
from .store import BLOCK, GraphStore

NODE = "node"
ONLY: Relation = (NODE, "to", NODE)
"""The type and the relation of a graph that has none."""


def as_arrays(store: GraphStore) -> GraphStore:
    """The store with arrays as C reads them; the same memory where they are so."""
    wanted = {"offsets": "int64", "senders": "int32", "cumulative": "int64"}
    made: dict[str, Any] = {
        name: np.require(getattr(store, name), dtype, ("C", "A"))
        for name, dtype in wanted.items()
        if getattr(store, name) is not None
    }
    return replace(store, **made)


def most_edges(store: GraphStore) -> int:
    """The most edges into one node."""
    ends = range(0, store.num_nodes, BLOCK)
    return max((int(np.diff(store.offsets[a : a + BLOCK + 1]).max()) for a in ends), default=0)


def node_counts(stores: Mapping[Relation, GraphStore]) -> dict[str, int]:
    """How many nodes there are of each type."""
    counts: dict[str, int] = {}
    for (s, _, r), store in stores.items():
        counts.setdefault(s, store.num_senders)
        counts.setdefault(r, store.num_nodes)
    return counts


def unfit_types(stores: Mapping[Relation, GraphStore]) -> list[str]:
    """Types of which relations have different numbers of nodes, in words."""
    if not stores:
        return ["there are no relations"]
    counts = node_counts(stores)
    return [
        f"{relation} has {n} nodes of type {t!r}, another relation {counts[t]}"
        for relation, store in stores.items()
        for t, n in ((relation[0], store.num_senders), (relation[2], store.num_nodes))
        if n != counts[t]
    ]


def per_relation(
    fanouts: Any, stores: Mapping[Relation, GraphStore], problems: list[str]
) -> dict[Relation, tuple[int, ...]]:
    """The fan-outs of each relation, a number per hop; what is wrong is added to ``problems``."""
    given = fanouts if isinstance(fanouts, Mapping) else dict.fromkeys(stores, fanouts)
    problems += [f"no fan-outs for {r}" for r in stores if r not in given]
    problems += [f"fan-outs for {r}, of which there are no edges" for r in given if r not in stores]
    out = {}
    for r, numbers in given.items():
        out[r] = tuple(numbers) if isinstance(numbers, Sequence) else (numbers,)
        if not out[r] or any(type(k) is not int or k < -1 for k in out[r]):
            problems.append(f"fan-outs are integers of at least -1, one per hop, got {numbers!r}")
    if len({len(x) for x in out.values()}) > 1:
        problems.append(f"fan-outs are for one number of hops, got {fanouts!r}")
    return out


def batch_sizes(
    sizes: dict[str, Any], counts: Mapping[str, int], problems: list[str]
) -> dict[str, int]:
    """How many seeds of each type a sample has at most; what is wrong is added to ``problems``."""
    problems += [] if sizes else ["batch_size= names no type"]
    problems += [
        f"seeds of type {t!r}, of which there are no nodes" for t in sizes if t not in counts
    ]
    problems += [
        f"batch_size is an integer of at least 1, got {n!r}"
        for n in sizes.values()
        if type(n) is not int or n < 1
    ]
    return sizes


def unfit_features(trees: dict[Any, Any], counts: Mapping[Any, int], what: str) -> list[str]:
    """Features of no type or relation that there is, or of another length, in words."""
    problems = [f"{what} of {k!r}, of which the graph has none" for k in trees if k not in counts]
    named = {
        (what if k in (NODE, ONLY) else f"{what} of {k}"): (x, counts[k])
        for k, x in trees.items()
        if k in counts
    }
    return problems + misfits(named)

"""Random walks, uniform or as node2vec biases them."""

from __future__ import annotations

from typing import Any

import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .draws import Random, new_key
from .kernels import kernels
from .relations import as_arrays
from .store import GraphStore, check_ids


def random_walks(
    store: GraphStore, starts: Any, length: int, *, p: float = 1.0, q: float = 1.0, rng: Random = 0
) -> np.ndarray:
    """Walks of a fixed number of steps, as node2vec has them (Grover and Leskovec 2016).

    A step goes from a node to one of those that send to it: against the direction of edges. For walks
    along them build the store with senders and receivers swapped; for an undirected graph, which holds
    each edge both ways, it is the same.

    Args:
        starts: integers ``[walks]``.
        length: steps.
        p: the higher, the less likely a step back to where the walk came from; in proportion 1/p.
        q: the higher, the less likely a step to a node that does not send to where the walk came from;
            in proportion 1/q. Others have 1.
        rng: a seed, several, or a NumPy generator; each walk has random numbers of its own.

    Returns:
        ``[walks, length + 1]`` int32, starts first; -1 behind a node that nobody sends to.

    Raises:
        ArgumentError: starts out of range, or numbers; a store between two kinds of nodes.

    >>> path = GraphStore.from_edges([1, 2, 3], [0, 1, 2], num_nodes=4)
    >>> random_walks(path, [0, 2], length=2).tolist()
    [[0, 1, 2], [2, 3, -1]]
    """
    problems = []
    if store.num_senders != store.num_nodes:
        problems.append(f"a walk needs one set of nodes, {store} has two")
    if type(length) is not int or length < 0:
        problems.append(f"length is an integer of at least 0, got {length!r}")
    problems += [
        f"{name} is a finite number above 0, got {x!r}"
        for name, x in (("p", p), ("q", q))
        if not 0 < x < np.inf
    ]
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))
    ids = np.asarray(starts)
    check_ids("starts", ids, store.num_nodes)
    ids = np.ascontiguousarray(ids.reshape(-1), "int32")
    return kernels().walk(as_arrays(store), ids, length, 1 / p, 1 / q, new_key(rng))

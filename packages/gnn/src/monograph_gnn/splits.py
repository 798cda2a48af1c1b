"""Random splits into training, validation and test: of nodes, and of links."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from monograph.errors import ArgumentError
from monograph.tracing import at_user_line

from .batches import GraphBatch, taken, unpadded
from .transforms import both_ways, with_edges


class NodeSplit(NamedTuple):
    """Which nodes are for what: bool masks ``[nodes]``."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def split_nodes(
    num_nodes: int, train: float | None = None, validation: float | None = 500,
    test: float | None = 1000, *, labels: Any = None, seed: int = 0,
) -> NodeSplit:  # fmt: skip
    """Nodes for training, validation and test, at random.

    Args:
        train, validation, test: how many; a float below 1: which part of all; None, for one of them:
            the rest.
        labels: ``[nodes]`` classes: ``train`` is then a number per class, as in the Planetoid split,
            which has 20; negative ones are of no class.

    Raises:
        ArgumentError: more than there are, or several that are to be the rest; all is named.

    >>> [int(mask.sum()) for mask in split_nodes(10, train=0.5, validation=2, test=None)]
    [5, 2, 3]
    >>> [int(mask.sum()) for mask in split_nodes(10, 2, 3, None, labels=[0, 1] * 5)]
    [4, 3, 3]
    """
    asked = {"train": train, "validation": validation, "test": test}
    problems = []
    if sum(n is None for n in asked.values()) > 1:
        problems.append("only one of train, validation and test can be the rest (None)")
    sizes = {k: _size(n, num_nodes) for k, n in asked.items() if n is not None}
    problems += [f"{k}={n} must not be negative" for k, n in asked.items() if n and n < 0]
    order = np.random.default_rng(seed).permutation(num_nodes)
    if labels is not None and not problems:
        labels = np.asarray(labels)
        if labels.shape != (num_nodes,) or train is None or isinstance(train, float):
            problems.append(
                f"with labels, train is a whole number per class; got train={train} and labels of "
                f"shape {labels.shape} for {num_nodes} nodes"
            )
        else:
            chosen = _per_class(labels[order], int(train))
            problems += [
                f"class {c} has {n} nodes, train={train}" for c, n in chosen[1].items() if n < train
            ]
            order = np.concatenate([order[chosen[0]], order[~chosen[0]]])
            sizes["train"] = int(chosen[0].sum())
    if sum(sizes.values()) > num_nodes:
        problems.append(
            f"{' + '.join(f'{n} for {k}' for k, n in sizes.items())} are more than {num_nodes} nodes"
        )
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))
    sizes |= {k: num_nodes - sum(sizes.values()) for k in asked if k not in sizes}
    masks, start = [], 0
    for k in asked:
        masks.append(np.zeros(num_nodes, bool))
        masks[-1][order[start : start + sizes[k]]] = True
        start += sizes[k]
    return NodeSplit(*masks)


def _size(n: float, total: int) -> int:
    return int(n * total) if isinstance(n, float) and n < 1 else int(n)


def _per_class(labels: np.ndarray, n: int) -> tuple[np.ndarray, dict[int, int]]:
    """Which are among the first ``n`` of their class; how many each class has."""
    chosen, sizes = np.zeros(len(labels), bool), {}
    for c in np.unique(labels[labels >= 0]):
        at = np.flatnonzero(labels == c)
        chosen[at[:n]], sizes[int(c)] = True, len(at)
    return chosen, sizes


class LinkTask(NamedTuple):
    """Links to predict, and the graph to predict them from.

    Attributes:
        graph: without the links that are to be predicted, unless it is for training.
        senders, receivers: ``[links]`` int32: the ends; those that exist come first.
        labels: ``[links]`` float32: 1 for a link of the graph, 0 for one that it has not.
    """

    graph: GraphBatch
    senders: np.ndarray
    receivers: np.ndarray
    labels: np.ndarray


class LinkSplit(NamedTuple):
    """Links to train on, and to be tested with."""

    train: LinkTask
    validation: LinkTask
    test: LinkTask


def split_links(
    g: GraphBatch, validation: float = 0.1, test: float = 0.2, *, undirected: bool = False,
    negatives: float = 1.0, disjoint: float = 0.0, seed: int = 0,
) -> LinkSplit:  # fmt: skip
    """Links for training, validation and test, at random, as PyG's RandomLinkSplit.

    The graph of training and of validation has the links of training, that of test those of validation,
    too: nothing is predicted from itself.

    Args:
        validation, test: how many links; a float below 1: which part of all.
        undirected: edges stand for links in pairs, one each way: a pair goes to one part as a whole,
            and is predicted once, as (the smaller id, the larger one), whose features both ways get.
        negatives: as many links that do not exist, per link to predict. No two of them are the same.
        disjoint: which part of the links of training is predicted only, and the rest is in the graph
            only; 0: all of them are both.

    Raises:
        ArgumentError: more links than there are, or than pairs of nodes that are none; edges that have
            no reverse, with ``undirected``; several graphs.

    >>> from monograph_gnn import graph
    >>> g = graph(None, [0, 1, 2, 3, 0], [1, 2, 3, 4, 4], num_nodes=5)
    >>> parts = split_links(g, validation=1, test=1)
    >>> [(part.graph.index.num_edges, len(part.labels)) for part in parts]
    [(3, 6), (3, 2), (4, 2)]
    """
    g = unpadded(g)
    senders, receivers = g.index.senders, g.index.receivers
    links = np.arange(len(senders))
    problems = [f"{g} is {g.num_graphs} graphs, not one"] if g.num_graphs != 1 else []
    if undirected:
        a, b = (np.sort(_codes(*ends, g.num_nodes)) for ends in ((senders, receivers), (receivers, senders)))  # fmt: skip
        if not np.array_equal(a, b):
            problems.append(
                f"{np.setdiff1d(a, b).size} edges have no reverse: they are not undirected"
            )
        links = np.flatnonzero(senders <= receivers)
    sizes = {k: _size(n, len(links)) for k, n in (("validation", validation), ("test", test))}
    rest = len(links) - sum(sizes.values())
    problems += [f"{k}={n} must not be negative" for k, n in sizes.items() if n < 0]
    if rest < 0:
        problems.append(f"validation and test take {sum(sizes.values())} of {len(links)} links")
    if negatives < 0:
        problems.append(f"negatives={negatives} must not be negative")
    if not 0 <= disjoint < 1:
        problems.append(f"disjoint={disjoint} must be from 0 up to 1")
    if problems:
        raise at_user_line(ArgumentError("; ".join(problems)))

    rng = np.random.default_rng(seed)
    links = rng.permutation(links)
    train, val, tested = np.split(links, [rest, rest + sizes["validation"]])
    apart = int(disjoint * rest)
    asked = [train[:apart] if apart else train, val, tested]
    seen = [train[apart:], train, links[: rest + sizes["validation"]]]
    counts = [int(negatives * len(x)) for x in asked]
    a, b = _non_links(g, sum(counts), undirected, rng)
    ends = np.cumsum([0, *counts])
    tasks = []
    for real, known, lo, hi in zip(asked, seen, ends, ends[1:]):
        known = np.sort(known)
        ways = both_ways if undirected else lambda s, r: (s, r, np.arange(len(s)))
        s, r, was = ways(senders[known], receivers[known])
        tasks.append(
            LinkTask(
                with_edges(g, s, r, taken(g.edges, known[was])),
                np.concatenate([senders[real], a[lo:hi]]).astype("int32"),
                np.concatenate([receivers[real], b[lo:hi]]).astype("int32"),
                np.repeat(np.asarray([1, 0], "float32"), [len(real), hi - lo]),
            )
        )
    return LinkSplit(*tasks)


def _codes(senders: Any, receivers: Any, n: int) -> np.ndarray:
    """A number per pair of nodes."""
    return senders.astype("int64") * n + receivers


def _non_links(
    g: GraphBatch, count: int, undirected: bool, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of nodes, no loops and no two the same, that no edge connects in this direction; with
    ``undirected`` the smaller id first."""
    n = g.num_nodes
    s, r = g.index.senders, g.index.receivers
    taken_pairs = np.unique(_codes(s, r, n)[(s < r) if undirected else (s != r)])
    free = n * (n - 1) // (2 if undirected else 1) - len(taken_pairs)
    if count > free:
        raise at_user_line(
            ArgumentError(f"{count} links that do not exist are asked for, there are {free}")
        )
    found = np.zeros(0, "int64")
    while len(found) < count:
        left = count - len(found)
        if 2 * count < free:  # most draws are free ones
            a, b = rng.integers(0, n, (2, 2 * left + 16))
        else:
            a, b = np.divmod(rng.permutation(n * n), n)
        fits = a < b if undirected else a != b
        drawn = _codes(a, b, n)[fits]
        drawn = drawn[~np.isin(drawn, taken_pairs) & ~np.isin(drawn, found)]
        first = np.sort(np.unique(drawn, return_index=True)[1])  # in the order drawn
        found = np.concatenate([found, drawn[first][:left]])
    return np.divmod(found, max(n, 1))

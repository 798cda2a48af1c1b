"""`LinkSampler`: edges, pairs that are none, and the neighbourhoods of their ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line

from ..hetero_batches import Relation
from .draws import Random
from .negatives import ENDS, corrupt_edges
from .neighbors import NeighborSampler
from .sampled import SampledGraph, padded
from .store import GraphStore


class LinkSampler:
    """Samples for telling edges from other pairs of nodes.

    A batch of edges gets ``negatives`` pairs for each that are no edges (`corrupt_edges`), and the
    neighbourhood of all their ends. The edges to be told are not taken out of what messages pass along:
    give a store without them.

    Args:
        stores, fanouts: as for `NeighborSampler`, and so are further options.
        batch_size: how many edges a sample is for, at most.
        relation: of a graph with types, what the edges are.
        negatives: pairs that are none, per edge.
        end: which end of an edge they replace, ``"receiver"``, ``"sender"`` or ``"both"``.
        known: a store of what is no negative; that of the relation when None.

    >>> store = GraphStore.from_edges([1, 2, 3, 0], [0, 1, 2, 3], num_nodes=4)
    >>> sampler = LinkSampler(store, (2,), batch_size=2)
    >>> (sampled, pairs), labels, weight = sampler([[1, 0], [2, 1]])
    >>> sampled.node_ids[pairs[:2]].tolist(), labels.tolist()
    ([[1, 0], [2, 1]], [1.0, 1.0, 0.0, 0.0])
    """

    def __init__(
        self, stores: GraphStore | Mapping[Relation, GraphStore], fanouts: Any, batch_size: int, *,
        relation: Relation | None = None, negatives: int = 1, end: str = "receiver",
        known: GraphStore | None = None, **options: Any,
    ):  # fmt: skip
        if end not in ENDS or type(negatives) is not int or negatives < 0:
            raise at_user_line(
                ArgumentError(
                    f"end is one of {', '.join(ENDS)}, negatives an integer of at least 0; got "
                    f"{end!r} and {negatives!r}"
                )
            )
        one = isinstance(stores, GraphStore)
        if one is not (relation is None) or not (one or relation in stores):  # type: ignore[operator]
            raise at_user_line(
                ArgumentError(
                    f"relation={relation!r}; it is None for a graph without types, else one of its own"
                )
            )
        self.batch_size, self.negatives, self.end, self.relation = (
            batch_size,
            negatives,
            end,
            relation,
        )
        self.known = known or (stores if isinstance(stores, GraphStore) else stores[relation])  # type: ignore[index]
        most = batch_size * (1 + negatives)
        sizes: Any = 2 * most
        if relation is not None:
            sizes = {relation[0]: most, relation[2]: most}
            if relation[0] == relation[2]:
                sizes = {relation[0]: 2 * most}
        self.sampler = NeighborSampler(stores, fanouts, sizes, **options)

    def __call__(self, edges: Any, rng: Random = 0) -> Any:
        """A sample for some edges.

        Args:
            edges: integers ``[<= batch_size, 2]``: sender, receiver.

        Returns:
            ``((sampled, pairs), labels, weight)``, what training takes. ``pairs``: ``[batch_size * (1 +
            negatives), 2]`` int32, where the two ends stand among the sample's nodes (of their types):
            the edges, then their negatives edge by edge. ``labels`` are 1 for edges, ``weight`` is 0 for
            padding (and where an edge has no negative), both float32.

        Raises:
            ArgumentError: ids out of range, or too many edges.
        """
        generator = np.random.default_rng(rng)
        given = np.asarray(edges)
        if given.ndim != 2 or given.shape[1] != 2 or len(given) > self.batch_size:
            raise at_user_line(
                ShapeError(f"edges must be [at most {self.batch_size}, 2], got {given.shape}")
            )
        a, b = given.T
        s, r, found = corrupt_edges(self.known, a, b, self.negatives, end=self.end, rng=generator)
        most, n = self.batch_size, len(given)
        senders, receivers = np.append(a, s), np.append(b, r)
        sampled, ends = self._sampled(senders, receivers, generator)
        weight = np.append(np.ones(n, "float32"), found.astype("float32"))
        columns = [*ends, np.append(np.ones(n, "float32"), np.zeros(n * self.negatives, "float32"))]
        a, b, labels, weight = (
            np.append(
                padded(x[:n], most, 0, x.dtype), padded(x[n:], most * self.negatives, 0, x.dtype)
            )
            for x in (*columns, weight)
        )
        return (sampled, np.stack([a, b], axis=1)), labels, weight

    def _sampled(
        self, senders: np.ndarray, receivers: np.ndarray, rng: np.random.Generator
    ) -> tuple[SampledGraph, list[np.ndarray]]:
        """The sample around both ends, and where they stand in it."""
        n, relation = len(senders), self.relation
        if relation is None or relation[0] == relation[2]:
            both = np.append(senders, receivers)
            sampled = self.sampler.sample(both if relation is None else {relation[0]: both}, rng)
            at = sampled.seeds if relation is None else sampled.seeds[relation[0]]
            return sampled, [at[:n], at[n : 2 * n]]
        sampled = self.sampler.sample({relation[0]: senders, relation[2]: receivers}, rng)
        return sampled, [sampled.seeds[relation[0]][:n], sampled.seeds[relation[2]][:n]]

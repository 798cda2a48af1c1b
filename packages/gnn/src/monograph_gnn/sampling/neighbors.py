"""`NeighborSampler`: the neighbourhood of some nodes, so many edges into each, in arrays of fixed sizes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, ShapeError
from monograph.tracing import at_user_line

from ..batches import node_graphs
from ..hetero_batches import HeteroBatch, Relation
from ..index import EdgeIndex
from .draws import Random, derived, new_key
from .kernels import kernels
from .relations import (
    NODE,
    ONLY,
    as_arrays,
    batch_sizes,
    most_edges,
    node_counts,
    per_relation,
    unfit_features,
    unfit_types,
)
from .sampled import SampledGraph, gathered, one_graph, padded
from .store import GraphStore, check_ids

Fanouts = Sequence[int]
Sizes = int | Sequence[int] | None


class NeighborSampler:
    """Samples neighbourhoods of fixed fan-out (Hamilton et al. 2017, "GraphSAGE").

    Hop by hop, up to so many edges are drawn into each node that the last hop found. A node is in the
    sample once, and its edges are drawn once: a model that passes messages along all edges of the sample,
    one layer per hop, computes its seeds from what was drawn around them.

    A sample follows from the seeds and the random numbers alone, not from how many threads sample; calls
    from several threads at once are fine.

    Args:
        stores: the edges; of a graph with types ``{(senders' type, name, receivers' type): store}``.
        fanouts: edges to draw into each node, one number per hop, the seeds' first; -1: all. For
            relations one for all, or a dict.
        batch_size: how many seeds a sample has at most; with types a dict, ``{"paper": 1024}``.
        nodes: features, ``[nodes, ...]`` or a tree of such arrays, which may be mapped from files; by
            type. Their rows are gathered into the sample.
        edges: features of edges in the order of the store (`GraphStore.places`); by relation.
        replace: whether an edge may be drawn several times.
        num_nodes: how many nodes the arrays of a sample have room for, by type: a number, several of
            which the first that fits is taken, or None: enough for the worst case.
        num_edges: the same of edges, by relation; where both are several, they belong together.

    Raises:
        ArgumentError, ShapeError: what does not fit; all is named.

    >>> store = GraphStore.from_edges([1, 2, 3, 3], [0, 0, 1, 2], num_nodes=4)
    >>> sampler = NeighborSampler(store, (2, 1), batch_size=2)
    >>> sampled = sampler.sample([0])
    >>> sampled.node_ids.tolist(), sampled.graph.index.num_edges
    ([0, 1, 2, 3], 4)
    """

    def __init__(
        self, stores: GraphStore | Mapping[Relation, GraphStore],
        fanouts: Fanouts | Mapping[Relation, Fanouts], batch_size: int | Mapping[str, int], *,
        nodes: Any = None, edges: Any = None, replace: bool = False,
        num_nodes: Sizes | Mapping[str, Sizes] = None,
        num_edges: Sizes | Mapping[Relation, Sizes] = None,
    ):  # fmt: skip
        self.typed, self.replace = not isinstance(stores, GraphStore), replace
        self.stores = {r: as_arrays(s) for r, s in self._by(ONLY, stores).items()}
        problems = [*unfit_types(self.stores)]
        self.counts = node_counts(self.stores)
        self.fanouts = per_relation(fanouts, self.stores, problems)
        self.batch = batch_sizes(self._by(NODE, batch_size), self.counts, problems)
        self.nodes, self.edges = self._by(NODE, nodes), self._by(ONLY, edges)
        problems += unfit_features(self.nodes, self.counts, "nodes")
        problems += unfit_features(
            self.edges, {r: s.num_edges for r, s in self.stores.items()}, "edges"
        )
        if problems:
            raise at_user_line(ArgumentError("; ".join(dict.fromkeys(problems))))
        self.hops = len(next(iter(self.fanouts.values())))
        self.worst_nodes, self.worst_edges = self._worst_case()
        asked = self._by(NODE, num_nodes), self._by(ONLY, num_edges)
        self.buckets = self._buckets(*asked)
        self._pool: list[_Scratch] = []

    def _by(self, key: Any, x: Any) -> dict[Any, Any]:
        """By type or relation, whether there are any or not."""
        if not self.typed:
            return {} if x is None else {key: x}
        if x is not None and not isinstance(x, Mapping):
            raise at_user_line(
                ArgumentError(f"of a graph with types all is by type or relation, got {x!r:.80}")
            )
        return dict(x or {})

    def _worst_case(self) -> tuple[dict[str, list[int]], dict[Relation, list[int]]]:
        """The most nodes of each type, and edges of each relation, after each hop."""
        new = {t: self.batch.get(t, 0) for t in self.counts}
        nodes, edges = {t: [n] for t, n in new.items()}, {r: [0] for r in self.stores}
        for hop in range(self.hops):
            arriving = dict.fromkeys(self.counts, 0)
            for r, store in self.stores.items():
                k, rows = self.fanouts[r][hop], min(new[r[2]], self.counts[r[2]])
                most = rows * (most_edges(store) if k < 0 and rows else k)
                taken = most if self.replace and k >= 0 else min(most, store.num_edges)
                edges[r].append(edges[r][-1] + taken)
                if not self.replace:
                    edges[r][-1] = min(edges[r][-1], store.num_edges)
                arriving[r[0]] += taken
            new = {t: min(n, self.counts[t]) for t, n in arriving.items()}
            for t, n in new.items():
                nodes[t].append(min(nodes[t][-1] + n, max(self.counts[t], self.batch.get(t, 0))))
        return nodes, edges

    def _buckets(
        self, nodes: dict[str, Any], edges: dict[Relation, Any]
    ) -> list[tuple[dict[str, int], dict[Relation, int]]]:
        """Sizes by type and relation, smallest first."""
        worst: dict[Any, int] = {t: n[-1] for t, n in self.worst_nodes.items()}
        worst |= {r: n[-1] for r, n in self.worst_edges.items()}
        asked: dict[Any, list[int]] = {}
        for key, x in (*nodes.items(), *edges.items()):
            if key not in worst:
                raise at_user_line(ArgumentError(f"sizes of {key!r}, of which the graph has none"))
            if x is not None:
                asked[key] = sorted(int(n) for n in (x if isinstance(x, Sequence) else (x,)))
        lengths = {len(x) for x in asked.values() if len(x) != 1}
        if len(lengths) > 1 or any(not x or x[0] < 1 for x in asked.values()):
            raise at_user_line(
                ArgumentError(
                    f"num_nodes= and num_edges= are sizes of at least 1, as many of each (or one), "
                    f"got {[*asked.values()]}"
                )
            )
        of = lambda key, i: asked[key][min(i, len(asked[key]) - 1)] if key in asked else worst[key]  # noqa: E731
        return [
            ({t: of(t, i) for t in self.counts}, {r: of(r, i) for r in self.stores})
            for i in range(max(lengths, default=1))
        ]

    def __repr__(self) -> str:
        stores = self.stores if self.typed else self.stores[ONLY]
        return f"NeighborSampler({stores}, fanouts={[*self.fanouts.values()]})"

    # sampling

    def __call__(self, batch: Any, rng: Random = 0) -> Any:
        """A sample for a batch of a dataset: seeds ``[<= batch_size]``, or ``(seeds, *targets)``.

        Returns:
            The `SampledGraph`; with targets ``(sample, *targets, weight)``: their rows, zeros for
            padding, and ``[batch_size]`` float32, 1 for what is no padding: what training takes.
        """
        seeds, targets = (batch[0], batch[1:]) if isinstance(batch, tuple) else (batch, ())
        sampled = self.sample(seeds, rng)
        return with_targets(sampled, targets, self.batch_size) if targets else sampled

    @property
    def batch_size(self) -> int:
        """How many seeds a sample has at most.

        Raises:
            ArgumentError: seeds of several types have as many sizes.
        """
        if len(self.batch) != 1:
            raise at_user_line(ArgumentError(f"seeds are of several types: {self.batch}"))
        return next(iter(self.batch.values()))

    def sample(self, seeds: Any, rng: Random = 0) -> SampledGraph:
        """The neighbourhood of some nodes.

        Args:
            seeds: integers ``[<= batch_size]``; with types, by type. One that is there twice is one
                node.
            rng: a seed, several such as ``(seed, epoch, batch)``, or a NumPy generator.

        Raises:
            ArgumentError: seeds out of range or too many; more nodes or edges than there is room for.
            FileFormatError: the store is damaged.
        """
        given = self._checked({t: np.asarray(s) for t, s in self._by(NODE, seeds).items()})
        with self.drawn(given, new_key(rng)) as (scratch, found):
            return self._assembled(scratch, found)

    @contextlib.contextmanager
    def drawn(self, seeds: dict[str, np.ndarray], key: int) -> Iterator[tuple[_Scratch, _Found]]:
        """What is drawn around seeds, by type; its arrays are used again afterwards."""
        try:
            scratch = self._pool.pop()
        except IndexError:  # other threads have them
            scratch = _Scratch(self)
        try:
            yield scratch, scratch.fill(seeds, key)
        finally:
            self._pool.append(scratch)

    def edge_dtype(self, relation: Relation) -> str:
        """Of edges' places in a store."""
        return "int32" if self.stores[relation].num_edges < 2**31 else "int64"

    def _checked(self, seeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for t, s in seeds.items():
            if t not in self.batch:
                raise at_user_line(
                    ArgumentError(
                        f"seeds of type {t!r}; batch_size= is for {', '.join(self.batch)}"
                    )
                )
            if s.ndim != 1 or len(s) > self.batch[t]:
                raise at_user_line(
                    ShapeError(f"seeds must be [at most {self.batch[t]}], got {s.shape}")
                )
        return {t: check_ids("seeds", s, self.counts[t]) for t, s in seeds.items()}

    def _assembled(self, scratch: _Scratch, found: _Found) -> SampledGraph:
        nodes, edges = self._bucket(found)
        caps = {t: [min(n, nodes[t]) for n in self.worst_nodes[t]] for t in self.counts}
        index = {
            r: scratch.index(r, found, self.hops, edges[r], nodes[r[0]], nodes[r[2]])
            for r in self.stores
        }
        inner = tuple(
            {
                r: scratch.index(
                    r, found, hop, min(self.worst_edges[r][hop], edges[r]), caps[r[0]][hop],
                    caps[r[2]][hop - 1],
                )
                for r in self.stores
            }
            for hop in range(self.hops - 1, 0, -1)
        )  # fmt: skip
        ids = {t: scratch.nodes[t][: found.nodes[t][-1]] for t in self.counts}
        places = {r: scratch.places[r][: found.edges[r][-1]] for r in self.stores}
        node_ids = {t: padded(ids[t], nodes[t], n) for t, n in self.counts.items()}
        edge_ids = {
            r: padded(places[r], edges[r], s.num_edges, self.edge_dtype(r))
            for r, s in self.stores.items()
        }
        held = node_ids | {t: gathered(x, ids[t], nodes[t]) for t, x in self.nodes.items()}
        known = {r: gathered(x, places[r], edges[r]) for r, x in self.edges.items()}
        seeds = {t: padded(found.seeds[t], n, nodes[t]) for t, n in self.batch.items()}
        hop_nodes = {t: np.asarray(n, "int32") for t, n in found.nodes.items()}
        if self.typed:
            return SampledGraph(
                self._one(held, index, known, found, nodes), node_ids, edge_ids, seeds, hop_nodes, inner,
                tuple((t, tuple(n)) for t, n in caps.items()),
            )  # fmt: skip
        graph = one_graph(
            held[NODE], index[ONLY], known.get(ONLY), found.nodes[NODE][-1], nodes[NODE]
        )
        return SampledGraph(
            graph, node_ids[NODE], edge_ids[ONLY], seeds[NODE], hop_nodes[NODE],
            tuple(i[ONLY] for i in inner), tuple(caps[NODE]),
        )  # fmt: skip

    def _one(
        self, held: Any, index: Any, known: Any, found: _Found, nodes: Mapping[str, int]
    ) -> HeteroBatch:
        """One graph of several types, of which the first nodes found are no padding."""
        of = {t: node_graphs([found.nodes[t][-1]], nodes[t], 1) for t in self.counts}
        node_graph, offsets = ({t: v[i] for t, v in of.items()} for i in range(2))
        return HeteroBatch(held, index, known, None, node_graph, offsets, np.int32(1))

    def _bucket(self, found: _Found) -> tuple[dict[str, int], dict[Relation, int]]:
        have: dict[Any, list[int]] = {**found.nodes, **found.edges}
        for nodes, edges in self.buckets:
            room: dict[Any, int] = {**nodes, **edges}
            over = [
                f"{have[k][-1]:,} {what} do not fit num_{what}={room[k]:,}"
                + (f" of {'-'.join(k) if what == 'edges' else k}" if self.typed else "")
                for what, keys in (("nodes", nodes), ("edges", edges))
                for k in keys
                if have[k][-1] > room[k]
            ]
            if not over:
                return nodes, edges
        raise at_user_line(
            ArgumentError(
                "; ".join(over) + ". Give a larger one, several, or None for the worst case"
            )
        )


class _Found:
    """What a sample holds: nodes by type and edges by relation, after each hop; where seeds stand."""

    def __init__(self, sampler: NeighborSampler):
        self.nodes: dict[str, list[int]] = {t: [] for t in sampler.counts}
        self.edges: dict[Relation, list[int]] = {r: [0] for r in sampler.stores}
        self.seeds: dict[str, np.ndarray] = {}


class _Scratch:
    """The arrays that one thread samples into."""

    def __init__(self, sampler: NeighborSampler):
        self.sampler = sampler
        most = {t: n[-1] for t, n in sampler.worst_nodes.items()}
        self.table = {t: np.zeros(n, "int32") for t, n in sampler.counts.items()}
        self.nodes = {t: np.empty(n, "int32") for t, n in most.items()}
        edges = {r: n[-1] for r, n in sampler.worst_edges.items()}
        self.senders = {r: np.empty(n, "int32") for r, n in edges.items()}
        self.places = {r: np.empty(n, "int64") for r, n in edges.items()}
        self.rows = {r: np.empty(most[r[2]], "int32") for r in edges}

    def fill(self, seeds: dict[str, np.ndarray], key: int) -> _Found:
        """Draw a sample."""
        sampler, steps, found = self.sampler, kernels(), _Found(self.sampler)
        filled = dict.fromkeys(sampler.counts, 0)
        for t in sampler.batch:
            found.seeds[t], filled[t] = self._seed(t, seeds.get(t, np.zeros(0, "int32")))
        keys = {r: derived(key, i) for i, r in enumerate(sampler.stores)}
        done = dict.fromkeys(filled, 0)  # nodes whose edges were drawn
        for t, n in filled.items():
            found.nodes[t].append(n)
        for hop in range(sampler.hops):
            until = dict(filled)
            for r, store in sampler.stores.items():
                s, _, to = r
                at, rows = found.edges[r][-1], slice(done[to], until[to])
                taken, filled[s] = steps.expand(
                    store, self.nodes[to][rows], sampler.fanouts[r][hop], sampler.replace, keys[r],
                    self.table[s], self.nodes[s], filled[s], self.senders[r][at:],
                    self.places[r][at:], self.rows[r][rows],
                )  # fmt: skip
                found.edges[r].append(at + taken)
            done = until
            for t, n in filled.items():
                found.nodes[t].append(n)
        return found

    def _seed(self, t: str, seeds: np.ndarray) -> tuple[np.ndarray, int]:
        """Number the seeds; returns the number of each, and how many there are."""
        table = self.table[t]
        unique = np.arange(len(seeds), dtype="int32")
        table[seeds] = unique
        if (table[seeds] != unique).any():  # some twice: those that came first count
            _, first, of = np.unique(seeds, return_index=True, return_inverse=True)
            rank = np.empty(len(first), "int32")
            rank[np.argsort(first)] = np.arange(len(first))
            unique = rank[of]
            seeds = seeds[np.sort(first)]
            table[seeds] = np.arange(len(seeds))
        self.nodes[t][: len(seeds)] = seeds
        return unique, len(seeds)

    def index(
        self, r: Relation, found: _Found, hop: int, edges: int, senders: int, receivers: int
    ) -> EdgeIndex:
        """The edges of the first hops, in arrays of these sizes."""
        real, rows = found.edges[r][hop], found.nodes[r[2]][hop - 1]
        return EdgeIndex(
            *kernels().index_arrays(
                self.senders[r][:real], self.rows[r][:rows], edges, senders, receivers
            )
        )


def with_targets(sampled: Any, targets: Sequence[Any], size: int) -> tuple[Any, ...]:
    """``(sampled, *targets, weight)``, targets padded to ``size`` rows."""
    rows = {len(x) for y in targets for x in mg.tree.leaves(y)}
    given = min(rows, default=0)
    weight = np.zeros(size, "float32")
    weight[:given] = 1
    filled = [gathered(mg.tree.map(np.asarray, y), np.arange(given), size) for y in targets]
    return (sampled, *filled, weight)

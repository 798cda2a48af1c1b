"""One example of every layer of graphs: what the generic tests run over, and engines' authors may.

An example's inputs are drawn for a graph, so that it can be run on others, such as one with padding.

>>> example = EXAMPLES[0]
>>> example.name, [y.shape for y in example.run("numpy")]
('gcn_conv', [(7, 4)])
>>> [y.shape for y in example.on(GRAPHS["padded"]).run("numpy")]
[(10, 4)]
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import monograph as mg
import monograph_layers as nn
import monograph_layers.testing
import numpy as np

import monograph_gnn as gnn


def _graphs(*parts: tuple[int, list[tuple[int, int]]], **sizes: int) -> gnn.GraphBatch:
    """A batch of graphs, each a number of nodes and its edges."""
    ends = [np.asarray(e, "int32").reshape(-1, 2).T for _, e in parts]
    made = [gnn.graph(None, *e, num_nodes=n) for (n, _), e in zip(parts, ends)]
    return gnn.batch(made, **sizes)


# two graphs: a loop, an edge that is there twice, edges one way and both, a node without any
_FIRST = (4, [(0, 1), (1, 0), (1, 2), (2, 2), (3, 1), (0, 1), (2, 0)])
_SECOND = (3, [(0, 1), (1, 0), (0, 1)])
GRAPHS: dict[str, gnn.GraphBatch] = {
    "plain": _graphs(_FIRST, _SECOND),
    "padded": _graphs(_FIRST, _SECOND, num_nodes=10, num_edges=15, num_graphs=4),
    "without edges": _graphs((4, []), (3, [])),
    "without nodes": _graphs((0, [])),
}
"""What layers are tried on. The second is the first with padding."""


@dataclass(frozen=True)
class Rows:
    """Random rows, one per node, edge or graph: normal floats, or integers in ``0 .. below - 1``.

    Rows of padding hold what no graph may notice.
    """

    of: str
    shape: tuple[int, ...]
    below: int | None = None

    def draw(self, g: gnn.GraphBatch, rng: np.random.Generator, dtype: Any) -> Any:
        """``[rows, *shape]`` for a graph."""
        sizes = {
            "nodes": (int(g.graph_offsets[-1]), g.num_nodes),
            "edges": (int(g.index.offsets[-1]), g.index.num_edges),
            "graphs": (int(g.num_real_graphs), g.num_graphs),
        }
        real, total = sizes[self.of]
        shape = (real, *self.shape)
        if self.below is not None:
            made = rng.integers(0, self.below, shape).astype("int32")
        else:
            made = rng.normal(size=shape).astype(mg.dtypes.dtype(dtype).numpy)
        odd = np.full((total - real, *self.shape), 0 if self.below else 3).astype(made.dtype)
        return np.concatenate([made, odd])


@dataclass(frozen=True)
class Of:
    """A part of the graph itself: ``fn(graph)``."""

    fn: Callable[[gnn.GraphBatch], Any]

    def draw(self, g: gnn.GraphBatch, rng: np.random.Generator, dtype: Any) -> Any:
        """That part."""
        return mg.tree.map(
            lambda x: np.asarray(x.numpy() if isinstance(x, mg.Tensor) else x), self.fn(g)
        )


def nodes(*shape: int, below: int | None = None) -> Rows:
    """Rows of nodes."""
    return Rows("nodes", shape, below)


def edges(*shape: int, below: int | None = None) -> Rows:
    """Rows of edges, in the order of `INDEX`."""
    return Rows("edges", shape, below)


def graphs(*shape: int, below: int | None = None) -> Rows:
    """Rows of graphs."""
    return Rows("graphs", shape, below)


INDEX = Of(lambda g: g.index)
MEMBERSHIP = Of(lambda g: g.membership)
NODE_GRAPH = Of(lambda g: g.node_graph)
NODE_MASK = Of(lambda g: g.node_mask)
BATCH = Of(lambda g: g.replace(nodes=None))
TYPED = Of(lambda g: _typed(g.index, g.node_graph, g.graph_offsets, g.num_real_graphs))


def _typed(index: gnn.EdgeIndex, node_graph: Any, offsets: Any, real: Any) -> gnn.HeteroBatch:
    """The graph twice, as two types, with edges within one and from each to the other."""
    relations = [("a", "to", "a"), ("a", "to", "b"), ("b", "back", "a")]
    kinds = ("a", "b")
    return gnn.HeteroBatch(
        dict.fromkeys(kinds), dict.fromkeys(relations, index), {}, None,
        dict.fromkeys(kinds, node_graph), dict.fromkeys(kinds, offsets), real,
    )  # fmt: skip


@dataclass(frozen=True)
class Each:
    """One of each by name: a dict of what is drawn."""

    of: dict[str, Any]

    def draw(self, g: gnn.GraphBatch, rng: np.random.Generator, dtype: Any) -> Any:
        """That dict."""
        return {k: v.draw(g, rng, dtype) for k, v in self.of.items()}


BOTH = Each({"a": nodes(4), "b": nodes(4)})


@dataclass(frozen=True)
class Example(monograph_layers.testing.Example):
    """A layer, what its inputs are drawn by, and options: ``layer(scope, *inputs, **options)``.

    An input is anything with ``draw(graph, rng, dtype)``, or a tuple of such.

    Attributes:
        graph: what inputs are drawn for.
        prefix: whether results of a graph with padding begin with those without.
    """

    inputs: Sequence[Any]
    named: dict[str, Any] = field(default_factory=dict)
    graph: gnn.GraphBatch = field(default=GRAPHS["plain"], repr=False)
    prefix: bool = True

    def on(self, graph: gnn.GraphBatch) -> Example:
        """The same layer, with inputs for another graph."""
        return dataclasses.replace(self, graph=graph)

    def draw(self, dtype: Any = "float32", empty: bool = False, seed: int = 0) -> tuple:
        """Inputs in the order in which `model` takes them; with ``empty`` for a graph without nodes."""
        rng, graph = np.random.default_rng(seed), GRAPHS["without nodes"] if empty else self.graph

        def drawn(i: Any) -> Any:
            return tuple(map(drawn, i)) if isinstance(i, tuple) else i.draw(graph, rng, dtype)

        return tuple(drawn(i) for i in (*self.inputs, *self.named.values()))


def _network(units: int, name: str = "inner") -> Callable:
    return lambda scope, x: nn.dense(scope / name, x, units, activation="tanh")


E = Example
CONV = [INDEX, nodes(5)]
WEIGHTED = dict(edge_weight=edges())
KNOWN = dict(edges=edges(3))
PNA = dict(channels=4, towers=2, pre_layers=2, degrees=[1, 2, 3]) | dict(
    aggregators=["mean", "max", "std"], scalers=["amplification", "inverse_linear"]
)
EXAMPLES: list[Example] = [
    E(gnn.gcn_conv, CONV, dict(channels=4)),
    E(gnn.gat_conv, CONV, dict(channels=2, heads=2, dropout=0.3), KNOWN),
    E(gnn.gatv2_conv, CONV, dict(channels=2, heads=2, residual=True, dropout=0.3), KNOWN),
    E(gnn.transformer_conv, CONV, dict(channels=2, heads=2, beta=True, dropout=0.3), KNOWN),
    E(gnn.supergat_conv, CONV, dict(channels=2, heads=2, dropout=0.3), dict(negatives=INDEX)),
    E(gnn.sage_conv, CONV, dict(channels=4, project=True, normalize=True)),
    E(gnn.graph_conv, CONV, dict(channels=4, how="max"), WEIGHTED),
    E(gnn.le_conv, [INDEX, (nodes(5), nodes(3))], dict(channels=4), WEIGHTED),
    E(gnn.gin_conv, CONV, dict(network=_network(4), train_eps=True)),
    E(gnn.gine_conv, CONV, dict(network=_network(4), project_edges=True), KNOWN),
    E(gnn.nn_conv, CONV, dict(channels=2, network=_network(10), how="mean"), KNOWN),
    E(gnn.edge_conv, CONV, dict(network=_network(4))),
    E(
        gnn.dynamic_edge_conv,
        [nodes(5)],
        dict(network=_network(4), k=2),
        dict(node_graph=NODE_GRAPH),
    ),
    E(gnn.gated_graph_conv, CONV, dict(channels=6, num_layers=2), WEIGHTED),
    E(gnn.res_gated_graph_conv, CONV, dict(channels=4), KNOWN),
    E(gnn.cg_conv, CONV, dict(batch_norm=True), KNOWN | dict(mask=NODE_MASK)),
    E(gnn.film_conv, [(INDEX, INDEX), nodes(5)], dict(channels=4)),
    E(gnn.gen_conv, CONV, dict(channels=4, learn_t=True), KNOWN | dict(mask=NODE_MASK)),
    E(gnn.gen_conv, CONV, dict(channels=4, how="power", learn_p=True, norm="layer"), note="power"),
    E(gnn.pna_conv, [INDEX, nodes(4)], PNA, KNOWN),
    E(gnn.appnp, CONV, dict(k=3, alpha=0.2, dropout=0.3)),
    E(gnn.sg_conv, CONV, dict(channels=4, k=2)),
    E(gnn.tag_conv, CONV, dict(channels=4, k=2)),
    E(gnn.cheb_conv, CONV, dict(channels=4, k=3)),
    E(gnn.cluster_gcn_conv, CONV, dict(channels=4, diag_lambda=0.3)),
    E(gnn.arma_conv, CONV, dict(channels=4, num_stacks=2, num_layers=2, dropout=0.3)),
    E(gnn.d_mpnn, CONV, dict(channels=4, dropout=0.3), KNOWN),
    E(gnn.edge_dropout, [INDEX], dict(rate=0.5), smooth=False),
    E(gnn.jumping_knowledge, [(nodes(4), nodes(4), nodes(4))], dict(mode="lstm")),
    E(gnn.rgcn_conv, CONV, dict(channels=4, relations=3, bases=2), dict(types=edges(below=3))),
    E(gnn.hetero_rgcn_conv, [TYPED, BOTH], dict(channels=4, blocks=2)),
    E(gnn.hgt_conv, [TYPED, BOTH], dict(channels=4, heads=2)),
    E(gnn.han_conv, [TYPED, BOTH], dict(channels=4, heads=2, dropout=0.3)),
    E(
        gnn.hetero,
        [TYPED, BOTH],
        dict(layers=lambda scope, index, x: gnn.sage_conv(scope, index, x, 3), how="mean"),
    ),
    E(
        gnn.mlp_decoder,
        [nodes(4), Of(lambda g: np.zeros((2, g.num_nodes), "int32"))],
        dict(units=(3,)),
    ),
    E(gnn.graph_norm, [BATCH, nodes(4)]),
    E(gnn.graph_layer_norm, [BATCH, nodes(4)]),
    E(gnn.graph_instance_norm, [BATCH, nodes(4)], dict(scale=True, center=True)),
    E(gnn.graph_size_norm, [BATCH, nodes(4)]),
    E(gnn.mean_subtraction_norm, [BATCH, nodes(4)]),
    E(gnn.message_norm, [nodes(4), nodes(4)], dict(learn_scale=True)),
    E(gnn.pair_norm, [BATCH, nodes(4)]),
    E(gnn.diff_group_norm, [BATCH, nodes(4)], dict(groups=2)),
    E(gnn.attentional_aggregation, [BATCH, nodes(4)]),
    E(gnn.softmax_aggregation, [BATCH, nodes(4)], dict(learn=True, channels=4)),
    E(gnn.set2set, [BATCH, nodes(4)], dict(steps=2)),
    E(gnn.sort_aggregation, [BATCH, nodes(4)], dict(k=2), smooth=False),
    E(gnn.top_k_pooling, [BATCH, nodes(4)], dict(ratio=0.5), smooth=False, prefix=False),
    E(gnn.sag_pooling, [BATCH, nodes(4)], dict(ratio=2), smooth=False, prefix=False),
]

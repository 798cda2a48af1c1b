"""Graph networks: messages along edges, as functions of a scope, on every engine."""

from . import ops
from .attention import gat_conv, gatv2_conv, supergat_conv, transformer_conv
from .batches import GraphBatch, HeteroBatch, batch, graph, hetero_graph, unbatch
from .deeper import gen_conv
from .directed import d_mpnn, reverse_edges
from .dropping import edge_dropout
from .edge_networks import dynamic_edge_conv, edge_conv, nearest_neighbors, nn_conv
from .gated import cg_conv, film_conv, gated_graph_conv, res_gated_graph_conv
from .index import EdgeIndex, edge_index
from .isomorphism import gin_conv, gine_conv
from .jumping import jumping_knowledge
from .loops import add_self_loops, fill_edges
from .polynomials import appnp, cheb_conv, sg_conv, tag_conv
from .principal import degree_histogram, pna_conv
from .propagation import (
    AGGREGATIONS,
    aggregate,
    edge_dot,
    edge_softmax,
    neighbor_sum,
    propagate,
    received,
    sent,
)
from .sage import graph_conv, le_conv, sage_conv
from .spectral import arma_conv, cluster_gcn_conv, gcn_conv, gcn_norm

__all__ = [
    "AGGREGATIONS", "EdgeIndex", "GraphBatch", "HeteroBatch", "add_self_loops", "aggregate", "appnp",
    "arma_conv", "batch", "cg_conv", "cheb_conv", "cluster_gcn_conv", "d_mpnn", "degree_histogram",
    "dynamic_edge_conv", "edge_conv", "edge_dot", "edge_dropout", "edge_index", "edge_softmax",
    "fill_edges", "film_conv", "gat_conv", "gated_graph_conv", "gatv2_conv", "gcn_conv", "gcn_norm",
    "gen_conv", "gin_conv", "gine_conv", "graph", "graph_conv", "hetero_graph", "jumping_knowledge",
    "le_conv", "nearest_neighbors", "neighbor_sum", "nn_conv", "ops", "pna_conv", "propagate", "received",
    "res_gated_graph_conv", "reverse_edges", "sage_conv", "sent", "sg_conv", "supergat_conv", "tag_conv",
    "transformer_conv", "unbatch",
]  # fmt: skip

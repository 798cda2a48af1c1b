"""Graph networks: messages along edges, as functions of a scope, on every engine."""

from . import ops
from .attention import gat_conv
from .batches import GraphBatch, HeteroBatch, batch, graph, hetero_graph, unbatch
from .index import EdgeIndex, edge_index
from .loops import add_self_loops, fill_edges
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
from .sparse import SparseMatrix, sparse
from .spectral import gcn_conv, gcn_norm

__all__ = [
    "AGGREGATIONS", "EdgeIndex", "GraphBatch", "HeteroBatch", "SparseMatrix",
    "add_self_loops", "aggregate", "batch",
    "edge_dot", "edge_index", "edge_softmax", "fill_edges", "gat_conv", "gcn_conv", "gcn_norm",
    "graph", "hetero_graph", "neighbor_sum", "ops", "propagate", "received", "sent", "sparse",
    "unbatch",
]  # fmt: skip

"""Graph networks: messages along edges, as functions of a scope, on every engine."""

from . import ops
from .attention import gat_conv
from .batches import GraphBatch, HeteroBatch, batch, graph, hetero_graph, unbatch
from .coarsening import sag_pooling, top_k_pooling
from .drawing import draw
from .explanation import Explainer, Explanation, explain
from .index import EdgeIndex, edge_index
from .loops import add_self_loops, fill_edges
from .norms import (
    diff_group_norm,
    graph_instance_norm,
    graph_layer_norm,
    graph_norm,
    graph_size_norm,
    mean_subtraction_norm,
    message_norm,
    pair_norm,
)
from .ops import segment_softmax
from .pooling import (
    attentional_aggregation,
    global_add_pool,
    global_max_pool,
    global_mean_pool,
    set2set,
    softmax_aggregation,
    sort_aggregation,
)
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
from .spectral import gcn_conv, gcn_norm

__all__ = [
    "AGGREGATIONS", "EdgeIndex", "Explainer", "Explanation", "GraphBatch", "HeteroBatch",
    "add_self_loops", "aggregate", "attentional_aggregation", "batch", "diff_group_norm",
    "draw", "edge_dot", "edge_index", "edge_softmax", "explain", "fill_edges", "gat_conv",
    "gcn_conv", "gcn_norm", "global_add_pool", "global_max_pool", "global_mean_pool", "graph",
    "graph_instance_norm", "graph_layer_norm", "graph_norm", "graph_size_norm", "hetero_graph",
    "mean_subtraction_norm", "message_norm", "neighbor_sum", "ops", "pair_norm", "propagate",
    "received", "sag_pooling", "segment_softmax", "sent", "set2set", "softmax_aggregation",
    "sort_aggregation", "top_k_pooling", "unbatch",
]  # fmt: skip

"""Graph networks: messages along edges, as functions of a scope, on every engine."""

from . import ops
from .attention import gat_conv
from .batches import GraphBatch, HeteroBatch, batch, graph, hetero_graph, take_graphs, unbatch
from .conversions import from_networkx, from_pyg, from_scipy, to_networkx, to_pyg, to_scipy
from .index import EdgeIndex, edge_index
from .loading import Buckets, GraphLoader, Size
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
from .spectral import gcn_conv, gcn_norm
from .splits import split_links, split_nodes
from .transforms import (
    components,
    largest_component,
    normalize_features,
    remove_duplicates,
    remove_self_loops,
    subgraph,
    to_undirected,
)

__all__ = [
    "AGGREGATIONS", "Buckets", "EdgeIndex", "GraphBatch", "GraphLoader", "HeteroBatch", "Size",
    "add_self_loops", "aggregate", "batch", "components", "edge_dot", "edge_index", "edge_softmax",
    "fill_edges", "from_networkx", "from_pyg", "from_scipy", "gat_conv", "gcn_conv", "gcn_norm",
    "graph", "hetero_graph", "largest_component", "neighbor_sum", "normalize_features", "ops",
    "propagate", "received", "remove_duplicates", "remove_self_loops", "sent", "split_links",
    "split_nodes", "subgraph", "take_graphs", "to_networkx", "to_pyg", "to_scipy", "to_undirected",
    "unbatch",
]  # fmt: skip

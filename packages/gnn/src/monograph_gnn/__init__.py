"""Graph networks: messages along edges, as functions of a scope, on every engine."""

from . import ops
from .attention import gat_conv
from .batches import GraphBatch, batch, graph, take_graphs, unbatch
from .coarsening import sag_pooling, top_k_pooling
from .conversions import from_networkx, from_pyg, from_scipy, to_networkx, to_pyg, to_scipy
from .hetero_attention import han_conv, hgt_conv
from .hetero_batches import HeteroBatch, hetero_batch, hetero_graph, hetero_unbatch
from .index import EdgeIndex, edge_index
from .links import inner_product_decoder, mlp_decoder
from .loading import Buckets, GraphLoader, Size
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
from .ranking import TripleFilter, link_ranks, rank_metrics, ranks
from .relational import hetero_rgcn_conv, rgcn_conv, typed_index
from .relations import hetero
from .sampling import (
    Batches,
    ClusterSampler,
    GraphStore,
    LinkSampler,
    Loader,
    NeighborSampler,
    SampledGraph,
    build_store,
    corrupt_edges,
    corrupt_triples,
    edge_cut,
    layerwise,
    negative_edges,
    partition,
    random_walks,
)
from .scorers import (
    complex_score,
    distmult_score,
    rotate_score,
    score_heads,
    score_tails,
    transe_score,
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
    "AGGREGATIONS", "Batches", "Buckets", "ClusterSampler", "EdgeIndex", "GraphBatch",
    "GraphLoader", "GraphStore", "HeteroBatch", "LinkSampler", "Loader", "NeighborSampler",
    "SampledGraph", "Size", "TripleFilter", "add_self_loops", "aggregate",
    "attentional_aggregation", "batch", "build_store", "complex_score", "components",
    "corrupt_edges", "corrupt_triples", "diff_group_norm", "distmult_score", "edge_cut",
    "edge_dot", "edge_index", "edge_softmax", "fill_edges", "from_networkx", "from_pyg",
    "from_scipy", "gat_conv", "gcn_conv", "gcn_norm", "global_add_pool", "global_max_pool",
    "global_mean_pool", "graph", "graph_instance_norm", "graph_layer_norm", "graph_norm",
    "graph_size_norm", "han_conv", "hetero", "hetero_batch", "hetero_graph", "hetero_rgcn_conv",
    "hetero_unbatch", "hgt_conv", "inner_product_decoder", "largest_component", "layerwise",
    "link_ranks", "mean_subtraction_norm", "message_norm", "mlp_decoder", "negative_edges",
    "neighbor_sum", "normalize_features", "ops", "pair_norm", "partition", "propagate",
    "random_walks", "rank_metrics", "ranks", "received", "remove_duplicates", "remove_self_loops",
    "rgcn_conv", "rotate_score", "sag_pooling", "score_heads", "score_tails", "segment_softmax",
    "sent", "set2set", "softmax_aggregation", "sort_aggregation", "split_links", "split_nodes",
    "subgraph", "take_graphs", "to_networkx", "to_pyg", "to_scipy", "to_undirected",
    "top_k_pooling", "transe_score", "typed_index", "unbatch",
]  # fmt: skip

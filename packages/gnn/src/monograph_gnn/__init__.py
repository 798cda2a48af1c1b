"""Graph networks: messages along edges, as functions of a scope, on every engine."""

from . import ops
from .attention import gat_conv, gatv2_conv, supergat_conv, transformer_conv
from .batches import GraphBatch, batch, graph, take_graphs, unbatch
from .coarsening import sag_pooling, top_k_pooling
from .conversions import from_networkx, from_pyg, from_scipy, to_networkx, to_pyg, to_scipy
from .deeper import gen_conv
from .directed import d_mpnn, reverse_edges
from .drawing import draw
from .dropping import edge_dropout
from .edge_networks import dynamic_edge_conv, edge_conv, nearest_neighbors, nn_conv
from .explanation import Explainer, Explanation, explain
from .gated import cg_conv, film_conv, gated_graph_conv, res_gated_graph_conv
from .hetero_attention import han_conv, hgt_conv
from .hetero_batches import HeteroBatch, hetero_batch, hetero_graph, hetero_unbatch
from .index import EdgeIndex, edge_index
from .isomorphism import gin_conv, gine_conv
from .jumping import jumping_knowledge
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
from .polynomials import appnp, cheb_conv, sg_conv, tag_conv
from .pooling import (
    attentional_aggregation,
    global_add_pool,
    global_max_pool,
    global_mean_pool,
    set2set,
    softmax_aggregation,
    sort_aggregation,
)
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
from .ranking import TripleFilter, link_ranks, rank_metrics, ranks
from .relational import hetero_rgcn_conv, rgcn_conv, typed_index
from .relations import hetero
from .sage import graph_conv, le_conv, sage_conv
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
from .sparse import SparseMatrix, sparse
from .spectral import arma_conv, cluster_gcn_conv, gcn_conv, gcn_norm
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
    "AGGREGATIONS", "Batches", "Buckets", "ClusterSampler", "EdgeIndex", "Explainer",
    "Explanation", "GraphBatch", "GraphLoader", "GraphStore", "HeteroBatch", "LinkSampler",
    "Loader", "NeighborSampler", "SampledGraph", "Size", "SparseMatrix", "TripleFilter",
    "add_self_loops", "aggregate", "appnp", "arma_conv", "attentional_aggregation", "batch",
    "build_store", "cg_conv", "cheb_conv", "cluster_gcn_conv", "complex_score", "components",
    "corrupt_edges", "corrupt_triples", "d_mpnn", "degree_histogram", "diff_group_norm",
    "distmult_score", "draw", "dynamic_edge_conv", "edge_conv", "edge_cut", "edge_dot",
    "edge_dropout", "edge_index", "edge_softmax", "explain", "fill_edges", "film_conv",
    "from_networkx", "from_pyg", "from_scipy", "gat_conv", "gated_graph_conv", "gatv2_conv",
    "gcn_conv", "gcn_norm", "gen_conv", "gin_conv", "gine_conv", "global_add_pool",
    "global_max_pool", "global_mean_pool", "graph", "graph_conv", "graph_instance_norm",
    "graph_layer_norm", "graph_norm", "graph_size_norm", "han_conv", "hetero", "hetero_batch",
    "hetero_graph", "hetero_rgcn_conv", "hetero_unbatch", "hgt_conv", "inner_product_decoder",
    "jumping_knowledge", "largest_component", "layerwise", "le_conv", "link_ranks",
    "mean_subtraction_norm", "message_norm", "mlp_decoder", "nearest_neighbors", "negative_edges",
    "neighbor_sum", "nn_conv", "normalize_features", "ops", "pair_norm", "partition", "pna_conv",
    "propagate", "random_walks", "rank_metrics", "ranks", "received", "remove_duplicates",
    "remove_self_loops", "res_gated_graph_conv", "reverse_edges", "rgcn_conv", "rotate_score",
    "sag_pooling", "sage_conv", "score_heads", "score_tails", "segment_softmax", "sent",
    "set2set", "sg_conv", "softmax_aggregation", "sort_aggregation", "sparse", "split_links",
    "split_nodes", "subgraph", "supergat_conv", "tag_conv", "take_graphs", "to_networkx",
    "to_pyg", "to_scipy", "to_undirected", "top_k_pooling", "transe_score", "transformer_conv",
    "typed_index", "unbatch",
]  # fmt: skip

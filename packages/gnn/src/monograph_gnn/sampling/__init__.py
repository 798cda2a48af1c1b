"""Samplers: steps over graphs that do not fit one."""

from .building import build_store
from .clusters import ClusterSampler
from .layerwise import layerwise
from .links import LinkSampler
from .loader import Batches, Loader
from .negatives import corrupt_edges, corrupt_triples, negative_edges
from .neighbors import NeighborSampler
from .partition import edge_cut, partition
from .sampled import SampledGraph
from .store import GraphStore
from .walks import random_walks

__all__ = [
    "Batches", "ClusterSampler", "GraphStore", "LinkSampler", "Loader", "NeighborSampler",
    "SampledGraph", "build_store", "corrupt_edges", "corrupt_triples", "edge_cut", "layerwise",
    "negative_edges", "partition", "random_walks",
]  # fmt: skip

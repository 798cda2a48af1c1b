"""Samplers: steps over graphs that do not fit one."""

from .building import build_store
from .layerwise import layerwise
from .links import LinkSampler
from .loader import Batches, Loader
from .negatives import corrupt_edges, corrupt_triples, negative_edges
from .neighbors import NeighborSampler
from .sampled import SampledGraph
from .store import GraphStore
from .walks import random_walks

__all__ = [
    "Batches", "GraphStore", "LinkSampler", "Loader", "NeighborSampler", "SampledGraph", "build_store",
    "corrupt_edges", "corrupt_triples", "layerwise", "negative_edges", "random_walks",
]  # fmt: skip

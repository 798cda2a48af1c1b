"""Samplers: steps over graphs that do not fit one."""

from .building import build_store
from .loader import Batches, Loader
from .neighbors import NeighborSampler
from .sampled import SampledGraph
from .store import GraphStore

__all__ = ["Batches", "GraphStore", "Loader", "NeighborSampler", "SampledGraph", "build_store"]

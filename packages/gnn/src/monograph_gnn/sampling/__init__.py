"""Samplers: steps over graphs that do not fit one."""

from .building import build_store
from .neighbors import NeighborSampler
from .sampled import SampledGraph
from .store import GraphStore

__all__ = ["GraphStore", "NeighborSampler", "SampledGraph", "build_store"]

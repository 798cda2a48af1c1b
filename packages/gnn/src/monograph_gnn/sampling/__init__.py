"""Samplers: steps over graphs that do not fit one."""

from .building import build_store
from .store import GraphStore

__all__ = ["GraphStore", "build_store"]

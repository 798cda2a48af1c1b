"""Graphs taken apart, changed and put together again: every function here gives a new graph.

A graph is never changed in place, so whatever fails leaves it as it was.
"""

from .edit import extract, inline, map_ops, replace

__all__ = ["extract", "inline", "map_ops", "replace"]

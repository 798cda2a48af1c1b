"""Graphs taken apart, changed and put together again: every function here gives a new graph.

A graph is never changed in place, so whatever fails leaves it as it was.
"""

from . import policies
from .balance import balanced_cuts
from .edit import extract, inline, map_ops, replace
from .microbatching import microbatch
from .pipeline import Pipeline, pipeline
from .split import Part, Split, split

__all__ = [
    "Part", "Pipeline", "Split", "balanced_cuts", "extract", "inline", "map_ops", "microbatch",
    "pipeline", "policies", "replace", "split",
]  # fmt: skip

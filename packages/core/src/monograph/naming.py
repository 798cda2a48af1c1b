"""Names for graphs: one that says the same computation in every process, and one for a reader."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .errors import GraphError
from .files import encode_graph
from .graph import Graph


def title(graph: Graph) -> str:
    """A line for a reader: the graph's name, what it takes, and its size."""
    shapes = ", ".join(map(str, graph.input_specs[:4]))
    more = f", {len(graph.input_specs) - 4} more" if len(graph.input_specs) > 4 else ""
    return f"{graph.name}({shapes}{more}), {len(graph.nodes)} nodes"


def digest(graph: Graph) -> str | None:
    """A name for what a graph computes, the same in every process; None for one with Python in it."""
    arrays: list[Any] = []
    places: dict[Any, int] = {}
    try:
        d = encode_graph(graph, arrays, places)
    except GraphError:
        return None
    h = hashlib.sha256(json.dumps(_without_lines(d), sort_keys=True).encode())
    for literal in places:
        h.update(literal.digest)
    return h.hexdigest()


def _without_lines(d: Any) -> Any:
    if isinstance(d, dict):
        return {k: _without_lines(v) for k, v in d.items() if k != "line"}
    return [_without_lines(x) for x in d] if isinstance(d, list) else d

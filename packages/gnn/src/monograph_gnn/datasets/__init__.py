"""Graphs to try things on: read from a local folder, downloaded only when asked."""

from .edge_lists import read_edges, write_edges
from .knowledge import KnowledgeGraph, knowledge_graph, read_triples
from .ogb import ogb_graphs, ogb_nodes
from .planetoid import planetoid
from .tasks import GraphTask, NodeTask
from .tu import tu

__all__ = [
    "GraphTask", "KnowledgeGraph", "NodeTask", "knowledge_graph", "ogb_graphs", "ogb_nodes",
    "planetoid", "read_edges", "read_triples", "tu", "write_edges",
]  # fmt: skip

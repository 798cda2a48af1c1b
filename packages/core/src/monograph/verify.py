"""The rules every graph keeps, checked after passes while testing (``MONOGRAPH_VERIFY=1``)."""

from __future__ import annotations

from .errors import GraphError, MonographError
from .graph import Graph, Literal, Value, attr_graphs
from .op import _REGISTRY


def verify(graph: Graph) -> Graph:
    """Check a graph and the graphs nested in it; return it.

    Rules: an input is a `parameter`; a value is defined before it is read, in this graph; specs are
    what the op's shape rule infers; attributes are the op's own and hashable; ops are registered;
    constants are read-only.

    Raises:
        GraphError: lists every violation at once.

    >>> import monograph as mg
    >>> mg.trace(lambda x: x + x, mg.Spec((2,))).verify().nodes[0].op.name
    'add'
    """
    problems = _problems(graph)
    if problems:
        listed = "\n".join(f"  {p}" for p in problems)
        raise GraphError(f"graph {graph.name!r} breaks {len(problems)} rule(s):\n{listed}")
    return graph


def _problems(graph: Graph) -> list[str]:
    out: list[str] = []
    known: set[Value] = set()
    for i, v in enumerate(graph.inputs):
        if v.node.op.name != "parameter":
            out.append(f"input {i} is made by {v.node.op.name}, not a parameter")
        if v in known:
            out.append(f"input {i} stands twice")
        known.add(v)
    for n, node in enumerate(graph.nodes):
        where = f"node {n} ({node.op.name}, {node.source})"
        known_op = _REGISTRY.get(node.op.name)
        if known_op is not node.op and not (known_op and node.op.replaces(known_op)):
            out.append(f"{where}: the op is not registered")
        out += [
            f"{where}: operand {i} ({v!r}) is not defined before it"
            for i, v in enumerate(node.inputs)
            if v not in known
        ]
        if node.attrs.keys() != node.op.defaults.keys():
            out.append(f"{where}: attributes {set(node.attrs)} instead of {set(node.op.defaults)}")
        try:
            hash(tuple(node.attrs.items()))
        except TypeError as e:
            out.append(f"{where}: {e}")
        for a in node.attrs.values():
            if isinstance(a, Literal) and a.array.flags.writeable:
                out.append(f"{where}: its constant can be written to")
        try:
            want = node.op.infer_specs([v.spec for v in node.inputs], node.attrs)
            got = tuple(v.spec for v in node.outputs)
            if want != got:
                out.append(f"{where}: has specs {got}, its shape rule says {want}")
        except MonographError as e:
            out.append(f"{where}: {e}")
        for inner in attr_graphs(node.attrs):
            out += [f"{where}: in {inner.name}: {p}" for p in _problems(inner)]
        known.update(node.outputs)
    out += [f"output {i} is not defined" for i, v in enumerate(graph.outputs) if v not in known]
    return out

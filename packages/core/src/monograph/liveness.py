"""How much memory a graph needs at once: which values are alive while its nodes run in order."""

from __future__ import annotations

from .cost import FLOPS
from .graph import Graph, Node, Value, attr_graphs

# fmt: off
VIEWS = frozenset((
    "alias", "broadcast_in_dim", "optimization_barrier", "reshape", "stop_gradient", "transpose",
))
# fmt: on
"""Operations whose results take no memory of their own: views, or read where they are used."""


def peak_bytes(graph: Graph) -> int:
    """An estimate of the most bytes in use at once, inputs, constants and outputs included.

    Nodes run one after another, each value lives until its last reader (`Graph.last_uses`), an
    elementwise operation overwrites an operand that dies with it, views cost nothing. Engines that
    fuse need less, those that need work space (convolutions) more: within a factor of two on whole
    models, see ``tests/test_cost_memory.py``.

    >>> import monograph as mg
    >>> from monograph.liveness import peak_bytes
    >>> peak_bytes(mg.trace(lambda x: mg.sum(mg.exp(x) * x), mg.Spec((1000,))))
    8004
    """
    from .rewrite import decompose

    # every engine runs the bodies of calls in place: what nobody reads of them is never made
    plain, _ = decompose(graph, lambda op: op.name not in ("checkpoint_call", "custom_vjp_call"))
    return sum(v.spec.nbytes for v in graph.inputs) + constant_bytes(plain) + _new(plain)


def constant_bytes(graph: Graph) -> int:
    """Bytes of the arrays the graph and the graphs nested in it hold."""
    return sum(n.outputs[0].spec.nbytes for n in graph.walk() if n.op.name == "constant")


def _new(graph: Graph) -> int:
    """The most bytes that a graph adds at once to its inputs and constants."""
    given = {*graph.inputs, *(n.outputs[0] for n in graph.nodes if n.op.name == "constant")}
    owner: dict[Value, Value] = {}  # a view's memory is another value's
    for node in graph.nodes:
        if node.op.name in VIEWS:
            for v, x in zip(node.outputs, node.inputs):
                owner[v] = owner.get(x, x)
    readers: dict[Value, int] = {}
    for i, node in enumerate(graph.nodes):
        for v in (*node.inputs, *node.outputs):
            readers[owner.get(v, v)] = i
    readers.update((owner.get(v, v), len(graph.nodes)) for v in graph.outputs)
    dying: dict[int, list[Value]] = {}
    for v, i in readers.items():
        if v not in given:
            dying.setdefault(i, []).append(v)
    now = most = 0
    for i, node in enumerate(graph.nodes):
        dead = dying.get(i, [])
        if node.op.name in VIEWS or node.op.name == "constant":
            made = work = 0
        else:
            made = sum(v.spec.nbytes for v in node.outputs)
            work = max(made, _inside(node)) - _overwritten(node, dead, owner)
        most = max(most, now + work)
        now += made - sum(v.spec.nbytes for v in dead)
    return most


def _overwritten(node: Node, dead: list[Value], owner: dict[Value, Value]) -> int:
    """Bytes of a dying operand whose place the result takes."""
    if node.op.name in FLOPS or len(node.outputs) > 1:
        return 0
    out = node.outputs[0].spec
    read = {owner.get(v, v) for v in node.inputs}
    return out.nbytes if any(v.spec is out for v in read.intersection(dead)) else 0


def _inside(node: Node) -> int:
    """The most bytes in use inside a node, its results included."""
    made = sum(v.spec.nbytes for v in node.outputs)
    nested = max((_new(g) for g in attr_graphs(node.attrs)), default=0)
    if node.op.name in ("scan", "while"):  # results are there while the body runs
        return made + nested
    if not nested and node.op.is_composite:
        nested = _new(node.op.body_graph([v.spec for v in node.inputs], node.attrs))
    return nested

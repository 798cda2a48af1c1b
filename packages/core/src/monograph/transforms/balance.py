"""Where to cut a graph so that its parts cost the same and hand over little."""

from __future__ import annotations

from ..cost import flops
from ..errors import ArgumentError
from ..graph import Graph
from ..tracing import at_user_line
from .cutting import Cutting


def balanced_cuts(graph: Graph, n: int, slack: float = 0.25) -> list[int]:
    """Positions that cut a graph into ``n`` parts of about equal FLOPs, handing over little.

    Args:
        slack: how far, in parts of a part, a cut may move to hand over fewer bytes.

    Raises:
        ArgumentError: fewer than ``n`` operations, or ``n`` below one.

    >>> import monograph as mg
    >>> g = mg.trace(lambda x, w: mg.sum(mg.tanh(x @ w), axis=1) * 2.0, mg.Spec((8, 4)),
    ...              mg.Spec((4, 4)))
    >>> mg.transforms.balanced_cuts(g, 2)
    [1]
    """
    cutting = Cutting(graph, [])
    own = [i for i, node in enumerate(graph.nodes) if node not in cutting.still]
    if not 1 <= n <= max(len(own), 1):
        raise at_user_line(
            ArgumentError(f"graph {graph.name!r} has {len(own)} operations: no {n} parts of them")
        )
    crossing = _crossing_bytes(graph, cutting)
    total, so_far = 0.0, []
    for i in own:
        total += flops(graph.nodes[i]) + 1  # one each, so that free operations count too
        so_far.append(total)
    cuts: list[int] = []
    first = 0  # of the operations that are left
    for k in range(1, n):
        want = total * k / n
        candidates = range(first, len(own) - (n - k))
        best = min(abs(so_far[c] - want) for c in candidates)
        near = [c for c in candidates if abs(so_far[c] - want) <= max(slack * total / n, best)]
        chosen = min(near, key=lambda c: (crossing[own[c] + 1], abs(so_far[c] - want)))
        cuts.append(own[chosen] + 1)
        first = chosen + 1
    return cuts


def _crossing_bytes(graph: Graph, cutting: Cutting) -> list[int]:
    """Per position the bytes of values made before and read after it."""
    last = {v: i for i, node in enumerate(graph.nodes) for v in node.inputs}
    change = [0] * (len(graph.nodes) + 2)
    for i, node in enumerate(graph.nodes):
        for v in node.outputs:
            if v in last and node not in cutting.still:
                change[i + 1] += v.spec.nbytes
                change[last[v] + 1] -= v.spec.nbytes
    now, out = 0, []
    for c in change:
        now += c
        out.append(now)
    return out

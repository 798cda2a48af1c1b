"""What a graph costs: floating-point operations, a multiplication and an addition counting as two.

Products and convolutions are counted exactly, an elementwise operation or reduction as one per
element, moving data as nothing; XLA and PyTorch count so too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .graph import Graph, Node


def _dot(node: Node) -> int:
    contracted = [node.inputs[0].shape[a] for a in node.attrs["lhs_contracting"]]
    return 2 * node.outputs[0].size * math.prod(contracted)


def _convolution(result: Any, kernel_shape: tuple[int, ...]) -> int:
    return 2 * result.size * math.prod(kernel_shape[:-1])


def _largest(node: Node) -> int:
    return max(v.size for v in (*node.inputs, *node.outputs))


FLOPS: dict[str, Callable[[Node], int]] = {
    "dot_general": _dot,
    "convolution": lambda n: _convolution(n.outputs[0], n.inputs[1].shape),
    "convolution_input_grad": lambda n: _convolution(n.inputs[0], n.inputs[1].shape),
    "convolution_kernel_grad": lambda n: _convolution(n.inputs[1], n.attrs["kernel_shape"]),
    "reduce_window_sum": lambda n: n.outputs[0].size * math.prod(n.attrs["window"]),
    "reduce_window_max": lambda n: n.outputs[0].size * math.prod(n.attrs["window"]),
    "reduce_window_min": lambda n: n.outputs[0].size * math.prod(n.attrs["window"]),
    "cholesky": lambda n: n.inputs[0].size * n.inputs[0].shape[-1] // 3,
    "lu": lambda n: 2 * n.inputs[0].size * min(n.inputs[0].shape[-2:]) // 3,
    "triangular_solve": lambda n: n.outputs[0].size * n.inputs[0].shape[-1],
    "scan": lambda n: n.attrs["length"] * flops(n.attrs["body"]),
    "while": lambda n: flops(n.attrs["cond"]) + flops(n.attrs["body"]),  # once: who knows how often
    "case": lambda n: max(flops(g) for g in n.attrs["branches"]),
}
"""Operations that do not cost one per element."""

# fmt: off
FREE = frozenset((
    "alias", "all_gather", "all_to_all", "allow_nonfinite", "bitcast_convert", "broadcast_in_dim",
    "check_finite", "collective_broadcast", "concatenate", "constant", "convert", "copy_into",
    "dynamic_slice",
    "dynamic_update_slice", "gather", "iota", "optimization_barrier", "pad", "parameter",
    "random_bits", "replica_id", "reshape", "reverse", "select", "slice", "sort", "stop_gradient",
    "threefry_2x32", "top_k", "transpose",
))
# fmt: on
"""Operations that move data or draw bits."""


def flops(what: Graph | Node) -> int:
    """Floating-point operations of a graph or of one node.

    >>> import monograph as mg
    >>> from monograph.cost import flops
    >>> flops(mg.trace(lambda x, w: x @ w, mg.Spec((2, 3)), mg.Spec((3, 5))))
    60
    """
    if isinstance(what, Graph):
        return sum(flops(node) for node in what.nodes)
    op = what.op
    if op.name in FREE:
        return 0
    if op.name in FLOPS:
        return FLOPS[op.name](what)
    inner = what.attrs.get("body")
    if isinstance(inner, Graph):
        return flops(inner)
    if op.is_composite:
        return flops(op.body_graph([v.spec for v in what.inputs], what.attrs))
    return _largest(what)

"""What `mg.checkpoint` keeps for the gradient: functions ``node -> bool``.

Write your own; a node has its op, inputs, attributes, outputs and source:

>>> import monograph as mg
>>> def big_results(node):
...     return node.outputs[0].size > 1000
>>> f = mg.checkpoint(lambda x: mg.sum(mg.sin(x) * x), policy=big_results)
>>> mg.grad(f)(mg.tensor([0.0])).tolist()
[0.0]
"""

from __future__ import annotations

from ..graph import Node

PRODUCTS = frozenset(("attention", "convolution", "dot_general"))
"""Operations that cost many multiplications per element of their result."""


def save_nothing(node: Node) -> bool:
    """Compute all of it again: the least memory. The same as no policy."""
    return False


def save_products(node: Node) -> bool:
    """Keep products, convolutions and attention, whose cost is high; compute the rest again."""
    return node.op.name in PRODUCTS


def save_everything(node: Node) -> bool:
    """Keep every result, as without `mg.checkpoint`."""
    return True

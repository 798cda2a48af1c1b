"""The table: op -> torch. Each module brings its own part.

An entry is source text, in which ``{0}`` stands for an operand and ``{axis}`` for an attribute, or a
function ``(node, device)`` that makes such text, the callable that the generated line calls, a
constant tensor, or a `common.Writer`.
"""

from __future__ import annotations

from typing import Any

from . import (
    collectives, composites, control, convolution, elementwise, indexing, integers, products, random,
    reductions, shape, updates, windows,
)  # fmt: skip

_PARTS = (
    shape, elementwise, integers, reductions, products, convolution, windows, indexing, control,
    composites, updates, random, collectives,
)  # fmt: skip
LOWER: dict[Any, Any] = {op: how for part in _PARTS for op, how in part.TABLE.items()}
if len(LOWER) != sum(len(part.TABLE) for part in _PARTS):
    raise RuntimeError("two modules of monograph_torch.lowerings lower the same op")

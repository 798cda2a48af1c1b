"""The table: op -> torch. A string is source text; a function ``(node, device) -> callable`` makes
what the generated line calls, or a constant tensor. Each module brings its own part.
"""

from __future__ import annotations

from typing import Any

from . import (
    collectives,
    composites,
    control,
    elementwise,
    indexing,
    integers,
    linalg,
    products,
    random,
    reductions,
    shape,
    updates,
    windows,
)  # fmt: skip

_PARTS = (
    shape, elementwise, integers, reductions, products, linalg, windows, indexing, control, composites, updates, random,
    collectives,
)  # fmt: skip
LOWER: dict[Any, Any] = {op: how for part in _PARTS for op, how in part.TABLE.items()}
if len(LOWER) != sum(len(part.TABLE) for part in _PARTS):
    raise RuntimeError("two modules of monograph_torch.lowerings lower the same op")

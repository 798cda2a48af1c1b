"""Collectives on one device: copies. `Engine.prepare` has refused larger meshes."""

from __future__ import annotations

from typing import Any

import torch
from monograph import ops

TABLE: dict[Any, Any] = {
    ops.all_reduce: "{0}.clone()", ops.all_gather: "{0}.clone()",
    ops.reduce_scatter: "{0}.clone()", ops.collective_broadcast: "{0}.clone()",
    ops.all_to_all: "{0}.clone()",
    ops.replica_id: lambda node, device: torch.zeros((), dtype=torch.uint32, device=device),
}  # fmt: skip

"""What the tables share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

HALF = (torch.float16, torch.bfloat16)


def dtype_of(spec: Any) -> torch.dtype:
    """torch's dtype of a spec."""
    return getattr(torch, spec.dtype.name)


def call(fn: Callable) -> Callable:
    """A lowering that calls ``fn(*tensors, **attributes)``."""
    return lambda node, device: (lambda *xs, a=node.attrs: fn(*xs, **a)) if node.attrs else fn

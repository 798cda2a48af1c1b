"""ATen in Monograph's ops: one table per idea, one line per op.

A key is an op's name (``add``) or one overload (``max.dim``); a rule has torch's own parameters with
torch's defaults. Devices, layouts and memory formats arrive as None and mean nothing here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import (
    attention, control, convolution, creation, elementwise, fourier, indexing, norms, pooling, random,
    recurrent, reductions, resizing, scattering, shapes, symbols,
)  # fmt: skip

TABLES = (
    elementwise, reductions, shapes, creation, indexing, scattering, convolution, pooling, resizing,
    norms, attention, recurrent, fourier, random,
)  # fmt: skip
RULES: dict[str, Callable[..., Any]] = {k: f for t in TABLES for k, f in t.RULES.items()}

# arguments that an op also writes: its rule gives (result, their new values)
WRITES = {"batch_norm.default": (3, 4), "_native_batch_norm_legit.default": (3, 4)}

# ops whose result shares memory with the first argument; of these, the ones that copy when they must
VIEWS = frozenset(shapes.VIEWS)
LOOSE = frozenset({"contiguous", "flatten", "reshape", "reshape_as"})

# ops whose rule takes a random key, when this says so of their arguments
DRAWS: dict[str, Callable[..., bool]] = {**random.DRAWS, **attention.DRAWS, **recurrent.DRAWS}


@functools.cache
def find(target: str) -> Callable[..., Any] | None:
    """The rule for ``aten.add.Tensor``, or another's ``_operator.mul``; None if there is none."""
    space, _, name = target.partition(".")
    if space == "higher_order":
        return control.RULES.get(name)
    if space != "aten":
        return symbols.RULES.get(target)
    base = name.partition(".")[0]
    return RULES.get(name) or RULES.get(base) or symbols.RULES.get(target)


@functools.cache
def in_place(target: str) -> str | None:
    """The op without the effect, of one that writes its first argument: ``aten.add_.Tensor``."""
    space, _, name = target.partition(".")
    base, _, overload = name.partition(".")
    if space != "aten" or not base.endswith("_") or base.endswith("__"):
        return None
    return f"aten.{base[:-1]}.{overload}"

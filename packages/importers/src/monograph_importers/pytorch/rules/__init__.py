"""ATen in Monograph's ops: one table per idea, one line per op.

A key is an op's name (``add``) or one overload (``max.dim``); a rule has torch's own parameters with
torch's defaults. Devices, layouts and memory formats arrive as None and mean nothing here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from . import (
    attention,
    control,
    convolution,
    creation,
    elementwise,
    fourier,
    indexing,
    linalg,
    norms,
    pooling,
    products,
    random,
    recurrent,
    reductions,
    resizing,
    sampling,
    scattering,
    shapes,
    symbols,
)

TABLES = (
    elementwise, reductions, shapes, creation, indexing, scattering, products, convolution, pooling, resizing,
    sampling, norms, attention, recurrent, fourier, linalg, random,
)  # fmt: skip
RULES: dict[str, Callable[..., Any]] = {k: f for t in TABLES for k, f in t.RULES.items()}

# arguments that an op also writes: its rule gives (result, their new values)
WRITES = {"batch_norm.default": (3, 4), "_native_batch_norm_legit.default": (3, 4)}

# ops whose result shares memory with the first argument; some copy when they must, see `Memory`
VIEWS = frozenset(shapes.VIEWS)
LOOSE = {
    "contiguous": "contiguous",
    **dict.fromkeys(("flatten", "reshape", "reshape_as"), "reshape"),
}

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


def resolved(target: str) -> tuple[str, bool]:
    """An op that may have a rule, and whether its result is written into its first argument.

    >>> resolved("aten.add_.Tensor"), resolved("aten.add.Tensor")
    (('aten.add.Tensor', True), ('aten.add.Tensor', False))
    """
    space, _, name = target.partition(".")
    base, _, overload = name.partition(".")
    if find(target) or space != "aten" or not base.endswith("_") or base.endswith("__"):
        return target, False
    return f"aten.{base[:-1]}.{overload}", True


def is_view(target: str) -> bool:
    """Whether an op's result shares memory with its first argument."""
    return target == "_operator.getitem" or base_of(target) in VIEWS


def base_of(target: str) -> str:
    """An ATen op without its overload: ``add`` of ``aten.add.Tensor``; else nothing."""
    space, _, name = target.partition(".")
    return name.partition(".")[0] if space == "aten" else ""

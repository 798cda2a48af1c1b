"""The table of what runs: filled by the modules imported here, asked before anything runs."""

from __future__ import annotations

from . import control, custom, elementwise, folds, products, shapes, sorting  # noqa: F401
from .interpret import RETURNS, RULES
from .ir import Module, Op


def title(op: Op) -> str:
    """What to call an operation in a list of what is missing."""
    return f"{op.name} @{custom.target(op)}" if op.name == "stablehlo.custom_call" else op.name


def problem(op: Op, module: Module) -> str | None:
    """Why an operation cannot run; empty where it is unknown altogether, None where it can."""
    if any(len(region) > 1 for region in op.regions):
        return "it jumps between blocks"
    if op.name == "stablehlo.custom_call":
        return None if custom.target(op) in custom.CALLS else ""
    if op.name in control.REASONS:
        return control.REASONS[op.name]
    for key in ("callee", "decomposition"):
        if (name := op.attributes.get(key)) is not None and name not in module.functions:
            return f"there is no function {name}"
    known = op.name in RULES or op.name in RETURNS or op.name in ("func.func", "builtin.module")
    return None if known else ""

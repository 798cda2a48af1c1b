"""The table of what runs: filled by the modules imported here, asked before anything runs."""

from __future__ import annotations

from monograph.errors import DTypeError, FileFormatError
from monograph.tracing import without_line

from . import control, custom, elementwise, folds, lapack, products, shapes, sorting  # noqa: F401
from .constants import dtype
from .interpret import RETURNS, RULES
from .ir import Module, Op, Symbol

_STEPS = 10_000_000  # that a program may come to when its calls are written out
_DEPTH = 100  # of calls within calls


def check_calls(module: Module, entry: str) -> None:
    """Raise `FileFormatError` where functions call themselves, or each other without measure."""
    steps: dict[str, int] = {}

    def count(name: str, path: tuple[str, ...]) -> int:
        if name in path or len(path) > _DEPTH:
            raise FileFormatError(
                f"{module.name}: the calls of {name} do not end: {' > '.join(path[-4:])}"
            )
        if name not in steps:
            found = list(module.functions[name].walk())
            calls = [c for op in found for c in callees(op) if c in module.functions]
            steps[name] = len(found) + sum(count(c, (*path, name)) for c in calls)
        return steps[name]

    if (total := count(entry, ())) > _STEPS:
        raise FileFormatError(f"{module.name}: its calls come to {total:,} operations")


def callees(op: Op) -> list[str]:
    """The functions that an operation calls."""
    found = (op.attributes.get(key) for key in ("callee", "decomposition"))
    return [name for name in found if isinstance(name, Symbol)]


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
    for name in callees(op):
        if name not in module.functions:
            return f"there is no function {name}"
    known = op.name in RULES or op.name in RETURNS or op.name in ("func.func", "builtin.module")
    return None if known else ""


def lacks_dtype(element: str) -> str | None:
    """Why arrays of an element type cannot be had; None where they can."""
    try:
        dtype(element)
    except DTypeError as e:
        return "quantised" if element.startswith("!quant") else without_line(e)
    return None

"""StableHLO programs: MLIR text, bytecode and portable artifacts (https://openxla.org/stablehlo/spec)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monograph.errors import DTypeError, FileFormatError
from monograph.importing import Imported, Input, Signature

from .._steps import missing
from . import ir

_SUFFIXES = (".mlir", ".mlirbc", ".stablehlo", ".vhlo", ".bc")
_TEXT = ("module", "builtin.module", '"builtin.module"', "func.func", "#", "//")


def recognises(source: Any) -> bool:
    """A path with MLIR's bytes or suffix, the bytes themselves, or MLIR text with a module in it."""
    from .mlir import BYTECODE

    if isinstance(source, bytes):
        return source.startswith(BYTECODE)
    if isinstance(source, str) and "\n" in source:
        return _is_text(source)
    if not isinstance(source, (str, Path)):
        return False
    path = Path(source)
    if not path.is_file():
        return False
    with path.open("rb") as f:
        start = f.read(64)
    return start.startswith(BYTECODE) or path.suffix in _SUFFIXES


def _is_text(source: str) -> bool:
    return source.lstrip().startswith(_TEXT) and "func" in source


def load(source: Any, entry: str = "main") -> Imported:
    """A StableHLO program as a model.

    Args:
        source: a path, the bytes of a file, or MLIR text.
        entry: the function to run.

    Raises:
        FileFormatError: it is no such program, or it is damaged.
        PluginError: jaxlib, whose parser reads MLIR, is not installed.

    >>> text = '''
    ... func.func @main(%x: tensor<?x2xf32>) -> tensor<?x2xf32> {
    ...   %y = stablehlo.tanh %x : tensor<?x2xf32>
    ...   return %y : tensor<?x2xf32>
    ... }'''
    >>> load(text)
    Imported(StableHLO(x0: float32[n0,2]) -> (...), 0 numbers)
    """
    from .mlir import generic
    from .parse import parse

    data, name = _read(source)
    return imported(parse(generic(data, name), name), entry=entry)


def _read(source: Any) -> tuple[bytes, str]:
    from monograph.storage import opened

    if isinstance(source, bytes):
        return source, "StableHLO"
    if isinstance(source, str) and "\n" in source:
        return source.encode(), "StableHLO"
    with opened(source) as f:
        return f.read(), str(source)


def imported(module: ir.Module, entry: str = "main") -> Imported:
    """A parsed module as a model without variables: what it takes are the entry's arguments."""
    from .interpret import run

    if entry not in module.functions:
        raise FileFormatError(
            f"{module.name} has no function {entry!r}; there are {', '.join(module.functions)}"
        )
    lacks = missing(unsupported(module, entry))
    inputs = _inputs(module.functions[entry])

    def call(scope: Any, *args: Any) -> Any:
        out = run(module, entry, args)
        return out[0] if len(out) == 1 else tuple(out)

    return Imported(call, Signature(tuple(inputs)), {}, lacks, module.name)


def _inputs(function: ir.Op) -> Iterator[Input]:
    from .constants import dtype

    number = 0
    for i, (_, t) in enumerate(function.body.arguments):
        if not isinstance(t, ir.Tensor):
            continue
        try:
            d = dtype(t.element)
        except DTypeError:
            continue  # among what is unsupported
        names = []
        for n in t.shape:
            names.append(f"n{number}" if n is None else n)
            number += n is None
        yield Input(f"x{i}", tuple(names), d)


def unsupported(module: ir.Module, entry: str) -> Iterator[tuple[str, str, str]]:
    """``(op, where, why)`` of everything that the entry reaches and that cannot run."""
    from . import rules

    rules.check_calls(module, entry)
    seen, todo, types = {entry}, [entry], set()  # type: set[str], list[str], set[str]
    while todo:
        for op in module.functions[todo.pop()].walk():
            where = str(op.source) if op.source else module.name
            found = [*op.types, *(t for r in op.regions for b in r for _, t in b.arguments)]
            for element in {t.element for t in found if isinstance(t, ir.Tensor)} - types:
                types.add(element)
                if (why := rules.lacks_dtype(element)) is not None:
                    yield f"element type {element}", where, why
            if (why := rules.problem(op, module)) is not None:
                yield rules.title(op), where, why
            for name in rules.callees(op):
                if name in module.functions and name not in seen:
                    seen.add(name)
                    todo.append(name)

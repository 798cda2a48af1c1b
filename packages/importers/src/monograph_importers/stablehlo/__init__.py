"""StableHLO programs: MLIR text, bytecode and portable artifacts (https://openxla.org/stablehlo/spec)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from monograph.errors import DTypeError, FileFormatError
from monograph.importing import Imported, Input, Signature, Unsupported

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
    inputs = dict(_inputs(module.functions[entry]))
    signature = Signature(tuple(inputs.values()))
    places = range(len(module.functions[entry].body.arguments))

    def call(run: Any, scope: Any, *args: Any) -> Any:
        given = dict(zip(inputs, args))  # others are tokens
        out = run(module, entry, [given.get(i) for i in places])
        return out[0] if len(out) == 1 else tuple(out)

    lacks = unsupported([module], call, signature.specs(), entry)
    return Imported(functools.partial(call, run), signature, {}, lacks, module.name)


def _inputs(function: ir.Op) -> Iterator[tuple[int, Input]]:
    """Arguments that are arrays, by their places."""
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
        yield i, Input(f"x{i}", tuple(names), d)


def unsupported(
    modules: Sequence[ir.Module], run: Callable[..., Any], specs: Sequence[Any], entry: str = "main",
    **options: Any,
) -> Callable[[], tuple[Unsupported, ...]]:  # fmt: skip
    """What a model of StableHLO lacks, to be found out when it is asked for; arguments are those of `lacks.lacks`.

    Raises:
        FileFormatError: calls that do not end.
    """
    from .lacks import lacks
    from .rules import check_calls

    for module in modules:
        check_calls(module, entry)
    return lambda: missing(lacks(modules, run, specs, entry, **options))

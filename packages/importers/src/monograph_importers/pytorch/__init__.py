"""PyTorch: exported programs, ``.pt2`` files and modules as `monograph.importing.Imported`.

The graph that `torch.export` makes is interpreted op by op with Monograph's own (`rules`), so composites
stay composites. A file is read without torch and nothing of it runs.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any

from monograph.importing import Imported, Signature, Unsupported


def recognises(source: Any) -> bool:
    """A ``.pt2`` file's name, an ``ExportedProgram``, or a ``torch.nn.Module``."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source).endswith(".pt2")
    torch = sys.modules.get("torch")  # whoever has such an object has imported it
    kinds = (torch.nn.Module, torch.export.ExportedProgram) if torch else ()
    # on its torch backend a Keras model is a torch module too; its own importer knows more of it
    keras = any(c.__module__.startswith("keras.") for c in type(source).__mro__)
    return isinstance(source, kinds) and not keras


def load(source: Any, **options: Any) -> Imported:
    """The model.

    Args:
        source: an ``ExportedProgram``; a ``.pt2`` file (``model="model"`` says which program of it);
            or a ``torch.nn.Module``, which is exported with

            - ``example``: a tuple of its positional arguments, or one tensor,
            - ``kwargs``: its keyword arguments,
            - ``dynamic``: which axes are of any length, and their names: ``{"x": {0: "batch"}}``,
            - ``training``: whether to export it as it trains (batch statistics, dropout).

    Returns:
        `Imported`: parameters have torch's names with "/" for ".", buffers are state, tied weights are
        one variable. Of an object the parameters are torch's own memory, which a store copies when it
        starts; of a file they are its pages.

    Raises:
        StorageError: the file cannot be opened.
        FileFormatError: the file is no such archive, damaged, or holds pickles.
        ArgumentError: a module without an example, or one that cannot be exported.
    """
    if isinstance(source, (str, os.PathLike)):
        from . import serialized

        return imported(serialized.program(source, **options), os.path.basename(os.fspath(source)))
    from . import exported

    if hasattr(source, "graph_signature"):
        return imported(exported.program(source, **options), "model")
    made, names = exported.export(source, **options)
    return imported(exported.program(made, names), type(source).__name__)


def imported(program: Any, name: str) -> Imported:
    """A `program.Program` as a model."""
    from .._steps import missing
    from .interpret import run
    from .lacks import lacks
    from .program import leaves

    signature = Signature(tuple(program.inputs), tuple(leaves(program.out_spec)), program.hints)

    def unsupported() -> tuple[Unsupported, ...]:
        return missing(lacks(program, signature.specs()))

    return Imported(functools.partial(run, program), signature, program.tensors, unsupported, name)


__all__ = ["load", "recognises"]

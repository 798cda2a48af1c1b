"""ONNX models: ``mg.load("model.onnx")``, the file's bytes, or an `onnx.ModelProto`.

Initializers of floats become parameters, by their names with ``/`` for ``.``. Scalars stay constants, and so does
what decides a shape; statistics of normalisations and scales of quantisation are variables that are not trained.
The standard: https://onnx.ai/onnx/operators, operator sets 7 to 28 without strings and ``ai.onnx.ml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from monograph.importing import Imported


def recognises(source: Any) -> bool:
    """Whether ``source`` is a path ending in ``.onnx``, bytes that start as a model's, or a `ModelProto`."""
    if isinstance(source, (str, Path)):
        return Path(source).suffix == ".onnx"
    if isinstance(source, (bytes, bytearray, memoryview)):
        first = bytes(
            source[:3]
        )  # ir_version, then the producer's name or version, domain, or graph
        return (
            len(first) == 3
            and first[0] == 8
            and 1 <= first[1] < 32
            and first[2] in b"\x12\x1a\x22\x28\x3a\x42"
        )
    kind = type(source)
    return kind.__name__ == "ModelProto" and kind.__module__.partition(".")[0] == "onnx"


def load(source: Any, *, constants: Any = None) -> Imported:
    """An ONNX model.

    Args:
        source: a path, bytes or an `onnx.ModelProto`.
        constants: values of inputs by name, which are then no inputs any more. What a model's shapes depend on,
            such as an input that is the shape of a `Reshape`, must be given here.

    Raises:
        FileFormatError: no such model, damaged, cyclic, or inconsistent; all problems are named.
        StorageError: the file, or its external data, cannot be read.
        PluginError: the library ``onnx`` is not installed.
    """
    from .build import read

    return read(source).imported(constants or {})


__all__ = ["load", "recognises"]

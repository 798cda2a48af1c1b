"""JAX: functions, exported programs, and modules of haiku, Flax and Equinox with their parameters by name.

A function is lowered anew for the shapes of each call, so every axis may be of any length that the
function itself can take. Programs of ``jax.export`` are read without running JAX.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monograph.errors import ArgumentError
from monograph.importing import Imported

_LIBRARIES = ("jax", "jaxlib", "flax", "equinox", "haiku")
_FUNCTIONS = (types.FunctionType, types.MethodType)
_MARK = b"ML\xefR"


def _library(x: Any) -> str | None:
    """Which library of JAX's an object's class, or a base of it, comes from."""
    for base in type(x).__mro__:
        top = base.__module__.split(".")[0]
        if top in _LIBRARIES:
            return top
    return None


def recognises(source: Any) -> bool:
    """A function, an object of JAX, Flax, Equinox or haiku (or a tuple that starts with one), or the bytes
    of an exported program."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        if "\n" in str(source) or not path.is_file() or path.suffix == ".pb":
            return False
        with path.open("rb") as f:
            return _exported(f.read(2**16))
    if isinstance(source, (bytes, bytearray)):
        return _exported(bytes(source[: 2**16]))
    if isinstance(source, tuple) and source and type(source) is tuple:
        return _library(source[0]) is not None
    return isinstance(source, _FUNCTIONS) or _library(source) is not None


def _exported(start: bytes) -> bool:
    """The flat buffer of ``jax.export`` holds a portable artifact, and is none itself."""
    return _MARK in start[4:] and b"StableHLO_v" in start and not start.startswith(_MARK)


def load(
    source: Any, example: Any = None, axes: Mapping[str, Mapping[int, str]] | None = None,
    parameters: int | None = None, static: Mapping[str, Any] | None = None,
) -> Imported:  # fmt: skip
    """A JAX program or module as a model.

    Args:
        source: a function, jitted or not; a ``jax.export.Exported``, or its bytes or file; a Flax NNX or
            Equinox module; ``(linen module, variables)``; ``(haiku transformed, parameters)`` or
            ``(haiku transformed, parameters, state)``.
        example: a tuple of the arguments that the function or module takes, as arrays or
            ``jax.ShapeDtypeStruct``. Exported programs need none.
        axes: names for axes of any length, by the input's name: ``{"x": {0: "batch"}}``.
        parameters: for a function, which argument holds its parameters; they become variables.
        static: keyword arguments of each call that are no arrays, such as ``{"train": True}``.

    Raises:
        ArgumentError: the example is missing, or does not fit.
        FileFormatError: the bytes are no exported program, or damaged.
        PluginError: jax is not installed.

    >>> import jax.numpy as jnp
    >>> import monograph as mg
    >>> model = mg.load(lambda x: jnp.tanh(x).sum(), example=(jnp.ones((2, 3)),), axes={"x": {0: "batch"}})
    >>> model
    Imported(<lambda>(x: float32[batch,3]) -> (...), 0 numbers)
    >>> model.call(mg.zeros((5, 3))).item()
    0.0
    """
    from . import exported, modules
    from .functions import from_function

    _needs_jax(source)
    if isinstance(source, (str, Path, bytes, bytearray)):
        return exported.from_bytes(source)
    if type(source).__name__ == "Exported":
        return exported.from_exported(source)
    if type(source).__name__ == "Lowered":
        from ..stablehlo import imported, mlir, parse

        return imported(parse.parse(mlir.printed(source.compiler_ir()), "lowered"))
    if example is None:
        raise ArgumentError(
            f"a JAX {type(source).__name__} is imported with example=(...): arguments, or "
            f"jax.ShapeDtypeStruct, of the kind that it takes"
        )
    example, static = tuple(example), dict(static or {})
    if parameters is None:
        model = modules.adapted(source, static)
    else:
        model, example = modules.with_parameters(source, parameters, example, static)
    return from_function(model, example, axes or {})


def _needs_jax(source: Any) -> None:
    try:
        import jax
    except ImportError as e:
        from monograph.errors import PluginError

        raise PluginError(
            f"JAX programs are imported with jax: pip install 'monograph-importers[jax]' ({e})"
        ) from e


def from_haiku(
    transformed: Any, params: Any, state: Any = None, example: Any = None,
    axes: Mapping[str, Mapping[int, str]] | None = None, static: Mapping[str, Any] | None = None,
) -> Imported:  # fmt: skip
    """A haiku network: ``hk.transform`` or ``hk.transform_with_state``, with its parameters by name.

    Args:
        transformed: what ``hk.transform`` gave.
        params: its parameters; they become ``"module/name"``.
        state: the state of ``hk.transform_with_state``; the model assigns what comes out of a call.
        example, axes, static: as for `load`; an argument ``rng`` in ``static`` is a key for each call.
    """
    source = (transformed, params) if state is None else (transformed, params, state)
    return load(source, example=example, axes=axes, static=static)


__all__ = ["from_haiku", "load", "recognises"]

"""Programs of ``jax.export``: their StableHLO, with the axes that they name."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from monograph.dtypes import dtype
from monograph.errors import FileFormatError, MonographError
from monograph.importing import Imported, Input, Signature, Unsupported

from . import paths


def from_bytes(source: Any) -> Imported:
    """A file or the bytes of ``Exported.serialize()``."""
    import jax.export
    from monograph.storage import opened

    if isinstance(source, (str, Path)):
        with opened(source) as f:
            data, name = f.read(), str(source)
    else:
        data, name = bytes(source), "exported program"
    try:
        exported = jax.export.deserialize(bytearray(data))
    except MonographError:
        raise
    except Exception as e:  # a flat buffer that lies fails in any way
        raise FileFormatError(
            f"{name} is no program of jax.export that can be read: {e!r}"
        ) from None
    return from_exported(exported, name)


def from_exported(exported: Any, name: str | None = None) -> Imported:
    """An ``Exported`` as a model; axes have the names of its symbolic dimensions."""
    import jax

    from ..stablehlo import interpret, mlir, parse, unsupported
    from .functions import plain

    name = name or exported.fun_name
    module = parse.parse(mlir.generic(exported.mlir_module_serialized, name), name)
    try:
        keys = jax.tree_util.tree_flatten_with_path(
            jax.tree.unflatten(exported.in_tree, range(len(exported.in_avals)))
        )[0]
        kept, platforms = list(exported.module_kept_var_idx), list(exported.platforms)
        inputs = tuple(
            _input(path, a) for (path, _), a in zip(keys, exported.in_avals, strict=True)
        )
        several = len(platforms) > 1
        body = module.functions["main"].body
        if len(body.arguments) != len(kept) + several or not set(kept) <= set(range(len(inputs))):
            raise ValueError("the program takes other arguments than its description says")
        if len(body.ops[-1].operands) != exported.out_tree.num_leaves:
            raise ValueError("the program gives other results than its description says")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as e:
        raise FileFormatError(f"{name}: it is not as it was written: {e!r}") from None
    platform = np.asarray(platforms.index("cpu") if "cpu" in platforms else 0, np.int32)

    def run(call: Any, scope: Any, *args: Any) -> Any:
        given = [args[i] for i in kept]
        out = call(module, "main", [platform, *given] if several else given)
        return plain(jax.tree.unflatten(exported.out_tree, out))

    signature = Signature(inputs)
    found = unsupported([module], run, signature.specs())

    def lacks() -> tuple[Unsupported, ...]:
        devices = Unsupported("devices", exported.nr_devices, name, "a graph is for one device")
        return (*found(), *[devices] * (exported.nr_devices != 1))

    return Imported(functools.partial(run, interpret.run), signature, {}, lacks, name)


def _input(path: Any, aval: Any) -> Input:
    import jax

    positional = path[0].idx == 0
    inner = paths.name_of(path[1:] if not positional else path[2:])
    name = f"x{path[1].idx}" + (f"/{inner}" if inner else "") if positional else inner
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key):
        aval = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(aval.shape, aval.dtype))
    shape = tuple(n if isinstance(n, int) else str(n) for n in aval.shape)
    return Input(name, shape, dtype(np.dtype(aval.dtype)))

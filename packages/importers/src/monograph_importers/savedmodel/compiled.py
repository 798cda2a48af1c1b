"""SavedModels whose graph is TensorFlow's: its compiler turns a signature into StableHLO, per shape."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import monograph as mg
from monograph.dtypes import dtype
from monograph.errors import FileFormatError
from monograph.importing import Imported, Signature

from ..stablehlo import interpret, mlir, parse, unsupported


def through_tensorflow(folder: Path, signature: str, takes: Signature) -> Imported:
    """A model of what TensorFlow (installed by the user) compiles; its variables keep their names."""
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder))
    fn = loaded.signatures[signature]
    names, outputs = [i.name for i in takes.inputs], sorted(fn.structured_outputs)
    wrapped = tf.function(
        lambda *xs: [fn(**dict(zip(names, xs)))[k] for k in outputs],
        jit_compile=True,
        autograph=False,
    )

    def held_by(resource: Any) -> Any:
        return next((v for v in fn.variables if v.handle is resource), resource)

    @functools.lru_cache(maxsize=32)
    def lowered(shapes: tuple[tuple[int, ...], ...]) -> tuple[Any, list[Any]]:
        specs = [tf.TensorSpec(s, i.dtype.name, i.name) for s, i in zip(shapes, takes.inputs)]
        held = [held_by(c) for c in wrapped.get_concrete_function(*specs).captured_inputs]
        try:
            text = wrapped.experimental_get_compiler_ir(*specs)(stage="stablehlo")
        except (tf.errors.OpError, ValueError, NotImplementedError) as e:
            raise FileFormatError(
                f"{folder}: TensorFlow cannot compile {signature!r}: {e}"
            ) from None
        return parse.parse(mlir.generic(text.encode(), folder.name), folder.name), held

    module, held = lowered(tuple(spec.shape for spec in takes.specs() if spec))
    first = {_name(v): v.numpy() for v in held if hasattr(v, "name") and hasattr(v, "assign")}
    trained = {_name(v) for v in held if getattr(v, "trainable", False)}

    def run(call: Any, scope: Any, *args: Any) -> Any:
        module, held = lowered(tuple(mg.Spec.of(x).shape for x in args))
        values = {
            p: scope.variable(p, a.shape, dtype=dtype(a.dtype), trainable=p in trained).value
            for p, a in first.items()
        }
        captured = [values[_name(v)] if hasattr(v, "assign") else v.numpy() for v in held]
        return dict(zip(outputs, call(module, "main", [*args, *captured])))

    lacks = unsupported([module], run, takes.specs(), steps=math.inf)
    made = Signature(takes.inputs, tuple(outputs))
    return Imported(functools.partial(run, interpret.run), made, first, lacks, folder.name)


def _name(v: Any) -> str:
    return v.name.split(":")[0]

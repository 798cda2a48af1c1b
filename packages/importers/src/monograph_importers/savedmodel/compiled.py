"""SavedModels whose graph is TensorFlow's: its compiler turns a signature into StableHLO, per shape."""

from __future__ import annotations

import collections
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import monograph as mg
from monograph.dtypes import dtype
from monograph.errors import FileFormatError
from monograph.importing import Imported, Signature

from ..stablehlo import interpret, mlir, parse, unsupported


class Lowered(NamedTuple):
    """A signature for certain shapes: the program, and what it takes after the inputs.

    Attributes:
        held: variables and constants of TensorFlow.
        writes: numbers of a result and of the argument whose next value it is.
    """

    module: Any
    held: list[Any]
    writes: list[tuple[int, int]]


def through_tensorflow(folder: Path, signature: str, read: Imported) -> Imported:
    """A model of what TensorFlow (installed by the user) compiles; its variables keep their names.

    Args:
        read: the same model as it is without TensorFlow.
    """
    import tensorflow as tf

    lacks = [u for u in read.unsupported if not _compiles(u.op)]
    if lacks:
        return Imported(read.run, read.signature, read.parameters, lacks, read.name)
    loaded = tf.saved_model.load(str(folder))
    fn = loaded.signatures[signature]
    inputs, outputs = read.signature.inputs, sorted(fn.structured_outputs)

    def called(*xs: Any) -> list[Any]:
        results = fn(**dict(zip([i.name for i in inputs], xs)))
        return [results[k] for k in outputs]

    wrapped = tf.function(called, jit_compile=True, autograph=False)
    names = _names(folder, loaded, fn.variables)

    def held_by(resource: Any) -> Any:
        return next((v for v in fn.variables if v.handle is resource), resource)

    @functools.lru_cache(maxsize=32)
    def lowered(shapes: tuple[tuple[int, ...], ...]) -> Lowered:
        specs = [tf.TensorSpec(s, i.dtype.name, i.name) for s, i in zip(shapes, inputs)]
        try:
            captured = wrapped.get_concrete_function(*specs).captured_inputs
            # as bytecode: in text an operation of a dialect that jaxlib lacks is not read
            made = wrapped.experimental_get_compiler_ir(*specs)(stage="stablehlo_serialized")
        except (tf.errors.OpError, ValueError, NotImplementedError) as e:
            said = str(e).partition("\n")[0]
            raise FileFormatError(
                f"{folder}: TensorFlow cannot compile {signature!r} for shapes {shapes}: {said}"
            ) from None
        held = [held_by(c) for c in captured]
        module = parse.parse(mlir.generic(made, folder.name), folder.name)
        # where a result takes the place of an argument, TensorFlow assigned it
        alias = module.attributes.get("mhlo.input_output_alias", [])
        writes = [(int(a["output_index"][0]), int(a["alias"]["parameter_number"])) for a in alias]
        return Lowered(module, held, writes)

    def run(call: Any, scope: Any, *args: Any) -> Any:
        module, held, writes = lowered(tuple(mg.Spec.of(x).shape for x in args))
        variables = {
            p: scope.variable(p, a.shape, dtype=dtype(a.dtype), trainable=p in trained)
            for p, a in first.items()
        }
        own: list[Any] = [variables[names[id(v)]] if id(v) in names else None for v in held]
        captured = [v.numpy() if o is None else o.value for v, o in zip(held, own)]
        results = call(module, "main", [*args, *captured])
        for result, argument in writes:
            own[argument - len(args)].assign(results[result])
        return dict(zip(outputs, results))

    first = {names[id(v)]: v.numpy() for v in fn.variables}
    trained = {names[id(v)] for v in fn.variables if v.trainable}
    specs = read.signature.specs()
    found: Any = ()
    try:
        program = lowered(tuple(spec.shape for spec in specs if spec)).module
        found = unsupported([program], run, specs, steps=math.inf)
    except FileFormatError:
        if not any(isinstance(n, str) for i in inputs for n in i.shape):
            raise  # else it may be that it takes other lengths only, which the call will tell
    bound = functools.partial(run, interpret.run)
    return Imported(bound, Signature(inputs, tuple(outputs)), first, found, folder.name)


def _compiles(op: str) -> bool:
    """Whether TensorFlow's compiler knows an operation; yes, where it does not tell."""
    try:
        # not public, but without it a graph's first unknown operation is all that is told
        from tensorflow.python.framework.kernels import get_registered_kernels_for_op
    except ImportError:
        return True
    kernels = get_registered_kernels_for_op(op).kernel
    return any(k.device_type in ("XLA_CPU_JIT", "DEFAULT") for k in kernels)


def _names(folder: Path, loaded: Any, variables: Sequence[Any]) -> dict[int, str]:
    """Names by the variables' ids: their own where no other has it, else their places in the model."""
    import tensorflow as tf

    own = {id(v): v.name.split(":")[0] for v in variables}
    counts = collections.Counter(own.values())
    keys = tf.train.list_variables(str(folder / "variables" / "variables")) if variables else ()
    places = [key.partition("/.ATTRIBUTES/")[0] for key, _ in keys]
    found = {id(_at(loaded, place)): place for place in places}
    names = {i: found.get(i, name) if counts[name] > 1 else name for i, name in own.items()}
    if len(set(names.values())) < len(names):
        names = {i: f"{name}_{n}" for n, (i, name) in enumerate(names.items())}
    return names


def _at(loaded: Any, place: str) -> Any:
    """What lies at a place such as ``layers/0/kernel``: attributes, numbers in lists, keys in dicts."""
    for part in place.split("/"):
        try:
            loaded = (
                getattr(loaded, part)
                if hasattr(loaded, part)
                else loaded[int(part) if isinstance(loaded, Sequence) else part]
            )
        except (LookupError, TypeError, ValueError):
            return None
    return loaded

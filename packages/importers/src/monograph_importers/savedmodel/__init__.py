"""TensorFlow's SavedModel, where it carries StableHLO (as JAX and Monograph write it), without TensorFlow.

Other SavedModels go through TensorFlow's own compiler where TensorFlow is installed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from monograph.dtypes import dtype
from monograph.errors import ArgumentError, FileFormatError, MonographError
from monograph.importing import Imported, Input, Signature, Unsupported

from .._steps import missing

_FILE = "saved_model.pb"


def recognises(source: Any) -> bool:
    """A folder with ``saved_model.pb`` in it, or that file."""
    if not isinstance(source, (str, Path)) or "\n" in str(source):
        return False
    path = Path(source)
    return (path / _FILE).is_file() or (path.name == _FILE and path.is_file())


def load(
    source: Any, signature: str = "serving_default", tensorflow: bool | None = None
) -> Imported:
    """A SavedModel as a model; its variables are parameters under their own names.

    Args:
        source: the folder.
        signature: which of its signatures to run; results come in a dict by their names.
        tensorflow: whether TensorFlow compiles the graph; None does so where the graph is not StableHLO
            and TensorFlow is installed.

    Raises:
        StorageError: a file is missing.
        FileFormatError: it is no SavedModel, or it is damaged.
        ArgumentError: it has no such signature; says which it has.
        PluginError: jaxlib, whose parser reads StableHLO, is not installed.
    """
    folder = Path(source).parent if Path(source).name == _FILE else Path(source)
    with _sound(folder):
        imported = _load(folder, signature)
    if tensorflow or (tensorflow is None and _has_tensorflow() and imported.unsupported):
        from .compiled import through_tensorflow

        return through_tensorflow(folder, signature, imported)
    return imported


@contextlib.contextmanager
def _sound(folder: Path) -> Iterator[None]:
    """What goes wrong with a part that is missing or of another kind is the file's fault."""
    try:
        yield
    except MonographError:
        raise
    except (KeyError, IndexError, ValueError, TypeError, OverflowError, MemoryError) as e:
        raise FileFormatError(f"{folder}: its parts do not fit together: {e!r}") from None


def _has_tensorflow() -> bool:
    return importlib.util.find_spec("tensorflow") is not None


def _load(folder: Path, signature: str) -> Imported:
    from monograph.storage import opened

    from ..stablehlo import interpret, unsupported
    from . import bundle
    from .graph import RULES, Program, Run
    from .wire import Message

    with opened(folder / _FILE) as f:
        data = f.read()
    graphs = Message(data).many(2)
    if not graphs:
        raise FileFormatError(f"{folder / _FILE} holds no graph")
    meta = next((g for g in graphs if "serve" in g.one(1).texts(4)), graphs[0])
    signatures = meta.map(5)
    if signature not in signatures:
        names = [n for n in signatures if not n.startswith("__")]
        raise ArgumentError(
            f"{folder} has no signature {signature!r}; it has {', '.join(names) or 'none'}"
        )
    program = Program(meta.one(2), folder.name)
    inputs, outputs = signatures[signature].map(1), signatures[signature].map(2)
    refs = [outputs[k].text(1) for k in outputs]
    reached = list(program.reached(program.main, refs))
    lost = [(n.op, f"{folder.name}: {n.name}", "") for n in reached if n.op not in RULES]
    modules = [program.module(n) for n in reached if n.op == "XlaCallModule"]
    index = folder / "variables" / "variables"
    variables = [n for n in reached if n.op == "VarHandleOp"]
    held = (
        bundle.read(index) if variables or Path(f"{index}.index").exists()
        else bundle.Checkpoint({}, {})
    )  # fmt: skip
    keys = {**_by_name(variables, held), **program.restored()}
    if gone := sorted(n.name for n in variables if keys.get(n.name) not in held.arrays):
        raise FileFormatError(f"{index}: the variables {', '.join(gone)} are not in the checkpoint")
    paths = {n.name: held.names[keys[n.name]] for n in variables}
    parameters = {paths[n.name]: held.arrays[keys[n.name]] for n in variables}
    placed = {k: inputs[k].text(1).split(":")[0] for k in sorted(inputs)}

    def run(call: Any, scope: Any, *args: Any) -> Any:
        values: dict[str, Any] = dict(zip(placed.values(), args))
        held = {
            path: scope.variable(
                path, a.shape, dtype=dtype(a.dtype), trainable=a.dtype.kind not in "iub"
            )
            for path, a in parameters.items()
        }
        values |= {node: held[path].value for node, path in paths.items()}
        with _sound(folder):
            results = Run(program, values, call).function(program.main, [], refs)
        return dict(zip(outputs, results))

    taken = Signature(tuple(_input(k, inputs[k]) for k in placed), tuple(outputs))
    found = unsupported(modules, run, taken.specs())

    def lacks() -> tuple[Unsupported, ...]:
        return (*missing(lost), *found())

    return Imported(functools.partial(run, interpret.run), taken, parameters, lacks, folder.name)


def _by_name(variables: Any, held: Any) -> dict[str, str]:
    """The checkpoint's key for each variable's node, where their names tell."""
    keys = {name: key for key, name in held.names.items()}
    found = {n.name: keys.get(n.attrs["shared_name"].text(2) or n.name) for n in variables}
    return {node: key for node, key in found.items() if key is not None}


def _input(name: str, info: Any) -> Input:
    from .bundle import DTYPES
    from .wire import signed

    lengths = [signed(d.integer(1)) for d in info.one(3).many(2)]
    shape = tuple(f"{name}{i}" if n < 0 else n for i, n in enumerate(lengths))
    if info.integer(2) not in DTYPES:
        raise FileFormatError(
            f"the input {name} is of a kind that no array has ({info.integer(2)})"
        )
    return Input(name, shape, dtype(DTYPES[info.integer(2)]))

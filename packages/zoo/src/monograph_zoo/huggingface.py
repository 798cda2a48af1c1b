"""Pretrained models in Hugging Face's layout: read, run, fine-tuned, and written so that transformers reads them.

Which there are is the table `monograph_zoo.architectures.architectures`.
"""

from __future__ import annotations

import copy
import functools
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import ArgumentError, FileFormatError, StorageError, VariableError
from monograph.importing import Imported, Signature, Unsupported
from monograph.storage import refused

from . import _folder
from ._rename import renamed
from .architectures import BUFFERS, Architecture, Layout, architectures
from .tokenizers import Tokenizer, tokenizer

MOST = 500
"""How many problems of one folder's weights are said; a file may have a million names."""


class Pretrained(Imported):
    """A model with weights of Hugging Face's: `monograph.importing.Imported` with these besides.

    Attributes:
        config: what its ``config.json`` says.
        architecture: the entry of the table it was built by.
        folder: where it was read, if it was.
        generators: what `monograph_zoo.generate` has compiled, for this model on all engines.
    """

    config: Mapping[str, Any]
    architecture: Architecture
    folder: Path | None = None

    def __init__(self, *args: Any, **named: Any):
        super().__init__(*args, **named)
        self.generators: dict[Any, Any] = {}

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The folder's tokenizer, as `monograph_zoo.tokenizer` reads it; it raises what that raises."""
        if self.folder is None:
            raise StorageError(f"{self.name} was read from no folder, so there is no tokenizer")
        return tokenizer(self.folder)

    def with_options(self, **options: Any) -> Pretrained:
        """The same model and `store`, with other keyword arguments of its function (``training=True``)."""
        out = copy.copy(self)
        out.__dict__.pop("bound", None)
        out.run = functools.partial(self.run, **options)
        return out


def from_pretrained(
    source: Any, download: bool = False, architecture: str | None = None, **options: Any
) -> Pretrained:
    """A model from a folder in Hugging Face's layout, or from its cache by the repository's id.

    Args:
        source: a folder with ``config.json`` and ``model.safetensors``, whole or in shards, or an
            id such as ``"google-bert/bert-base-uncased"``.
        download: whether to download what is not in the cache.
        architecture: another than ``config.json`` names.
        options: keyword arguments of the model's function, such as ``training=True``.

    Returns:
        `Pretrained`: ``.call(...)`` runs it, ``.model(scope, ...)`` is the model for a store of your
        own, ``.parameters`` are the weights by our paths: the file's own pages.

    Raises:
        StorageError: no such folder, or nothing of this id in the cache.
        FileFormatError: a damaged file; or lists every weight that is missing, unused or of another
            shape than the configuration asks for.
        UnsupportedModel: lists what the configuration asks for and the model cannot do.
    """
    folder = _folder.found(source, download)
    config = _folder.read_json(folder / _folder.CONFIG)
    named = config if architecture is None else {**config, "architectures": [architecture]}
    where = str(folder / _folder.CONFIG)
    out = _built(named, where, options, lambda: _folder.weights(folder))
    out.folder = folder
    return out


def recognises(source: Any) -> bool:
    """Whether ``source`` is a folder with ``config.json`` beside safetensors files, or that file."""
    if not isinstance(source, (str, Path)) or "\n" in str(source):
        return False
    path = Path(source)
    folder = path.parent if path.name == _folder.CONFIG else path
    return (folder / _folder.CONFIG).is_file() and any(
        (folder / name).is_file() for name in (_folder.WEIGHTS, _folder.INDEX)
    )


load = from_pretrained  # what makes this module an importer: mg.load(folder)


def from_weights(
    config: Mapping[str, Any], weights: Mapping[str, Any] | None = None, **options: Any
) -> Pretrained:
    """A model by its configuration, with weights however they were read.

    Args:
        config: what a ``config.json`` holds, such as ``model.config.to_dict()``.
        weights: arrays by Hugging Face's names, such as ``model.state_dict()``; None: the variables
            begin with the layers' own initializers.
        options: keyword arguments of the model's function.

    Raises:
        FileFormatError, UnsupportedModel: as of `from_pretrained`.
        ArgumentError: something that NumPy cannot look at, such as a tensor of bfloat16 of PyTorch's.

    >>> config = {"architectures": ["BertModel"], "num_hidden_layers": 1, "hidden_size": 12}
    >>> from_weights(config).call(mg.asarray([[1, 2, 3]]))["last_hidden_state"].shape
    (1, 3, 12)
    """
    arrays = weights and {name: _array(name, value) for name, value in weights.items()}
    return _built(config, "config", options, None if weights is None else lambda: arrays or {})


def _array(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as e:
        raise ArgumentError(f"{name} is no array that NumPy can look at: {e}") from e


def _entry(config: Mapping[str, Any], where: str) -> Architecture:
    names = config.get("architectures")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise FileFormatError(f"{where}: 'architectures' must be a list of names, not {names!r}")
    if names[0] not in architectures:
        why = f"there are {', '.join(sorted(architectures))}"
        raise mg.errors.UnsupportedModel(where, [Unsupported(names[0], 1, "architectures", why)])
    return architectures[names[0]]


def _built(
    config: Mapping[str, Any], where: str, given: Mapping[str, Any],
    read: Callable[[], Mapping[str, np.ndarray]] | None,
) -> Pretrained:  # fmt: skip
    """The model; weights are read when the configuration was found sound."""
    entry = _entry(config, where)
    options, inputs = entry.read(config, where)
    signature = Signature(inputs, entry.outputs)
    run = functools.partial(entry.model, **{**options, **given})
    weights = read and read()
    try:
        parameters = {} if weights is None else _converted(entry, run, signature, weights, where)
    except (mg.errors.ShapeError, ArgumentError, VariableError, ArithmeticError) as e:
        raise FileFormatError(f"{where} describes no model: {e}") from e
    out = Pretrained(run, signature, parameters, name=config["architectures"][0])
    out.config, out.architecture = dict(config), entry
    return out


def _converted(
    entry: Architecture, run: Any, signature: Signature, weights: Mapping[str, Any], where: str
) -> dict[str, np.ndarray]:
    """Their weights by our paths, in views; every weight that does not fit is a problem."""
    theirs, problems = {}, []
    for name, value in weights.items():
        today = renamed(name, entry.aliases)
        if today in theirs:
            problems.append(f"{name} is there by another name too, {today}")
        theirs[today] = value
    places = _places(entry, run, signature, most=10 * len(theirs) + 1000)
    expected = {name: _their_shape(layout, spec.shape) for name, layout, spec in places.values()}
    problems += [f"{name} is missing" for name in expected if name not in theirs]
    for name, value in theirs.items():
        if name not in expected:
            problems += _superfluous(entry, name, theirs)
        elif value.shape != expected[name]:
            problems.append(f"{name} has shape {value.shape}, expected {expected[name]}")
    problems += [
        f"{name} has dtype {theirs[name].dtype}, expected {spec.dtype.name}"
        for name, _, spec in places.values()
        if name in theirs and _kind(theirs[name].dtype) != _kind(spec.dtype)
    ]
    if problems:
        lines = list(dict.fromkeys(problems))
        more = [f"and {len(lines) - MOST:,} more"] if len(lines) > MOST else []
        text = "\n  ".join(lines[:MOST] + more)
        raise FileFormatError(f"{where}: the weights do not fit the configuration:\n  {text}")
    return {
        path: layout.ours(_part(theirs[name], layout), spec.shape)
        for path, (name, layout, spec) in places.items()
    }


def _places(
    entry: Architecture, run: Any, signature: Signature, most: int
) -> dict[str, tuple[str, Layout, mg.Spec]]:
    """By our paths: their name, the layout and our spec of each variable that the model asks for."""
    asked = 0

    def counted(scope: mg.Scope, name: str, value: Any) -> Any:
        nonlocal asked
        asked += 1
        # or a hostile configuration could have us count layers for ever
        if asked > most or value.size > 2**48:
            raise ArgumentError(
                f"{name} is {value.spec}, the {asked:,}th variable; it is too large"
            )
        return value

    def model(scope: mg.Scope, *inputs: Any) -> Any:
        return run(scope.mapped(counted), *inputs)

    specs = mg.variables(model, *signature.specs())
    return {path: (*entry.named(path), spec) for path, spec in specs.items()}


def _their_shape(layout: Layout, ours: tuple[int, ...]) -> tuple[int, ...]:
    shape = list(layout.theirs(np.broadcast_to(np.float32(0), ours)).shape)
    if layout.part:
        _, n, axis = layout.part
        shape[axis] *= n
    return tuple(shape)


def _part(theirs: np.ndarray, layout: Layout) -> np.ndarray:
    if layout.part is None:
        return theirs
    i, n, axis = layout.part
    return np.split(theirs, n, axis)[i]


def _superfluous(entry: Architecture, name: str, theirs: Mapping[str, np.ndarray]) -> list[str]:
    """What is wrong with a weight that the model does not ask for."""
    if any(re.search(pattern, name) for pattern in (*BUFFERS, *entry.unused)):
        return []
    if (same := entry.tied.get(name)) is None:
        return [f"{name} is unused"]
    if same in theirs and not np.array_equal(theirs[name], theirs[same]):
        return [f"{name} differs from {same}, to which the model ties it"]
    return []


def _kind(dtype: Any) -> tuple[bool, bool]:
    known = mg.dtypes.dtype(dtype)
    return known.is_float, known.is_integer


def save_pretrained(
    model: Pretrained, folder: Any, store: mg.Store | None = None, scope: str = ""
) -> None:
    """Write ``config.json`` and ``model.safetensors``, with the tokenizer's files where there are some.

    Args:
        model: of `from_pretrained` or `from_weights`.
        folder: made where it is missing; files in it are replaced, each whole or not at all.
        store: has the values, where they are not in ``model.store``.
        scope: where in ``store`` the model's variables begin.

    Raises:
        VariableError: lists every variable that has no value yet.
        StorageError: the system refused.
    """
    held = model.store if store is None else store
    below = f"{scope}/" if scope else ""
    parts: dict[str, dict[int, np.ndarray]] = {}
    axes: dict[str, int] = {}
    missing = []
    places = _places(model.architecture, model.run, model.signature, most=sys.maxsize)
    for path, (name, layout, _) in places.items():
        if below + path in held:
            value = held[below + path].numpy()
        elif path in model.parameters:
            value = np.asarray(model.parameters[path])
        else:
            missing.append(below + path)
            continue
        i, _, axes[name] = layout.part or (0, 1, 0)
        parts.setdefault(name, {})[i] = layout.theirs(value)
    if missing:
        raise VariableError(f"there is no value of {', '.join(missing)}; run the model first")
    arrays = {
        name: p[0] if len(p) == 1 else np.concatenate([p[i] for i in sorted(p)], axes[name])
        for name, p in parts.items()
    }
    arrays |= {  # which PyTorch counts and no formula of ours needs
        f"{name.removesuffix('running_var')}num_batches_tracked": np.zeros((), np.int64)
        for name in list(arrays)
        if name.endswith(".running_var")
    }
    out = Path(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in _folder.TOKENIZER if model.folder and model.folder != out else ():
            if (model.folder / name).is_file():  # type: ignore[operator]
                shutil.copyfile(model.folder / name, out / name)  # type: ignore[operator]
    except OSError as e:
        raise refused("write", out, e) from e
    mg.save_safetensors(arrays, out / _folder.WEIGHTS, {"format": "pt"})
    _folder.write_json(_described(model, arrays), out / _folder.CONFIG)


def _described(model: Pretrained, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The configuration, with the dtype that the weights have now."""
    dtypes = {mg.dtypes.dtype(a.dtype).name for a in arrays.values() if a.dtype.kind != "i"}
    dtype = {"dtype": dtypes.pop()} if len(dtypes) == 1 else {}
    return {k: v for k, v in model.config.items() if k != "torch_dtype"} | dtype


__all__ = [
    "Pretrained", "from_pretrained", "from_weights", "load", "recognises", "save_pretrained",
]  # fmt: skip

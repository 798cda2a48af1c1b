"""Keras: ``.keras`` and ``.h5`` files of Keras 2 and 3, and models in memory, through their config.

The config says which layers there are; ours compute them (`layers.LAYERS` has a line per class). Code in
a file, such as that of a Lambda layer, is never run: such layers are listed as unsupported.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import monograph as mg
from monograph.errors import ArgumentError
from monograph.importing import Imported, Signature, Unsupported
from monograph.storage import opened

from ..weights import HDF5

if TYPE_CHECKING:
    from .archive import Source


def recognises(source: Any) -> bool:
    """Whether it is a ``.keras`` file, an HDF5 file, or a `keras.Model`."""
    if not isinstance(source, (str, Path)):
        return any(
            c.__name__ == "Model" and c.__module__.startswith("keras.")
            for c in type(source).__mro__
        )
    if "\n" in str(source):  # text
        return False
    path = Path(source)
    if path.suffix == ".keras" or not path.is_file():
        return path.suffix == ".keras"
    with opened(path) as f:
        return f.read(8) == HDF5


def load(source: Any, training: bool = False) -> Imported:
    """The model of a file or a `keras.Model`: Sequential or functional, of layers that ours can be.

    Args:
        source: a path or a model.
        training: whether batch normalisation uses and updates the batch's statistics, and dropout drops.

    Returns:
        `Imported`: parameters have Keras's own paths, such as ``"dense_1/kernel"``; those in a model
        that is a layer of another begin with its name.

    Raises:
        FileFormatError: damaged, or the variables are not those of the config.
        PluginError: h5py is not installed.
    """
    from . import archive

    if not isinstance(source, (str, Path)):
        return built(archive.of_model(source), training)
    path = Path(source)
    with opened(path) as f:
        is_zip = f.read(2) == b"PK"
    return built(archive.read_keras(path) if is_zip else archive.read_h5(path), training)


def built(source: Source, training: bool) -> Imported:
    """The model of a config and the variables that belong to it."""
    from .._steps import missing
    from . import archive
    from .parsing import NESTED, network, sound

    kind, config = source.config.get("class_name"), source.config.get("config")
    if kind not in NESTED and not (isinstance(config, dict) and "input_layers" in config):
        why = "a model of a class of its own: its code is not in the file; use model.export or torch.export"
        lacks = [Unsupported(str(kind)[:80], 1, str(source.path), why)]
        return Imported(_nothing, Signature(()), {}, lacks, str(kind)[:80])
    with sound(source.path):
        model = network(source.path, str(kind), config, source.old)
        lacks, signature = list(missing(model.missing())), model.signature()
        arrays = {} if lacks else archive.arrays(source, model)
    name = config.get("name") if isinstance(config, dict) else None
    specs = {path: {n: a.spec for n, a in own.items()} for path, own in arrays.items()}

    def run(scope: mg.Scope, *inputs: Any) -> Any:
        values = [mg.asarray(x) for x in inputs]
        return model.run(scope, values, [None] * len(values), specs, training)[0]

    parameters = {f"{path}/{n}": a.make() for path, own in arrays.items() for n, a in own.items()}
    title = str(name or Path(str(source.path)).stem)
    return Imported(run, signature, parameters, lacks, title)


def _nothing(*args: Any) -> Any:
    raise ArgumentError("this model is unsupported")


__all__ = ["built", "load", "recognises"]

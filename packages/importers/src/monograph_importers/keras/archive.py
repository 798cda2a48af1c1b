"""Keras's files: the config of the model in them, and the variables of each layer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monograph import Spec
from monograph.errors import FileFormatError
from monograph.storage import damaged

from .. import hdf5
from ..weights import Array, zips
from .layers import LAYERS
from .network import Network
from .rows import Variables

LONGEST = 8_000_000
"""The longest config read, in bytes."""

Found = list[tuple[str, Array]]
"""Variables of a layer in order, with their names in the file."""


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        path: the file, or a name for an object.
        config: ``{"class_name": ..., "config": ...}``.
        old: whether it is of Keras 2.
        variables: of a layer, by the names and keys of the models that it is in and its own.
    """

    path: Any
    config: dict[str, Any]
    old: bool
    variables: Callable[[Sequence[str], Sequence[str], Variables], Found]


def read_keras(path: Path) -> Source:
    """A ``.keras`` file: a zip of the config and an HDF5 file that goes by the layers' places."""
    members, whole = zips.members(path), zips.mapped(path)
    if lost := [n for n in ("config.json", "model.weights.h5") if n not in members]:
        raise damaged(path, f"it lacks {' and '.join(lost)}")

    def text(name: str) -> Any:
        member = members.get(name)
        return {} if member is None else parsed(path, zips.content(path, whole, member).tobytes())

    tree = hdf5.read(path, members["model.weights.h5"])
    version = text("metadata.json").get("keras_version", "3")
    root = (
        "layers"
        if any(n.startswith("layers/") for n in tree.arrays)
        else "_layer_checkpoint_dependencies"
    )

    # since Keras 3.5 a layer's place says its name; before, it is numbered by class
    places = {
        (p.rpartition("/")[0].rpartition("/")[0], a["name"]): p.removesuffix("/vars")
        for p, a in tree.attributes.items()
        if p.endswith("/vars") and "name" in a
    }

    def variables(names: Sequence[str], keys: Sequence[str], wanted: Variables) -> Found:
        place = ""
        for name, key in zip(names, keys):
            inside = f"{place}/{root}" if place else root
            place = places.get((inside, name), f"{inside}/{key}")
        # parts of a layer are private attributes in some versions and not in others
        found = [
            (n, tree.arrays.get(f"{place}/{at}") or tree.arrays.get(f"{place}/_{at}"))
            for at, n in wanted
        ]
        return [(n, a) for n, a in found if a is not None]

    return Source(path, text("config.json"), str(version).startswith("2"), variables)


def read_h5(path: Path) -> Source:
    """The older form, an HDF5 file with the config as an attribute, variables by the layers' names."""
    tree = hdf5.read(path)
    about = tree.attributes[""]
    if "model_config" not in about:
        raise FileFormatError(
            f"{path}: an HDF5 file of weights without the model; monograph_importers.weights.read gives "
            f"the arrays, and model.save in Keras a file with both"
        )
    root = "model_weights/" if "model_weights" in tree.attributes else ""
    version = about.get(
        "keras_version", tree.attributes.get("model_weights", {}).get("keras_version", "1")
    )

    def variables(names: Sequence[str], keys: Sequence[str], wanted: Variables) -> Found:
        group = f"{root}{names[0]}"
        listed = _listed(tree.attributes.get(group, {}))
        if len(names) > 1:  # a model in it has the variables of all its layers
            listed = [n for n in listed if f"/{names[-1]}/" in f"/{n}"]
        if lost := [n for n in listed if f"{group}/{n}" not in tree.arrays]:
            raise damaged(path, f"{group} lists {lost[0]!r:.100}, which is not there")
        return [(n, tree.arrays[f"{group}/{n}"]) for n in listed]

    return Source(
        path, parsed(path, about["model_config"]), not str(version).startswith("3"), variables
    )


def _listed(attributes: Any) -> list[str]:
    """``weight_names``, or the parts of it that a long one is cut into."""
    parts = sorted(
        (k for k in attributes if k.startswith("weight_names")), key=lambda k: (len(k), k)
    )
    return [n for k in parts for n in attributes[k]]


def of_model(model: Any) -> Source:
    """A model in memory: its config goes the same way, its variables are copied."""
    keras = sys.modules[type(model).__module__.partition(".")[0]]

    def variables(names: Sequence[str], keys: Sequence[str], wanted: Variables) -> Found:
        layer = model
        for name in names:
            layer = layer.get_layer(name)
        arrays = [(w.path, np.asarray(keras.ops.convert_to_numpy(w))) for w in layer.weights]
        return [(n, Array(Spec.of(a), lambda a=a: a)) for n, a in arrays]  # type: ignore[misc]

    return Source(model.name, json.loads(model.to_json()), False, variables)


def parsed(path: Path, text: str | bytes) -> dict[str, Any]:
    """JSON of a dict. Raises `FileFormatError`."""
    if len(text) > LONGEST:
        raise FileFormatError(
            f"{path}: a config of {len(text):,} bytes, at most {LONGEST:,} are read"
        )
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise damaged(path, f"its config is no JSON ({e})") from None
    if not isinstance(found, dict):
        raise damaged(path, "its config is no dict")
    return found


def arrays(source: Source, model: Network) -> dict[str, dict[str, Array]]:
    """First values by the layer's path, then by name.

    Raises:
        FileFormatError: lists the layers whose variables are not those that their config asks for.
    """
    out: dict[str, dict[str, Array]] = {}
    lost = []
    for names, keys, entry in model.leaves():
        row = LAYERS.get(entry.kind)
        wanted = row.variables(entry.config) if row else ()
        if not wanted:
            continue
        found = source.variables(names, keys, wanted)
        path = "/".join(names)
        if len(found) != len(wanted):
            lost.append(f"{path} ({entry.kind}) has {len(found)} of {len(wanted)}")
            continue
        out[path] = {name: array for name, array in _matched(wanted, found) if name}
    if lost:
        more = f" and {len(lost) - 8} more" if len(lost) > 8 else ""
        raise damaged(source.path, f"variables are missing: {', '.join(lost[:8])}{more}")
    return out


def _matched(wanted: Variables, found: Found) -> list[tuple[str, Array]]:
    """By the last part of their names where those are the same, else by order."""
    last = {n.rpartition("/")[2].removesuffix(":0"): a for n, a in found}
    ours = [n for _, n in wanted]
    if len(last) == len(found) and set(last) == {n.rpartition("/")[2] for n in ours}:
        return [(n, last[n.rpartition("/")[2]]) for n in ours]
    return [(n, a) for n, (_, a) in zip(ours, found)]


__all__ = ["Source", "arrays", "of_model", "read_h5", "read_keras"]

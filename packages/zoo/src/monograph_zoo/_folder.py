"""Folders in Hugging Face's layout: ``config.json`` beside ``model.safetensors``, whole or in shards."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import monograph as mg
import numpy as np
from monograph.errors import FileFormatError, StorageError
from monograph.storage import damaged, opened, replacing

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "vocab.json",
    "merges.txt", "tokenizer.model", "spiece.model", "added_tokens.json",
)  # fmt: skip

LONGEST = 1 << 26
"""The longest JSON file that is read, in bytes: 20 times the longest index there is."""


def found(source: Any, download: bool) -> Path:
    """The folder of a path, or of a repository's id in Hugging Face's cache.

    Raises:
        StorageError: there is no such folder, and nothing of this id in the cache.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.name == CONFIG and folder.is_file():
        return folder.parent
    if not isinstance(source, str) or not re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", source):
        raise StorageError(f"cannot read {source}: there is no such folder")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as e:
        raise StorageError(
            f"there is no folder {source}; to look for it in Hugging Face's cache, pip install huggingface_hub"
        ) from e
    try:
        files = [CONFIG, "model*.safetensors", INDEX, *TOKENIZER]
        return Path(snapshot_download(source, local_files_only=not download, allow_patterns=files))
    except (OSError, ValueError) as e:  # what the hub's own errors derive from
        how = "" if download else "; download=True fetches it"
        raise StorageError(
            f"there is no folder {source}, and Hugging Face's cache has nothing of that name{how} "
            f"({str(e).splitlines()[0] if str(e) else type(e).__name__})"
        ) from e


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        StorageError: the system refused.
        FileFormatError: no JSON, no object, or absurdly long.
    """
    with opened(path) as f:
        text = f.read(LONGEST + 1)
    if len(text) > LONGEST:
        raise damaged(path, f"it has more than {LONGEST:,} bytes")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise damaged(path, f"it holds no JSON ({e})") from None
    if not isinstance(value, dict):
        raise damaged(path, f"it holds a {type(value).__name__}, expected an object")
    return value


def write_json(value: Mapping[str, Any], path: Path) -> None:
    """The same, all or nothing."""
    with replacing(path) as f:
        f.write(json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")


def weights(folder: Path) -> dict[str, np.ndarray]:
    """Every array of a folder's safetensors files by name; they are the files' own pages.

    Raises:
        StorageError: there is no such file, or the system refused.
        FileFormatError: lists everything in which the index and its shards do not agree.
    """
    single, index = folder / WEIGHTS, folder / INDEX
    if single.is_file():
        return mg.load_safetensors(single, mapped=True)
    if not index.is_file():
        raise StorageError(
            f"{folder} has neither {WEIGHTS} nor {INDEX}; weights of another format can be given to "
            f"monograph_zoo.huggingface.from_weights"
        )
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(
        isinstance(file, str) and re.fullmatch(r"[\w-][\w.-]*\.safetensors", file)
        for file in places.values()
    ):
        raise FileFormatError(
            f"{index}: its weight_map must give for each weight the name of a .safetensors file in the "
            f"same folder"
        )
    out: dict[str, np.ndarray] = {}
    problems = []
    for file in sorted(set(places.values())):
        arrays = mg.load_safetensors(folder / file, mapped=True)
        wanted = {name for name, place in places.items() if place == file}
        problems += [f"{file} lacks {n}" for n in sorted(wanted - set(arrays))]
        problems += [f"{file} has {n}, which is not said" for n in sorted(set(arrays) - wanted)]
        out |= arrays
    if problems:
        raise FileFormatError(f"{index}: {'; '.join(problems)}")
    return out

"""Safetensors: one file, or several by an index. Core reads the files."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from monograph import Spec
from monograph.errors import FileFormatError
from monograph.storage import damaged
from monograph.tensorfile import load_safetensors

from ._weights import Array, Weights

LONGEST = 12_000_000
"""The longest index read, in bytes: one of 100,000 names has 9 million."""


def read(path: Path) -> Weights:
    """One file; the arrays are its pages."""
    arrays = load_safetensors(path, mapped=True)
    return Weights(path, {n: Array(Spec.of(a), partial(_same, a)) for n, a in arrays.items()})


def _same(array: np.ndarray) -> np.ndarray:
    return array


def read_index(path: Path, read: Callable[[Path], Weights]) -> Weights:
    """``{"weight_map": {name: file}}``, and the files beside it, read by ``read``.

    Raises:
        FileFormatError: no such index, a file elsewhere, or names that their files lack; all of them.
    """
    if path.stat().st_size > LONGEST:
        raise FileFormatError(f"{path}: longer than the {LONGEST:,} bytes that an index may have")
    try:
        table = json.loads(path.read_bytes())["weight_map"]
        if not all(isinstance(file, str) for file in table.values()):
            raise ValueError("a file's name is no text")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        raise damaged(path, f"it is no index of weights: it needs 'weight_map' ({e!r})") from None
    by_file: dict[str, list[str]] = defaultdict(list)
    for name, file in table.items():
        by_file[file].append(name)
    outside = sorted(f for f in by_file if Path(f).name != f or f == ".." or "\\" in f or "\0" in f)
    if outside:
        raise FileFormatError(
            f"{path}: names files that are not beside it: {', '.join(map(repr, outside[:5]))}"
        )
    arrays: dict[str, Array] = {}
    lost: list[str] = []
    for file, names in by_file.items():
        part = read(path.parent / file)
        lost += [f"{name} in {file}" for name in names if name not in part]
        arrays |= {name: part.arrays[name] for name in names if name in part}
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise damaged(path, f"the files lack {', '.join(lost[:5])}{more}")
    return Weights(path, {name: arrays[name] for name in table})

"""HDF5 files that nobody vouches for: libhdf5 reads them in a process of its own, which may die.

A damaged file can make libhdf5 crash, or follow links to other files. So a child with little memory and
time lists what is in a file; the numbers are then the file's own pages, by the offsets it found.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monograph import Spec
from monograph.dtypes import dtype as as_dtype
from monograph.errors import DTypeError, FileFormatError, PluginError
from monograph.storage import damaged
from monograph.tensorfile import is_shape

from ..weights import Array, zips
from ..weights.zips import Member

CHILD = Path(__file__).with_name("child.py")
PATIENCE = 60
"""Seconds after which a child that has neither answered nor used up its own is given up."""


@dataclass(frozen=True)
class Tree:
    """What is in a file.

    Attributes:
        arrays: the datasets of numbers by path, such as ``"layers/dense/vars/0"``.
        attributes: of each group that has some: texts, and lists of texts.
    """

    arrays: Mapping[str, Array]
    attributes: Mapping[str, Mapping[str, Any]]


def read(path: Path, member: Member | None = None) -> Tree:
    """List a file, or one in a zip file.

    Raises:
        FileFormatError: damaged, or with links out of it, or arrays of other things than numbers.
        PluginError: h5py is not installed.
    """
    whole = zips.mapped(path)
    packed = member is not None and not member.stored
    inside = zips.content(path, whole, member) if member else whole
    start = 0 if packed or member is None else member.at
    command = [
        sys.executable,
        "-P",
        str(CHILD),
        str(path),
        str(start),
        str(-1 if packed else inside.size),
    ]
    try:
        done = subprocess.run(
            command, input=inside.tobytes() if packed else b"", capture_output=True, timeout=PATIENCE,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise damaged(path, "reading it as HDF5 comes to no end") from None
    if done.returncode and done.returncode == -getattr(signal, "SIGPROF", 0):
        raise damaged(path, "reading it as HDF5 takes longer than what there is in it may take")
    if done.returncode:
        raise damaged(path, f"libhdf5 dies of it (exit status {done.returncode})")
    end = done.stdout.rfind(b"\n")
    found = json.loads(memoryview(done.stdout)[end + 1 :].tobytes())
    if found.get("missing"):
        raise PluginError("reading HDF5 needs h5py: pip install 'monograph-importers[keras]'")
    if "error" in found:
        raise damaged(path, f"it is no sound HDF5 file: {found['error']}")
    blocks = np.frombuffer(done.stdout, np.uint8)[:end]
    arrays = {n: _array(path, n, row, inside, blocks) for n, row in found["arrays"].items()}
    return Tree(arrays, found["attributes"])


def _array(
    path: Path, name: str, row: dict[str, Any], inside: np.ndarray, blocks: np.ndarray
) -> Array:
    shape, at = tuple(row["shape"]), row["at"]
    try:
        stored = np.dtype(row["dtype"])
        ours = as_dtype(stored)
    except (TypeError, DTypeError):
        raise FileFormatError(
            f"{path}: {name!r} holds {row['dtype']}, which are no numbers"
        ) from None
    pages = blocks if row["copied"] else inside
    nbytes = math.prod(shape) * stored.itemsize
    if not is_shape(shape, stored.itemsize) or at < 0 or at + nbytes > pages.size:
        raise damaged(path, f"{name!r} of shape {shape} ends outside the file")
    raw = pages[at : at + nbytes]
    make = lambda: raw.view(stored).reshape(shape).astype(ours.numpy, copy=False)  # noqa: E731
    return Array(Spec(shape, ours), make)

"""Weights from files: ``read(path)`` gives arrays by name, of any of the usual formats.

Formats are told apart by what a file begins with, not by its name. Arrays are the file's own pages where
its form allows that, and are made when they are looked at. Nothing of a file is executed, ever.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from monograph.errors import FileFormatError, MonographError
from monograph.storage import opened, refused

from . import gguf, numpy, pytorch, safetensors, zips
from ._weights import Array, Weights

NAMES = (
    "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)  # fmt: skip
"""What a folder's weights are called, the first that is there before the others."""


HDF5 = b"\x89HDF\r\n\x1a\n"
"""What an HDF5 file begins with."""


def _is_npz(members: dict[str, zips.Member]) -> bool:
    return bool(members) and all(name.endswith(".npy") for name in members)


def _zip(path: Path) -> Weights:
    members = zips.members(path)
    if pytorch.is_archive(members):
        return pytorch.read_zip(path, members)
    if _is_npz(members):
        return numpy.read_npz(path, members)
    raise FileFormatError(
        f"{path}: a zip file of neither PyTorch (it has no data.pkl) nor NumPy (not all are .npy); "
        f"for a whole model, use mg.load"
    )


def _hdf5(path: Path) -> Weights:
    from .. import hdf5

    return Weights(path, {n.replace("/", "."): a for n, a in hdf5.read(path).arrays.items()})


READERS: tuple[tuple[bytes, Callable[[Path], Weights]], ...] = (
    (b"PK", _zip),
    (b"GGUF", gguf.read),
    (b"\x93NUMPY", numpy.read_npy),
    (b"\x80", pytorch.read_legacy),
    (HDF5, _hdf5),
)
"""What a file begins with, and who reads it."""


def read(path: Any) -> Weights:
    """The arrays of a file or folder by name, lazily.

    Args:
        path: safetensors (one file, or the ``.index.json`` of several), a PyTorch state dict in either
            of its forms, GGUF, ``.npz``, ``.npy``, HDF5; or a folder with one of `NAMES`.

    Returns:
        A read-only mapping of names to arrays. Dicts in dicts become names with dots; of a checkpoint
        it is what lies under ``state_dict``, ``model_state_dict`` or ``model``.

    Raises:
        StorageError: the file cannot be read.
        FileFormatError: of no known format, damaged, unpacked larger than is sound, or it asks for code
            to be run, which is not done.
        DTypeError: of a dtype that no installed package provides (``pip install monograph-dtypes``).

    >>> import os, tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "w.npz")
    ...     np.savez(path, kernel=np.ones((3, 2), "float32"), bias=np.arange(2.0))
    ...     weights = read(path)
    ...     print(weights, weights["bias"])
    Weights(w.npz, 2 arrays, 40 bytes) [0. 1.]
    """
    path = Path(path)
    try:
        if path.is_dir():
            path = _inside(path)
        return safetensors.read_index(path, _one) if path.suffix == ".json" else _one(path)
    except MonographError:
        raise
    except OSError as e:
        raise refused("read", path, e) from e


def recognises(path: Any) -> bool:
    """Whether a file, or what is in a folder, looks like one of weights alone; nothing is parsed.

    >>> recognises("/no/such/file")
    False
    """
    path = Path(path)
    try:
        if path.is_dir():
            return any((path / name).exists() for name in NAMES)
        if path.suffix == ".json":
            return path.name.endswith(".index.json")
        with opened(path) as f:
            first = f.read(16)
        if first.startswith(HDF5):  # which may hold a model, too
            return path.name.endswith(".weights.h5")
        if first.startswith(b"PK"):
            members = zips.members(path)
            return pytorch.is_archive(members) or _is_npz(members)
    except (OSError, FileFormatError):
        return False
    return _reader(path, first) is not None


def _reader(path: Path, first: bytes) -> Callable[[Path], Weights] | None:
    for begin, reader in READERS:
        if first.startswith(begin):
            return reader
    # safetensors begins with the length of its header
    return safetensors.read if path.suffix == ".safetensors" or first[8:9] == b"{" else None


def _one(path: Path) -> Weights:
    with opened(path) as f:
        first = f.read(16)
    if (reader := _reader(path, first)) is not None:
        return reader(path)
    raise FileFormatError(
        f"{path}: begins as no file of safetensors, PyTorch, GGUF, NumPy or HDF5 does; nothing was read"
    )


def _inside(path: Path) -> Path:
    found = [path / name for name in NAMES if (path / name).exists()]
    if not found:
        raise FileFormatError(f"{path}: the folder has none of {', '.join(NAMES)}")
    return found[0]


__all__ = ["Array", "Weights", "read", "recognises"]

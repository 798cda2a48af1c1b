"""NumPy's ``.npy`` and ``.npz``, without pickles."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from monograph import Spec
from monograph.dtypes import dtype as as_dtype
from monograph.errors import DTypeError, FileFormatError
from monograph.storage import damaged
from monograph.tensorfile import is_shape

from . import zips
from ._weights import Array, Weights
from .zips import Member

LONGEST = 12_000
"""More bytes than any header has that NumPy reads without being told to."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_npy(path: Path) -> Weights:
    """One array; it has the name of the file, without ``.npy``."""
    whole = zips.mapped(path)
    return Weights(
        path, {path.stem: _array(path, whole, Member(path.name, 0, whole.size, whole.size, True))}
    )


def read_npz(path: Path, members: dict[str, Member]) -> Weights:
    """The arrays of an archive; those that are stored, as `numpy.savez` does, are its pages."""
    whole = zips.mapped(path)
    return Weights(
        path, {n.removesuffix(".npy"): _array(path, whole, m) for n, m in members.items()}
    )


def _array(path: Path, whole: np.ndarray, member: Member) -> Array:
    head = io.BytesIO(zips.content(path, whole, member, LONGEST).tobytes())
    try:
        version = np.lib.format.read_magic(head)
        # version 3 has other encodings of field names only, which no array of numbers has
        shape, columns_first, dtype = _HEADERS[version](head)
    except Exception as e:  # NumPy reads a Python literal, which fails in many ways
        raise damaged(path, f"{member.name!r} has no header of a .npy file ({e!r:.200})") from None
    if dtype.hasobject:
        raise FileFormatError(
            f"{path}: {member.name!r} holds Python objects, which only running a pickle would read; "
            f"save numbers"
        )
    try:
        ours = as_dtype(dtype)
    except DTypeError:
        raise FileFormatError(
            f"{path}: {member.name!r} holds {dtype}, which are no numbers"
        ) from None
    begin = head.tell()
    nbytes = member.size - begin
    if not is_shape(shape, dtype.itemsize) or math.prod(shape) * dtype.itemsize != nbytes:
        raise damaged(path, f"{member.name!r} has {member.size:,} bytes and says shape {shape}")

    def make() -> np.ndarray:
        raw = zips.content(path, whole, member)[begin:]
        out = raw.view(dtype).reshape(shape, order="F" if columns_first else "C")
        return out.astype(ours.numpy, copy=False)

    return Array(Spec(shape, ours), make)

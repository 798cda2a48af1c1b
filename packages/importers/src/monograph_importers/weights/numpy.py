"""NumPy's ``.npy`` and ``.npz``, without pickles."""

from __future__ import annotations

import io
import math
import re
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

_PLAIN = re.compile(
    rb"\{'descr': '([<>|][biufc]\d{1,2})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, )*\d{1,18},?|)\), \} *\n"
)


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


def _header(head: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, order and dtype; what is written as NumPy does is read here, five times faster."""
    version = np.lib.format.read_magic(head)
    if version == (1, 0):
        begin, length = head.tell(), int.from_bytes(head.read(2), "little")
        if plain := _PLAIN.fullmatch(head.read(length)):
            kind, order, shape = (part.decode() for part in plain.groups())
            return tuple(int(n) for n in shape.split(",") if n), order == "True", np.dtype(kind)
        head.seek(begin)
    # version 3 has other encodings of field names only, which no array of numbers has
    return _HEADERS[version](head)


def _array(path: Path, whole: np.ndarray, member: Member) -> Array:
    head = io.BytesIO(zips.content(path, whole, member, LONGEST).tobytes())
    try:
        shape, columns_first, dtype = _header(head)
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

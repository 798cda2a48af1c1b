"""PyTorch's state dicts: ``torch.save`` files of both forms, the zip file and that before 1.6.

Storages stay in the file; tensors are views of its pages. PyTorch is not needed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from monograph import Spec
from monograph.dtypes import DType, dtype as as_dtype
from monograph.errors import FileFormatError
from monograph.storage import damaged
from monograph.tensorfile import is_shape

from . import zips
from ._weights import Array, Weights
from .pickles import MOST, Source, load
from .zips import Member

STORAGES = {
    "Float": "float32", "Double": "float64", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
"""``torch.NAMEStorage`` and the dtype of its elements."""

DTYPES = (
    *STORAGES.values(), "uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2",
    "float8_e4m3fnuz", "float8_e5m2fnuz",
)  # fmt: skip

NESTS = "state_dict", "model_state_dict", "model"
"""Under what a checkpoint holds a model's weights."""

WIDEST = 2**24
"""A view may have this many elements though its storage has fewer: what ``expand`` makes."""


@dataclass(frozen=True)
class Storage:
    """Memory that tensors are views of: ``numel`` elements, named ``key`` in the file."""

    key: str
    dtype: str
    numel: int

    @property
    def nbytes(self) -> int:
        """Its length."""
        return self.numel * (1 if self.dtype == "bytes" else as_dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: str


# ---- what a pickle of tensors may name


def _view(storage: Storage, offset: int, shape: Any, strides: Any, *rest: Any) -> Tensor:
    return _typed_view(storage, offset, shape, strides, None, None, storage.dtype)


def _typed_view(
    storage: Storage, offset: int, shape: Any, strides: Any, grad: Any, hooks: Any, dtype: str,
    *rest: Any,
) -> Tensor:  # fmt: skip
    # messages name no value before it is known what it is: lists in lists may be long without end
    if type(shape) is not tuple or type(strides) is not tuple:
        raise ValueError("a tensor without a shape")
    if not is_shape(shape, 16) or not is_shape((offset, *strides), 0):
        raise ValueError("a tensor whose shape, strides or offset are no sizes")
    if len(shape) != len(strides) or not isinstance(storage, Storage) or dtype not in DTYPES:
        raise ValueError(f"a tensor of shape {shape} that is no view of a storage")
    return Tensor(storage, offset, shape, strides, dtype)


def _from_type(fn: Callable, kind: Any, args: Any, state: Any) -> Any:
    if type(args) is not tuple:
        raise ValueError("a call without a tuple of arguments")
    return fn(*args)


def _ordered(items: Any = ()) -> dict[str, Any]:
    """An OrderedDict; Python 2 wrote its items as arguments."""
    return {key: value for key, value in items if type(key) is str}


class _Value:
    """Something that is no tensor and that checkpoints hold beside them: options, times, versions."""

    def __init__(self, *args: Any):
        pass


class _NumPyType:
    """`numpy.dtype`, of numbers."""

    def __init__(self, code: Any = "", *rest: Any):
        self.code, self.order = str(code)[:8] if isinstance(code, str) else "", "="

    def build(self, state: Any) -> None:
        self.order = {">": ">"}.get(state[1], "<")


class NumPyArray:
    """`numpy.ndarray`, whose bytes are in the pickle."""

    def __init__(self, *args: Any):
        self.array: np.ndarray | None = None

    def build(self, state: Any) -> None:
        _, shape, kind, columns_first, raw = state
        if (
            isinstance(kind, _NumPyType)
            and re.fullmatch("b1|[iufc][0-9]{1,2}", kind.code)
            and type(raw) is bytes
        ):
            whole = np.frombuffer(raw, np.dtype(kind.order + kind.code))
            self.array = whole.reshape(shape, order="F" if columns_first else "C")


_PLAIN = "int", "long", "float", "bool", "str", "list", "dict", "tuple", "complex"

TABLE: dict[str, Any] = {
    "torch._utils._rebuild_tensor": _view,
    "torch._utils._rebuild_tensor_v2": _view,
    "torch._utils._rebuild_tensor_v3": _typed_view,
    "torch._utils._rebuild_parameter": lambda data, *rest: data,
    "torch._utils._rebuild_parameter_with_state": lambda data, *rest: data,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    **{f"torch.{name}Storage": dtype for name, dtype in STORAGES.items()},
    "torch.storage.UntypedStorage": "bytes",
    **{f"torch.{name}": name for name in DTYPES},
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": lambda *args: {},
    "__builtin__.set": lambda items=(): items, "builtins.set": lambda items=(): items,
    "numpy.dtype": _NumPyType,
    "numpy.core.multiarray._reconstruct": NumPyArray,
    "numpy._core.multiarray._reconstruct": NumPyArray,
    "__builtin__.bytes": lambda: b"", "builtins.bytes": lambda: b"",
    "_codecs.encode": lambda text, encoding: text.encode("latin1"),  # how bytes were written once
    **dict.fromkeys(
        (
            "torch.Size", "torch.device", "torch.nn.parameter.Parameter", "torch.Tensor",
            "argparse.Namespace", "datetime.datetime", "datetime.timedelta", "pathlib.Path",
            "pathlib.PosixPath", "pathlib.PurePosixPath", "numpy.ndarray",
            "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
            *(f"{m}.{n}" for m in ("builtins", "__builtin__") for n in _PLAIN),
            "torch.torch_version.TorchVersion", "torch._C.Generator", "types.SimpleNamespace",
        ),
        _Value,
    ),
}  # fmt: skip
"""Every name that a pickle may use, and what stands in for it."""


# ---- the two forms of file


def is_archive(members: dict[str, Member]) -> bool:
    """Whether a zip file is one of ``torch.save``: it has a ``data.pkl`` in its folder."""
    return any(name.count("/") == 1 and name.endswith("/data.pkl") for name in members)


def read_zip(path: Path, members: dict[str, Member]) -> Weights:
    """The form since 1.6: a folder with ``data.pkl`` and a file per storage."""
    pickled = next(n for n in members if n.count("/") == 1 and n.endswith("/data.pkl"))
    folder, whole = pickled.removesuffix("data.pkl"), zips.mapped(path)
    raw = zips.content(path, whole, members[pickled])
    found = load(Source(raw.data), path, TABLE, _stored, max(MOST, 60 * len(members)))
    order = members.get(f"{folder}byteorder")
    big = order is not None and zips.content(path, whole, order, 8).tobytes() == b"big"

    def memory(storage: Storage, nbytes: int) -> Callable[[], np.ndarray]:
        member = members.get(f"{folder}data/{storage.key}")
        if member is None or member.size < nbytes:
            raise damaged(path, f"it lacks the storage {storage.key!r:.60}, or has it too short")
        return lambda: zips.content(path, whole, member)[:nbytes]

    return _weights(path, found, memory, ">" if big else "<")


_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


def read_legacy(path: Path) -> Weights:
    """The form before 1.6: five pickles, then the storages one after another."""
    whole = zips.mapped(path)
    source = Source(whole.data)
    if load(source, path, {}) != _MAGIC:
        raise FileFormatError(
            f"{path}: a pickle that torch.save did not write; pickles are programs, and are not run"
        )
    if load(source, path, {}) != _PROTOCOL:
        raise FileFormatError(f"{path}: of another version of torch.save than {_PROTOCOL}")
    about = load(source, path, {})
    seen: dict[str, Storage] = {}

    def stored(key: Any) -> Storage:
        made = _stored(key)
        return seen.setdefault(made.key, made)

    found, keys = load(source, path, TABLE, stored), load(source, path, {})
    places, at = {}, source.at
    if not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
        raise damaged(path, "it has no list of its storages")
    for key in keys:
        if key not in seen or key in places:
            raise damaged(path, f"its list of storages has {key!r:.60}, which no tensor uses")
        length = int.from_bytes(whole[at : at + 8].tobytes(), "little")
        nbytes = seen[key].nbytes
        at += 8
        if length != seen[key].numel or nbytes > whole.size - at:
            raise damaged(
                path, f"the storage {key!r:.60} is cut, or of another length than it says"
            )
        places[key] = at
        at += nbytes

    def memory(storage: Storage, nbytes: int) -> Callable[[], np.ndarray]:
        if storage.key not in places:
            raise damaged(path, f"it lacks the storage {storage.key!r:.60}")
        at = places[storage.key]
        return lambda: whole[at : at + nbytes]

    little = not isinstance(about, dict) or about.get("little_endian", True)
    return _weights(path, found, memory, "<" if little else ">")


def _stored(key: Any) -> Storage:
    """The storage of a persistent id; of the old form's views of storages only those of all of one."""
    if type(key) is not tuple:
        raise ValueError("a persistent id that is no storage")
    what, dtype, name, _, numel, *view = key
    if what != "storage" or not isinstance(name, str) or any(v is not None for v in view):
        raise ValueError("a persistent id that is no storage")
    if type(numel) is not int or not 0 <= numel < 2**48 or dtype not in ("bytes", *DTYPES):
        raise ValueError("a storage of no known type or size")
    return Storage(name, dtype, numel)


# ---- tensors as arrays


def _weights(path: Path, found: Any, memory: Callable, order: str) -> Weights:
    nests = [found[n] for n in NESTS if isinstance(found, dict) and isinstance(found.get(n), dict)]
    tensors = (nests and _tensors(path, nests[0])) or _tensors(path, found)
    if not tensors:
        raise FileFormatError(f"{path}: there is no tensor in it")
    return Weights(path, {n: _array(path, n, t, memory, order) for n, t in tensors.items()})


def _tensors(path: Path, found: Any) -> dict[str, Tensor | NumPyArray]:
    """Tensors by their names in dicts and lists; those inside themselves are an error, however many."""
    out: dict[str, Tensor | NumPyArray] = {}
    todo: list[tuple[str, Any, int]] = [("", found, 0)]
    steps = 0
    while todo:
        name, value, depth = todo.pop()
        if isinstance(value, (Tensor, NumPyArray)):
            if name in out:
                raise damaged(path, f"two tensors are called {name!r:.200}")
            out[name] = value
        elif isinstance(value, (dict, list, tuple)):
            steps += 1 + len(value)
            if depth > 50 or steps > MOST or len(name) > 4096:
                raise damaged(path, "its dicts and lists hold one another without end")
            items = value.items() if isinstance(value, dict) else enumerate(value)
            below = f"{name}." if name else ""
            todo += [(f"{below}{key}", v, depth + 1) for key, v in items][::-1]
    return out


def _array(path: Path, name: str, t: Tensor | NumPyArray, memory: Callable, order: str) -> Array:
    if isinstance(t, NumPyArray):
        if t.array is None:
            raise FileFormatError(f"{path}: {name!r:.200} is an array of NumPy, and not of numbers")
        native = t.array.astype(t.array.dtype.newbyteorder("="), copy=False)
        return Array(Spec.of(native), lambda: native)
    dtype, kept = as_dtype(t.dtype), t.storage
    width = dtype.itemsize
    nbytes = kept.nbytes
    size = math.prod(t.shape)
    last = t.offset + sum((n - 1) * s for n, s in zip(t.shape, t.strides)) + 1 if size else 0
    if last * width > nbytes or size > max(nbytes // width, WIDEST):
        raise damaged(
            path, f"{name!r:.200} of shape {t.shape}, strides {t.strides} at {t.offset} reaches out of "
            f"its storage of {nbytes:,} bytes",
        )  # fmt: skip
    read = memory(kept, nbytes)

    def make() -> np.ndarray:
        raw = read()
        whole = raw[: raw.size // width * width].view(_stored_dtype(dtype, order))
        strides = [s * width for s in t.strides]
        view = np.lib.stride_tricks.as_strided(whole[t.offset :], t.shape, strides, writeable=False)
        return view.astype(dtype.numpy, copy=False)

    return Array(Spec(t.shape, dtype), make, (kept.key, t.offset, t.shape, t.strides, t.dtype))


def _stored_dtype(dtype: DType, order: str) -> np.dtype:
    return dtype.numpy.newbyteorder(order)

"""Python called by XLA on the CPU, through its foreign function interface.

`jax.pure_callback` would do, but it turns arrays into jax's own before it calls, which can wait forever
where there is one thread to copy them and that one is in the call; and it reads 64-bit numbers as 32.
This handler shows NumPy the memory itself. The structures are those of ``xla/ffi/api/c_api.h``, a stable
interface (version 0.3; fields are only ever added at the end).
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import threading
from collections.abc import Callable, Sequence
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any

import jax
import numpy as np
from monograph import Spec

TARGET = "monograph_host"
VERSION = (0, 3)

Function = Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]]

# number in a compiled program -> (whose it is, what it calls, its specs). The number is made of content:
# a program that jax keeps on disk finds, in another process, what that one says it means.
_functions: dict[int, tuple[Any, Function, Sequence[Spec], Sequence[Spec]]] = {}
_lock = threading.Lock()


def call(
    fn: Function, xs: Sequence[Any], ins: Sequence[Spec], outs: Sequence[Spec], owner: Any, name: str
) -> list[Any]:  # fmt: skip
    """``fn(arrays) -> arrays`` as a custom call on jax's traced values.

    Args:
        fn: returns anything of the shapes ``outs``; what it raises is the program's error.
        owner: functions of the same owner and specs are the same.
        name: tells it from others, in every process.
    """
    _register()
    number = _number(fn, tuple(ins), tuple(outs), owner, name)
    shapes = [jax.ShapeDtypeStruct(s.shape, s.dtype.numpy) for s in outs]
    return jax.ffi.ffi_call(TARGET, shapes)(*xs, number=np.int64(number))


def _number(fn: Function, ins: Any, outs: Any, owner: Any, name: str) -> int:
    with _lock:
        for i in itertools.count():  # another owner of that name: an op that was defined again
            digest = hashlib.sha256(f"{name} {ins} {outs} {i}".encode()).digest()
            number = int.from_bytes(digest[:8], "little") >> 1
            found = _functions.setdefault(number, (owner, fn, ins, outs))
            if (found[0], *found[2:]) == (owner, ins, outs):
                return number
    raise AssertionError


def _struct(name: str, *fields: tuple[str, Any]) -> type[ctypes.Structure]:
    head = (("struct_size", c_size_t), ("extension", c_void_p))
    return type(name, (ctypes.Structure,), {"_fields_": (*head, *fields)})


_Version = _struct("Version", ("major", c_int), ("minor", c_int))
_Buffer = _struct(
    "Buffer", ("dtype", c_int), ("data", c_void_p), ("rank", c_int64), ("dims", POINTER(c_int64))
)
_Arrays = _struct(
    "Arrays", ("size", c_int64), ("types", c_void_p), ("arrays", POINTER(POINTER(_Buffer)))
)
_ErrorArgs = _struct("ErrorArgs", ("message", c_char_p), ("code", c_int))
_CREATE_ERROR = ctypes.CFUNCTYPE(c_void_p, POINTER(_ErrorArgs))
_Api = _struct(
    "Api", ("version", _Version), ("internal", c_void_p), ("create_error", _CREATE_ERROR)
)


class _Scalar(ctypes.Structure):
    _fields_ = (("dtype", c_int), ("value", POINTER(c_int64)))


_Attrs = _struct(
    "Attrs", ("size", c_int64), ("types", c_void_p), ("names", c_void_p),
    ("values", POINTER(POINTER(_Scalar))),
)  # fmt: skip
_Frame = _struct(
    "Frame", ("api", POINTER(_Api)), ("context", c_void_p), ("stage", c_int), ("args", _Arrays),
    ("rets", _Arrays), ("attrs", _Attrs),
)  # fmt: skip


class _Metadata(ctypes.Structure):
    _fields_ = (("struct_size", c_size_t), ("version", _Version), ("traits", c_uint32))


class _Extension(ctypes.Structure):
    _fields_ = (
        ("struct_size", c_size_t), ("type", c_int), ("next", c_void_p), ("metadata", POINTER(_Metadata)),
    )  # fmt: skip


_METADATA, _INTERNAL = 1, 13  # XLA_FFI_Extension_Metadata, XLA_FFI_Error_Code_INTERNAL


def _handler(pointer: Any) -> int | None:
    frame = pointer.contents
    try:
        if frame.extension:
            extension = ctypes.cast(frame.extension, POINTER(_Extension)).contents
            if extension.type == _METADATA:  # XLA asks what this was written for
                version = extension.metadata.contents.version
                version.major, version.minor = VERSION
                return None
        _run(frame)
    except BaseException as e:  # nothing may leave the handler
        text = f"{type(e).__name__}: {e}".encode()
        args = _ErrorArgs(ctypes.sizeof(_ErrorArgs), None, text, _INTERNAL)
        return frame.api.contents.create_error(ctypes.byref(args))
    return None


def _run(frame: Any) -> None:
    number = frame.attrs.values[0].contents.value[0]
    found = _functions.get(number)
    if found is None:
        raise LookupError("this program calls a Python function of another process")
    _, fn, ins, outs = found
    if (frame.args.size, frame.rets.size) != (len(ins), len(outs)):
        raise ValueError(f"{frame.args.size} arrays in and {frame.rets.size} out")
    # copies: the function may keep what it was handed, and the memory is XLA's
    xs = [np.array(_shown(frame.args.arrays[i].contents, s)) for i, s in enumerate(ins)]
    for x in xs:
        x.setflags(write=False)
    for i, (y, s) in enumerate(zip(fn(xs), outs)):
        _shown(frame.rets.arrays[i].contents, s)[...] = y


def _shown(buffer: Any, s: Spec) -> np.ndarray:
    """XLA's memory as an array."""
    if not s.nbytes:
        return np.empty(s.shape, s.dtype.numpy)
    memory = (ctypes.c_uint8 * s.nbytes).from_address(buffer.data)
    return np.frombuffer(memoryview(memory), np.uint8).view(s.dtype.numpy).reshape(s.shape)


_HANDLER = ctypes.CFUNCTYPE(c_void_p, POINTER(_Frame))(_handler)


@functools.cache
def _register() -> None:
    jax.ffi.register_ffi_target(TARGET, jax.ffi.pycapsule(_HANDLER), platform="cpu", api_version=1)

"""C functions called by XLA itself, on the CPU: through one handler, `trampoline.c`.

A compiled program names a function by a number made of content (`Plan.key`), never by its address, so
that it may be kept and run by another process. This one says what the number means when it lowers.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import threading
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
from monograph.errors import NativeError
from monograph.native import Kernel, NoCompiler, Plan, abi, build
from monograph.op import Op

TARGET = "monograph_native"

_lock = threading.Lock()
_bound: dict[int, tuple[Any, ...]] = {}  # number -> what must live as long as the process


@functools.cache
def _trampoline() -> ctypes.CDLL | None:
    """The handler, registered; None where there is no compiler for it, or it does not compile (which is said)."""
    source = Path(__file__).with_name("trampoline.c")
    flags = (f"-I{jax.ffi.include_dir()}",)
    try:
        path = build(source.read_text(), "xla_trampoline", flags=flags, file=str(source))
    except NoCompiler:
        return None
    except NativeError as e:  # a header of jax that has changed
        warnings.warn(f"C functions run by way of the host on XLA: {e}", stacklevel=2)
        return None
    library = ctypes.CDLL(str(path))
    library.mg_bind.argtypes = (ctypes.c_uint64, ctypes.c_void_p, ctypes.POINTER(abi.Call))
    jax.ffi.register_ffi_target(
        TARGET, jax.ffi.pycapsule(library.mg_execute), platform="cpu", api_version=1
    )
    return library


def callable_natively(op: Op, platform: str) -> bool:
    """Whether XLA can call the op's body by address."""
    return isinstance(op.reference, Kernel) and platform == "cpu" and _trampoline() is not None


def call(
    op: Op, xs: tuple[Any, ...], attrs: dict[str, Any], ins: Any, source: Any
) -> tuple[list[Any], Plan]:
    """The custom call, on jax's traced values, and what it calls."""
    kernel: Kernel = op.reference
    plan = kernel.plan(ins, attrs)
    shapes = [jax.ShapeDtypeStruct(s.shape, s.dtype.numpy) for s in plan.outs]
    at = f"{source}: the C function {kernel.symbol!r} of op {kernel.name!r}"
    return jax.ffi.ffi_call(TARGET, shapes)(*xs, at=at, key=np.int64(_bind(plan))), plan


def _bind(plan: Plan) -> int:
    library = _trampoline()
    assert library is not None
    number = int.from_bytes(hashlib.sha256(plan.key.encode()).digest()[:8], "little") >> 1
    with _lock:
        if number not in _bound:
            frame = plan.frame()

            def bind(address: int) -> None:
                if library.mg_bind(number, address, frame.ref):
                    raise MemoryError("for a C function's address")

            _bound[number] = (frame, plan, plan.native(bind))
    return number

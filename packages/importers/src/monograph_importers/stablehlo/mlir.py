"""MLIR in any form, brought to one: the generic text, which `parse` reads.

jaxlib's parser knows the pretty text, the bytecode and the portable artifacts of every version, but
a damaged file can take its process down. Files therefore go through a child process with limits:
this very file run as a script, which imports jaxlib only.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from typing import Any

PORTABLE = b"StableHLO_v"  # the producer that a portable artifact names in its first bytes
BYTECODE = b"ML\xefR"


def generic(data: bytes, name: str) -> str:
    """The module in ``data`` as generic text with locations, through a child process.

    Raises:
        FileFormatError: it is not MLIR, is damaged, or made the parser crash.
        PluginError: jaxlib is not installed.
    """
    from monograph.errors import FileFormatError, PluginError

    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    seconds = 10 + len(data) / 2**20
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__], input=data, capture_output=True, timeout=seconds,
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise FileFormatError(f"{name}: MLIR's parser took over {seconds:.0f} s") from None
    said = done.stderr.decode(errors="replace").strip()
    if done.returncode == 0:
        return done.stdout.decode()
    if done.returncode == _NO_JAXLIB:
        raise PluginError(
            f"{name} is read by MLIR's parser, which comes with jaxlib: pip install "
            f"'monograph-importers[jax]' ({said})"
        )
    if done.returncode == _REFUSED:
        raise FileFormatError(f"{name} is no StableHLO that jaxlib can read: {said[:2000]}")
    raise FileFormatError(
        f"{name} made MLIR's parser fail (exit status {done.returncode}); the file is damaged, or "
        f"absurdly large or deep"
    )


def printed(module: Any) -> str:
    """A module of jaxlib's bindings as generic text with locations."""
    return module.operation.get_asm(
        enable_debug_info=True, print_generic_op_form=True, large_elements_limit=None
    )


# ---- the child

_NO_JAXLIB, _REFUSED = 3, 4


def parsed(data: bytes) -> Any:
    """The module of jaxlib's bindings; for data that is trusted, as it may take the process down."""
    from jaxlib.mlir import ir
    from jaxlib.mlir.dialects import chlo, stablehlo

    registry, context = ir.DialectRegistry(), ir.Context()
    with contextlib.suppress(ImportError, AttributeError):  # not public: func, sdy and mhlo
        from jaxlib.mlir._mlir_libs import _jax_mlir_ext

        _jax_mlir_ext.register_dialects(registry)
    context.append_dialect_registry(registry)
    for dialect in (stablehlo, chlo):
        dialect.register_dialect(context)
    context.load_all_available_dialects()
    context.allow_unregistered_dialects = True  # named as unsupported later, with their place
    with context:
        if not (data.startswith(BYTECODE) and PORTABLE in data[:64]):
            return ir.Module.parse(data)
        try:  # not public: JAX's own, which knows sharding's dialect too
            from jaxlib._jax import mlir as jax_mlir
        except ImportError:
            return stablehlo.deserialize_portable_artifact(context, data)
        return jax_mlir.deserialize_portable_artifact(data)


def _limit(data: bytes) -> None:
    """A file may cost the parser some memory and time per byte, and no more."""
    try:
        import resource

        with open("/proc/self/statm") as f:
            now = int(f.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return  # no such limits here; the parent's clock still runs
    room = now + 2**27 + 32 * len(data)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    spent = resource.getrusage(resource.RUSAGE_SELF)
    # a megabyte of bytecode takes half a second, one of text less
    seconds = int(spent.ru_utime + spent.ru_stime) + 1 + len(data) // 2**19
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main() -> int:
    data = sys.stdin.buffer.read()
    try:
        import jaxlib.mlir.dialects.chlo
        import jaxlib.mlir.dialects.stablehlo  # noqa: F401
    except ImportError as e:
        print(e, file=sys.stderr)
        return _NO_JAXLIB
    _limit(data)
    try:
        text = printed(parsed(data))
    except Exception as e:  # of MLIR or the bindings, of many types
        print(e, file=sys.stderr)
        return _REFUSED
    sys.stdout.buffer.write(text.encode())
    return 0


if __name__ == "__main__":
    status = _main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # without the destructors of a parser that may be ill
